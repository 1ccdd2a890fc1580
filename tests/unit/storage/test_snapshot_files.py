"""Tables and manifests: what is written is what is read, and nothing else is taken for a snapshot."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.errors import DiskFailure, DiskFull, SnapshotDamaged
from meteora.storage.pace import Abandoned, Pace
from meteora.storage.rocks import KEY_VALUE, Rocks
from meteora.storage.snapshot_files import (
    DIGEST_BYTES,
    TABLE_BYTES,
    Manifest,
    Table,
    TablesWriter,
    decode_manifest,
    make_empty,
    new_digest,
    read_manifest,
    refuse_without_room,
    remove,
    table_path,
    write_manifest,
)
from tests.unit.storage.snapshots import PAIRS, new_table, write_snapshot

pytestmark = pytest.mark.usefixtures("no_leaks")

MANIFEST = Manifest(index=7, term=3, membership=b"\x00members", tables=(Table(100, "ab"), Table(50, "cd")))

numbers = st.integers(1, (1 << 63) - 1)
manifests = st.builds(
    Manifest,
    index=numbers,
    term=numbers,
    membership=st.binary(max_size=100),
    tables=st.lists(st.builds(Table, numbers, st.text("0123456789abcdef", max_size=32)), min_size=1, max_size=5).map(
        tuple
    ),
)


# Tables


def test_the_tables_hold_the_pairs_in_order(tmp_path: Path) -> None:
    manifest = write_snapshot(tmp_path / "snapshot")
    assert len(manifest.tables) > 2
    database = Rocks(tmp_path / "db", KEY_VALUE)
    for number in range(len(manifest.tables)):
        database.ingest(table_path(tmp_path / "snapshot", number))
    found = list(database.scan(b"", b"\xff"))
    database.close()
    assert found == PAIRS


def test_a_table_is_about_as_long_as_it_may_be(tmp_path: Path) -> None:
    manifest = write_snapshot(tmp_path / "snapshot", table_bytes=50_000)
    assert all(40_000 < table.size_bytes < 60_000 for table in manifest.tables[:-1])


def test_the_manifest_says_the_size_and_the_digest_of_each_table(tmp_path: Path) -> None:
    manifest = write_snapshot(tmp_path / "snapshot")
    files = [table_path(tmp_path / "snapshot", number).read_bytes() for number in range(len(manifest.tables))]
    assert manifest.tables == tuple(Table(len(content), new_digest(content).hexdigest()) for content in files)
    assert manifest.size_bytes == sum(map(len, files))
    assert len(manifest.tables[0].digest) == 2 * DIGEST_BYTES


def test_the_pairs_that_are_to_be_noticed_are_wherever_they_stand(tmp_path: Path) -> None:
    make_empty(tmp_path / "snapshot")
    keys = [PAIRS[number][0] for number in (0, 100, 199)]
    writer = TablesWriter(tmp_path / "snapshot", Pace(), new_table, [*keys, b"absent"])
    writer.write(PAIRS)
    assert writer.noticed == {key: dict(PAIRS)[key] for key in keys}


def test_no_pairs_are_no_tables(tmp_path: Path) -> None:
    writer = TablesWriter(tmp_path, Pace(), new_table)
    writer.write([])
    assert (writer.tables, list(tmp_path.iterdir())) == ([], [])


def test_writing_is_abandoned_on_the_way(tmp_path: Path) -> None:
    pace = Pace()
    pace.abandon()
    with pytest.raises(Abandoned):
        TablesWriter(tmp_path, pace, new_table).write(PAIRS)


def test_a_disk_without_room_is_a_full_disk(tmp_path: Path) -> None:
    table_path(tmp_path, 0).symlink_to("/dev/full")
    with pytest.raises(DiskFull):
        TablesWriter(tmp_path, Pace(), new_table).write(PAIRS)


def test_a_disk_that_is_nearly_full_gets_no_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    room = usage._replace(total=100 * TABLE_BYTES, free=5 * TABLE_BYTES + TABLE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    refuse_without_room(tmp_path, TABLE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room._replace(free=room.free - 1))
    with pytest.raises(DiskFull, match="Make room"):
        TablesWriter(tmp_path, Pace(), new_table).write(PAIRS)
    assert list(tmp_path.iterdir()) == []


# Manifests


@given(manifests)
def test_a_manifest_comes_back(manifest: Manifest) -> None:
    assert decode_manifest(manifest.encode()) == manifest


@given(manifests, manifests)
def test_two_snapshots_have_the_same_id_if_they_are_the_same(one: Manifest, other: Manifest) -> None:
    assert (one.snapshot_id == other.snapshot_id) == (one == other)


def test_every_flipped_bit_of_a_manifest_is_noticed_or_changes_nothing() -> None:
    whole = MANIFEST.encode()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert decode_manifest(bytes(damaged)) == MANIFEST
        except SnapshotDamaged:
            continue


def test_every_cut_of_a_manifest_is_noticed() -> None:
    whole = MANIFEST.encode()
    for length in range(len(whole)):
        with pytest.raises(SnapshotDamaged):
            decode_manifest(whole[:length])


def changed(**fields: object) -> bytes:
    """The manifest with other fields, and a checksum that is right."""
    whole = {**json.loads(MANIFEST.encode()), **fields}
    del whole["checksum"]
    whole = {name: value for name, value in whole.items() if value is not None}
    checksum = new_digest(json.dumps(whole, sort_keys=True).encode()).hexdigest()
    return json.dumps({**whole, "checksum": checksum}).encode()


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(changed(index=-1), id="negative index"),
        pytest.param(changed(index=0), id="index 0"),
        pytest.param(changed(index=1 << 64), id="index too large"),
        pytest.param(changed(index="7"), id="index of text"),
        pytest.param(changed(index=True), id="index of truth"),
        pytest.param(changed(term=None), id="no term"),
        pytest.param(changed(membership="?"), id="membership"),
        pytest.param(changed(tables=[]), id="no tables"),
        pytest.param(changed(tables=[[100]]), id="table without digest"),
        pytest.param(changed(tables=[[0, "ab"]]), id="empty table"),
        pytest.param(changed(tables=7), id="tables"),
    ],
)
def test_what_is_no_manifest_is_refused(encoded: bytes) -> None:
    with pytest.raises(SnapshotDamaged, match="can't be read"):
        decode_manifest(encoded)


def test_a_manifest_of_a_newer_release_is_refused_with_the_way_out() -> None:
    with pytest.raises(SnapshotDamaged, match="has format 2, and this release knows 1: update this node"):
        decode_manifest(changed(format_version=2))


def test_a_manifest_that_was_written_is_read(tmp_path: Path) -> None:
    write_manifest(MANIFEST, tmp_path)
    assert read_manifest(tmp_path) == MANIFEST


def test_where_there_is_no_manifest_there_is_no_snapshot(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "absent") is None
    (tmp_path / "manifest").write_bytes(MANIFEST.encode()[:-5])
    assert read_manifest(tmp_path) is None


def test_a_manifest_that_the_system_cannot_read_is_a_disk_failure(tmp_path: Path) -> None:
    (tmp_path / "manifest").mkdir()
    with pytest.raises(DiskFailure):
        read_manifest(tmp_path)


# Directories


def test_a_directory_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "one" / "two").mkdir(parents=True)
    make_empty(tmp_path / "one")
    assert list((tmp_path / "one").iterdir()) == []


def test_a_directory_that_is_not_there_is_removed_already(tmp_path: Path) -> None:
    remove(tmp_path / "absent")
