"""Whose turn it is: a lock for the event loop, first come, first served, that can also be had without waiting."""

import asyncio
from collections import deque
from types import TracebackType


class Turn:
    """A mutex. `async with` waits for it; who must not wait tries `try_take`, and calls `release` in the end."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def try_take(self) -> bool:
        """Takes the turn if it is free and nobody waits for it."""
        if self._is_taken:
            return False
        self._is_taken = True
        return True

    def release(self) -> None:
        """Gives it to the one who has waited longest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                # It stays taken: who comes in between is not first.
                waiter.set_result(None)
                return
        self._is_taken = False

    async def __aenter__(self) -> None:
        if self.try_take():
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # It was given, and won't be used.
                self.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
