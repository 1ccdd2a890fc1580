"""The disk of a simulated node: what survives a crash, and when it has it.

Rules of the model, each of them what a real disk may do:

- What was written but not synced survives a crash up to any point: none of it, all of it, or an append cut short.
- A sync takes as long as the disk is slow. It may fail; then nobody knows what is there until the next start, and who
  writes on is wrong (`meteora.testing.invariants`).
- A full disk takes no writes and no flushes, until there is space again. What it has, it keeps.
- What is read back may have a flipped bit.
- The state machine's database has no write-ahead log: a crash takes it back to some batch at or after its last flush.
- The files of snapshots are real ones, in a directory that is thrown away. A crash may cut them short or spoil them:
  nobody may believe in them without a look.
- The power may be lost at any step of what is done on the disk, in the middle of a function, too. The disk then stays
  as it was at that step, whatever the function does as it ends.

What is on it is read and written by the models in `meteora.testing.databases`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, NoReturn, TypeVar, TypeVarTuple

from meteora.errors import DiskFailure, DiskFull
from meteora.kv.installation import INCOMING, OUTGOING
from meteora.kv.state import APPLIED_KEY, decode_position
from meteora.raft.entry import Entry
from meteora.raft.message import HardState
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_records import Base
from meteora.storage.snapshot_files import make_empty

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

PairOrKey = tuple[bytes, bytes | None]
"""A key with its new value; None: it is deleted."""

FIRST_STATE = "kv"
"""The directory of the state that a node begins with."""

USUAL_SYNC_SECONDS = 0.002


class PowerLost(BaseException):
    """The machine is off: what was being done ends in the middle."""


class Cut(NamedTuple):
    """A new beginning of the log."""

    base: Base
    is_here: bool
    """Whether the log has the base, and keeps what follows it."""
    state_directory: str | None
    """Which directory has the state that the log goes on from now on; None: the same as before."""


class LogWrite(NamedTuple):
    """One append, or one cut, on its way to the platter."""

    entries: tuple[Entry, ...]
    first_index: int
    """Of `entries`; what was there or after it is replaced."""
    state: HardState
    cut: Cut | None = None


@dataclass(slots=True)
class StateFiles:
    """One database of a state machine."""

    pairs: dict[bytes, bytes] = field(default_factory=dict)
    """As of the last flush."""
    unflushed: list[tuple[PairOrKey, ...]] = field(default_factory=list)
    """The batches since."""

    def keep(self, count: int) -> None:
        """The first `count` of the unflushed batches are durable."""
        for batch in self.unflushed[:count]:
            apply_batch(batch, self.pairs)
        del self.unflushed[:count]


class Disk:
    """What a node leaves behind when its process dies. Outlives processes, and is used by one at a time."""

    def __init__(self, random: Random, root: Path) -> None:
        """Its files are in the directory `root`, which is made."""
        self._random = random
        self.root = root
        make_empty(root)
        self.base = Base(0, 0)
        """The last entry that was cut off the log."""
        self.entries: list[Entry] = []
        """The log after the base as far as it is synced."""
        self.hard_state = HardState()
        self.state_directory = FIRST_STATE
        """Which of the states the log continues."""
        self.unsynced: list[LogWrite] = []
        self.states: dict[str, StateFiles] = {}
        """The state machine's databases, by directory."""
        self.sync_seconds = USUAL_SYNC_SECONDS
        self.fails_next_sync = False
        self.fails_next_flush = False
        self.corrupts_next_read = False
        self.corrupts_next_get = False
        self.is_full = False
        self.has_failed = False
        """A sync or a write has failed in the life of the present process."""
        self._working: dict[asyncio.Future[None], None] = {}
        self.power_lost: Callable[[], None] = lambda: None
        """Called when the power is lost in the middle of something."""
        self._steps_left = 0
        """Until the power is lost; 0: it is not going to be."""
        self._counts_snapshots_only = False
        self._files_at_loss: dict[Path, bytes | None] | None = None
        """Of the files below `root`, None for a directory, when the power was lost; None while it is on."""

    # Power

    def lose_power_after(self, steps: int, *, of_snapshots_only: bool) -> None:
        """The power is lost at the step after so many others; in what is done about snapshots, or in anything."""
        self._steps_left, self._counts_snapshots_only = steps, of_snapshots_only

    def step(self, *, of_snapshot: bool = True) -> None:
        """Between this and the next call, something is done that survives a crash. Raises `PowerLost` at the time."""
        if self._files_at_loss is not None:
            raise PowerLost
        if self._steps_left and (of_snapshot or not self._counts_snapshots_only):
            self._steps_left -= 1
            if not self._steps_left:
                self._files_at_loss = _files_below(self.root)
                raise PowerLost

    async def guarded(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Call the function; if the power is lost in it, never return."""
        try:
            return function(*arguments)
        except PowerLost:
            self.power_lost()
            return await _forever()

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
        """Hand a write to the operating system. Raises `DiskFull`, with some of it written, or nothing."""
        self.step(of_snapshot=write.cut is not None)
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
        is_cut = any(write.cut is not None for write in self.unsynced)
        self.step(of_snapshot=is_cut)
        if self.fails_next_sync:
            self.fails_next_sync = False
            self.has_failed = True
            del self.unsynced[self._random.randint(0, len(self.unsynced)) :]
            raise DiskFailure("simulated: fsync failed")
        for write in self.unsynced:
            self._settle(write)
        self.unsynced.clear()
        self.step(of_snapshot=is_cut)

    def _settle(self, write: LogWrite) -> None:
        if write.entries:
            self.entries[write.first_index - 1 - self.base.index :] = write.entries
        if write.cut is not None:
            self._cut(write.cut)
        self.hard_state = write.state

    def _cut(self, cut: Cut) -> None:
        self.entries = self.entries[cut.base.index - self.base.index :] if cut.is_here else []
        self.base = cut.base
        self.state_directory = cut.state_directory or self.state_directory

    @property
    def last_index(self) -> int:
        """Of the log as far as it is synced."""
        return self.base.index + len(self.entries)

    def read_entry(self, index: int) -> bytes:
        """The bytes of an entry, or something like them."""
        encoded = self.entries[index - 1 - self.base.index].encode()
        if not self.corrupts_next_read:
            return encoded
        self.corrupts_next_read = False
        flipped = bytearray(encoded)
        flipped[self._random.randrange(len(encoded))] ^= 1 << self._random.randrange(8)
        return bytes(flipped)

    def holds(self, index: int, term: int) -> bool:
        """Whether the entry of `term` is durable at `index`, or what came of it is, or of another one."""
        if index <= self.base.index:
            return index < self.base.index or term == self.base.term
        return index <= self.last_index and self.entries[index - 1 - self.base.index].term == term

    # The state machine's databases

    def open_state(self, path: Path) -> StateFiles:
        """The database in the directory `path`, made if it isn't there. Raises `DiskFull`."""
        if not path.is_dir():
            self.write_file()
            path.mkdir()
            self.states[path.name] = StateFiles()
            self.step()
        return self.states[path.name]

    def durable_position(self, name: str) -> tuple[int, int]:
        """Index and term up to which the state in the directory `name` would be there after a crash."""
        files = self.states.get(name)
        return (0, 0) if files is None else decode_position(self.root / name, files.pairs.get(APPLIED_KEY))

    def flush(self, files: StateFiles) -> None:
        """All of a database is durable. Raises `DiskFull`, or `DiskFailure` if it is time."""
        self.step(of_snapshot=False)
        if self.is_full:
            raise DiskFull("simulated: no space left")
        self.fail_flush_if_due()
        files.keep(len(files.unflushed))

    def fail_flush_if_due(self) -> None:
        """Raise `DiskFailure` if it is time."""
        if self.fails_next_flush:
            self.fails_next_flush = False
            raise DiskFailure("simulated: a flush failed")

    def write_file(self) -> None:
        """A file of a snapshot is about to be written. Raises `DiskFull`."""
        self.step()
        if self.is_full:
            raise DiskFull("simulated: no space left")

    # Crashes

    def crash(self) -> None:
        """The process is dead, or the machine: what was not durable is kept as far as chance will have it."""
        if self._files_at_loss is not None:
            _restore(self.root, self._files_at_loss)
            self._files_at_loss = None
        self._steps_left = 0
        for write in self.unsynced[: self._random.randint(0, len(self.unsynced))]:
            cut = self._cut_short(write)
            self._settle(cut)
            if cut is not write:
                break
        self.unsynced.clear()
        for files in self.states.values():
            # RocksDB may have flushed on its own account at any batch.
            files.keep(self._random.choice([0, 0, self._random.randint(0, len(files.unflushed))]))
            files.unflushed.clear()
        if self._random.random() < 0.5:
            self.spoil_snapshots()
        self.has_failed = False
        self._working.clear()

    @property
    def has_snapshot(self) -> bool:
        """Whether files of a snapshot are here, to be sent or being received."""
        return any((self.root / name).is_dir() for name in (INCOMING, OUTGOING))

    def spoil_snapshots(self) -> None:
        """Cut short, or spoil, some of their files."""
        for name in (INCOMING, OUTGOING):
            for path in sorted((self.root / name).glob("*")):
                if self._random.random() < 0.5:
                    self._spoil(path)

    def _spoil(self, path: Path) -> None:
        content = bytearray(path.read_bytes())
        if content and self._random.random() < 0.5:
            content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)
        else:
            del content[self._random.randint(0, len(content)) :]
        path.write_bytes(content)

    def mend(self) -> None:
        """Nothing fails any more, and nothing is slow."""
        self.fails_next_sync = self.fails_next_flush = self.is_full = False
        self.corrupts_next_read = self.corrupts_next_get = False
        self._steps_left = 0
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
    """A disk thread without a thread: what it runs takes as long as the disk says, and the loop goes on meanwhile.

    As on a real one, one thing runs at a time, in the order in which it was handed over, whether or not the caller
    still waits for it.
    """

    def __init__(self, disk: Disk, random: Random) -> None:
        self._disk = disk
        self._random = random
        self._waiting: deque[_Job] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._is_closed = False

    async def run(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Run the function at some instant of the time that it takes."""
        answer: T = await self._handed_over(lambda: function(*arguments))
        return answer

    def begin(self, function: Callable[[], object], done: Callable[[BaseException | None], object]) -> None:
        """Run the function at some instant of the time that it takes, and tell `done` of its end."""
        self._handed_over(function).add_done_callback(lambda answer: done(answer.exception()))

    def _handed_over(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        if self._is_closed:
            raise RuntimeError("a simulated thread is closed")
        job = _Job(function, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.ensure_future(self._run_all())
        return job.answer

    async def _run_all(self) -> None:
        while self._waiting:
            before = self._random.random()
            await self._disk.work(before)
            if not self._waiting:
                return
            job = self._waiting.popleft()
            settle = await self._disk.guarded(job.run)
            await self._disk.work(1 - before)
            settle()

    def call(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Run the function at once."""
        return function(*arguments)

    def close(self) -> None:
        """Run at once what was handed over before."""
        self._is_closed = True
        while self._waiting:
            self._waiting.popleft().run()()


class _Job(NamedTuple):
    """What a thread is to do, and who waits for it."""

    function: Callable[[], Any]
    answer: asyncio.Future[Any]

    def run(self) -> Callable[[], None]:
        """Run it; what tells the one who waits."""
        try:
            result = self.function()
        except Exception as error:  # noqa: BLE001  the caller gets it, whatever it is
            failure = error
            return lambda: None if self.answer.done() else self.answer.set_exception(failure)
        return lambda: None if self.answer.done() else self.answer.set_result(result)


async def _forever() -> NoReturn:
    while True:
        await asyncio.get_running_loop().create_future()


def _files_below(root: Path) -> dict[Path, bytes | None]:
    """The content of every file, None for a directory; what holds others comes before them."""
    return {path: None if path.is_dir() else path.read_bytes() for path in sorted(root.rglob("*"))}


def _restore(root: Path, files: dict[Path, bytes | None]) -> None:
    make_empty(root)
    for path, content in files.items():
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
