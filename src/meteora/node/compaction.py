"""How much of the log is kept: what the state has durably is cut off, but for what followers may still ask for.

Kept are `catchup_entries`, but never more than was applied since `KEPT_FLUSHES` flushes of the state; and whatever
comes after a snapshot that is being made, sent or kept.
"""

from collections import deque
from typing import Final

from meteora.kv.state_machine import StateMachine
from meteora.node.snapshots import OutgoingSnapshots
from meteora.storage.raft_log import RaftLog

KEPT_FLUSHES: Final = 8
"""The log keeps no more than was applied since so many flushes of the state, whatever is set: entries can be large. A
flush comes after `REPLAY_BOUND_BYTES` // 2, so this is about 256 MiB."""


class Compaction:
    """Flushes the state of one node when that is due, and cuts its log."""

    def __init__(
        self, log: RaftLog, state_machine: StateMachine, outgoing: OutgoingSnapshots, catchup_entries: int
    ) -> None:
        self._log = log
        self._state_machine = state_machine
        self._outgoing = outgoing
        self._catchup_entries = catchup_entries
        self._flushed_indexes: deque[int] = deque(maxlen=KEPT_FLUSHES)
        """Up to where the last flushes went."""

    async def tidy(self) -> None:
        """Flush if it is due, then cut off what may be. Raises `DiskFull` or `DiskFailure`: the node must stop."""
        if self._state_machine.needs_flush():
            await self._state_machine.flush()
            self._flushed_indexes.append(self._state_machine.flushed_index)
        index = self._cut_index()
        # With an fsync, but no oftener than the state is flushed or a snapshot let go.
        if index >= self._log.first_index():
            await self._log.compact(index)

    def _cut_index(self) -> int:
        index = self._state_machine.flushed_index - self._catchup_entries
        if len(self._flushed_indexes) == KEPT_FLUSHES:
            index = max(index, self._flushed_indexes[0])
        return int(min(index, self._outgoing.held_index))
