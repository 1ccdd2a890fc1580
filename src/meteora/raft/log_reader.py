"""What the core may ask of the log on disk."""

from collections.abc import Sequence
from typing import Protocol

from meteora.raft.entry import Entry


class LogReader(Protocol):
    """The part of the log that is already durable. Answers come from memory: the core never waits on a disk.

    The log covers first_index() to last_index(); an empty one has last_index() == first_index() - 1.
    """

    def first_index(self) -> int:
        """The index of the oldest entry that is still there, or would be; 1 until the log is first cut.

        It may rise at any time, up to one beyond what is applied, and never falls.
        """
        ...

    def last_index(self) -> int:
        """The index of the newest entry; 0 in a log that never had one."""
        ...

    def term(self, index: int) -> int:
        """The term of the entry at `index`, from first_index() - 1 (0 before the first ever) to last_index().

        Raises `meteora.raft.errors.Compacted` below, `InvariantViolation` above.
        """
        ...

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry] | None:
        """The entries low <= index < high, cut short once they exceed `max_bytes`, but never to nothing.

        None if the first of them is not in memory: the caller then asks for it by `Ready.fetches`. Raises
        `meteora.raft.errors.Compacted` if low < first_index().
        """
        ...
