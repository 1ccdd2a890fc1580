"""What is told of a disk that was damaged, and that nothing is changed by looking at it."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from meteora.errors import DataDirectoryError
from meteora.kv.command import Command, Operation, encode_batch
from meteora.kv.sessions import Session
from meteora.kv.state import APPLIED_KEY, MEMBERSHIP_KEY, encode_position, session_key
from meteora.kv.state_machine import StateMachine
from meteora.node.members import Member, encode_context
from meteora.node.recovery import replay
from meteora.raft import Change, ChangeKind, ConfChange, Entry, EntryKind, HardState
from meteora.server.verification import Verified, verify
from meteora.storage.data_directory import DataDirectory
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from meteora.storage.raft_records import LOG_STATE_KEY, LogState, encode_log_state, entry_key, term_run_key
from meteora.storage.rocks import KEY_VALUE, RAFT_LOG, Rocks, WriteBatch

pytestmark = pytest.mark.usefixtures("no_leaks")

WHOLE = Verified(entries=7, keys=6, sessions=1, damages=0)

FILTER_BYTES = 74
"""Of the Bloom filter of a few keys, with its checksum. RocksDB drops a damaged one, and reads the keys instead."""

Change_ = Callable[[WriteBatch], None]


def founding() -> Entry:
    change = ConfChange((Change(ChangeKind.ADD_VOTER, 1),), context=encode_context({1: Member("h:1", "h:2", 5)}))
    return Entry(1, 1, change.encode(), EntryKind.CONF_CHANGE)


def put(index: int) -> Entry:
    command = Command(Operation.PUT, 9, index, 1, False, b"key%d" % index, b"value" * 50)
    return Entry(1 if index < 5 else 2, index, encode_batch([command]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory of a node that was stopped: seven entries in two terms, all applied."""
    directory = DataDirectory.open(tmp_path / "data", 1)
    directory.create_identity(1, 5)
    directory.set_cluster(77)
    disk = DiskThread("raft log")
    log = RaftLog.open(directory.raft_path, disk)
    state_machine = StateMachine.open(tmp_path / "data" / "kv")
    asyncio.run(log.append([founding(), *map(put, range(2, 8))], HardState(term=2, vote=1, commit=7)))
    replay(log, state_machine)
    state_machine.close()
    log.close()
    disk.close()
    directory.close()
    return directory.path


def told(root: Path) -> list[str]:
    """The damages, each without the directory that all of them are in."""
    damages: list[str] = []
    found = verify(root, damages.append)
    assert found.damages == len(damages)
    return [damage.replace(f"{root}/", "") for damage in damages]


def changed(path: Path, change: Change_) -> None:
    """Write to a database as no node would."""
    database = Rocks(path, RAFT_LOG if path.name == "raft" else KEY_VALUE)
    batch = WriteBatch()
    change(batch)
    database.write(batch)
    database.flush()
    database.close()


def table_in(path: Path) -> Path:
    return max(path.glob("*.sst"), key=lambda file: file.stat().st_size)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(root)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in root.rglob("*")
        if file.is_file()
    }


def test_a_disk_that_is_whole_is_counted(root: Path) -> None:
    assert verify(root, pytest.fail) == WHOLE


def reopened(root: Path, work: Callable[[RaftLog], Coroutine[Any, Any, None]]) -> None:
    """Do something with the log, as the node would once everything is applied."""
    disk = DiskThread("raft log")
    log = RaftLog.open(root / "raft", disk, applied_index=7)
    asyncio.run(work(log))
    log.close()
    disk.close()


@pytest.mark.parametrize("index", [3, 4, 5, 7])
def test_a_log_that_was_cut_is_whole(root: Path, index: int) -> None:
    reopened(root, lambda log: log.compact(index))
    assert verify(root, pytest.fail) == WHOLE._replace(entries=7 - index)


def test_the_state_that_the_log_names_is_the_one_that_is_read(root: Path) -> None:
    changed(root / "kv", lambda batch: batch.put(APPLIED_KEY, encode_position(9, 2)))
    (root / "kv").rename(root / "kv-9")
    reopened(root, lambda log: log.reset(9, 2, None, "kv-9"))
    assert verify(root, pytest.fail) == WHOLE._replace(entries=0)


def test_a_state_that_is_older_than_the_log_begins_is_told(root: Path) -> None:
    reopened(root, lambda log: log.compact(6))
    changed(root / "kv", lambda batch: batch.put(APPLIED_KEY, encode_position(3, 1)))
    assert told(root) == ["kv: entry 3 was applied last, but the log begins after 6"]


def test_nothing_is_changed(root: Path) -> None:
    before = contents(root)
    verify(root, pytest.fail)
    assert contents(root) == before


def test_nothing_is_changed_in_what_is_damaged(root: Path) -> None:
    flip(table_in(root / "kv"), 40)
    before = contents(root)
    assert told(root) != []
    assert contents(root) == before


def test_a_directory_that_a_node_uses_is_refused(root: Path) -> None:
    directory = DataDirectory.open(root, 1)
    with pytest.raises(DataDirectoryError, match="in use by another process"):
        verify(root, pytest.fail)
    directory.close()


def test_a_directory_that_no_node_has_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryError, match="is not the data directory of a node"):
        verify(tmp_path, pytest.fail)


def test_a_node_that_has_not_begun_has_nothing_to_be_damaged(tmp_path: Path) -> None:
    DataDirectory.open(tmp_path, 1).close()
    assert verify(tmp_path, pytest.fail) == Verified(0, 0, 0, 0)


def test_a_damaged_identity_does_not_keep_the_rest_from_being_read(root: Path) -> None:
    flip(root / "identity", 10)
    damages: list[str] = []
    found = verify(root, damages.append)
    assert (found.entries, found.keys, len(damages), "identity is damaged" in damages[0]) == (7, 6, 1, True)


@pytest.mark.parametrize(("name", "what"), [("raft", "raft: the raft log is gone"), ("kv", "kv: the state is gone")])
def test_what_is_gone_is_told(root: Path, name: str, what: str) -> None:
    (root / name).rename(root / "elsewhere")
    assert what in told(root)


@pytest.mark.parametrize("name", ["raft", "kv"])
def test_a_block_that_can_not_be_read_is_told_with_its_file(root: Path, name: str) -> None:
    table = table_in(root / name)
    flip(table, 40)
    damages = told(root)
    assert any("checksum" in damage and f"{name}/{table.name}" in damage for damage in damages)


def test_both_databases_are_read_although_both_are_damaged(root: Path) -> None:
    flip(table_in(root / "raft"), 40)
    flip(table_in(root / "kv"), 40)
    damages = told(root)
    assert {damage.split(":")[0] for damage in damages} == {"raft", "kv"}


def test_damage_in_one_table_leaves_those_behind_it_to_be_read(root: Path) -> None:
    first = table_in(root / "kv")
    later = Session(1, 0, 0, 0, 0).encode()
    changed(root / "kv", lambda batch: batch.put(session_key(10), later))
    flip(first, 40)
    assert verify(root, lambda _: None).sessions == 1


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda batch: batch.put(entry_key(3), put(3).encode()[:-1] + b"!"), "raft: entry 3: entry 3@1: checksum"),
        (lambda batch: batch.put(entry_key(3), put(4).encode()), "raft: entry 3: entry 4@1 is in its place"),
        (lambda batch: batch.delete(entry_key(3)), "raft: after entry 2 comes entry 4: what is between is missing"),
        (lambda batch: batch.delete(entry_key(7)), "raft: the log ends at 6, and not at 7 as its latest write says"),
        (lambda batch: batch.put(entry_key(6), Entry(1, 6).encode()), "raft: entry 6: its term is 1, after 2"),
        (lambda batch: batch.put(LOG_STATE_KEY, b"?"), "raft: the record under b'h' fails its checksum"),
        (lambda batch: batch.put(term_run_key(2), b"?"), "fails its checksum"),
        (lambda batch: batch.delete(term_run_key(2)), "raft: term 2 begins at 5, but is recorded to begin at no entry"),
        (lambda batch: batch.put(b"x", b""), "raft: key b'x': no release writes this key"),
        (
            lambda batch: batch.put(LOG_STATE_KEY, encode_log_state(LogState(1, 7, HardState(1, 1, 9)))),
            "raft: entry 9 was committed, but the log ends at 7",
        ),
        (
            lambda batch: batch.put(LOG_STATE_KEY, encode_log_state(LogState(1, 7, HardState(1, 1, 7)))),
            "raft: the log ends in term 2, and the term is 1",
        ),
        (
            lambda batch: batch.put(LOG_STATE_KEY, encode_log_state(LogState(0, 7, HardState(2, 1, 7)))),
            "raft: 1 writes were acknowledged, but only 0 are readable",
        ),
    ],
)
def test_what_is_wrong_with_the_log_is_told_with_its_place(root: Path, change: Change_, what: str) -> None:
    changed(root / "raft", change)
    assert any(what in damage for damage in told(root))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda batch: batch.put(session_key(9), b"?"), "is not a session of this release"),
        (lambda batch: batch.put(MEMBERSHIP_KEY, b"?"), "kv: the membership record can't be read"),
        (lambda batch: batch.put(APPLIED_KEY, b"?"), "3f is not an applied index"),
        (lambda batch: batch.put(b"x", b""), "kv: key b'x': no release writes this key"),
        (
            lambda batch: batch.put(APPLIED_KEY, encode_position(8, 2)),
            "kv: entry 8 was applied, but the log ends at 7",
        ),
        (
            lambda batch: batch.put(APPLIED_KEY, encode_position(7, 1)),
            "kv: the entry that was applied last is 7@1, and 7@2 in the log",
        ),
    ],
)
def test_what_is_wrong_with_the_state_is_told_with_its_place(root: Path, change: Change_, what: str) -> None:
    changed(root / "kv", change)
    assert any(what in damage for damage in told(root))


def test_a_damaged_watermark_is_told(root: Path) -> None:
    flip(root / "raft" / "watermark", 3)
    assert any("is not a watermark" in damage for damage in told(root))


def test_a_bit_that_flips_in_what_only_the_write_ahead_log_has_is_told(root: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"

    async def append_and_be_killed(log: RaftLog) -> None:
        await log.append([put(8)], HardState(term=2, vote=1, commit=7))
        shutil.copytree(root, killed)

    reopened(root, append_and_be_killed)
    assert verify(killed, pytest.fail) == WHOLE._replace(entries=8)
    (ahead,) = (file for file in (killed / "raft").glob("*.log") if file.stat().st_size)
    whole = ahead.read_bytes()
    untold = []
    for position in range(0, len(whole), 7):
        flip(ahead, position)
        if not told(killed):
            untold.append(position)
        ahead.write_bytes(whole)
    assert untold == []


def test_a_bit_that_flips_anywhere_in_a_table_but_in_its_filter_is_told(
    root: Path,
) -> None:
    table = table_in(root / "kv")
    whole = table.read_bytes()
    untold = []
    for position in range(0, len(whole), 13):
        flip(table, position)
        if not told(root):
            untold.append(position)
        table.write_bytes(whole)
    assert max(untold, default=0) - min(untold, default=0) < FILTER_BYTES
