"""The replicated state: applies committed entries, in order, to the `kv/` database.

Rule: a `WriteBatch` holds everything that its entries change: data, sessions, membership, and the applied index and
term. All of it is in one column family. So whatever a crash leaves is the state exactly at the applied index that it
says, and applying the log from there on gives the same state as without the crash.

The database has no write-ahead log: the raft log is it. What is not flushed is gone after a crash, and applied again.

    "k" key        ->  value
    "s" client id  ->  the client's session
    "m" name       ->  applied, membership, sessions

A failure to apply is not an answer to anybody. It is either of this disk or of all replicas' code: the node stops, and
from then on every `apply` raises the same error.
"""

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from meteora.errors import Corruption, StorageError
from meteora.kv.command import Command, Operation, decode_batch
from meteora.kv.sessions import Outcome, Sessions, decode_session
from meteora.raft.entry import Entry, EntryKind
from meteora.raft.errors import ensure
from meteora.storage.disk_thread import DiskThread
from meteora.storage.rocks import CORRUPTION_ADVICE, KEY_VALUE, Rocks, WriteBatch

REPLAY_BOUND_BYTES: Final = 64 * 1024 * 1024
"""How much of the log may have to be applied again after a crash, in bytes of entries: one or two seconds' work.

A flush is due at half of it, because writes go on while it is under way."""

BATCH_BYTES: Final = 1024 * 1024
"""Entries that are applied together go into one write up to this: it holds the GIL, for some 3 ms per mebibyte."""

FORMAT_VERSION: Final = 1

_KEY: Final = b"k"
_SESSION: Final = b"s"
_APPLIED: Final = b"mapplied"
_MEMBERSHIP: Final = b"mmembership"
_SESSIONS_DROPPED: Final = b"msessions"

_POSITION: Final = struct.Struct(">BQQ")
_CLIENT_ID: Final = struct.Struct(">Q")

# As in `meteora.kv.command`: half the time of the class's own constructor.
_new = tuple.__new__


class Applied(NamedTuple):
    """What became of one command."""

    client_id: int
    sequence: int
    outcome: Outcome


class StateMachine:
    """The state at `applied_index`. To be used from one thread: the event loop's, once it runs."""

    def __init__(
        self,
        path: Path,
        database: Rocks,
        *,
        new_thread: Callable[[str], DiskThread] = DiskThread,
        new_batch: Callable[[], WriteBatch] = WriteBatch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use `open`; a simulation hands in models of the database, its batches, the threads and the clock."""
        self._path = path
        self._database = database
        self._new_batch = new_batch
        self._clock = clock
        self._failure: StorageError | None = None
        self.applied_index, self.applied_term = self._load_position()
        self.membership = database.get(_MEMBERSHIP) or b""
        """The record that `apply_membership` last stored; empty if there was none."""
        self._sessions = self._load_sessions()
        self.flushed_index = self.applied_index
        """Up to here the log is not needed to restore this state after a crash."""
        self._applied_bytes = self._flushed_bytes = 0
        self._last_write_bytes = 0
        self._last_write_at = clock()
        self._reader = new_thread("kv reads")
        # Not the raft log's thread: its fsyncs, and with them the answers to the leader, would wait behind a flush.
        self._flusher = new_thread("kv flush")

    @classmethod
    def open(cls, path: Path) -> "StateMachine":
        """Open the state in the directory `path`, made if it isn't there; blocks.

        Raises `Corruption`, `DiskFull` or `DiskFailure`.
        """
        database = Rocks(path, KEY_VALUE)
        try:
            return cls(path, database)
        except BaseException:
            database.close()
            raise

    def apply(self, entries: Sequence[Entry]) -> list[Applied]:
        """Apply commands: entries of that kind, the first being the one after `applied_index`.

        Returns what became of each command, in order. Raises `InvariantViolation` if other entries are due;
        `Corruption` if a batch can't be read, `DiskFull` or `DiskFailure`, and then ever after.
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
            batch.put(_MEMBERSHIP, membership)
            self._write(batch, (entry,))
        self.membership = membership

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`, in their order, all of one instant; None where there is none."""
        return await self._reader.run(self._database.get_many, [_KEY + key for key in keys])

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

    def close(self) -> None:
        """Flush, so that a restart has nothing to apply again, and close; blocks."""
        self._reader.close()
        self._flusher.close()
        self._database.close()

    @contextmanager
    def _remembering_failure(self) -> Iterator[None]:
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except StorageError as error:
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
        for entry in entries:
            # The entry with which a leader opens its term has no data.
            for command in self._commands(entry) if entry.data else ():
                operation, client_id, sequence, _, _, key, value = command
                outcome = judge(command) if client_id else Outcome.APPLIED
                if outcome is Outcome.APPLIED:
                    if operation is Operation.PUT:
                        put(_KEY + key, value)
                    else:
                        delete(_KEY + key)
                results.append(_new(Applied, (client_id, sequence, outcome)))
        self._write(batch, entries)

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
            batch.put(_SESSIONS_DROPPED, b"")
        for client_id in changes.dropped:
            batch.delete(_session_key(client_id))
        for client_id, record in changes.records:
            batch.put(_session_key(client_id), record)
        batch.put(_APPLIED, _POSITION.pack(FORMAT_VERSION, last.index, last.term))
        self._last_write_bytes = batch.size_bytes()
        self._database.write(batch)
        self._last_write_at = self._clock()
        self.applied_index, self.applied_term = last.index, last.term
        self._applied_bytes += sum(entry.size_bytes() for entry in entries)

    def _load_position(self) -> tuple[int, int]:
        record = self._database.get(_APPLIED)
        if record is None:
            return 0, 0
        if len(record) != _POSITION.size or record[0] != FORMAT_VERSION:
            raise Corruption(f"{self._path}: {record.hex()} is not an applied index. {CORRUPTION_ADVICE}")
        _, index, term = _POSITION.unpack(record)
        return index, term

    def _load_sessions(self) -> Sessions:
        ever_dropped = self._database.get(_SESSIONS_DROPPED) is not None
        pairs = self._database.scan(_SESSION, _SESSION + b"\xff" * (_CLIENT_ID.size + 1))
        try:
            stored = [(_CLIENT_ID.unpack(key[1:])[0], decode_session(record)) for key, record in pairs]
        except (Corruption, struct.error) as error:
            raise Corruption(f"{self._path}: {error}. {CORRUPTION_ADVICE}") from error
        return Sessions(stored, ever_dropped=ever_dropped)


def _session_key(client_id: int) -> bytes:
    return _SESSION + _CLIENT_ID.pack(client_id)


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
