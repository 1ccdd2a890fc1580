"""The short way of a unary call: its method is asked for a future, and what comes of that is the answer.

A handler runs in a task of its own, with a context that can do all that grpcio's can. A method that is served directly
has neither: it is told the request and how long the client waits, and when the future is done, the answer is written.

Rule: the short way ends as the long one would. What it can't take goes the long way, to the handler that the method has
as well: a request that does not come whole, or is compressed, a client in a hurry, and whatever the method declines.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import grpc

from meteora.http2 import Headers, Route, ServerStream
from meteora.observability.histogram import MEASURED_OF
from meteora.rpc.call import START, TRAILERS_OK
from meteora.rpc.deadline import parse_timeout_seconds
from meteora.rpc.framing import whole_message
from meteora.rpc.method import Method
from meteora.rpc.running import Running, stopping
from meteora.rpc.status import CallFailed, number_of

HURRY_SECONDS: Final = 1.0
"""Who waits no longer than this gets a timer, which ends the call on time. Others are answered by the method itself: it
knows the deadline, and looks at it some times a second."""

_CANCELLED: Final = number_of(grpc.StatusCode.CANCELLED)


@dataclass(frozen=True, slots=True)
class Direct:
    """How a method is served directly."""

    begin: Callable[[Any, float | None, str | None], "asyncio.Future[Any] | None"]
    """Takes the request, how many seconds the client waits, None if for ever, and what its header `authorization` says,
    None without one. Gives the future of the outcome, which it resolves in time and which may be cancelled; or None,
    before anything was done, for the long way."""
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
        self._counts = method.counts

    def route(self, headers: Headers, opened: Callable[[ServerStream], None]) -> Route:
        """For requests with these headers; the long way is `opened`."""
        fields = dict(headers)
        timeout = fields.get(b"grpc-timeout")
        authorization = fields[b"authorization"].decode("latin-1") if b"authorization" in fields else None
        try:
            timeout_seconds = None if timeout is None else parse_timeout_seconds(timeout)
        except CallFailed:
            return Route(opened)  # Which says what is wrong with it.
        if timeout_seconds is not None and timeout_seconds <= HURRY_SECONDS:
            return Route(opened)
        end, counts = partial(self._end, headers), self._counts

        def whole(stream: ServerStream, body: bytes) -> bool:
            message = whole_message(body, self._max_message_bytes)
            if message is None or self._running.is_stopping:
                return False
            counts.seen += 1
            if not counts.measured or counts.seen % MEASURED_OF == 0:
                counts.begin(stream)
            try:
                outcome = self._begin(self._method.parse(message), timeout_seconds, authorization)
            except Exception as error:  # noqa: BLE001  each is answered, as a handler's would be
                # Not by the task, which a client that goes at once ends before it begins.
                self._end_measured(stream)
                self._running.serve(stream, self._fail(stream, headers, error))
                return True
            if outcome is None:
                # The long way measures for itself, if it comes to that.
                counts.measured.pop(stream, None)
                return False
            self._outcomes.add(outcome)
            stream.on_ended = outcome.cancel
            outcome.add_done_callback(partial(end, stream))
            return True

        return Route(opened, whole)

    def _end(self, headers: Headers, stream: ServerStream, outcome: "asyncio.Future[Any]") -> None:
        self._outcomes.discard(outcome)
        stream.on_ended = None
        if outcome.cancelled():
            error: BaseException | None = asyncio.CancelledError()
        else:
            error = outcome.exception()
        counts = self._counts
        if stream in counts.measured:
            counts.end(stream)
        if stream.ending is not None:
            counts.count(_CANCELLED)
            return  # The client has gone.
        if error is not None:
            self._running.serve(stream, self._fail(stream, headers, error))
            return
        try:
            body = self._finish(outcome.result())
        except Exception as failure:  # noqa: BLE001  each is answered, as a handler's would be
            self._running.serve(stream, self._fail(stream, headers, failure))
        else:
            counts.ok += 1
            stream.respond(START, body, TRAILERS_OK)

    def _end_measured(self, stream: ServerStream) -> None:
        if stream in self._counts.measured:
            self._counts.end(stream)

    async def _fail(self, stream: ServerStream, headers: Headers, error: BaseException) -> None:
        """Ends the call as `CallContext.fail` would."""
        context = self._running.context(self._method, stream, headers)
        try:
            if isinstance(error, asyncio.CancelledError) and self._running.is_stopping:
                context.fail(stopping())
                return
            if isinstance(error, Exception) and not isinstance(error, CallFailed):
                await self._explain(cast(Any, context), error)
            context.fail(error)
        except grpc.aio.AbortError as aborted:
            context.fail(aborted)
        finally:
            context.leave()
