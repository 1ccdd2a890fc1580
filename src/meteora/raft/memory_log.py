"""A log in memory, for tests and simulations: what a disk would have, without the disk."""

from collections.abc import Sequence

from meteora.raft.entry import Entry
from meteora.raft.errors import Compacted, ensure
from meteora.raft.log_reader import LogReader


class MemoryLog(LogReader):
    """Implements `LogReader` over a list."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self._base_index = self._base_term = 0
        self._entries: list[Entry] = []
        self.append(entries)

    def first_index(self) -> int:
        """The index of the oldest entry that was not cut off."""
        return self._base_index + 1

    def last_index(self) -> int:
        """The index of the newest entry; first_index() - 1 if there is none."""
        return self._base_index + len(self._entries)

    def term(self, index: int) -> int:
        """The term at `index`, from first_index() - 1 on; 0 at 0. Raises `Compacted` below."""
        if index < self._base_index:
            raise Compacted(f"the term at {index} of a log that begins at {self.first_index()}")
        ensure(index <= self.last_index(), f"index {index} is not in a log that ends at {self.last_index()}")
        return self._entry(index).term if index > self._base_index else self._base_term

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        """The entries low <= index < high, cut short once they exceed `max_bytes`, but never to nothing.

        Raises `Compacted` if low < first_index().
        """
        if low <= self._base_index:
            raise Compacted(f"entries from {low} of a log that begins at {self.first_index()}")
        ensure(low < high <= self.last_index() + 1, f"[{low}, {high}) of a log that ends at {self.last_index()}")
        total = 0
        for index in range(low, high):
            total += self._entry(index).size_bytes()
            if total > max_bytes and index > low:
                return self._slice(low, index)
        return self._slice(low, high)

    def append(self, entries: Sequence[Entry]) -> None:
        """Put `entries` into the log; what was at or after the first of them is dropped."""
        if entries:
            first = entries[0].index
            ensure(
                self._base_index < first <= self.last_index() + 1,
                f"entry {first} in a log from {self.first_index()} to {self.last_index()}",
            )
            self._entries[first - self._base_index - 1 :] = entries

    def compact(self, index: int) -> None:
        """Cut off the entries up to `index`; nothing happens if they are cut off already."""
        if index > self._base_index:
            ensure(index <= self.last_index(), f"a cut at {index} of a log that ends at {self.last_index()}")
            base_term = self.term(index)
            del self._entries[: index - self._base_index]
            self._base_index, self._base_term = index, base_term

    def reset(self, index: int, term: int) -> None:
        """Begin anew after (index, term); what follows it stays if it is in the log, and only then."""
        if self._base_index <= index <= self.last_index() and self.term(index) == term:
            self.compact(index)
        else:
            self._entries.clear()
            self._base_index, self._base_term = index, term

    def _entry(self, index: int) -> Entry:
        return self._entries[index - self._base_index - 1]

    def _slice(self, low: int, high: int) -> Sequence[Entry]:
        return self._entries[low - self._base_index - 1 : high - self._base_index - 1]
