"""The two databases of a simulated node, and the tables of its snapshots, on a `Disk`.

The raft log is the real `RaftLog` with its thread and its database replaced: what it asks, checks and believes is the
real code; what is durable, and when, is up to the `Disk`. The state machine's database is a model with the interface of
`Rocks`. So is a table; what makes snapshots of tables, carries and installs them is the real code, on real files.
"""

import asyncio
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, cast

from meteora.errors import Corruption
from meteora.raft.entry import Entry
from meteora.raft.message import HardState
from meteora.storage.disk_thread import DiskThread
from meteora.storage.entry_cache import EntryCache
from meteora.storage.pace import Abandoned, Pace
from meteora.storage.raft_log import RaftLog
from meteora.storage.raft_records import Base
from meteora.storage.rocks import Rocks, Scan, Table, TableWriter, WriteBatch
from meteora.storage.snapshot_files import TABLE_BYTES, Manifest
from meteora.storage.snapshot_transfer import SnapshotReceiver
from meteora.storage.term_runs import TermRuns
from meteora.storage.watermark import Watermark
from meteora.testing.disk import Cut, Disk, LogWrite, PairOrKey, apply_batch

_LENGTHS: Final = struct.Struct(">II")
_CHECKSUM: Final = struct.Struct(">I")


class _EverReady:
    """All that the log asks of its database but what the `Disk` does."""

    def write_delay_seconds(self, size_bytes: int) -> float:  # noqa: ARG002  as `Rocks`
        """Nothing holds writes back."""
        return 0.0


class SimulatedLog(RaftLog):
    """The real log, on a `Disk`."""

    def __init__(self, path: Path, disk: Disk, thread: DiskThread, applied_index: int, cache_bytes: int) -> None:
        """Opens it, with the entries above `applied_index` in memory."""
        super().__init__(path, thread, cast(Watermark, None), cast(Rocks, _EverReady()))
        self._platter = disk
        self._hard_state = disk.hard_state
        self._terms = TermRuns((), disk.base.index, *disk.base)
        for entry in disk.entries:
            self._terms.append(entry.term)
        last_index = disk.last_index
        self._verify_ends(last_index, applied_index)
        self._cache = EntryCache(cache_bytes, min(applied_index, last_index), applied_index)
        for entry in disk.entries[max(0, applied_index - disk.base.index) :]:
            self._cache.append(entry)

    async def _persist(self, entries: Sequence[Entry], state: HardState) -> None:
        await self._put(LogWrite(tuple(entries), entries[0].index if entries else 0, state))

    def _begin_persist(
        self, entries: Sequence[Entry], state: HardState, done: Callable[[BaseException | None], object]
    ) -> None:
        persisting = asyncio.ensure_future(self._persist(entries, state))
        persisting.add_done_callback(lambda ended: None if ended.cancelled() else done(ended.exception()))

    async def _persist_base(self, base: Base, is_here: bool, state: HardState, state_directory: str | None) -> None:
        await self._put(LogWrite((), 0, state, Cut(base, is_here, state_directory)))

    async def _put(self, write: LogWrite) -> None:
        await self._platter.guarded(self._platter.write_log, write)
        await self._sync()

    async def _sync(self) -> None:
        await self._platter.work()
        await self._platter.guarded(self._platter.sync_log)

    def _scan(self, low: int, high: int) -> Iterator[Entry]:
        for index in range(low, high):
            yield self._verified(index, self._platter.read_entry(index))

    def _close(self) -> None:
        """Nothing to let go of."""


class SimulatedBatch(WriteBatch):
    """A batch that can be read back."""

    __slots__ = ("changes",)

    def __init__(self) -> None:
        self.changes: list[PairOrKey] = []
        self.put = lambda key, value: self.changes.append((key, value))
        self.delete = lambda key: self.changes.append((key, None))

    def size_bytes(self) -> int:
        """About as long as the real one."""
        return sum(len(key) + len(value or b"") + 4 for key, value in self.changes)


class SimulatedScan(Scan):
    """Pairs of a `SimulatedDatabase` as they were when the scan was made."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self._pairs: Iterator[tuple[bytes, bytes]] | None = iter(pairs)

    def __next__(self) -> tuple[bytes, bytes]:
        assert self._pairs is not None, "a scan was closed before its end"
        return next(self._pairs)

    def close(self) -> None:
        """As `Scan`."""
        self._pairs = None


class SimulatedDatabase(Rocks):
    """A database of the state machine."""

    def __init__(self, disk: Disk, path: Path, write_delay_seconds: Callable[[], float]) -> None:
        self._disk = disk
        self._files = disk.open_state(path)
        self._delay_seconds = write_delay_seconds
        self._is_open = True
        self.pairs = dict(self._files.pairs)
        self.digest = 0
        """Of all pairs: equal ones have the same, within one run of Python."""
        for pair in self.pairs.items():
            self.digest ^= hash(pair)

    def get(self, key: bytes) -> bytes | None:
        """As `Rocks`."""
        return self.pairs.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `Rocks`."""
        self._ensure_open()
        if self._disk.corrupts_next_get:
            self._disk.corrupts_next_get = False
            raise Corruption("simulated: a block of the database fails its checksum")
        return [self.pairs.get(key) for key in keys]

    def write(self, batch: WriteBatch) -> None:
        """As `Rocks`."""
        self._ensure_open()
        assert isinstance(batch, SimulatedBatch)
        changes = tuple(batch.changes)
        self._files.unflushed.append(changes)
        for key, value in changes:
            before = self.pairs.get(key)
            if before is not None:
                self.digest ^= hash((key, before))
            if value is None:
                self.pairs.pop(key, None)
            else:
                self.pairs[key] = value
                self.digest ^= hash((key, value))

    def flush(self) -> None:
        """As `Rocks`."""
        self._ensure_open()
        self._disk.flush(self._files)

    def ingest(self, table: Path) -> None:
        """As `Rocks`."""
        self._ensure_open()
        self._disk.write_file()
        changes: list[PairOrKey] = []
        for key, value in _decode_table(table):
            assert key not in self.pairs, f"{key!r} is in two tables"
            changes.append((key, value))
            self.pairs[key] = value
            self.digest ^= hash((key, value))
        apply_batch(changes, self._files.pairs)
        self._disk.step()
        table.unlink()
        self._disk.step()

    def scan(self, lower: bytes, upper: bytes, *, backwards: bool = False, fills_cache: bool = True) -> Scan:  # noqa: ARG002
        """As `Rocks`."""
        self._ensure_open()
        pairs = sorted(pair for pair in self.pairs.items() if lower <= pair[0] < upper)
        return SimulatedScan(pairs[::-1] if backwards else pairs)

    def stored_bytes(self) -> int:
        """As `Rocks`, but what was deleted takes no room."""
        return sum(len(key) + len(value) for key, value in self.pairs.items())

    def estimated_pairs(self) -> int:
        """As `Rocks`, but exact."""
        return len(self.pairs)

    def has_unflushed_deletions(self) -> bool:
        """As `Rocks`: none take any room."""
        return False

    def tables(self) -> list[Table]:
        """As `Rocks`: there are none to be merged."""
        return []

    def write_delay_seconds(self, size_bytes: int) -> float:  # noqa: ARG002  the model doesn't care
        """As `Rocks`."""
        return self._delay_seconds()

    def close(self) -> None:
        """As `Rocks`: flushes everything."""
        if self._is_open:
            self.flush()
            self._is_open = False

    def _ensure_open(self) -> None:
        if not self._is_open:
            raise RuntimeError("a simulated database is closed")


class SimulatedTable(TableWriter):
    """A table, with a checksum over all of it."""

    def __init__(self, disk: Disk, max_bytes: int) -> None:
        """It says that it is full once it has `max_bytes`, so that small states have several."""
        self._disk = disk
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def put(self, key: bytes, value: bytes) -> None:
        """As `TableWriter`."""
        self._pieces += (_LENGTHS.pack(len(key), len(value)), key, value)
        self._size_bytes += len(key) + len(value)

    def size_bytes(self) -> int:
        """As `TableWriter`, but for the scale."""
        return TABLE_BYTES if self._size_bytes >= self._max_bytes else self._size_bytes

    def contents(self) -> Iterator[bytes]:
        """As `TableWriter`."""
        self._disk.write_file()
        content = b"".join(self._pieces)
        yield content
        self._disk.step()
        yield _CHECKSUM.pack(zlib.crc32(content))

    def close(self) -> None:
        """As `TableWriter`."""


def _decode_table(path: Path) -> Iterator[tuple[bytes, bytes]]:
    encoded = path.read_bytes()
    content, checksum = encoded[: -_CHECKSUM.size], encoded[-_CHECKSUM.size :]
    if checksum != _CHECKSUM.pack(zlib.crc32(content)):
        raise Corruption(f"simulated: {path} fails its checksum")
    offset = 0
    while offset < len(content):
        key_bytes, value_bytes = _LENGTHS.unpack_from(content, offset)
        key_at = offset + _LENGTHS.size
        offset = key_at + key_bytes + value_bytes
        yield content[key_at : key_at + key_bytes], content[key_at + key_bytes : offset]


class SimulatedPace(Pace):
    """Takes no time: what runs on a `SimulatedThread` runs at one instant. Between two parts the power may be lost."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._is_abandoned = False

    def step(self) -> None:
        """As `Pace`."""

    def pause(self) -> None:
        """As `Pace`."""
        if self._is_abandoned:
            raise Abandoned
        self._disk.step()

    def abandon(self) -> None:
        """As `Pace`."""
        self._is_abandoned = True


class SimulatedReceiver(SnapshotReceiver):
    """The real one, on a disk that may be full, fail, or lose its power between any two steps."""

    def __init__(self, directory: Path, thread: DiskThread, disk: Disk) -> None:
        super().__init__(directory, thread)
        self._platter = disk

    def _begin(self, manifest: Manifest) -> None:
        self._platter.write_file()
        super()._begin(manifest)
        self._platter.step()

    def _write(self, data: bytes, manifest: Manifest) -> None:
        self._platter.write_file()
        super()._write(data, manifest)
        self._platter.step()

    def _finish_table(self, path: Path, number: int, digest: str) -> None:
        self._platter.step()
        self._platter.fail_flush_if_due()
        super()._finish_table(path, number, digest)
