"""The short way of a unary call: its method is asked for a future, and what comes of that is the answer.

A handler runs in a coroutine of its own, with a context that can do all that grpcio's can. A method that is served
directly has neither: it is told the request and how long the client waits.

Rule: the short way ends as the long one would. What it can't take goes the long way, to the handler that the method has
as well: a request in pieces or compressed, a client in a hurry, and whatever the method declines.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc

from meteora.rpc.call import BODY, START, TRAILERS_OK, Scope, Send
from meteora.rpc.context import CallContext
from meteora.rpc.deadline import parse_timeout_seconds
from meteora.rpc.framing import Event, Receive, whole_message
from meteora.rpc.method import Method
from meteora.rpc.running import Running, stopping
from meteora.rpc.serving import serve_unary
from meteora.rpc.status import CallFailed

HURRY_SECONDS: Final = 1.0
"""Who waits no longer than this gets a timer, which ends the call on time. Others are answered by the method itself: it
knows the deadline, and looks at it some times a second."""


@dataclass(frozen=True, slots=True)
class Direct:
    """How a method is served directly."""

    begin: Callable[[Any, float | None], "asyncio.Future[Any] | None"]
    """Takes the request, and how many seconds the client waits, None if for ever. Gives the future of the outcome,
    which it resolves in time and which may be cancelled; or None, before anything was done, for the long way."""
    finish: Callable[[Any], bytes]
    """Makes the response of the outcome, framed (see `meteora.rpc.framing.frame`)."""
    explain: Callable[["grpc.aio.ServicerContext[Any, Any]", Exception], Awaitable[None]]
    """Ends the call as fits what `begin` or the future raised, by the context's `abort`; returns if it doesn't know."""


class DirectMethod:
    """A method that is served directly where that will do."""

    def __init__(self, method: Method, direct: Direct, running: Running) -> None:
        self._method = method
        self._begin = direct.begin
        self._finish = direct.finish
        self._explain = direct.explain
        self._running = running
        self._outcomes = running.outcomes
        self._max_message_bytes = running.max_message_bytes

    async def serve(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        """Serves one call."""
        outcome = body = None
        event = await receive()
        try:
            outcome = self._begun(event, headers)
            if outcome is not None:
                self._outcomes.add(outcome)
                body = self._finish(await outcome)
        except BaseException as error:
            if not await self._fail(self._running.context(self._method, scope, headers, receive, send), error):
                raise
            return
        finally:
            if outcome is not None:
                self._outcomes.discard(outcome)
                # An error leads to this frame, which would lead back to it.
                outcome = None
        if body is None:
            await serve_unary(self._running.context(self._method, scope, headers, receive, send), event)
            return
        await send(START)
        await send({"type": BODY, "body": body})
        await send(TRAILERS_OK)

    def _begun(self, event: Event, headers: dict[bytes, bytes]) -> "asyncio.Future[Any] | None":
        """None if it is to go the long way; nothing was done then."""
        timeout = headers.get(b"grpc-timeout")
        timeout_seconds = None if timeout is None else parse_timeout_seconds(timeout)
        message = whole_message(event, self._max_message_bytes)
        if message is None or (timeout_seconds is not None and timeout_seconds <= HURRY_SECONDS):
            return None
        return self._begin(self._method.parse(message), timeout_seconds)

    async def _fail(self, context: CallContext, error: BaseException) -> bool:
        """As `CallContext.fail`."""
        context.task = task = asyncio.current_task()
        is_ended_by_client = task is not None and task.cancelling()
        try:
            if isinstance(error, asyncio.CancelledError) and self._running.is_stopping and not is_ended_by_client:
                return await context.fail(stopping())
            if isinstance(error, Exception) and not isinstance(error, CallFailed):
                await self._explain(cast(Any, context), error)
            return await context.fail(error)
        except grpc.aio.AbortError as aborted:
            return await context.fail(aborted)
        finally:
            context.leave()
