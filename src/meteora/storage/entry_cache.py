"""The newest entries of a log, in memory.

Rule: what is not yet applied is always here; of what is, as much as the limit allows.
"""

from collections.abc import Sequence

from meteora.raft.entry import Entry
from meteora.raft.errors import ensure


class EntryCache:
    """The entries from `first_index` to the end of the log, without a gap.

    Invariant: `size_bytes` is above `limit_bytes` only while every entry here is above the released index.
    """

    __slots__ = ("_entries", "first_index", "limit_bytes", "released_index", "size_bytes")

    def __init__(self, limit_bytes: int, last_index: int, released_index: int) -> None:
        """Empty, for a log that ends at `last_index` and is applied up to `released_index`."""
        self._entries: dict[int, Entry] = {}
        self.released_index = released_index
        self.first_index = last_index + 1
        self.limit_bytes = limit_bytes
        self.size_bytes = 0

    def append(self, entry: Entry) -> None:
        """Add the entry after the last."""
        ensure(entry.index == self.first_index + len(self._entries), f"{entry.index} is not next in the entry cache")
        self._entries[entry.index] = entry
        self.size_bytes += entry.size_bytes()
        self._evict()

    def truncate(self, index: int) -> None:
        """Drop the entries from `index` on, none of which is applied."""
        ensure(index > self.released_index, f"entry {index} is applied, up to {self.released_index}")
        for dropped in range(index, self.first_index + len(self._entries)):
            self.size_bytes -= self._entries.pop(dropped).size_bytes()

    def release(self, index: int) -> None:
        """Allow the entries up to `index` to be dropped."""
        self.released_index = max(self.released_index, index)
        self._evict()

    def compact(self, index: int) -> None:
        """Drop the entries up to `index`, all of which are applied."""
        ensure(index <= self.released_index, f"entry {index} is not applied yet, only {self.released_index}")
        while self.first_index <= index and self._entries:
            self._drop_oldest()

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        """The entries low <= index < high, all of which must be here; at most `max_bytes`, but at least one."""
        taken: list[Entry] = []
        size_bytes = 0
        for index in range(low, high):
            entry = self._entries[index]
            size_bytes += entry.size_bytes()
            if size_bytes > max_bytes and taken:
                break
            taken.append(entry)
        return taken

    def _evict(self) -> None:
        while self.size_bytes > self.limit_bytes and self.first_index <= self.released_index and self._entries:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self.size_bytes -= self._entries.pop(self.first_index).size_bytes()
        self.first_index += 1
