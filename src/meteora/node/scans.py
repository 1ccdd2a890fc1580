"""Scans of all that a node has, for backups and exports: one at a time.

Each holds back what RocksDB would remove, and takes half a core while it runs: two would take twice of both.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from meteora.errors import NotApplied, Overloaded
from meteora.kv.state import END, USER_PREFIX
from meteora.kv.state_machine import StateMachine
from meteora.kv.state_scan import StateScan
from meteora.storage.pace import Abandoned


class Scans:
    """Who may scan, and from when on."""

    def __init__(self, state_machine: StateMachine, catch_up: Callable[[float], Awaitable[None]]) -> None:
        """`catch_up` as that of `Node`."""
        self._state_machine = state_machine
        self._catch_up = catch_up
        self.is_busy = False
        """Whether there is one now."""

    def estimated_records(self) -> int:
        """About how many records a scan of everything has."""
        return self._state_machine.estimated_records()

    def everything(self, deadline: float, *, serializable: bool) -> AbstractAsyncContextManager[StateScan]:
        """All records, whatever they are: at least as new as what was acknowledged before the call.

        With `serializable` they are what this node has, which may be older. `deadline`, in the loop's time, is for the
        beginning. Raises `Overloaded` while there is another scan, `NotApplied` if there is no leader, or if the state
        is replaced or the node stops meanwhile.
        """
        return self._opened(b"", END, deadline, serializable=serializable)

    def keys(self, prefix: bytes, deadline: float, *, serializable: bool) -> AbstractAsyncContextManager[StateScan]:
        """The same, of the users' keys that begin with `prefix`: each with `USER_PREFIX` before it."""
        lower = USER_PREFIX + prefix
        return self._opened(lower, _after_all_with(lower), deadline, serializable=serializable)

    @asynccontextmanager
    async def _opened(
        self, lower: bytes, upper: bytes, deadline: float, *, serializable: bool
    ) -> AsyncIterator[StateScan]:
        if self.is_busy:
            raise Overloaded("another backup or export is under way at this node: wait for it, or ask another node")
        self.is_busy = True
        try:
            if not serializable:
                await self._catch_up(deadline)
            if not self._state_machine.applied_index:
                raise NotApplied("this node has no state yet: ask another one")
            scan = await self._state_machine.scan(lower, upper)
            try:
                yield scan
            finally:
                await scan.close()
        except Abandoned:
            raise NotApplied("the node stops, or its state is being replaced: try again, or ask another one") from None
        finally:
            self.is_busy = False


def _after_all_with(prefix: bytes) -> bytes:
    """The first key above all that begin with `prefix`, which does not begin with 0xff."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1])
