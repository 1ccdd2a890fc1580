"""How a call is served, from the first byte of its request to the last one of its response.

Rule: `serve_unary` is the path of every put and get. A request of one message in one piece, which is answered by one
message, costs nothing there but what it needs; whatever is different goes a longer way to the same end.
"""

from contextlib import aclosing
from typing import Any

from meteora.rpc.context import CallContext, Requests
from meteora.rpc.framing import Event, whole_message


async def serve_unary(context: CallContext, first: Event | None = None) -> None:
    """Serves a method that takes one message and answers with one; `first` is what was received of it already."""
    method = context.method
    try:
        context.begin()
        event = first or await context.receive()
        message = whole_message(event, context.max_message_bytes)
        if message is None:
            context.reader.feed(event)
            message = await context.reader.read_only()
        await context.answer(await method.behaviour(method.parse(message), context))
    except BaseException as error:
        if not await context.fail(error):
            raise
    finally:
        context.leave()


async def serve_streaming(context: CallContext) -> None:
    """Serves a method whose requests, or responses, are streams."""
    method = context.method
    try:
        context.begin()
        request = Requests(context) if method.request_streaming else method.parse(await context.reader.read_only())
        outcome = method.behaviour(request, context)
        if method.response_streaming:
            await _write_all(outcome, context)
            await context.finish()
        else:
            await context.answer(await outcome)
    except BaseException as error:
        if not await context.fail(error):
            raise
    finally:
        context.leave()


async def _write_all(responses: Any, context: CallContext) -> None:
    """Writes what a handler yields; one that writes by itself is only awaited."""
    if not hasattr(responses, "__aiter__"):
        await responses
        return
    async with aclosing(responses):
        async for response in responses:
            await context.write(response)
