import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from meteora.errors import Corruption
from meteora.raft.entry import Entry
from meteora.raft.message import HardState
from meteora.storage.pace import Abandoned
from meteora.storage.snapshot_files import TABLE_BYTES
from meteora.testing.databases import (
    SimulatedBatch,
    SimulatedDatabase,
    SimulatedLog,
    SimulatedPace,
    SimulatedTable,
)
from meteora.testing.disk import Disk, PowerLost, SimulatedThread
from meteora.testing.loop import SimulatedLoop

PAIRS = [(b"k%d" % number, b"value" * number) for number in range(5)]


def new_disk(folder: Path, seed: int = 1) -> Disk:
    return Disk(Random(seed), folder / "root")


def opened(disk: Disk, name: str = "kv") -> SimulatedDatabase:
    return SimulatedDatabase(disk, disk.root / name, lambda: 0.0)


def put(database: SimulatedDatabase, *pairs: tuple[bytes, bytes]) -> None:
    batch = SimulatedBatch()
    for key, value in pairs:
        batch.put(key, value)
    database.write(batch)


def write_table(disk: Disk, path: Path, pairs: Sequence[tuple[bytes, bytes]]) -> Path:
    table = SimulatedTable(disk, 1 << 20)
    for key, value in pairs:
        table.put(key, value)
    path.write_bytes(b"".join(table.contents()))
    return path


def test_what_was_flushed_survives_and_of_the_rest_some_batches_from_the_oldest_on(tmp_path: Path) -> None:
    survivors = set()
    for seed in range(50):
        disk = new_disk(tmp_path, seed)
        database = opened(disk)
        put(database, (b"0", b""))
        database.flush()
        for number in range(1, 4):
            put(database, (b"%d" % number, b""))
        disk.crash()
        survivors.add(b"".join(sorted(opened(disk).pairs)))
    assert survivors == {b"0", b"01", b"012", b"0123"}


def test_a_database_that_is_closed_was_flushed_and_is_used_no_more(tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    database = opened(disk)
    put(database, (b"key", b"value"))
    database.close()
    with pytest.raises(RuntimeError, match="closed"):
        database.get_many([b"key"])
    disk.crash()
    assert opened(disk).get(b"key") == b"value"


def test_a_database_whose_directory_was_removed_begins_anew(tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    put(opened(disk, "kv-7"), (b"key", b"value"))
    (disk.root / "kv-7").rmdir()
    assert opened(disk, "kv-7").pairs == {}


def test_equal_pairs_have_equal_digests_however_they_came_about(tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    one, other = opened(disk, "kv-1"), opened(disk, "kv-2")
    put(one, (b"a", b"1"), (b"b", b"2"))
    put(other, (b"b", b"1"), (b"c", b"3"), (b"b", b"2"))
    assert one.digest != other.digest
    batch = SimulatedBatch()
    batch.delete(b"c")
    batch.put(b"a", b"1")
    other.write(batch)
    assert one.digest == other.digest
    one.flush()
    assert opened(disk, "kv-1").digest == other.digest


def test_a_scan_sees_the_database_as_it_was_in_order_and_either_way(tmp_path: Path) -> None:
    database = opened(new_disk(tmp_path))
    put(database, (b"b", b""), (b"c", b""), (b"a", b""), (b"d", b""))
    scan, backwards = database.scan(b"b", b"d"), database.scan(b"b", b"d", backwards=True)
    put(database, (b"bb", b""))
    assert [key for key, _ in scan] == [b"b", b"c"]
    assert [key for key, _ in backwards] == [b"c", b"b"]


def test_a_table_that_is_taken_in_is_durable_and_its_file_is_gone(tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    table = write_table(disk, tmp_path / "table", PAIRS)
    opened(disk).ingest(table)
    disk.crash()
    assert opened(disk).pairs == dict(PAIRS)
    assert not table.exists()


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"x" + content[1:], lambda _: b""])
def test_a_table_that_is_damaged_is_found_to_be_none(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    disk = new_disk(tmp_path)
    table = write_table(disk, tmp_path / "table", PAIRS)
    table.write_bytes(damage(table.read_bytes()))
    with pytest.raises(Corruption, match="fails its checksum"):
        opened(disk).ingest(table)


def test_a_table_says_that_it_is_full_once_it_has_what_it_is_to_have(tmp_path: Path) -> None:
    table = SimulatedTable(new_disk(tmp_path), 10)
    table.put(b"key", b"value")
    assert table.size_bytes() < TABLE_BYTES
    table.put(b"kez", b"value")
    assert table.size_bytes() >= TABLE_BYTES


def test_work_that_was_abandoned_ends_at_the_next_pause_and_so_does_work_without_power(tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    pace = SimulatedPace(disk)
    pace.pause()
    pace.abandon()
    with pytest.raises(Abandoned):
        pace.pause()
    disk.lose_power_after(1, of_snapshots_only=True)
    with pytest.raises(PowerLost):
        SimulatedPace(disk).pause()


def with_log(disk: Disk, applied_index: int, story: Callable[[SimulatedLog], Awaitable[None]]) -> None:
    loop = SimulatedLoop()  # type: ignore[abstract]

    async def within() -> None:
        thread = SimulatedThread(disk, Random(1))
        await story(SimulatedLog(Path("log"), disk, thread, applied_index, 1 << 20))

    loop.run_until_complete(within())
    loop.forget()


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [Entry(term, index, b"x") for index in range(first, last + 1)]


def test_a_log_that_was_cut_is_read_from_there_on_after_a_restart(tmp_path: Path) -> None:
    async def cut(log: SimulatedLog) -> None:
        await log.append(entries(1, 9), HardState(1, 0, 9))
        log.release(6)
        await log.compact(6)

    async def look(log: SimulatedLog) -> None:
        assert (log.first_index(), log.last_index(), log.term(6)) == (7, 9, 1)
        assert log.entries(8, 10, 1 << 20) == entries(8, 9)
        assert await log.fetch(7, 10, 1 << 20) == entries(7, 9)

    disk = new_disk(tmp_path)
    with_log(disk, 0, cut)
    disk.crash()
    with_log(disk, 7, look)


def test_a_log_that_was_begun_anew_names_the_state_that_it_goes_on(tmp_path: Path) -> None:
    async def begin_anew(log: SimulatedLog) -> None:
        await log.append(entries(1, 3), HardState(1, 0, 1))
        await log.reset(20, 4, HardState(5, 2, 1), "kv-20")

    async def look(log: SimulatedLog) -> None:
        assert (log.first_index(), log.last_index(), log.term(20)) == (21, 20, 4)
        assert log.hard_state == HardState(5, 2, 20)

    disk = new_disk(tmp_path)
    with_log(disk, 0, begin_anew)
    disk.crash()
    assert disk.state_directory == "kv-20"
    with_log(disk, 20, look)


def test_a_log_that_begins_beyond_what_was_applied_is_refused(tmp_path: Path) -> None:
    async def cut(log: SimulatedLog) -> None:
        await log.append(entries(1, 9), HardState(1, 0, 9))
        log.release(6)
        await log.compact(6)

    async def nothing(_: SimulatedLog) -> None:
        await asyncio.sleep(0)

    disk = new_disk(tmp_path)
    with_log(disk, 0, cut)
    with pytest.raises(Corruption, match="begins at 7, but only 5"):
        with_log(disk, 5, nothing)
