"""The raft log on disk: entries, term and vote, in the `raft/` database.

The order of everything here: write, fsync, and only then believe. What the core reads (`meteora.raft.log_reader`) comes
from memory, and memory changes only after the disk has answered.

- However many entries come together, they cost one fsync.
- Every prefix of what is written is a valid log: a crash at any instant leaves one.
- Nothing is read back unverified: each entry and record by its checksum and place, the end of the log by the watermark.
- A write or fsync that failed is never tried again: the page cache may say that all is well when it is not. From then
  on every call to the disk raises that error.

The log begins after its base, the last entry that was cut off: what came up to there is in the state machine only.
`compact` moves the base up; `reset` puts it where an installed snapshot is. Either is one write, so a crash leaves the
log before it or after it; and with a `reset` goes the name of the directory that holds the snapshot's state, so log and
state change together. (`meteora.kv.installation` tells the whole story.)

On disk the log takes what its entries take, and what was cut off and not yet reclaimed. RocksDB reclaims in the
background whenever it has filled four tables: what is cut off is gone by the time that another `RECLAIM_BYTES` are
written.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from meteora.errors import Corruption, DiskFailure, StorageError
from meteora.raft.entry import Entry, decode_entry
from meteora.raft.errors import Compacted, CorruptEntry, InvariantViolation, ensure
from meteora.raft.message import HardState
from meteora.storage.disk_thread import DiskThread
from meteora.storage.entry_cache import EntryCache
from meteora.storage.raft_records import (
    LOG_STATE_KEY,
    STATE_DIRECTORY_KEY,
    Base,
    LogState,
    MalformedRecord,
    decode_log_state,
    decode_state_directory,
    decode_term_run,
    encode_log_state,
    encode_state_directory,
    encode_term_run,
    entry_key,
    key_number,
    term_run_key,
)
from meteora.storage.rocks import CORRUPTION_ADVICE, RAFT_LOG, Rocks, WriteBatch
from meteora.storage.term_runs import TermRuns
from meteora.storage.turn import Turn
from meteora.storage.watermark import Watermark

DEFAULT_CACHE_BYTES: Final = 32 * 1024 * 1024
"""Entries that are applied stay in memory up to this, for followers that are a little behind."""

RECLAIM_BYTES: Final = 4 * RAFT_LOG.memtable_bytes
"""What was cut off is gone from the disk once so much more has been appended: RocksDB's trigger to merge tables."""

BATCH_BYTES: Final = 1024 * 1024
"""What goes into one write ends with the entry that reaches this: a write holds the GIL, for some 3 ms per mebibyte."""

STALL_PATIENCE_SECONDS: Final = 10.0
"""How long a write waits for RocksDB to catch up with its flushes; then it asks, and learns if they fail for good."""

STALL_LOOK_SECONDS: Final = 0.005

_LAST = (1 << 64) - 1

_Ended = Callable[[BaseException | None], object]
"""Told of the end of something: None, or what went wrong."""


class RaftLog:
    """The log and the hard state of one node. Implements `meteora.raft.log_reader.LogReader`.

    Invariants, in memory and on disk alike: indexes have no gap; terms never fall along the log, nor does the last
    exceed that of the hard state; commit is not beyond the last index; what is committed is never overwritten.
    """

    def __init__(self, path: Path, disk: DiskThread, watermark: Watermark, database: Rocks) -> None:
        """Use `open`."""
        self._path = path
        self._disk = disk
        self._watermark = watermark
        self._database = database
        self._hard_state = HardState()
        self._write_number = 0
        self._terms = TermRuns()
        self._cache = EntryCache(0, 0, 0)
        self._failure: StorageError | None = None
        # First come, first served: a fetch gets in between two appends, and sees the log as the one before left it.
        self._turn = Turn()

    @classmethod
    def open(
        cls, path: Path, disk: DiskThread, applied_index: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES
    ) -> "RaftLog":
        """Open the log in the directory `path`, made if it isn't there; blocks. Writes will be done on `disk`.

        The entries above `applied_index` are loaded. Raises `Corruption` if what is there can't be believed, or ends
        below what was acknowledged or applied; `DiskFull` or `DiskFailure`.
        """
        watermark = Watermark(path / "watermark")
        try:
            if watermark.number:
                _refuse_lost_tail(path, watermark.number)
            log = cls(path, disk, watermark, Rocks(path, RAFT_LOG))
        except BaseException:
            watermark.close()
            raise
        try:
            log._load(applied_index, cache_bytes)
        except BaseException:
            log._close()
            raise
        return log

    @property
    def hard_state(self) -> HardState:
        """Term, vote and commit as they are on disk."""
        return self._hard_state

    def first_index(self) -> int:
        """The index of the oldest entry, or the one that would be, if the log is empty: 1 until the log is cut."""
        return self._terms.base_index + 1

    def last_index(self) -> int:
        """The index of the newest durable entry; first_index() - 1 in an empty log."""
        return self._terms.last_index

    def term(self, index: int) -> int:
        """The term at `index`, from first_index() - 1 to last_index().

        Raises `Compacted` below, `InvariantViolation` above.
        """
        if index < self._terms.base_index:
            raise Compacted(f"the term at {index} of a log that begins at {self.first_index()}")
        return self._terms.term(index)

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry] | None:
        """The entries low <= index < high, at most `max_bytes` of them but at least one; None if not in memory.

        Raises `Compacted` if low < first_index(), `InvariantViolation` if high > last_index() + 1.
        """
        self._check_range(low, high)
        if low < self._cache.first_index and low < high:
            return None
        return self._cache.entries(low, high, max_bytes)

    def database_property(self, name: str) -> int | None:
        """See `Rocks.property_value`."""
        return self._database.property_value(name)

    def release(self, applied_index: int) -> None:
        """Allow the entries up to `applied_index` to leave memory when the cache is full."""
        self._cache.release(applied_index)

    def read(self, low: int, high: int, max_bytes: int) -> list[Entry]:
        """As `fetch`, but blocks: for the replay before serving."""
        self._refuse_after_failure()
        self._check_range(low, high)
        return self._read(low, high, max_bytes)

    async def fetch(self, low: int, high: int, max_bytes: int) -> list[Entry]:
        """The entries low <= index < high from disk, at most `max_bytes` of them but at least one.

        The log may have been cut back since they were asked for: then those that are left, or none. Raises `Compacted`
        as `entries` does; `Corruption` or `DiskFailure`, and then ever after.
        """
        async with self._turn:
            self._refuse_after_failure()
            high = min(high, self.last_index() + 1)
            if low >= high:
                return []
            self._check_range(low, high)
            return await self._disk.run(self._read, low, high, max_bytes)

    async def append(self, entries: Sequence[Entry], hard_state: HardState | None) -> None:
        """Make `entries` the end of the log and `hard_state` (None: as it is) durable, together, with one fsync.

        Entries at and after the index of the first are replaced. Raises `InvariantViolation` if that would break an
        invariant of this class; `DiskFull` or `DiskFailure`, and from then on always. Cancelled on the way, it is a
        `DiskFailure`, too: what is on disk is not known.
        """
        async with self._turn:
            self._refuse_after_failure()
            state = self._checked(entries, self._hard_state if hard_state is None else hard_state)
            if not entries and state == self._hard_state:
                return
            with self._failing_for_good():
                await self._persist(entries, state)
            self._believe(entries, state)

    def begin_append(self, entries: Sequence[Entry], hard_state: HardState | None, ended: _Ended) -> bool:
        """As `append`, for who has no task to wait in: `ended` is told when it is durable, or what went wrong.

        What is to be written is handed to the system when this returns. False if it may have to wait for anything but
        the fsync: then nothing was done, and `append` is the way.
        """
        size_bytes = sum([entry.size_bytes() for entry in entries])
        if self._failure is not None or size_bytes >= BATCH_BYTES or self._database.write_delay_seconds(size_bytes):
            return False
        if not self._turn.try_take():
            return False
        try:
            state = self._checked(entries, self._hard_state if hard_state is None else hard_state)
            is_new = bool(entries) or state != self._hard_state
            if is_new:
                with self._failing_for_good():
                    self._begin_persist(entries, state, partial(self._end_append, entries, state, ended))
        except BaseException:
            self._turn.release()
            raise
        if not is_new:
            self._turn.release()
        return is_new

    def _end_append(
        self, entries: Sequence[Entry], state: HardState, ended: _Ended, error: BaseException | None
    ) -> None:
        try:
            with self._failing_for_good():
                if error is not None:
                    raise error
                self._believe(entries, state)
        except BaseException as failure:  # noqa: BLE001  whatever it is, who waits is told
            error = failure
        self._turn.release()
        ended(error)

    async def compact(self, index: int) -> None:
        """Cut off the entries up to `index`, durably: first_index() becomes index + 1, and term(index) stays known.

        Nothing happens if that much is cut off already. They must be released, and the caller knows that the state that
        they led to is durable: nothing brings them back. Raises `InvariantViolation` if they are not released;
        otherwise as `append`.
        """
        async with self._turn:
            self._refuse_after_failure()
            if index <= self._terms.base_index:
                return
            released = min(self._cache.released_index, self.last_index())
            ensure(index <= released, f"a cut at {index} of a log whose entries are applied up to {released}")
            base = Base(index, self._terms.term(index))
            with self._failing_for_good():
                await self._persist_base(base, True, self._hard_state, None)
            self._terms.compact(index)
            self._cache.compact(index)

    async def reset(self, index: int, term: int, hard_state: HardState | None, state_directory: str) -> None:
        """Begin anew after (index, term), where the state in `state_directory` is; durably, and all at once.

        A log that has an entry of `term` at `index` keeps what follows it; any other is emptied. `hard_state` (None: as
        it is) comes with it, and commit is at least `index` from now on. Raises `InvariantViolation` if something
        committed would be lost; otherwise as `append`.
        """
        async with self._turn:
            self._refuse_after_failure()
            base = Base(index, term)
            is_here = self._terms.base_index <= index <= self.last_index() and self._terms.term(index) == term
            state = self._checked_for_reset(base, is_here, self._hard_state if hard_state is None else hard_state)
            with self._failing_for_good():
                await self._persist_base(base, is_here, state, state_directory)
            self._hard_state = state
            if is_here:
                self._terms.compact(index)
                self._cache.release(index)
                self._cache.compact(index)
            else:
                self._terms = TermRuns((), index, index, term)
                self._cache = EntryCache(self._cache.limit_bytes, index, index)

    @contextmanager
    def _failing_for_good(self) -> Iterator[None]:
        """Whatever goes wrong on the way to the disk, a cancellation among it, the log has failed."""
        try:
            yield
        except BaseException as error:
            self._failure = error if isinstance(error, StorageError) else _abandoned(self._path, error)
            raise

    def close(self) -> None:
        """Flush and close the database, once the disk thread has done what it was given; blocks."""
        self._disk.call(self._close)

    def _close(self) -> None:
        self._watermark.close()
        self._database.close()

    # Before the disk: what may be asked.

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _check_range(self, low: int, high: int) -> None:
        if low <= self._terms.base_index:
            raise Compacted(f"entries from {low} of a log that begins at {self.first_index()}")
        last_index = self._terms.last_index
        ensure(high <= last_index + 1, f"entries {low} to {high - 1} of a log that ends at {last_index}")

    def _checked(self, entries: Sequence[Entry], state: HardState) -> HardState:
        """The state to write with these entries; raises `InvariantViolation` unless both may be written."""
        old = self._hard_state
        last_index = self._terms.last_index
        ensure(state.term >= old.term, f"the term falls from {old.term} to {state.term}")
        ensure(
            state.term > old.term or old.vote in (0, state.vote),
            f"a second vote in term {old.term}: for {state.vote} after {old.vote}",
        )
        if entries:
            first = entries[0].index
            ensure(first <= last_index + 1, f"a gap: entry {first} after {last_index}")
            committed = max(old.commit, self._cache.released_index)
            ensure(first > committed, f"entry {first} can't be replaced: {committed} is committed")
            self._ensure_a_run(entries, self._terms.term(first - 1), state.term)
            last_index = entries[-1].index
        # The core may learn of a commit before the entries are here; on disk the one never goes ahead of the other.
        commit = max(old.commit, min(state.commit, last_index))
        return state if commit == state.commit else state._replace(commit=commit)

    def _checked_for_reset(self, base: Base, is_here: bool, state: HardState) -> HardState:
        committed = max(self._hard_state.commit, self._cache.released_index)
        ensure(
            is_here or base.index > committed,
            f"a snapshot at {base.index} can't replace what is committed: {committed}",
        )
        state = self._checked((), state._replace(commit=self._hard_state.commit))
        ensure(base.term <= state.term, f"a snapshot of term {base.term} in term {state.term}")
        return state._replace(commit=max(state.commit, base.index))

    def _ensure_a_run(self, entries: Sequence[Entry], term: int, newest_term: int) -> None:
        for index, entry in enumerate(entries, entries[0].index):
            ensure(entry.index == index, f"entry {entry.index} where {index} should be")
            ensure(term <= entry.term <= newest_term, f"entry {index}@{entry.term} after term {term}, in {newest_term}")
            term = entry.term

    # To the disk.

    async def _persist(self, entries: Sequence[Entry], state: HardState) -> None:
        for batch in self._batches(entries, state):
            await self._write(batch)
        await self._sync()

    def _begin_persist(self, entries: Sequence[Entry], state: HardState, done: _Ended) -> None:
        """As `_persist`, of what fits one write that need not wait; `done` is told of the end."""
        (batch,) = self._batches(entries, state)
        self._database.write(batch)
        self._disk.begin(self._sync_now, done)

    def _sync_now(self) -> None:
        self._database.sync_wal()
        self._watermark.advance(self._write_number)

    async def _persist_base(self, base: Base, is_here: bool, state: HardState, state_directory: str | None) -> None:
        """Make `base` the base, with `state`; what follows it stays if it is here, in the log."""
        batch = WriteBatch()
        last_index = self._terms.last_index if is_here else base.index
        if is_here:
            batch.delete_range(entry_key(self._terms.base_index), entry_key(base.index + 1))
            for term in self._terms.ending_before(base.index):
                batch.delete(term_run_key(term))
        else:
            batch.delete_range(entry_key(0), entry_key(_LAST))
            batch.delete_range(term_run_key(0), term_run_key(_LAST))
        if state_directory is not None:
            batch.put(STATE_DIRECTORY_KEY, encode_state_directory(state_directory))
        await self._write(self._sealed(batch, last_index, state, base))
        await self._sync()

    async def _write(self, batch: WriteBatch) -> None:
        """Hand a batch to the system: on the loop, because a write holds the GIL wherever it is made."""
        size_bytes = batch.size_bytes()
        if self._database.write_delay_seconds(size_bytes):
            await self._disk.run(self._wait_to_write, size_bytes)
        self._database.write(batch)
        if size_bytes >= BATCH_BYTES:
            # It took milliseconds: whatever else the loop has to do comes before the next one.
            await asyncio.sleep(0)

    def _wait_to_write(self, size_bytes: int) -> None:
        # RocksDB would do the waiting inside `write`, holding the GIL and with it the heartbeats.
        deadline = time.monotonic() + STALL_PATIENCE_SECONDS
        while (delay := self._database.write_delay_seconds(size_bytes)) == math.inf and time.monotonic() < deadline:
            time.sleep(STALL_LOOK_SECONDS)
        if 0 < delay < math.inf:
            time.sleep(min(delay, STALL_PATIENCE_SECONDS))

    async def _sync(self) -> None:
        await self._disk.run(self._sync_now)

    def _batches(self, entries: Sequence[Entry], state: HardState) -> Iterator[WriteBatch]:
        """The writes, in order, such that each leaves a valid log, should it be the last that the disk sees.

        The first takes away all that `entries` replace, so that no old entry ever follows a new one: they were not
        committed, or no leader would replace them. Each carries the new term, without which its entries would be from
        the future, and only as much of the commit as it has entries for.
        """
        batch = WriteBatch()
        term = size_bytes = 0
        if entries:
            term = self._terms.term(entries[0].index - 1)
            self._delete_from(entries[0].index, batch)
        for entry in entries:
            if size_bytes >= BATCH_BYTES:
                yield self._sealed(batch, entry.index - 1, state)
                batch, size_bytes = WriteBatch(), 0
            if entry.term != term:
                term = entry.term
                batch.put(term_run_key(term), encode_term_run(term, entry.index))
            batch.put(entry_key(entry.index), entry.encode())
            size_bytes += entry.size_bytes()
        yield self._sealed(batch, entries[-1].index if entries else self._terms.last_index, state)

    def _sealed(self, batch: WriteBatch, last_index: int, state: HardState, base: Base | None = None) -> WriteBatch:
        self._write_number += 1
        if state.commit > last_index:
            state = state._replace(commit=last_index)
        base = base or Base(self._terms.base_index, self._terms.base_term)
        batch.put(LOG_STATE_KEY, encode_log_state(LogState(self._write_number, last_index, state, base)))
        return batch

    def _delete_from(self, index: int, batch: WriteBatch) -> None:
        last_index = self._terms.last_index
        if index <= last_index:
            batch.delete_range(entry_key(index), entry_key(last_index + 1))
            for term in self._terms.beginning_from(index):
                batch.delete(term_run_key(term))

    def _read(self, low: int, high: int, max_bytes: int) -> list[Entry]:
        taken: list[Entry] = []
        size_bytes = 0
        try:
            for entry in self._scan(low, high):
                size_bytes += entry.size_bytes()
                if size_bytes > max_bytes and taken:
                    break
                taken.append(entry)
        except StorageError as error:
            self._failure = error
            raise
        return taken

    def _scan(self, low: int, high: int) -> Iterator[Entry]:
        """The verified entries low <= index < high. Raises `Corruption` if one is missing or not what it should be."""
        index = low
        for key, encoded in self._database.scan(entry_key(low), entry_key(high)):
            if key != entry_key(index):
                break
            yield self._verified(index, encoded)
            index += 1
        if index < high:
            raise self._corrupt(f"entry {index} is missing")

    def _verified(self, index: int, encoded: bytes) -> Entry:
        try:
            entry = decode_entry(encoded)
        except CorruptEntry as error:
            raise self._corrupt(f"entry {index}: {error}") from error
        if entry.index != index or entry.term != self._terms.term(index):
            raise self._corrupt(
                f"entry {entry.index}@{entry.term} is where {index}@{self._terms.term(index)} should be"
            )
        return entry

    def _corrupt(self, what: str) -> Corruption:
        return Corruption(f"{self._path}: {what}. {CORRUPTION_ADVICE}")

    # After the disk has answered.

    def _believe(self, entries: Sequence[Entry], state: HardState) -> None:
        self._hard_state = state
        if not entries:
            return
        self._terms.truncate(entries[0].index)
        self._cache.truncate(entries[0].index)
        for entry in entries:
            self._terms.append(entry.term)
            self._cache.append(entry)

    # At the opening.

    def _load(self, applied_index: int, cache_bytes: int) -> None:
        try:
            self._load_records()
        except (MalformedRecord, InvariantViolation) as error:
            raise self._corrupt(str(error)) from error
        last_index = self._terms.last_index
        self._verify_ends(last_index, applied_index)
        self._cache = EntryCache(cache_bytes, min(applied_index, last_index), applied_index)
        for entry in self._scan(applied_index + 1, last_index + 1):
            self._cache.append(entry)

    def _load_records(self) -> None:
        database = self._database
        self._write_number, last_index, self._hard_state, base = decode_log_state(database.get(LOG_STATE_KEY))
        newest = next(database.scan(entry_key(base.index + 1), entry_key(_LAST), backwards=True), None)
        found = base.index if newest is None else key_number(newest[0])
        ensure(found == last_index, f"the log ends at {found}, and not at {last_index} as its latest write says")
        runs = [decode_term_run(*pair) for pair in database.scan(term_run_key(0), term_run_key(_LAST))]
        self._terms = TermRuns(runs, last_index, *base)

    def _verify_ends(self, last_index: int, applied_index: int) -> None:
        state = self._hard_state
        if applied_index > last_index or state.commit > last_index:
            raise self._corrupt(
                f"the log ends at {last_index}, but {state.commit} was committed and {applied_index} applied"
            )
        first_index = self.first_index()
        if applied_index < first_index - 1:
            raise self._corrupt(f"the log begins at {first_index}, but only {applied_index} entries were applied")
        if self._terms.term(last_index) > state.term:
            raise self._corrupt(f"the log ends in term {self._terms.term(last_index)}, and the term is {state.term}")
        if last_index >= first_index:
            next(self._scan(first_index, first_index + 1))
            next(self._scan(last_index, last_index + 1))


def read_state_directory(path: Path) -> str | None:
    """Which directory holds the state that the log in `path` continues; None: the first one.

    Blocks, and changes nothing. Raises `Corruption`, `DiskFull` or `DiskFailure`.
    """
    if not (path / "CURRENT").exists():
        return None
    probe = Rocks(path, RAFT_LOG, read_only=True)
    try:
        return decode_state_directory(probe.get(STATE_DIRECTORY_KEY))
    except MalformedRecord as error:
        raise Corruption(f"{path}: {error}. {CORRUPTION_ADVICE}") from error
    finally:
        probe.close()


def _refuse_lost_tail(path: Path, durable_number: int) -> None:
    """Raise `Corruption` if opening the database would give less than was acknowledged, and change nothing."""
    probe = Rocks(path, RAFT_LOG, read_only=True)
    try:
        number = decode_log_state(probe.get(LOG_STATE_KEY)).write_number
    except MalformedRecord as error:
        raise Corruption(f"{path}: {error}. {CORRUPTION_ADVICE}") from error
    finally:
        probe.close()
    if number < durable_number:
        raise Corruption(
            f"{path}: {durable_number} writes were acknowledged, but only {number} are readable. {CORRUPTION_ADVICE}"
        )


def _abandoned(path: Path, cause: BaseException) -> DiskFailure:
    return DiskFailure(
        f"{path}: an append was abandoned ({cause!r}): what is on disk is not known until it is reopened."
    )
