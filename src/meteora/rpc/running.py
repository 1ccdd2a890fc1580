"""The calls that are being served, so that a server that stops can wait for them, and end them.

Rule: once it stops, no call begins, and each that runs ends with UNAVAILABLE when its grace is over.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

import grpc

from meteora.http2 import Headers, ServerStream
from meteora.observability.logs import get_logger
from meteora.rpc.admission import Admission
from meteora.rpc.call import Call
from meteora.rpc.context import CallContext
from meteora.rpc.method import Method
from meteora.rpc.status import CallFailed

_log = get_logger("rpc")


class Running:
    """The calls of one server. `max_message_bytes` is the longest request that they take, compressed or not."""

    def __init__(self, max_message_bytes: int, refusal_headers: Headers | None = None) -> None:
        self.max_message_bytes = max_message_bytes
        self.admission = Admission(refusal_headers or [])
        self.is_stopping = False
        self.loop: asyncio.AbstractEventLoop
        """Where requests are served; to be set before the first. Each call would look for it several times."""
        self.outcomes: set[asyncio.Future[Any]] = set()
        """What calls that are served directly wait for."""
        self.calls: set[Call] = set()
        """What is served by handlers."""
        self._tasks: set[asyncio.Task[None]] = set()

    def context(self, method: Method, stream: ServerStream, headers: Headers) -> CallContext:
        """A call that is served by a handler."""
        return CallContext(
            method,
            stream,
            headers,
            max_message_bytes=self.max_message_bytes,
            running=self.calls,
            admission=self.admission,
            loop=self.loop,
        )

    def serve(self, stream: ServerStream, service: Coroutine[Any, Any, None]) -> None:
        """Runs what serves a stream in a task, which is cancelled if the client goes."""
        task = self.loop.create_task(service)
        self._tasks.add(task)
        stream.on_ended = task.cancel
        task.add_done_callback(partial(self._served, stream))

    def _served(self, stream: ServerStream, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # It would lead back to this stream, by the frames of an error.
        stream.on_ended = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a call was left without an answer", cause=repr(error))

    async def stop(self, grace_seconds: float) -> None:
        """Refuses new calls from now on, gives those that run `grace_seconds`, and then ends them."""
        self.is_stopping = True
        # Those that were taken in this turn of the loop begin first.
        await asyncio.sleep(0)
        waited_for = [*(call.task for call in self.calls if call.task is not None), *self.outcomes]
        if waited_for:
            await asyncio.wait(waited_for, timeout=grace_seconds)
        for call in tuple(self.calls):
            call.interrupt(stopping())
        for outcome in tuple(self.outcomes):
            outcome.cancel()

    async def wait_for_end(self) -> None:
        """Returns when nothing is left of any call. For when all streams have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)


def stopping() -> CallFailed:
    """How a call ends for which the server stays no longer."""
    return CallFailed(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
