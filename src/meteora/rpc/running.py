"""The calls that are being served, so that a server that stops can wait for them, and end them.

Rule: once it stops, no call begins, and each that runs ends with UNAVAILABLE when its grace is over.
"""

import asyncio
from typing import Any

import grpc

from meteora.rpc.call import Call, Scope, Send
from meteora.rpc.context import CallContext
from meteora.rpc.framing import Receive
from meteora.rpc.method import Method
from meteora.rpc.status import CallFailed


class Running:
    """The calls of one server. `max_message_bytes` is the longest request that they take, compressed or not."""

    def __init__(self, max_message_bytes: int) -> None:
        self.max_message_bytes = max_message_bytes
        self.is_stopping = False
        self.loop: asyncio.AbstractEventLoop
        """Where requests are served; to be set before the first. Each call would look for it several times."""
        self.outcomes: set[asyncio.Future[Any]] = set()
        """What calls that are served directly wait for."""
        self._calls: set[Call] = set()

    def context(
        self, method: Method, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> CallContext:
        """A call that is served by a handler."""
        return CallContext(
            method,
            scope,
            headers,
            receive,
            send,
            max_message_bytes=self.max_message_bytes,
            running=self._calls,
            loop=self.loop,
        )

    async def stop(self, grace_seconds: float) -> None:
        """Refuses new calls from now on, gives those that run `grace_seconds`, and then ends them."""
        self.is_stopping = True
        waited_for = [*(call.task for call in self._calls if call.task is not None), *self.outcomes]
        if waited_for:
            await asyncio.wait(waited_for, timeout=grace_seconds)
        for call in tuple(self._calls):
            call.interrupt(stopping())
        for outcome in tuple(self.outcomes):
            outcome.cancel()


def stopping() -> CallFailed:
    """How a call ends for which the server stays no longer."""
    return CallFailed(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
