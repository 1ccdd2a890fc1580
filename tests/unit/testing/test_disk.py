import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from meteora.errors import DiskFailure, DiskFull
from meteora.kv.installation import INCOMING, OUTGOING
from meteora.raft.entry import Entry
from meteora.raft.message import HardState
from meteora.storage.raft_records import Base
from meteora.testing.disk import Cut, Disk, LogWrite, PowerLost, SimulatedThread
from meteora.testing.loop import SimulatedLoop

SEEDS = range(50)


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(Entry(term, index, b"x") for index in range(first, last + 1))


def append(first: int, last: int, term: int = 1) -> LogWrite:
    return LogWrite(entries(first, last, term), first, HardState(term, 0, 0))


def written(disk: Disk, *writes: LogWrite) -> None:
    for write in writes:
        disk.write_log(write)
    disk.sync_log()


def run(story: Callable[[], Awaitable[None]]) -> None:
    loop = SimulatedLoop()  # type: ignore[abstract]
    loop.run_until_complete(story())
    loop.forget()


def test_what_was_synced_survives_every_crash(tmp_path: Path) -> None:
    for seed in SEEDS:
        disk = Disk(Random(seed), tmp_path / "root")
        written(disk, append(1, 5))
        disk.crash()
        assert disk.entries == list(entries(1, 5))


def test_what_was_written_and_not_synced_survives_up_to_any_entry(tmp_path: Path) -> None:
    survivors = set()
    for seed in SEEDS:
        disk = Disk(Random(seed), tmp_path / "root")
        written(disk, append(1, 2))
        disk.write_log(append(3, 5))
        disk.crash()
        assert disk.entries == list(entries(1, disk.last_index))
        survivors.add(disk.last_index)
    assert survivors == {2, 3, 4, 5}


def test_a_cut_survives_whole_or_not_at_all(tmp_path: Path) -> None:
    survivors = set()
    for seed in SEEDS:
        disk = Disk(Random(seed), tmp_path / "root")
        written(disk, append(1, 5))
        disk.write_log(LogWrite((), 0, HardState(1, 0, 9), Cut(Base(9, 1), False, "kv-9")))
        disk.crash()
        survivors.add((disk.base, disk.last_index, disk.state_directory, disk.hard_state.commit))
    assert survivors == {(Base(0, 0), 5, "kv", 0), (Base(9, 1), 9, "kv-9", 9)}


def test_a_log_that_was_cut_goes_on_with_the_next_index(tmp_path: Path) -> None:
    disk = Disk(Random(1), tmp_path / "root")
    written(disk, append(1, 5), LogWrite((), 0, HardState(1, 0, 3), Cut(Base(3, 1), True, None)), append(5, 6, term=2))
    assert [(entry.index, entry.term) for entry in disk.entries] == [(4, 1), (5, 2), (6, 2)]
    assert [disk.holds(*place) for place in [(3, 1), (3, 2), (5, 1), (5, 2), (7, 2)]] == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_after_a_sync_that_failed_nobody_knows_what_is_there_and_the_next_one_does_not_tell(tmp_path: Path) -> None:
    survivors = set()
    for seed in SEEDS:
        disk = Disk(Random(seed), tmp_path / "root")
        disk.write_log(append(1, 1))
        disk.fails_next_sync = True
        with pytest.raises(DiskFailure):
            disk.sync_log()
        assert disk.has_failed
        disk.sync_log()
        survivors.add(disk.last_index)
    assert survivors == {0, 1}


def test_a_full_disk_takes_nothing_and_keeps_what_it_has(tmp_path: Path) -> None:
    disk = Disk(Random(1), tmp_path / "root")
    written(disk, append(1, 2))
    disk.is_full = True
    with pytest.raises(DiskFull):
        disk.write_log(append(3, 3))
    with pytest.raises(DiskFull):
        disk.write_file()
    disk.mend()
    assert disk.holds(2, 1)


def test_a_flipped_bit_is_read_once_and_is_not_on_the_disk(tmp_path: Path) -> None:
    disk = Disk(Random(1), tmp_path / "root")
    written(disk, append(1, 1))
    disk.corrupts_next_read = True
    assert disk.read_entry(1) != disk.entries[0].encode()
    assert disk.read_entry(1) == disk.entries[0].encode()


def test_when_the_power_is_lost_the_disk_stays_as_it_is_at_that_step(tmp_path: Path) -> None:
    disk = Disk(Random(3), tmp_path / "root")
    file = disk.root / "file"
    file.write_bytes(b"before")
    disk.lose_power_after(2, of_snapshots_only=True)
    disk.step()
    with pytest.raises(PowerLost):
        disk.step()
    file.unlink()
    with pytest.raises(PowerLost):
        disk.write_log(append(1, 1))
    disk.crash()
    assert file.read_bytes() == b"before"
    disk.step()


def test_power_that_is_lost_in_what_is_done_about_snapshots_is_not_lost_in_anything_else(tmp_path: Path) -> None:
    disk = Disk(Random(1), tmp_path / "root")
    disk.lose_power_after(1, of_snapshots_only=True)
    written(disk, append(1, 1))
    with pytest.raises(PowerLost):
        disk.write_log(LogWrite((), 0, HardState(1, 0, 1), Cut(Base(1, 1), True, None)))


def test_a_crash_may_spoil_the_files_of_snapshots(tmp_path: Path) -> None:
    contents = set()
    for seed in SEEDS:
        disk = Disk(Random(seed), tmp_path / "root")
        for name in (INCOMING, OUTGOING):
            (disk.root / name).mkdir()
            (disk.root / name / "000000").write_bytes(bytes(10))
        disk.crash()
        contents |= {path.read_bytes() for path in disk.root.rglob("000000")}
    assert bytes(10) in contents
    assert any(len(content) < 10 for content in contents)
    assert any(len(content) == 10 and any(content) for content in contents)


def test_a_thread_runs_one_thing_at_a_time_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    async def story() -> None:
        done: list[int] = []
        random = Random(1)
        thread = SimulatedThread(Disk(random, tmp_path / "root"), random)
        await asyncio.gather(*(thread.run(done.append, number) for number in range(20)))
        assert done == list(range(20))

    run(story)


def test_what_was_handed_to_a_thread_is_done_whether_or_not_the_caller_waits(tmp_path: Path) -> None:
    async def story() -> None:
        done: list[int] = []
        random = Random(1)
        thread = SimulatedThread(Disk(random, tmp_path / "root"), random)
        callers = [asyncio.ensure_future(thread.run(done.append, number)) for number in range(2)]
        await asyncio.sleep(0)
        callers[0].cancel()
        await callers[1]
        assert done == [0, 1]

    run(story)


def test_a_thread_that_is_closed_does_first_what_it_was_handed(tmp_path: Path) -> None:
    async def story() -> None:
        done: list[int] = []
        random = Random(1)
        thread = SimulatedThread(Disk(random, tmp_path / "root"), random)
        caller = asyncio.ensure_future(thread.run(done.append, 1))
        await asyncio.sleep(0)
        thread.close()
        assert done == [1]
        caller.cancel()
        with pytest.raises(RuntimeError, match="closed"):
            await thread.run(done.append, 2)

    run(story)
