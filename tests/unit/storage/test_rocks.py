"""The wrapper, and each edge of rocksdict that it is there for: that it is still there, and that nobody is cut."""

import math
import random
import resource
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from rocksdict import DbClosedError, Options, Rdict, RdictIter, ReadOptions
from rocksdict import WriteBatch as RawWriteBatch

from meteora.errors import Corruption, DiskFailure, DiskFull
from meteora.raft.errors import InvariantViolation
from meteora.storage.rocks import KEY_VALUE, RAFT_LOG, Profile, Rocks, TableWriter, WriteBatch
from tests.unit.storage.failing_fsyncs import make_fsyncs_fail

pytestmark = pytest.mark.usefixtures("no_leaks")

EVERYTHING = (b"", b"\xff" * 16)


@pytest.fixture
def rocks(tmp_path: Path) -> Iterator[Rocks]:
    database = Rocks(tmp_path / "db", RAFT_LOG)
    yield database
    database.close()


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[Rdict]:
    database = open_raw(tmp_path / "raw")
    yield database
    database.close()


def open_raw(path: Path) -> Rdict:
    return Rdict(str(path), Options(raw_mode=True))


def numbered_key(number: int) -> bytes:
    return f"key{number:06d}".encode()


def fill(database: Rocks, count: int = 10, value: bytes = b"value") -> dict[bytes, bytes]:
    pairs = {numbered_key(number): value for number in range(count)}
    batch = WriteBatch()
    for key in pairs:
        batch.put(key, value)
    database.write(batch)
    return pairs


def flip_bit(path: Path, position: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def with_a_corrupt_block(path: Path) -> dict[bytes, bytes]:
    """A closed database of many blocks at `path`, one in the middle damaged; and what was in it."""
    database = Rocks(path, RAFT_LOG)
    pairs = fill(database, 5000, b"v" * 100)
    database.close()
    (table,) = path.glob("*.sst")
    flip_bit(table, table.stat().st_size // 2)
    return pairs


# What is written is read


def test_a_key_that_was_put_is_read(rocks: Rocks) -> None:
    fill(rocks)
    assert rocks.get(numbered_key(3)) == b"value"


def test_a_key_that_was_never_put_is_none(rocks: Rocks) -> None:
    assert rocks.get(b"absent") is None


def test_an_empty_value_is_not_none(rocks: Rocks) -> None:
    fill(rocks, value=b"")
    assert rocks.get(numbered_key(3)) == b""


def test_get_many_answers_in_the_order_of_the_keys(rocks: Rocks) -> None:
    batch = WriteBatch()
    batch.put(b"a", b"1")
    batch.put(b"b", b"2")
    rocks.write(batch)
    assert rocks.get_many([b"b", b"absent", b"a", b"b"]) == [b"2", None, b"1", b"2"]


def test_get_many_of_nothing_is_nothing(rocks: Rocks) -> None:
    assert rocks.get_many([]) == []


def test_a_batch_is_applied_in_the_order_of_its_changes(rocks: Rocks) -> None:
    batch = WriteBatch()
    batch.put(b"a", b"1")
    batch.delete(b"a")
    batch.put(b"b", b"1")
    batch.put(b"b", b"2")
    batch.delete(b"c")
    batch.put(b"c", b"1")
    rocks.write(batch)
    assert list(rocks.scan(*EVERYTHING)) == [(b"b", b"2"), (b"c", b"1")]


def test_delete_range_takes_the_lower_bound_and_leaves_the_upper(rocks: Rocks) -> None:
    fill(rocks)
    batch = WriteBatch()
    batch.delete_range(numbered_key(2), numbered_key(8))
    rocks.write(batch)
    assert [key for key, _ in rocks.scan(*EVERYTHING)] == [numbered_key(number) for number in (0, 1, 8, 9)]


def test_what_is_put_after_delete_range_in_its_batch_stays(rocks: Rocks) -> None:
    fill(rocks)
    batch = WriteBatch()
    batch.delete_range(numbered_key(0), numbered_key(9))
    batch.put(numbered_key(5), b"new")
    rocks.write(batch)
    assert list(rocks.scan(numbered_key(0), numbered_key(9))) == [(numbered_key(5), b"new")]


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (2, 5, [2, 3, 4]),
        (0, 10, [*range(10)]),
        (8, 99, [8, 9]),
        (5, 5, []),
        (7, 3, []),
        (20, 30, []),
    ],
)
def test_a_scan_has_the_keys_between_its_bounds_in_either_direction(
    rocks: Rocks, lower: int, upper: int, expected: list[int]
) -> None:
    fill(rocks)
    bounds = numbered_key(lower), numbered_key(upper)
    forwards = [int(key[3:]) for key, _ in rocks.scan(*bounds)]
    backwards = [int(key[3:]) for key, _ in rocks.scan(*bounds, backwards=True)]
    assert (forwards, backwards) == (expected, expected[::-1])


def test_a_scan_backwards_begins_below_an_upper_bound_that_is_no_key(rocks: Rocks) -> None:
    fill(rocks)
    assert next(rocks.scan(b"", numbered_key(4) + b"x", backwards=True))[0] == numbered_key(4)


def test_a_scan_sees_the_database_as_it_was(rocks: Rocks) -> None:
    pairs = fill(rocks)
    scan = rocks.scan(*EVERYTHING)
    fill(rocks, 20, b"later")
    assert dict(scan) == pairs


def test_an_exhausted_scan_stays_exhausted(rocks: Rocks) -> None:
    fill(rocks)
    scan = rocks.scan(*EVERYTHING)
    assert (len(list(scan)), list(scan)) == (10, [])


@pytest.mark.parametrize("fills_cache", [False, True])
def test_a_scan_fills_the_cache_unless_it_is_told_not_to(tmp_path: Path, fills_cache: bool) -> None:
    database = Rocks(tmp_path / "db", RAFT_LOG)
    fill(database, 5000, b"v" * 100)
    database.flush()
    before = cached_bytes(database)
    assert len(list(database.scan(*EVERYTHING, fills_cache=fills_cache))) == 5000
    assert (cached_bytes(database) > before + 400_000) is fills_cache
    database.close()


def cached_bytes(database: Rocks) -> int:
    return database._database.property_int_value("rocksdb.block-cache-usage") or 0


# What survives


def test_what_is_written_with_a_wal_survives_a_kill(tmp_path: Path, rocks: Rocks) -> None:
    pairs = fill(rocks)
    rocks.sync_wal()
    shutil.copytree(tmp_path / "db", tmp_path / "killed")
    killed = Rocks(tmp_path / "killed", RAFT_LOG)
    assert dict(killed.scan(*EVERYTHING)) == pairs
    killed.close()


def test_what_is_written_without_a_wal_survives_a_kill_once_it_is_flushed(tmp_path: Path) -> None:
    database = Rocks(tmp_path / "db", KEY_VALUE)
    pairs = fill(database)
    database.flush()
    fill(database, 20, b"later")
    shutil.copytree(tmp_path / "db", tmp_path / "killed")
    killed = Rocks(tmp_path / "killed", KEY_VALUE)
    assert dict(killed.scan(*EVERYTHING)) == pairs
    killed.close()
    database.close()


@pytest.mark.parametrize("profile", [RAFT_LOG, KEY_VALUE])
def test_what_is_written_survives_a_close(tmp_path: Path, profile: Profile) -> None:
    database = Rocks(tmp_path / "db", profile)
    pairs = fill(database)
    database.close()
    database = Rocks(tmp_path / "db", profile)
    assert dict(database.scan(*EVERYTHING)) == pairs
    database.close()


def test_opening_to_read_only_finds_what_is_in_the_wal_and_changes_no_file(tmp_path: Path, rocks: Rocks) -> None:
    pairs = fill(rocks)
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "db", killed)
    before = contents(killed)
    probe = Rocks(killed, RAFT_LOG, read_only=True)
    assert dict(probe.scan(*EVERYTHING)) == pairs
    probe.close()
    assert contents(killed) == before


def contents(path: Path) -> dict[str, bytes]:
    """All files but RocksDB's text logs."""
    return {file.name: file.read_bytes() for file in path.iterdir() if not file.name.startswith("LOG")}


def test_a_database_that_is_not_there_cannot_be_opened_to_read_only(tmp_path: Path) -> None:
    with pytest.raises(DiskFailure, match="No such file"):
        Rocks(tmp_path / "absent", RAFT_LOG, read_only=True)


def test_closing_twice_does_nothing(tmp_path: Path) -> None:
    database = Rocks(tmp_path / "db", RAFT_LOG)
    database.close()
    database.close()


def test_a_closed_database_says_that_it_is_closed(tmp_path: Path) -> None:
    database = Rocks(tmp_path / "db", RAFT_LOG)
    database.close()
    with pytest.raises(DbClosedError):
        database.get(b"key")
    with pytest.raises(DbClosedError):
        database.scan(*EVERYTHING)


# Tables


def table_of(path: Path, pairs: dict[bytes, bytes]) -> Path:
    writer = TableWriter(path, KEY_VALUE)
    for key, value in pairs.items():
        writer.put(key, value)
    path.write_bytes(b"".join(writer.contents()))
    writer.close()
    return path


def test_a_table_that_was_ingested_is_read_and_its_file_taken_over(tmp_path: Path) -> None:
    pairs = {numbered_key(number): b"v" * 1000 for number in range(3000)}
    table = table_of(tmp_path / "table", pairs)
    database = Rocks(tmp_path / "db", KEY_VALUE)
    database.ingest(table)
    assert dict(database.scan(*EVERYTHING)) == pairs
    assert not table.exists()
    database.close()


def test_a_table_that_was_ingested_survives_a_kill_without_a_flush(tmp_path: Path) -> None:
    pairs = {numbered_key(number): b"value" for number in range(10)}
    database = Rocks(tmp_path / "db", KEY_VALUE)
    database.ingest(table_of(tmp_path / "table", pairs))
    shutil.copytree(tmp_path / "db", tmp_path / "killed")
    killed = Rocks(tmp_path / "killed", KEY_VALUE)
    assert dict(killed.scan(*EVERYTHING)) == pairs
    killed.close()
    database.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no files in memory")
def test_a_table_touches_no_disk_before_its_contents_are_written(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path / "table", KEY_VALUE)
    for number in range(3000):
        writer.put(numbered_key(number), b"v" * 1000)
    contents = b"".join(writer.contents())
    writer.close()
    assert (list(tmp_path.iterdir()), contents != b"") == ([], True)


def test_the_size_of_a_table_is_known_while_it_is_written(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path / "table", RAFT_LOG)
    for number in range(1000):
        writer.put(numbered_key(number), b"v" * 1000)
    size_bytes = writer.size_bytes()
    final_bytes = sum(map(len, writer.contents()))
    writer.close()
    assert 0.95 * final_bytes < size_bytes <= final_bytes


def test_a_table_without_pairs_cannot_be_finished(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path / "table", KEY_VALUE)
    with pytest.raises(DiskFailure, match="no entries"):
        next(writer.contents())
    writer.close()


@pytest.mark.parametrize("key", [b"b", b"a"])
def test_a_key_of_a_table_that_is_not_above_the_one_before_is_refused(tmp_path: Path, key: bytes) -> None:
    writer = TableWriter(tmp_path / "table", KEY_VALUE)
    writer.put(b"b", b"")
    with pytest.raises(DiskFailure, match="strict ascending order"):
        writer.put(key, b"")
    writer.close()


def test_what_is_no_table_is_corruption_and_changes_nothing(tmp_path: Path, rocks: Rocks) -> None:
    pairs = fill(rocks)
    (tmp_path / "table").write_bytes(b"x" * 1000)
    with pytest.raises(Corruption, match=f"{tmp_path}/table"):
        rocks.ingest(tmp_path / "table")
    assert dict(rocks.scan(*EVERYTHING)) == pairs


def test_a_table_that_is_not_there_is_a_disk_failure(tmp_path: Path, rocks: Rocks) -> None:
    with pytest.raises(DiskFailure, match="No such file"):
        rocks.ingest(tmp_path / "table")


# Edge 1: the bounds of an iterator are borrowed


def bounded_raw_iterator(raw: Rdict, upper: int) -> RdictIter:
    options = ReadOptions()
    options.set_iterate_upper_bound(numbered_key(upper))
    return raw.iter(options)


def test_edge_the_bound_of_a_raw_iterator_is_lost_with_its_options(raw: Rdict) -> None:
    for number in range(100):
        raw[numbered_key(number)] = b"value"
    wrong = 0
    for _ in range(100):
        iterator = bounded_raw_iterator(raw, 50)
        overwritten = [f"zzz{number:06d}".encode() for number in range(100)]
        iterator.seek(b"")
        count = 0
        while iterator.valid():
            count += 1
            iterator.next()
        wrong += count != 50
        del iterator, overwritten
    assert wrong > 0


def test_a_scan_ends_at_its_bound_whatever_became_of_it(rocks: Rocks) -> None:
    fill(rocks, 100)
    for _ in range(100):
        scan = rocks.scan(b"", numbered_key(50))
        overwritten = [f"zzz{number:06d}".encode() for number in range(100)]
        assert len(list(scan)) == 50
        del overwritten


# Edge 2: the lower bound is the upper


def test_edge_the_lower_bound_of_a_raw_iterator_is_the_upper(raw: Rdict) -> None:
    for number in range(10):
        raw[numbered_key(number)] = b"value"
    bound = numbered_key(3)
    options = ReadOptions()
    options.set_iterate_lower_bound(bound)
    assert list(raw.keys(read_opt=options)) == [numbered_key(number) for number in (0, 1, 2)]


# Edge 3: an iterator ends silently at a corrupt block


def test_edge_raw_items_end_silently_at_a_corrupt_block(tmp_path: Path) -> None:
    pairs = with_a_corrupt_block(tmp_path / "db")
    raw = open_raw(tmp_path / "db")
    assert 0 < len(list(raw.items())) < len(pairs)
    raw.close()


@pytest.mark.parametrize("backwards", [False, True])
def test_a_scan_over_a_corrupt_block_raises(tmp_path: Path, backwards: bool) -> None:
    with_a_corrupt_block(tmp_path / "db")
    database = Rocks(tmp_path / "db", RAFT_LOG)
    with pytest.raises(Corruption, match=r"db: Corruption: block checksum mismatch"):
        list(database.scan(*EVERYTHING, backwards=backwards))
    database.close()


def test_a_scan_that_begins_in_a_corrupt_block_raises(tmp_path: Path) -> None:
    pairs = with_a_corrupt_block(tmp_path / "db")
    database = Rocks(tmp_path / "db", RAFT_LOG)
    with pytest.raises(Corruption):
        deque((next(database.scan(key, key + b"\0")) for key in pairs), maxlen=0)
    database.close()


def test_reading_a_key_in_a_corrupt_block_raises(tmp_path: Path) -> None:
    pairs = with_a_corrupt_block(tmp_path / "db")
    database = Rocks(tmp_path / "db", RAFT_LOG)
    with pytest.raises(Corruption):
        deque(map(database.get, pairs), maxlen=0)
    database.close()


def test_reading_many_keys_of_which_one_is_in_a_corrupt_block_raises(tmp_path: Path) -> None:
    pairs = with_a_corrupt_block(tmp_path / "db")
    database = Rocks(tmp_path / "db", RAFT_LOG)
    with pytest.raises(Corruption):
        database.get_many(list(pairs))
    database.close()


# Edge 4: a database with a live iterator does not close


def test_edge_a_raw_database_with_a_live_iterator_does_not_close(tmp_path: Path) -> None:
    raw = open_raw(tmp_path / "raw")
    iterator = raw.iter()
    raw.close()
    with pytest.raises(Exception, match="lock hold by current process"):
        open_raw(tmp_path / "raw")
    del iterator
    open_raw(tmp_path / "raw").close()


def test_closing_ends_the_scans_that_are_open(tmp_path: Path) -> None:
    database = Rocks(tmp_path / "db", RAFT_LOG)
    fill(database)
    scan = database.scan(*EVERYTHING)
    next(scan)
    database.close()
    Rocks(tmp_path / "db", RAFT_LOG).close()
    with pytest.raises(InvariantViolation, match="closed before its end"):
        next(scan)


# Edge 5: a batch is consumed by its write


def test_edge_a_raw_batch_is_consumed_by_its_write(raw: Rdict) -> None:
    batch = RawWriteBatch(raw_mode=True)
    batch.put(b"key", b"value")
    raw.write(batch)
    with pytest.raises(Exception, match="already consumed"):
        raw.write(batch)


def test_writing_a_batch_twice_is_a_bug(rocks: Rocks) -> None:
    batch = WriteBatch()
    rocks.write(batch)
    with pytest.raises(InvariantViolation, match="written twice"):
        rocks.write(batch)


# Edge 6: errors are plain exceptions with a text


def test_edge_raw_errors_are_plain_exceptions(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "CURRENT").write_text("nonsense")
    with pytest.raises(Exception, match=r"^Corruption") as raised:
        open_raw(tmp_path / "db")
    assert type(raised.value) is Exception


def test_opening_a_damaged_database_is_corruption_with_its_place_and_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "CURRENT").write_text("nonsense")
    with pytest.raises(Corruption, match=f"^{tmp_path}/db: Corruption: .*The files are kept"):
        Rocks(tmp_path / "db", RAFT_LOG)


def test_a_table_that_is_missing_is_corruption(tmp_path: Path) -> None:
    with_a_corrupt_block(tmp_path / "db")
    (table,) = (tmp_path / "db").glob("*.sst")
    table.unlink()
    with pytest.raises(Corruption):
        Rocks(tmp_path / "db", RAFT_LOG)


def test_a_path_that_is_a_file_is_a_disk_failure(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("a file")
    with pytest.raises(DiskFailure):
        Rocks(tmp_path / "db", RAFT_LOG)


def test_a_write_that_the_system_refuses_is_a_disk_failure(rocks: Rocks) -> None:
    batch = WriteBatch()
    batch.put(b"key", b"v" * 1_000_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DiskFailure, match="File too large"):
            rocks.write(batch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(DiskFailure):
        rocks.close()


def test_an_fsync_that_the_system_refuses_is_a_disk_failure(tmp_path: Path, rocks: Rocks) -> None:
    fill(rocks)
    make_fsyncs_fail(tmp_path / "db")
    fill(rocks)
    with pytest.raises(DiskFailure, match="Invalid argument"):
        rocks.sync_wal()
    with pytest.raises(DiskFailure):
        rocks.close()


def test_a_full_disk_is_told_from_a_broken_one(tmp_path: Path) -> None:
    database = Rocks(tmp_path / "db", KEY_VALUE)
    fill(database)
    # Whatever table the flush is going to write, it is written to a device that is always full.
    for number in range(100):
        (tmp_path / "db" / f"{number:06d}.sst").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match="make room"):
        database.flush()
    with pytest.raises(DiskFull):
        database.close()


def test_a_mistake_of_the_caller_is_no_failure_of_the_disk(rocks: Rocks) -> None:
    with pytest.raises(KeyError, match="only support bytes"):
        rocks.get("text")  # type: ignore[arg-type]


# Further edges, found on the way


def test_edge_a_raw_database_takes_the_options_of_its_column_family_from_disk(tmp_path: Path) -> None:
    Rocks(tmp_path / "db", KEY_VALUE).close()
    raw = open_raw(tmp_path / "db")
    assert raw.property_value("rocksdb.block-cache-capacity") == str(8 << 20)
    raw.close()


def test_opening_again_takes_the_options_of_the_profile(tmp_path: Path) -> None:
    Rocks(tmp_path / "db", RAFT_LOG).close()
    database = Rocks(tmp_path / "db", KEY_VALUE)
    capacity = database._database.property_value("rocksdb.block-cache-capacity")
    database.close()
    assert capacity == str(KEY_VALUE.block_cache_bytes)


def with_an_endless_record(path: Path) -> None:
    """A database whose MANIFEST has one bit flipped: the type of its last record is 5 and not 1."""
    database = Rocks(path, RAFT_LOG)
    fill(database)
    database.close()
    (manifest,) = path.glob("MANIFEST-*")
    content = manifest.read_bytes()
    offset = last = 0
    while offset < len(content):
        last = offset
        offset += 7 + int.from_bytes(content[offset + 4 : offset + 6], "little")
    flip_bit(manifest, last + 6, bit=2)


def run_python(code: str, path: Path, timeout_seconds: float) -> str:
    """What a process of its own prints; a thread could not be stopped, because RocksDB holds the GIL."""
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=False).stdout


def test_edge_opening_a_raw_database_with_an_endless_record_hangs(tmp_path: Path) -> None:
    with_an_endless_record(tmp_path / "db")
    code = "import sys, rocksdict; rocksdict.Rdict(sys.argv[1], rocksdict.Options(raw_mode=True))"
    with pytest.raises(subprocess.TimeoutExpired):
        run_python(code, tmp_path / "db", timeout_seconds=2.0)


def test_a_database_with_an_endless_record_is_refused(tmp_path: Path) -> None:
    with_an_endless_record(tmp_path / "db")
    code = (
        "import sys; from pathlib import Path; from meteora.storage.rocks import *\n"
        "try: Rocks(Path(sys.argv[1]), RAFT_LOG)\n"
        "except Corruption as error: print(error)"
    )
    assert "of a type that is never written" in run_python(code, tmp_path / "db", timeout_seconds=30.0)


# Stalls


def test_a_database_at_rest_takes_writes_at_once(rocks: Rocks) -> None:
    assert rocks.write_delay_seconds(1 << 20) == 0.0


def fill_level_0(rocks: Rocks, tables: int) -> None:
    """Writes are slowed down from two tables on, and stopped from four on."""
    rocks._database.set_options(
        {
            "level0_file_num_compaction_trigger": "1000",
            "level0_slowdown_writes_trigger": "2",
            "level0_stop_writes_trigger": "4",
        }
    )
    for number in range(tables):
        fill(rocks, number + 1)
        rocks.flush()


def test_a_database_that_slows_writers_down_says_for_how_long(rocks: Rocks) -> None:
    fill_level_0(rocks, 2)
    delay_seconds = rocks.write_delay_seconds(1 << 20)
    assert 0.0 < delay_seconds < math.inf
    assert rocks.write_delay_seconds(2 << 20) == 2 * delay_seconds


def test_a_database_that_stops_writers_says_so(rocks: Rocks) -> None:
    fill_level_0(rocks, 4)
    assert rocks.write_delay_seconds(1) == math.inf


def test_how_many_pairs_there_are_is_known_about(rocks: Rocks) -> None:
    assert rocks.estimated_pairs() == 0
    fill(rocks, 100)
    assert rocks.estimated_pairs() == 100
    rocks.flush()
    assert rocks.estimated_pairs() == 100


# Merging


def overwritten(path: Path) -> Rocks:
    """A database of one table, half of which is deleted by another."""
    database = Rocks(path, KEY_VALUE)
    fill(database, 100, random.Random(1).randbytes(10_000))
    database.flush()
    batch = WriteBatch()
    for number in range(50):
        batch.delete(numbered_key(number))
    database.write(batch)
    return database


def test_what_was_deleted_takes_no_room_once_it_is_merged(tmp_path: Path) -> None:
    database = overwritten(tmp_path / "db")
    database.flush()
    before = database.stored_bytes()
    database.merge(*EVERYTHING)
    assert database.stored_bytes() < 0.6 * before
    assert [table.deletions for table in database.tables()] == [0]
    assert database.get(numbered_key(50)) is not None
    assert database.get(numbered_key(49)) is None
    database.close()


def test_deletions_are_known_before_and_after_they_are_flushed(tmp_path: Path) -> None:
    database = overwritten(tmp_path / "db")
    assert database.has_unflushed_deletions()
    database.flush()
    assert not database.has_unflushed_deletions()
    deleting = [table for table in database.tables() if table.deletions]
    assert [(table.first_key, table.last_key) for table in deleting] == [(numbered_key(0), numbered_key(49))]
    database.close()


def test_what_is_stored_counts_what_is_in_memory(rocks: Rocks) -> None:
    before = rocks.stored_bytes()
    fill(rocks, 100, bytes(10_000))
    assert rocks.stored_bytes() >= before + 100 * 10_000
