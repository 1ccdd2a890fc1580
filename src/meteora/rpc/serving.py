"""How a call is served by its handler, from the first byte of its request to the last one of its response."""

from contextlib import aclosing
from typing import Any

from meteora.rpc.context import CallContext, Requests


async def serve_unary(context: CallContext) -> None:
    """Serves a method that takes one message and answers with one."""
    method = context.method
    try:
        context.begin()
        message = await context.read_only()
        await context.answer(await method.behaviour(method.parse(message), context))
    except BaseException as error:
        if not context.fail(error):
            raise
    finally:
        context.leave()


async def serve_streaming(context: CallContext) -> None:
    """Serves a method whose requests, or responses, are streams."""
    method = context.method
    try:
        context.begin()
        request = Requests(context) if method.request_streaming else method.parse(await context.read_only())
        outcome = method.behaviour(request, context)
        if method.response_streaming:
            await _write_all(outcome, context)
            context.finish()
        else:
            await context.answer(await outcome)
    except BaseException as error:
        if not context.fail(error):
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
