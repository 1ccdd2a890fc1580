"""A log in memory, for tests and simulations: what a disk would have, without the disk."""

from collections.abc import Sequence

from meteora.raft.entry import Entry
from meteora.raft.errors import ensure
from meteora.raft.log_reader import LogReader


class MemoryLog(LogReader):
    """Implements `LogReader` over a list."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self._entries: list[Entry] = []
        self.append(entries)

    def first_index(self) -> int:
        """Always 1: this log is never cut."""
        return 1

    def last_index(self) -> int:
        """The index of the newest entry; 0 if there is none."""
        return len(self._entries)

    def term(self, index: int) -> int:
        """The term at `index`; 0 at 0."""
        ensure(0 <= index <= self.last_index(), f"index {index} is not in a log that ends at {self.last_index()}")
        return self._entries[index - 1].term if index else 0

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        """The entries low <= index < high, cut short once they exceed `max_bytes`, but never to nothing."""
        ensure(1 <= low < high <= self.last_index() + 1, f"[{low}, {high}) of a log that ends at {self.last_index()}")
        total = 0
        for index in range(low, high):
            total += self._entries[index - 1].size_bytes()
            if total > max_bytes and index > low:
                return self._entries[low - 1 : index - 1]
        return self._entries[low - 1 : high - 1]

    def append(self, entries: Sequence[Entry]) -> None:
        """Put `entries` into the log; what was at or after the first of them is dropped."""
        if entries:
            first = entries[0].index
            ensure(1 <= first <= self.last_index() + 1, f"entry {first} would leave a gap after {self.last_index()}")
            self._entries[first - 1 :] = entries
