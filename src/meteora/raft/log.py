"""The log as the core sees it: what is durable, and after it what still has to be made so.

    1 ......... applied ........ committed ....................... last_index
    [      durable: LogReader               ][       unstable entries      ]
                                             ^ offset
                                             [ handed out ][ not yet       ]

Invariants:
- applied <= committed <= last_index (an entry may be committed before it is durable *here*);
- only entries that are durable here are applied here: or the state machine could be ahead of its own log after a crash;
- a membership change is applied, and its commit told, only once this disk knows that it is committed (`settled`): so no
  crash takes a node back to members of which some are gone for good;
- unstable entries are contiguous, and shadow whatever the LogReader still has at or after `offset`;
- while a snapshot waits to be installed it shadows all that the LogReader has: the log is the snapshot's (index, term)
  and the unstable entries after it, and nothing of it is handed out to be applied;
- what is not applied yet is never cut off: first_index <= applied + 1.
"""

from bisect import bisect_right
from collections.abc import Sequence

from meteora.raft.entry import Entry, EntryKind
from meteora.raft.errors import Compacted, InvariantViolation, ensure
from meteora.raft.log_reader import LogReader
from meteora.raft.snapshot import Snapshot

_ALL_BYTES = 1 << 62


class Log:
    """Durable and unstable entries as one sequence, with the marks that Raft keeps on it."""

    def __init__(self, reader: LogReader, *, committed: int, applied: int) -> None:
        ensure(
            applied <= committed <= reader.last_index(),
            f"applied {applied} <= committed {committed} <= last index {reader.last_index()} does not hold",
        )
        ensure(
            reader.first_index() <= applied + 1,
            f"entries {applied + 1} to {reader.first_index() - 1} are cut off, but not applied",
        )
        self._reader = reader
        self._unstable: list[Entry] = []
        self.last_index = reader.last_index()
        """The newest index: kept, because everything asks for it."""
        self._offset = self.last_index + 1
        self._handed_out = self._offset
        """First index that no `Ready` has carried yet."""
        self.committed = committed
        self.applied = applied
        self._applying = applied
        """Last index that a `Ready` has carried to be applied."""
        self._unsettled_changes = self._changes_after(committed)
        """Indexes of the membership changes that this disk doesn't know to be committed, ascending."""
        self._snapshot: Snapshot | None = None
        """What the log begins with, once it is installed."""
        self._snapshot_handed_out = False

    def __repr__(self) -> str:
        return f"applied={self.applied} committed={self.committed} stable={self.stable_index} last={self.last_index}"

    @property
    def first_index(self) -> int:
        """The oldest index that can still be read."""
        return self._reader.first_index() if self._snapshot is None else self._snapshot.index + 1

    @property
    def stable_index(self) -> int:
        """The last index that is durable here."""
        return self._offset - 1

    @property
    def last_term(self) -> int:
        """The term of the newest entry."""
        return self.term(self.last_index)

    def term(self, index: int) -> int:
        """The term at `index`. Raises `Compacted` below the log, `InvariantViolation` above it."""
        if index >= self._offset:
            ensure(index <= self.last_index, f"index {index} is beyond the last, {self.last_index}")
            return self._unstable[index - self._offset].term
        if self._snapshot is None:
            return self._reader.term(index)
        if index < self._snapshot.index:
            raise Compacted(f"the term at {index}, before a snapshot at {self._snapshot.index}")
        return self._snapshot.term

    def matches(self, index: int, term: int) -> bool:
        """Whether this log has an entry of `term` at `index`."""
        return self.first_index - 1 <= index <= self.last_index and self.term(index) == term

    def is_up_to_date(self, index: int, term: int) -> bool:
        """Whether a log that ends with (index, term) is at least as new as this one (paper 5.4.1)."""
        return (term, index) >= (self.last_term, self.last_index)

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry] | None:
        """The entries low <= index < high, cut short once they exceed `max_bytes`, but never to nothing.

        None if the first of them is not in memory. Raises `Compacted` if low < first_index.
        """
        ensure(low < high <= self.last_index + 1, f"entries [{low}, {high}) of a log that ends at {self.last_index}")
        if low >= self._offset:
            return _limited(self._unstable[low - self._offset : high - self._offset], max_bytes)
        if self._snapshot is not None:
            raise Compacted(f"entries from {low}, before a snapshot at {self._snapshot.index}")
        durable = self._reader.entries(low, min(high, self._offset), max_bytes)
        if durable is None or high <= self._offset or durable[-1].index < self._offset - 1:
            return durable
        return _limited([*durable, *self._unstable[: high - self._offset]], max_bytes)

    # Appending

    def append(self, entries: Sequence[Entry]) -> None:
        """Put `entries` after the one before the first of them; what was there, and all after it, is dropped."""
        if not entries:
            return
        first = entries[0].index
        ensure(first > self.committed, f"entry {first} would replace a committed one (up to {self.committed})")
        ensure(first <= self.last_index + 1, f"entry {first} would leave a gap after {self.last_index}")
        if first <= self._offset:
            self._offset = first
            self._unstable = list(entries)
        else:
            del self._unstable[first - self._offset :]
            self._unstable += entries
        self.last_index = entries[-1].index
        self._handed_out = min(self._handed_out, first)
        if self._unsettled_changes:
            self._unsettled_changes = [index for index in self._unsettled_changes if index < first]
        self._unsettled_changes += _changes_in(entries)

    def append_after(self, index: int, term: int, entries: Sequence[Entry]) -> int | None:
        """Append what a leader sent to follow (index, term): the last index that now matches the leader's log.

        None if this log has no such entry (paper 5.3). Entries that are here already stay: a late, shorter message
        must not cut off what a newer one brought.
        """
        if not self.matches(index, term):
            return None
        for position, entry in enumerate(entries):
            if not self.matches(entry.index, entry.term):
                self.append(entries[position:])
                break
        return index + len(entries)

    def find_conflict_by_term(self, index: int, term: int) -> tuple[int, int]:
        """The highest (index, its term) at or below `index` whose term is not above `term`.

        The one who asks has `term` at `index`: nothing of a higher term can match below it, so one answer skips a whole
        term (thesis 10.2.1). The term is 0 where the log no longer knows it.
        """
        base = self.first_index - 1
        if index < base:
            return index, 0
        known = range(base, min(index, self.last_index) + 1)
        # Terms never fall along a log, so this is a search, not a walk: the log may be millions of entries long.
        found = base + bisect_right(known, term, key=self.term) - 1
        return found, self.term(found) if found >= base else 0

    # Making durable

    def unstable(self) -> tuple[Entry, ...]:
        """The entries that no `Ready` has carried yet."""
        return tuple(self._unstable[self._handed_out - self._offset :])

    @property
    def has_unstable(self) -> bool:
        """Whether `unstable()` would return anything."""
        return self._handed_out <= self.last_index

    def new_snapshot(self) -> Snapshot | None:
        """The snapshot to be installed, if no `Ready` has carried it yet."""
        return None if self._snapshot_handed_out else self._snapshot

    def handed_out(self) -> None:
        """All entries, and the snapshot, are on their way to disk."""
        self._handed_out = self.last_index + 1
        self._snapshot_handed_out = True

    def stable_to(self, index: int, term: int) -> None:
        """The entry (index, term) and all before it are on disk. Ignored if it has been replaced meanwhile.

        At most one write is under way, so an entry that is here again after having been replaced is the one on disk.
        """
        if self._snapshot is None and self._offset <= index <= self.last_index and self.term(index) == term:
            del self._unstable[: index + 1 - self._offset]
            self._offset = index + 1
            # Entries that were replaced and came back need not be written again.
            self._handed_out = max(self._handed_out, self._offset)

    # Snapshots

    @property
    def is_restoring(self) -> bool:
        """Whether a snapshot waits to be installed."""
        return self._snapshot is not None

    def restore(self, snapshot: Snapshot) -> None:
        """Begin anew after `snapshot`, which is to be installed."""
        ensure(snapshot.index > self.committed, f"a snapshot at {snapshot.index}, below what is committed: {self!r}")
        self._snapshot, self._snapshot_handed_out = snapshot, False
        self._unstable.clear()
        self._unsettled_changes.clear()
        self._offset = self._handed_out = snapshot.index + 1
        self.last_index = snapshot.index
        self.committed = self._applying = snapshot.index

    def installed(self, snapshot: Snapshot) -> None:
        """The state of `snapshot`, and a log that begins after it, are on disk."""
        ensure(self.applied < snapshot.index, f"a snapshot at {snapshot.index} is installed over {self!r}")
        self.applied = snapshot.index
        # A newer one may have come meanwhile.
        if snapshot == self._snapshot:
            self._snapshot = None

    # Committing and applying

    def commit_to(self, index: int) -> None:
        """Everything up to `index` is committed; never goes back."""
        if index > self.committed:
            ensure(index <= self.last_index, f"commit {index} is beyond the last index, {self.last_index}: lost log?")
            self.committed = index

    @property
    def settled(self) -> int:
        """The last committed index that may be applied, and told to others.

        It stops short of a membership change until this disk knows that it is committed. Configurations take effect
        when they are applied; a node that forgot, in a crash, that a member was removed would wait for it for ever.
        """
        return min(self.committed, self._unsettled_changes[0] - 1) if self._unsettled_changes else self.committed

    @property
    def has_unsettled(self) -> bool:
        """Whether the commit index must be made durable for its own sake."""
        return bool(self._unsettled_changes) and self._unsettled_changes[0] <= self.committed

    def settle(self, committed: int) -> bool:
        """This disk knows that everything up to `committed` is; whether that settles anything."""
        before = self.settled
        if self._unsettled_changes:
            self._unsettled_changes = [index for index in self._unsettled_changes if index > committed]
        return self.settled > before

    def _changes_after(self, committed: int) -> list[int]:
        last_index = self._reader.last_index()
        if committed == last_index:
            return []
        entries = self._reader.entries(committed + 1, last_index + 1, _ALL_BYTES)
        if entries is None:
            raise InvariantViolation(f"entry {committed + 1} is not committed yet, and not in memory")
        return _changes_in(entries)

    @property
    def has_committed(self) -> bool:
        """Whether `next_committed` would return anything."""
        return self._applying < min(self.settled, self.stable_index)

    def next_committed(self, max_bytes: int) -> Sequence[Entry]:
        """The next entries to apply, in order, each once."""
        if not self.has_committed:
            return ()
        entries = self.entries(self._applying + 1, min(self.settled, self.stable_index) + 1, max_bytes)
        if entries is None:
            raise InvariantViolation(f"entry {self._applying + 1} is not applied yet, and not in memory")
        self._applying = entries[-1].index
        return entries

    def applied_to(self, index: int) -> None:
        """Everything up to `index` is applied."""
        ensure(
            self.applied <= index <= self._applying,
            f"applied {index} is not between {self.applied} and {self._applying}",
        )
        self.applied = index


def _changes_in(entries: Sequence[Entry]) -> list[int]:
    return [entry.index for entry in entries if entry.kind is EntryKind.CONF_CHANGE]


def _limited(entries: Sequence[Entry], max_bytes: int) -> Sequence[Entry]:
    total = 0
    for count, entry in enumerate(entries):
        total += entry.size_bytes()
        if total > max_bytes and count:
            return entries[:count]
    return entries
