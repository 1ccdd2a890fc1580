"""The disk of a simulated node: what survives a crash, and the two databases on it.

The raft log is the real `RaftLog` with its thread and its database replaced: what it asks, checks and believes is the
real code; what is durable, and when, is up to the `Disk`. The state machine's database is a model with the interface of
`Rocks`.

Rules of the model, each of them what a real disk may do:

- What was written but not synced survives a crash up to any point: none of it, all of it, or an append cut short.
- A sync takes as long as the disk is slow. It may fail; then nobody knows what is there until the next start, and who
  writes on is wrong (`meteora.testing.invariants`).
- A full disk takes no writes and no flushes, until there is space again. What it has, it keeps.
- What is read back may have a flipped bit.
- The state machine's database has no write-ahead log: a crash takes it back to some batch at or after its last flush.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeVar, TypeVarTuple, cast

from meteora.errors import Corruption, DiskFailure, DiskFull
from meteora.raft.entry import Entry
from meteora.raft.message import HardState
from meteora.storage.disk_thread import DiskThread
from meteora.storage.entry_cache import EntryCache
from meteora.storage.raft_log import RaftLog
from meteora.storage.rocks import Rocks, Scan, WriteBatch
from meteora.storage.watermark import Watermark

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

PairOrKey = tuple[bytes, bytes | None]
"""A key with its new value; None: it is deleted."""


USUAL_SYNC_SECONDS = 0.002


class LogWrite(NamedTuple):
    """One append on its way to the platter."""

    entries: tuple[Entry, ...]
    first_index: int
    """Of `entries`; what was there or after it is replaced."""
    state: HardState


class Disk:
    """What a node leaves behind when its process dies. Outlives processes, and is used by one at a time."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.entries: list[Entry] = []
        """The log as far as it is synced, from index 1."""
        self.hard_state = HardState()
        self.unsynced: list[LogWrite] = []
        self.pairs: dict[bytes, bytes] = {}
        """The state machine's database as of its last flush."""
        self.unflushed: list[tuple[PairOrKey, ...]] = []
        """The batches since."""
        self.sync_seconds = USUAL_SYNC_SECONDS
        self.fails_next_sync = False
        self.fails_next_flush = False
        self.corrupts_next_read = False
        self.corrupts_next_get = False
        self.is_full = False
        self.has_failed = False
        """A sync or a write has failed in the life of the present process."""
        self._working: dict[asyncio.Future[None], None] = {}

    # Time

    async def work(self, share: float = 1.0) -> None:
        """Take as long as this disk takes for a sync, or a share of that."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._working[done] = None
        loop.call_later(self._random.expovariate(1 / self.sync_seconds) * share, _finish, done)
        await done
        self._working.pop(done, None)

    def change_speed(self, sync_seconds: float) -> None:
        """From now on a sync takes about so long; those that are under way end now."""
        self.sync_seconds = sync_seconds
        for done in self._working:
            _finish(done)

    # The log

    def write_log(self, write: LogWrite) -> None:
        """Hand an append to the operating system. Raises `DiskFull`, with some of it written, or nothing."""
        if self.is_full:
            self.has_failed = True
            if self._random.random() < 0.5:
                self.unsynced.append(write)
            raise DiskFull("simulated: no space left")
        self.unsynced.append(write)

    def sync_log(self) -> None:
        """All that was written is durable, or nobody knows: then raises `DiskFailure`.

        The kernel then takes for clean what it could not write, and the next sync would not tell.
        """
        if self.fails_next_sync:
            self.fails_next_sync = False
            self.has_failed = True
            del self.unsynced[self._random.randint(0, len(self.unsynced)) :]
            raise DiskFailure("simulated: fsync failed")
        for write in self.unsynced:
            self._settle(write)
        self.unsynced.clear()

    def _settle(self, write: LogWrite) -> None:
        if write.entries:
            self.entries[write.first_index - 1 :] = write.entries
        self.hard_state = write.state

    def read_entry(self, index: int) -> bytes:
        """The bytes of an entry, or something like them."""
        encoded = self.entries[index - 1].encode()
        if not self.corrupts_next_read:
            return encoded
        self.corrupts_next_read = False
        flipped = bytearray(encoded)
        flipped[self._random.randrange(len(encoded))] ^= 1 << self._random.randrange(8)
        return bytes(flipped)

    def holds(self, index: int, term: int) -> bool:
        """Whether the entry of `term` is durable at `index`."""
        return 0 < index <= len(self.entries) and self.entries[index - 1].term == term

    # The state machine's database

    def flush(self, count: int) -> None:
        """The first `count` of the unflushed batches are durable. Raises `DiskFull`, or `DiskFailure` if it is time."""
        if self.is_full:
            raise DiskFull("simulated: no space left")
        if self.fails_next_flush:
            self.fails_next_flush = False
            raise DiskFailure("simulated: a flush failed")
        self._keep(count)

    def _keep(self, count: int) -> None:
        for batch in self.unflushed[:count]:
            apply_batch(batch, self.pairs)
        del self.unflushed[:count]

    # Crashes

    def crash(self) -> None:
        """The process is dead, or the machine: what was not durable is kept as far as chance will have it."""
        for write in self.unsynced[: self._random.randint(0, len(self.unsynced))]:
            cut = self._cut_short(write)
            self._settle(cut)
            if cut is not write:
                break
        self.unsynced.clear()
        # RocksDB may have flushed on its own account at any batch.
        self._keep(self._random.choice([0, 0, self._random.randint(0, len(self.unflushed))]))
        self.unflushed.clear()
        self.has_failed = False
        self._working.clear()

    def mend(self) -> None:
        """Nothing fails any more, and nothing is slow."""
        self.fails_next_sync = self.fails_next_flush = self.is_full = False
        self.corrupts_next_read = self.corrupts_next_get = False
        self.change_speed(USUAL_SYNC_SECONDS)

    def _cut_short(self, write: LogWrite) -> LogWrite:
        """The append, or a beginning of it: every prefix of what is written is a valid log."""
        kept = self._random.randint(1, max(1, len(write.entries)))
        if kept >= len(write.entries):
            return write
        commit = min(write.state.commit, write.first_index + kept - 1)
        return write._replace(entries=write.entries[:kept], state=write.state._replace(commit=commit))


def _finish(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)


def apply_batch(batch: Sequence[PairOrKey], pairs: dict[bytes, bytes]) -> None:
    """Make the changes of a batch."""
    for key, value in batch:
        if value is None:
            pairs.pop(key, None)
        else:
            pairs[key] = value


class SimulatedThread(DiskThread):
    """A disk thread without a thread: what it runs takes as long as the disk says, and the loop goes on meanwhile."""

    def __init__(self, disk: Disk, random: Random) -> None:
        self._disk = disk
        self._random = random

    async def run(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Run the function at some instant of the time that it takes."""
        before = self._random.random()
        await self._disk.work(before)
        result = function(*arguments)
        await self._disk.work(1 - before)
        return result

    def call(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Run the function at once."""
        return function(*arguments)

    def close(self) -> None:
        """Nothing to end."""


class SimulatedLog(RaftLog):
    """The real log, on a `Disk`."""

    def __init__(self, path: Path, disk: Disk, thread: DiskThread, applied_index: int, cache_bytes: int) -> None:
        """Opens it, with the entries above `applied_index` in memory."""
        super().__init__(path, thread, cast(Watermark, None), cast(Rocks, None))
        self._platter = disk
        self._hard_state = disk.hard_state
        entries = disk.entries
        for entry in entries:
            self._terms.append(entry.term)
        self._verify_ends(len(entries), applied_index)
        self._cache = EntryCache(cache_bytes, min(applied_index, len(entries)), applied_index)
        for entry in entries[applied_index:]:
            self._cache.append(entry)

    async def _persist(self, entries: Sequence[Entry], state: HardState) -> None:
        first_index = entries[0].index if entries else 0
        self._platter.write_log(LogWrite(tuple(entries), first_index, state))
        await self._sync()

    async def _sync(self) -> None:
        await self._platter.work()
        self._platter.sync_log()

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


class SimulatedDatabase(Rocks):
    """The state machine's database."""

    def __init__(self, disk: Disk, write_delay_seconds: Callable[[], float]) -> None:
        self._disk = disk
        self._delay_seconds = write_delay_seconds
        self.pairs = dict(disk.pairs)

    def get(self, key: bytes) -> bytes | None:
        """As `Rocks`."""
        return self.pairs.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `Rocks`."""
        if self._disk.corrupts_next_get:
            self._disk.corrupts_next_get = False
            raise Corruption("simulated: a block of the database fails its checksum")
        return [self.pairs.get(key) for key in keys]

    def write(self, batch: WriteBatch) -> None:
        """As `Rocks`."""
        assert isinstance(batch, SimulatedBatch)
        changes = tuple(batch.changes)
        self._disk.unflushed.append(changes)
        apply_batch(changes, self.pairs)

    def flush(self) -> None:
        """As `Rocks`."""
        self._disk.flush(len(self._disk.unflushed))

    def scan(self, lower: bytes, upper: bytes, *, backwards: bool = False, fills_cache: bool = True) -> Scan:  # noqa: ARG002
        """As `Rocks`."""
        pairs = sorted((pair for pair in self.pairs.items() if lower <= pair[0] < upper), reverse=backwards)
        return cast(Scan, iter(pairs))

    def write_delay_seconds(self, size_bytes: int) -> float:  # noqa: ARG002  the model doesn't care
        """As `Rocks`."""
        return self._delay_seconds()

    def close(self) -> None:
        """As `Rocks`: flushes everything."""
        self.flush()
