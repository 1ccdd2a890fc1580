"""Chunks that are lost, damaged, late or cut off: what arrives is the snapshot, or it does not arrive."""

import asyncio
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from meteora.errors import DiskFailure, DiskFull, SnapshotDamaged
from meteora.raft.errors import InvariantViolation
from meteora.storage.disk_thread import DiskThread
from meteora.storage.snapshot_files import Manifest, Table, table_path
from meteora.storage.snapshot_transfer import CHUNK_BYTES, Chunk, Position, SnapshotReceiver, SnapshotSource
from tests.unit.storage.snapshots import contents, disk_thread, receive, write_snapshot

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def disk() -> Iterator[DiskThread]:
    with disk_thread() as thread:
        yield thread


@pytest.fixture
def source(tmp_path: Path, disk: DiskThread) -> SnapshotSource:
    return SnapshotSource(tmp_path / "out", write_snapshot(tmp_path / "out"), disk)


@pytest.fixture
def receiver(tmp_path: Path, disk: DiskThread) -> SnapshotReceiver:
    return SnapshotReceiver(tmp_path / "in", disk)


def read(source: SnapshotSource, position: Position) -> Chunk:
    chunk = asyncio.run(source.read(position, 20_000))
    assert chunk is not None
    return chunk


def write(receiver: SnapshotReceiver, chunk: Chunk) -> Position:
    return asyncio.run(receiver.write(chunk))


# Whole transfers


def test_what_was_sent_is_what_is_received(tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver) -> None:
    receive(source, receiver)
    assert receiver.is_complete
    assert receiver.take() == source.manifest
    assert contents(tmp_path / "in") == contents(tmp_path / "out")


@pytest.mark.parametrize("chunk_bytes", [999, CHUNK_BYTES])
def test_chunks_of_any_size_will_do(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver, chunk_bytes: int
) -> None:
    receive(source, receiver, chunk_bytes=chunk_bytes)
    assert contents(tmp_path / "in") == contents(tmp_path / "out")


def test_how_much_was_received_is_known(source: SnapshotSource, receiver: SnapshotReceiver) -> None:
    assert receiver.received_bytes == 0
    number, offset_bytes = receive(source, receiver, max_chunks=7)
    tables = source.manifest.tables
    assert receiver.received_bytes == sum(table.size_bytes for table in tables[:number]) + offset_bytes
    receive(source, receiver)
    assert receiver.received_bytes == source.manifest.size_bytes


def test_a_transfer_that_was_cut_off_goes_on_where_it_was(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver
) -> None:
    position = receive(source, receiver, max_chunks=7)
    assert position.table_number > 0 < position.offset_bytes
    assert asyncio.run(receiver.begin(source.manifest)) == position
    receive(source, receiver)
    assert contents(tmp_path / "in") == contents(tmp_path / "out")


def test_a_transfer_goes_on_after_a_restart_of_the_receiver(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver, disk: DiskThread
) -> None:
    position = receive(source, receiver, max_chunks=7)
    restarted = SnapshotReceiver(tmp_path / "in", disk)
    assert asyncio.run(restarted.begin(source.manifest)) == position
    receive(source, restarted)
    assert contents(tmp_path / "in") == contents(tmp_path / "out")


def test_a_complete_snapshot_is_complete_after_a_restart(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver, disk: DiskThread
) -> None:
    end = receive(source, receiver)
    restarted = SnapshotReceiver(tmp_path / "in", disk)
    assert asyncio.run(restarted.begin(source.manifest)) == end
    assert restarted.is_complete


def test_another_snapshot_begins_at_the_beginning_and_leaves_nothing_of_the_first(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver, disk: DiskThread
) -> None:
    receive(source, receiver, max_chunks=7)
    other = SnapshotSource(tmp_path / "other", write_snapshot(tmp_path / "other", pairs=[(b"a", b"1")]), disk)
    assert asyncio.run(receiver.begin(other.manifest)) == (0, 0)
    receive(other, receiver)
    assert contents(tmp_path / "in") == contents(tmp_path / "other")


# Chunks that are not what they should be


def test_a_chunk_that_comes_twice_changes_nothing(source: SnapshotSource, receiver: SnapshotReceiver) -> None:
    chunk = read(source, asyncio.run(receiver.begin(source.manifest)))
    position = write(receiver, chunk)
    assert write(receiver, chunk) == position
    assert position == (0, 20_000)


def test_a_chunk_after_a_lost_one_changes_nothing(source: SnapshotSource, receiver: SnapshotReceiver) -> None:
    asyncio.run(receiver.begin(source.manifest))
    assert write(receiver, read(source, Position(0, 20_000))) == (0, 0)
    assert write(receiver, read(source, Position(1, 0))) == (0, 0)


def test_a_damaged_chunk_changes_nothing(source: SnapshotSource, receiver: SnapshotReceiver) -> None:
    chunk = read(source, asyncio.run(receiver.begin(source.manifest)))
    damaged = chunk._replace(data=b"x" + chunk.data[1:])
    assert write(receiver, damaged) == (0, 0)
    assert write(receiver, chunk) == (0, 20_000)


def test_a_chunk_after_the_end_changes_nothing(source: SnapshotSource, receiver: SnapshotReceiver) -> None:
    end = receive(source, receiver)
    assert write(receiver, Chunk(end, b"", 0)) == end


def test_a_chunk_that_goes_beyond_its_table_is_damage(source: SnapshotSource, receiver: SnapshotReceiver) -> None:
    asyncio.run(receiver.begin(source.manifest))
    chunk = read(source, Position(0, 0))
    whole = chunk.data * (source.manifest.tables[0].size_bytes // len(chunk.data) + 1)
    with pytest.raises(SnapshotDamaged, match="goes beyond"):
        write(receiver, Chunk(Position(0, 0), whole, zlib.crc32(whole)))
    assert asyncio.run(receiver.begin(source.manifest)) == (0, 0)


def test_a_table_that_was_damaged_at_the_sender_is_wanted_once_more(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver
) -> None:
    path = table_path(tmp_path / "out", 1)
    whole = path.read_bytes()
    path.write_bytes(b"x" + whole[1:])
    with pytest.raises(SnapshotDamaged, match="table 1 of a snapshot has the digest"):
        receive(source, receiver)
    path.write_bytes(whole)
    assert asyncio.run(receiver.begin(source.manifest)) == (1, 0)
    receive(source, receiver)
    assert contents(tmp_path / "in") == contents(tmp_path / "out")


def test_a_chunk_before_its_manifest_is_a_bug(source: SnapshotSource, receiver: SnapshotReceiver) -> None:
    with pytest.raises(InvariantViolation):
        write(receiver, read(source, Position(0, 0)))


def test_taking_what_is_not_complete_is_a_bug(source: SnapshotSource, receiver: SnapshotReceiver) -> None:
    receive(source, receiver, max_chunks=7)
    with pytest.raises(InvariantViolation):
        receiver.take()


# What a crash leaves


def restarted_with(tmp_path: Path, source: SnapshotSource, disk: DiskThread) -> SnapshotReceiver:
    receiver = SnapshotReceiver(tmp_path / "in", disk)
    receive(source, receiver)
    assert contents(tmp_path / "in") == contents(tmp_path / "out")
    return receiver


@pytest.mark.parametrize(("number", "keep_bytes"), [(0, 0), (0, 30_000), (1, 1), (2, 30_000)])
def test_a_table_that_lost_its_end_is_completed(
    tmp_path: Path, source: SnapshotSource, disk: DiskThread, number: int, keep_bytes: int
) -> None:
    receive(source, SnapshotReceiver(tmp_path / "in", disk))
    path = table_path(tmp_path / "in", number)
    path.write_bytes(path.read_bytes()[:keep_bytes])
    restarted_with(tmp_path, source, disk)


def test_a_table_that_is_missing_is_received_again(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver, disk: DiskThread
) -> None:
    receive(source, receiver)
    table_path(tmp_path / "in", 1).unlink()
    restarted_with(tmp_path, source, disk)


def test_a_whole_table_that_was_damaged_is_received_again(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver, disk: DiskThread
) -> None:
    receive(source, receiver)
    path = table_path(tmp_path / "in", 1)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    restarted_with(tmp_path, source, disk)


def test_a_part_of_a_table_that_was_damaged_is_noticed_once_the_table_is_whole(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver, disk: DiskThread
) -> None:
    receive(source, receiver, max_chunks=2)
    path = table_path(tmp_path / "in", 0)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    restarted = SnapshotReceiver(tmp_path / "in", disk)
    with pytest.raises(SnapshotDamaged):
        receive(source, restarted)
    receive(source, restarted)
    assert contents(tmp_path / "in") == contents(tmp_path / "out")


def test_without_its_manifest_nothing_that_is_there_is_believed(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver, disk: DiskThread
) -> None:
    receive(source, receiver, max_chunks=7)
    (tmp_path / "in" / "manifest").unlink()
    assert asyncio.run(SnapshotReceiver(tmp_path / "in", disk).begin(source.manifest)) == (0, 0)


# Disks


def test_a_snapshot_that_has_no_room_is_refused_before_anything_is_touched(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver
) -> None:
    receive(source, receiver, max_chunks=7)
    before = contents(tmp_path / "in")
    huge = Manifest(index=9, term=3, membership=b"", tables=(Table(1 << 60, "ab"),))
    with pytest.raises(DiskFull, match=r"of a snapshot are to be written, and .* are free"):
        asyncio.run(receiver.begin(huge))
    assert contents(tmp_path / "in") == before


def test_a_disk_that_fills_up_is_told_and_what_is_there_counts_afterwards(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver
) -> None:
    asyncio.run(receiver.begin(source.manifest))
    table_path(tmp_path / "in", 0).symlink_to("/dev/full")
    with pytest.raises(DiskFull):
        write(receiver, read(source, Position(0, 0)))
    table_path(tmp_path / "in", 0).unlink()
    receive(source, receiver)
    assert contents(tmp_path / "in") == contents(tmp_path / "out")


def test_a_directory_that_cannot_be_written_is_a_disk_failure(
    tmp_path: Path, source: SnapshotSource, receiver: SnapshotReceiver
) -> None:
    asyncio.run(receiver.begin(source.manifest))
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(DiskFailure):
        write(receiver, read(source, Position(0, 0)))


# Reading


def test_a_chunk_ends_with_its_table(source: SnapshotSource) -> None:
    chunk = asyncio.run(source.read(Position(0, 10), 1 << 30))
    assert chunk is not None
    assert len(chunk.data) == source.manifest.tables[0].size_bytes - 10


def test_after_the_last_table_there_is_nothing(source: SnapshotSource) -> None:
    assert asyncio.run(source.read(Position(len(source.manifest.tables), 0))) is None


@pytest.mark.parametrize("position", [(-1, 0), (0, -1), (0, 1 << 30), (99, 0)])
def test_a_place_that_is_not_there_is_a_bug(source: SnapshotSource, position: tuple[int, int]) -> None:
    with pytest.raises(InvariantViolation):
        asyncio.run(source.read(Position(*position)))


def test_a_table_that_is_gone_or_shorter_is_damage(tmp_path: Path, source: SnapshotSource) -> None:
    path = table_path(tmp_path / "out", 1)
    path.write_bytes(path.read_bytes()[:30_000])
    with pytest.raises(SnapshotDamaged, match="ends at 30000"):
        read(source, Position(1, 20_000))
    path.unlink()
    with pytest.raises(SnapshotDamaged, match="is not there any more"):
        read(source, Position(1, 0))
