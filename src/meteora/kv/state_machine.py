"""The replicated state: applies committed entries, in order, to the `kv/` database.

Rule: a `WriteBatch` holds everything that its entries change: data, sessions, membership, the rolling hash of all that,
and the applied index and term. All of it is in one column family. So whatever a crash leaves is the state exactly at
the applied index that it says, and applying the log from there on gives the same state as without the crash.

The database has no write-ahead log: the raft log is it. What is not flushed is gone after a crash, and applied again.

The state can be written as a snapshot (`create_snapshot`), and replaced by one (`build`, then `adopt`). Both are done
beside the loop, at a pace (`meteora.storage.pace`), while the state is read and written; at most one at a time. How a
replaced state and the log stay together is told in `meteora.kv.installation`.

A failure to apply is not an answer to anybody. It is either of this disk or of all replicas' code: the node stops, and
from then on every `apply` raises the same error.
"""

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar, TypeVarTuple

from meteora.errors import Corruption, ReleaseTooOld, StorageError
from meteora.features import ensure_supported
from meteora.kv.command import Command, Operation, decode_batch
from meteora.kv.reclaiming import parts_to_merge
from meteora.kv.rolling_hash import Checkpoint, RollingHash
from meteora.kv.sessions import Outcome, Sessions
from meteora.kv.snapshots import build_state, write_snapshot
from meteora.kv.state import (
    APPLIED_KEY,
    END,
    LEVEL_KEY,
    MEMBERSHIP_KEY,
    ROLLING_HASH_KEY,
    SESSIONS_DROPPED_KEY,
    USER_PREFIX,
    State,
    encode_level,
    encode_position,
    load_state,
    new_database,
    new_table,
    session_key,
)
from meteora.kv.state_scan import StateScan
from meteora.kv.users import Change, Users
from meteora.raft.entry import Entry, EntryKind
from meteora.raft.errors import ensure
from meteora.storage.disk_thread import DiskThread
from meteora.storage.pace import Abandoned, Pace
from meteora.storage.rocks import Rocks, TableWriter, WriteBatch
from meteora.storage.snapshot_files import Manifest, remove

REPLAY_BOUND_BYTES: Final = 64 * 1024 * 1024
"""How much of the log may have to be applied again after a crash, in bytes of entries: one or two seconds' work.

A flush is due at half of it, because writes go on while it is under way."""

BATCH_BYTES: Final = 1024 * 1024
"""Entries that are applied together go into one write up to this: it holds the GIL, for some 3 ms per mebibyte."""

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")

_OUTCOME: Final = struct.Struct(">IB")
"""The number of a command in its entry, and what became of it."""

# As in `meteora.kv.command`: half the time of the class's own constructor.
_new = tuple.__new__


class Applied(NamedTuple):
    """What became of one command."""

    client_id: int
    sequence: int
    outcome: Outcome


class StateMachine:
    """The state at `applied_index`. To be used from one thread: the event loop's, once it runs."""

    _database: Rocks
    _sessions: Sessions
    _rolling_hash: RollingHash
    applied_index: int
    applied_term: int
    membership: bytes
    """The record that `apply_membership` last stored; empty if there was none."""
    level: int
    """The feature level of the cluster."""
    users: Users
    """The same object for ever."""
    flushed_index: int
    """Up to here the log is not needed to restore this state after a crash."""

    def __init__(
        self,
        path: Path,
        database: Rocks,
        *,
        new_thread: Callable[[str], DiskThread] = DiskThread,
        new_batch: Callable[[], WriteBatch] = WriteBatch,
        new_database: Callable[[Path], Rocks] = new_database,
        new_table: Callable[[Path], TableWriter] = new_table,
        new_pace: Callable[[], Pace] = Pace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use `open`; a simulation hands in models of all that these make, and the clock."""
        self._new_batch = new_batch
        self._new_database = new_database
        self._new_table = new_table
        self._new_pace = new_pace
        self._clock = clock
        self._failure: StorageError | ReleaseTooOld | None = None
        self.users = Users()
        self._applied_bytes = self._flushed_bytes = 0
        self._begin_with(load_state(path, database))
        self._reader = new_thread("kv reads")
        # Not the raft log's thread: its fsyncs, and with them the answers to the leader, would wait behind a flush.
        self._flusher = new_thread("kv flush")
        self._snapshots = new_thread("kv snapshots")
        self._scanner = new_thread("kv scans")
        self._merger = new_thread("kv merges")
        self._paces: set[Pace] = set()
        """Of what is being created, built and scanned."""
        self._built: list[State] = []
        """What waits to be adopted or discarded."""

    @classmethod
    def open(cls, path: Path) -> "StateMachine":
        """Open the state in the directory `path`, made if it isn't there; blocks.

        Raises `Corruption`, `DiskFull` or `DiskFailure`.
        """
        database = new_database(path)
        try:
            return cls(path, database)
        except BaseException:
            database.close()
            raise

    def apply(self, entries: Sequence[Entry]) -> list[Applied]:
        """Apply commands: entries of that kind, the first being the one after `applied_index`.

        Returns what became of each command, in order. Raises `InvariantViolation` if other entries are due;
        `Corruption` if a batch can't be read, `ReleaseTooOld`, `DiskFull` or `DiskFailure`, and then ever after.
        """
        results: list[Applied] = []
        with self._remembering_failure():
            self._ensure_next(entries, EntryKind.COMMAND)
            for run in _runs(entries):
                self._apply_run(run, results)
        return results

    def apply_membership(self, entry: Entry, membership: bytes) -> None:
        """Apply the membership change after `applied_index`: store `membership`, which is what it leads to.

        Raises as `apply` does.
        """
        with self._remembering_failure():
            self._ensure_next((entry,), EntryKind.CONF_CHANGE)
            batch = self._new_batch()
            batch.put(MEMBERSHIP_KEY, membership)
            self._rolling_hash.take(entry, membership)
            self._write(batch, (entry,))
        self.membership = membership

    def checkpoints(self) -> list[Checkpoint]:
        """What this state is at some indexes, to be compared with other replicas."""
        return self._rolling_hash.checkpoints()

    def database_property(self, name: str) -> int | None:
        """See `Rocks.property_value`."""
        return self._database.property_value(name)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`, in their order, all of one instant; None where there is none."""
        return await self._reader.run(self._database.get_many, [USER_PREFIX + key for key in keys])

    def is_write_stalled(self) -> bool:
        """True while RocksDB holds writers back: an `apply` now would hold up the loop until it lets them."""
        delay_seconds = self._database.write_delay_seconds(self._last_write_bytes)
        return delay_seconds > 0 and self._clock() < self._last_write_at + delay_seconds

    @property
    def unflushed_bytes(self) -> int:
        """How much of the log would have to be applied again after a crash now."""
        return self._applied_bytes - self._flushed_bytes

    def needs_flush(self) -> bool:
        """Whether `flush` is due."""
        return self.unflushed_bytes >= REPLAY_BOUND_BYTES // 2

    async def flush(self) -> None:
        """Make everything applied so far durable, on a thread.

        Raises `DiskFull` or `DiskFailure`, and then ever after.
        """
        index, applied_bytes = self.applied_index, self._applied_bytes
        with self._remembering_failure():
            await self._flusher.run(self._database.flush)
        self.flushed_index = max(self.flushed_index, index)
        self._flushed_bytes = max(self._flushed_bytes, applied_bytes)

    @property
    def stored_bytes(self) -> int:
        """What the state takes on its disk, about; what was deleted counts until it is merged."""
        return self._database.stored_bytes()

    async def reclaim(self, *, is_urgent: bool, is_thorough: bool, free_bytes: float) -> None:
        """Give back what was deleted, part by part, on a thread; `is_thorough`: what was written over, too.

        What was deleted just now is among it if it `is_urgent`. No more than `free_bytes` are taken of the disk
        meanwhile. Returns early if `abandon_snapshots` is called. Raises `DiskFull` or `DiskFailure`.
        """
        database, pace = self._database, self._new_pace()
        self._paces.add(pace)
        try:
            if is_thorough or (is_urgent and database.has_unflushed_deletions()):
                await self.flush()
            tables = await self._merger.run(_unless_abandoned, pace, database.tables)
            for lower, upper in parts_to_merge(tables, is_thorough=is_thorough, free_bytes=free_bytes):
                await self._merger.run(_unless_abandoned, pace, partial(database.merge, lower, upper))
        except Abandoned:
            return
        finally:
            self._paces.discard(pace)

    # Snapshots

    async def create_snapshot(self, directory: Path) -> Manifest | None:
        """Write the state, as it is at one instant from now on, as a snapshot into `directory`, which is emptied first.

        Returns None if `abandon_snapshots` was called meanwhile. Raises `Corruption`, `DiskFull` or `DiskFailure`. In
        either case nothing is left of it, and the state machine goes on.
        """
        ensure(self.applied_index > 0, "a snapshot of a state that nothing was applied to")
        return await self._abandonable(write_snapshot, self._database, directory, self._new_table)

    async def build(self, snapshot: Path, manifest: Manifest, target: Path) -> State | None:
        """Make a new database in the directory `target` of the snapshot in the directory `snapshot`, and open it.

        It is durable when this returns, and waits for `adopt` or `discard`. The tables are taken over, not copied: the
        snapshot is no more. Returns None if `abandon_snapshots` was called meanwhile. Raises `SnapshotDamaged` if the
        snapshot is not what its manifest says, `DiskFull` or `DiskFailure`. Whenever no state is
        returned, nothing is left in `target`, and the state machine goes on.
        """
        state = await self._abandonable(build_state, snapshot, manifest, target, self._new_database)
        if state is not None:
            self._built.append(state)
        return state

    async def adopt(self, state: State) -> None:
        """Go on with `state`, a newer one, from the instant of this call on; then remove the old one.

        The log must say so already (see `meteora.kv.installation`). Reads that are under way are answered from the old
        state. Raises `InvariantViolation` if `state` is older; `DiskFailure` if the old one can't be removed.
        """
        ensure(
            state.index >= self.applied_index, f"a state at {state.index} can't replace the one at {self.applied_index}"
        )
        old = State(self._path, self._database, 0, 0, b"", Sessions(), RollingHash(), 0, Users())
        self._built.remove(state)
        self._begin_with(state)
        await self.discard(old)

    async def discard(self, state: State) -> None:
        """Close a database that is not in use (any more) and remove its directory. Raises `DiskFailure`."""
        self.abandon_snapshots()
        if state in self._built:
            self._built.remove(state)
        # Each of these may still be busy with it.
        for thread in (self._snapshots, self._scanner, self._merger, self._reader):
            await thread.run(_nothing)
        await self._flusher.run(state.database.close)
        await self._snapshots.run(remove, state.path)

    async def scan(self, lower: bytes = b"", upper: bytes = END) -> StateScan:
        """The records with lower <= key < upper, as they are at one instant from now on.

        Whoever has it must close it. `abandon_snapshots` ends it, too, and so does a snapshot that is installed.
        """
        pace = self._new_pace()
        self._paces.add(pace)
        try:
            scan = await self._scanner.run(partial(self._database.scan, lower, upper, fills_cache=False))
        except BaseException:
            self._paces.discard(pace)
            raise
        return StateScan(self._scanner, pace, scan, self._paces.discard)

    def estimated_records(self) -> int:
        """About how many there are: what was written over or deleted counts for a while."""
        return self._database.estimated_pairs()

    def abandon_snapshots(self) -> None:
        """Let what is being created, built or merged end soon: its caller gets None. A scan raises `Abandoned`."""
        for pace in self._paces:
            pace.abandon()

    async def _abandonable(self, work: Callable[[Pace, *Arguments], T], *arguments: *Arguments) -> T | None:
        pace = self._new_pace()
        self._paces.add(pace)
        try:
            return await self._snapshots.run(work, pace, *arguments)
        except Abandoned:
            return None
        finally:
            self._paces.discard(pace)

    def _begin_with(self, state: State) -> None:
        self._path, self._database, self.applied_index, self.applied_term = state[:4]
        self.membership, self._sessions, self._rolling_hash, self.level = state[4:8]
        self.users.become(state.users)
        self.flushed_index = self.applied_index
        self._flushed_bytes = self._applied_bytes
        self._last_write_bytes = 0
        self._last_write_at = self._clock()

    def close(self) -> None:
        """Flush, so that a restart has nothing to apply again, and close, with what was built; blocks."""
        self.abandon_snapshots()
        self._snapshots.close()
        self._scanner.close()
        self._merger.close()
        self._reader.close()
        self._flusher.close()
        for state in self._built:
            state.database.close()
        self._database.close()

    @contextmanager
    def _remembering_failure(self) -> Iterator[None]:
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except (StorageError, ReleaseTooOld) as error:
            self._failure = error
            raise

    def _ensure_next(self, entries: Sequence[Entry], kind: EntryKind) -> None:
        term = self.applied_term
        for index, entry in enumerate(entries, self.applied_index + 1):
            ensure(
                entry.index == index and entry.term >= term and entry.kind is kind,
                f"{entry.kind.name} entry {entry.index}@{entry.term} to be applied where {kind.name} entry {index} of "
                f"term {term} or later is due",
            )
            term = entry.term

    def _apply_run(self, entries: Sequence[Entry], results: list[Applied]) -> None:
        batch = self._new_batch()
        put, delete, judge = batch.put, batch.delete, self._sessions.judge
        take = self._rolling_hash.take
        for entry in entries:
            first, not_done = len(results), b""
            # The entry with which a leader opens its term has no data.
            for command in self._commands(entry) if entry.data else ():
                operation, client_id, sequence, _, _, key, value = command
                outcome = judge(command) if client_id else Outcome.APPLIED
                if outcome is Outcome.APPLIED:
                    if operation is Operation.PUT:
                        put(USER_PREFIX + key, value)
                    elif operation is Operation.DELETE:
                        delete(USER_PREFIX + key)
                    else:
                        outcome = self._apply_rare(command, batch)
                if outcome is not Outcome.APPLIED:
                    not_done += _OUTCOME.pack(len(results) - first, outcome)
                results.append(_new(Applied, (client_id, sequence, outcome)))
            take(entry, not_done)
        self._write(batch, entries)

    def _apply_rare(self, command: Command, batch: WriteBatch) -> Outcome:
        if command.operation is Operation.RAISE_LEVEL:
            self._raise_level(command.value, batch)
            return Outcome.APPLIED
        records = self.users.apply(Change.decode(command.value))
        for key, record in records or ():
            if record is None:
                batch.delete(key)
            else:
                batch.put(key, record)
        return Outcome.REFUSED if records is None else Outcome.APPLIED

    def _raise_level(self, value: bytes, batch: WriteBatch) -> None:
        if len(value) != 1:
            raise Corruption(f"{value.hex()} is not a feature level: it was written by another release")
        ensure_supported(value[0], "the log")
        self.level = max(self.level, value[0])
        batch.put(LEVEL_KEY, encode_level(self.level))

    def _commands(self, entry: Entry) -> list[Command]:
        try:
            return decode_batch(entry.data)
        except Corruption as error:
            raise Corruption(f"entry {entry.index}@{entry.term} can't be applied: {error}") from error

    def _write(self, batch: WriteBatch, entries: Sequence[Entry]) -> None:
        """Write the batch together with what goes with the last of its entries."""
        last = entries[-1]
        changes = self._sessions.take_changes()
        if changes.dropped:
            batch.put(SESSIONS_DROPPED_KEY, b"")
        for client_id in changes.dropped:
            batch.delete(session_key(client_id))
        for client_id, record in changes.records:
            batch.put(session_key(client_id), record)
        rolling_hash = self._rolling_hash.record()
        if rolling_hash is not None:
            batch.put(ROLLING_HASH_KEY, rolling_hash)
        batch.put(APPLIED_KEY, encode_position(last.index, last.term, self.level))
        self._last_write_bytes = batch.size_bytes()
        self._database.write(batch)
        self._last_write_at = self._clock()
        self.applied_index, self.applied_term = last.index, last.term
        self._applied_bytes += sum(entry.size_bytes() for entry in entries)


def _unless_abandoned(pace: Pace, work: Callable[[], T]) -> T:
    """Work on a database that is not closed: that is abandoned first, and then its threads do what they had."""
    pace.pause()
    return work()


def _nothing() -> None:
    """Done once all that was handed over before is."""


def _runs(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """The entries in pieces that are each short enough for one write; an entry is never split."""
    start = size_bytes = 0
    for position, entry in enumerate(entries):
        if size_bytes and size_bytes + len(entry.data) > BATCH_BYTES:
            yield entries[start:position]
            start, size_bytes = position, 0
        size_bytes += len(entry.data)
    if entries:
        yield entries[start:]
