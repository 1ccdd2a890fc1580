import asyncio
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meteora import __version__
from meteora.errors import BackupDamaged, DataDirectoryError, DiskFailure, DiskFull
from meteora.features import SUPPORTED_LEVEL
from meteora.kv.command import Command, Operation, raise_level
from meteora.kv.installation import current_state_path
from meteora.kv.sessions import Outcome
from meteora.kv.state import LEVEL_KEY, MEMBERSHIP_KEY, session_key
from meteora.kv.state_machine import StateMachine
from meteora.kv.users import Change, User
from meteora.node.members import Members
from meteora.server import restoration
from meteora.server.restoration import Read, restore_backup, verify_backup
from meteora.server.verification import verify
from meteora.storage.data_directory import UNFINISHED_RESTORE, DataDirectory, read_identity
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from meteora.storage.rocks import WriteBatch
from tests.unit.kv.state_machines import entry_of, everything_in, opened, put
from tests.unit.server.backups import CLUSTER_ID, TERM, backup_of, backup_with, file_of

pytestmark = pytest.mark.usefixtures("no_leaks")

Tell = Callable[[int], object]


def quiet(position_bytes: int) -> None:
    """Nobody looks."""


def restore(content: bytes, root: Path, node_id: int = 1, tell: Tell = quiet) -> Read:
    return restore_backup(file_of(content), root, node_id=node_id, kv_address="new:1", raft_address="new:2", tell=tell)


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """A backup of three nodes, of entry 4."""
    return backup_with(tmp_path / "old", put(b"a", b"1", 7, 1), put(b"b", b"\xff" * 300_000))


@contextmanager
def state_in(root: Path) -> Iterator[StateMachine]:
    with opened(current_state_path(root)) as machine:
        yield machine


def everything(machine: StateMachine) -> dict[bytes, bytes]:
    return {key: value for key, value in machine._database.scan(b"", b"\xff") if key[:1] != b"m"}


def test_every_record_is_there_whatever_it_is_for(tmp_path: Path) -> None:
    with opened(tmp_path / "old") as machine:
        root = Change(0, {"root": User("hash")})
        add_root = Command(Operation.CHANGE_USERS, 0, 0, 0, False, b"", root.encode())
        machine.apply([entry_of(1, put(b"a", b"1", 7, 1), put(b"b", b"2"), raise_level(1), add_root, term=TERM)])
        # As a part of a later release would.
        batch = WriteBatch()
        batch.put(b"quota", b"")
        machine._database.write(batch)
        old = everything(machine)
        content = backup_of(machine)
    restore(content, tmp_path / "new")
    with state_in(tmp_path / "new") as machine:
        assert everything(machine) == old
        assert machine.users.users == {"root": User("hash")}


def test_a_backup_holds_nothing_that_proves_a_member_and_the_new_cluster_gets_its_own(tmp_path: Path) -> None:
    secret = b"of members only"
    change = Change(0, {"root": User("hash", ("root",))}, enabled=True, secret=secret)
    content = backup_with(tmp_path / "old", Command(Operation.CHANGE_USERS, 0, 0, 0, False, b"", change.encode()))
    assert secret.hex().encode() not in content
    secrets_of = []
    for name in ("new", "another"):
        restore(content, tmp_path / name)
        with state_in(tmp_path / name) as machine:
            assert (machine.users.is_enabled, machine.users.revision) == (True, 1)
            secrets_of.append(machine.users.secret)
    assert all(secrets_of)
    assert len({secret, *secrets_of}) == 3


def test_the_node_is_the_only_member_of_a_cluster_with_another_id(content: bytes, tmp_path: Path) -> None:
    restore(content, tmp_path / "new", node_id=9)
    identity = read_identity(tmp_path / "new")
    assert identity is not None
    assert identity.cluster_id not in (0, CLUSTER_ID)
    with state_in(tmp_path / "new") as machine:
        members = Members.decode(machine.membership)
    assert members.configuration.voters == members.configuration.members == {9}
    assert members.by_id[9] == ("new:1", "new:2", identity.instance_id, False)


def test_an_id_of_an_old_member_becomes_another_node(content: bytes, tmp_path: Path) -> None:
    restore(content, tmp_path / "new", node_id=2)
    identity = read_identity(tmp_path / "new")
    assert identity is not None
    with state_in(tmp_path / "new") as machine:
        members = Members.decode(machine.membership)
    assert members.by_id.keys() == {2}
    assert members.by_id[2].instance_id == identity.instance_id != 20
    assert (2, identity.instance_id) not in members.removed


def test_two_restores_of_one_backup_are_two_clusters(content: bytes, tmp_path: Path) -> None:
    restore(content, tmp_path / "one")
    restore(content, tmp_path / "other")
    one, other = read_identity(tmp_path / "one"), read_identity(tmp_path / "other")
    assert one is not None
    assert other is not None
    assert one.cluster_id != other.cluster_id
    assert one.instance_id != other.instance_id


def test_index_and_term_go_on_above_those_of_the_backup(content: bytes, tmp_path: Path) -> None:
    read = restore(content, tmp_path / "new")
    assert (read.summary.index, read.summary.term) == (4, TERM)
    disk = DiskThread("raft log")
    log = RaftLog.open(tmp_path / "new" / "raft", disk, applied_index=4)
    try:
        assert log.first_index() == 5
        assert log.term(4) == TERM
        assert log.term(log.last_index()) == TERM + 1
        assert log.hard_state.commit == log.last_index()
    finally:
        log.close()
        disk.close()
    with state_in(tmp_path / "new") as machine:
        assert machine.applied_index > 4


def test_a_write_that_is_in_the_backup_is_not_done_again(content: bytes, tmp_path: Path) -> None:
    restore(content, tmp_path / "new")
    with state_in(tmp_path / "new") as machine:
        entry = entry_of(machine.applied_index + 1, put(b"a", b"late", 7, 1, retry=True), term=TERM + 1)
        assert [each.outcome for each in machine.apply([entry])] == [Outcome.DUPLICATE]
        assert everything_in(machine)[b"a"] == b"1"


def test_a_write_that_is_not_in_the_backup_is_done_when_it_is_tried_again(content: bytes, tmp_path: Path) -> None:
    restore(content, tmp_path / "new")
    with state_in(tmp_path / "new") as machine:
        entry = entry_of(machine.applied_index + 1, put(b"a", b"lost", 7, 2, retry=True), term=TERM + 1)
        assert [each.outcome for each in machine.apply([entry])] == [Outcome.APPLIED]


def test_all_that_is_on_disk_is_whole(content: bytes, tmp_path: Path) -> None:
    told: list[str] = []
    restore(content, tmp_path / "new")
    assert (verify(tmp_path / "new", told.append).keys, told) == (2, [])
    assert not (tmp_path / "new" / UNFINISHED_RESTORE).exists()


def test_a_backup_of_a_restored_cluster_can_be_restored(content: bytes, tmp_path: Path) -> None:
    restore(content, tmp_path / "new")
    with state_in(tmp_path / "new") as machine:
        again = backup_of(machine)
        state = everything_in(machine)
    restore(again, tmp_path / "newer")
    with state_in(tmp_path / "newer") as machine:
        assert everything_in(machine) == state


@pytest.mark.parametrize("name", ["identity", "raft", "notes.txt"])
def test_a_directory_that_is_not_empty_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path, name: str) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / name).write_bytes(b"mine")
    with pytest.raises(DataDirectoryError, match="is not empty"):
        restore(content, tmp_path / "new")
    assert [each.name for each in (tmp_path / "new").iterdir()] == [name]
    assert (tmp_path / "new" / name).read_bytes() == b"mine"


def test_what_is_no_directory_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for root in (tmp_path / "file", tmp_path / "file" / "new"):
        with pytest.raises(DataDirectoryError, match="make it a directory that this user may write"):
            restore(content, root)
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_what_a_file_system_keeps_in_a_directory_does_not_matter(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "new" / "lost+found").mkdir(parents=True)
    restore(content, tmp_path / "new")
    assert read_identity(tmp_path / "new") is not None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), is_cut=st.booleans())
def test_of_a_damaged_file_nothing_is_restored(
    content: bytes, tmp_path: Path, place: float, bit: int, is_cut: bool
) -> None:
    position = int(place * len(content))
    damaged = bytearray(content[:position] if is_cut else content)
    if not is_cut:
        damaged[position] ^= 1 << bit
    with pytest.raises(BackupDamaged):
        restore(bytes(damaged), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(BackupDamaged):
        verify_backup(file_of(bytes(damaged)), quiet)


def test_a_directory_that_was_there_is_empty_again_after_a_failure(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(BackupDamaged):
        restore(content[:-1], tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("moves", range(3))
def test_a_failure_while_things_are_moved_up_leaves_nothing(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    move, done = restoration.move, []

    def failing(source: Path, target: Path) -> None:
        if len(done) == moves:
            raise OSError(errno.EIO, "I/O error")
        move(source, target)
        done.append(target)

    (tmp_path / "new" / ".hidden").mkdir(parents=True)
    monkeypatch.setattr(restoration, "move", failing)
    with pytest.raises(DiskFailure, match="I/O error"):
        restore(content, tmp_path / "new")
    assert [each.name for each in (tmp_path / "new").iterdir()] == [".hidden"]


class Meeting(io.BytesIO):
    """Calls somebody in when it is read for the first time."""

    def __init__(self, content: bytes, call: Callable[[], object]) -> None:
        super().__init__(content)
        self._call: Callable[[], object] | None = call

    def read(self, size: int | None = -1, /) -> bytes:
        call, self._call = self._call, None
        if call is not None:
            call()
        return super().read(size)


def test_while_it_is_under_way_no_other_process_gets_into_the_directory(content: bytes, tmp_path: Path) -> None:
    root = tmp_path / "new"

    def disturb() -> None:
        with pytest.raises(DataDirectoryError, match="is in use by another process"):
            DataDirectory.open(root, 1)
        with pytest.raises(DataDirectoryError, match="is not empty"):
            restore(content, root)

    restore_backup(Meeting(content, disturb), root, node_id=1, kv_address="a:1", raft_address="a:2", tell=quiet)
    DataDirectory.open(root, 1).close()


def test_of_two_restores_that_both_found_it_empty_one_is_refused_and_disturbs_nothing(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "new"
    make_directory = restoration.make_directory

    def late(path: Path) -> None:
        monkeypatch.setattr(restoration, "make_directory", make_directory)
        restore(content, path)

    monkeypatch.setattr(restoration, "make_directory", late)
    with pytest.raises(DataDirectoryError, match="no longer empty"):
        restore(content, root)
    with state_in(root) as machine:
        assert everything_in(machine)[b"a"] == b"1"


class Unreadable(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 200:
            raise OSError(errno.EIO, "I/O error")
        return super().read(size)


def test_a_backup_that_cannot_be_read_is_named_and_not_the_directory(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(BackupDamaged, match=r"it can't be read at byte [0-9]+: I/O error"):
        restore_backup(
            Unreadable(content), tmp_path / "new", node_id=1, kv_address="a:1", raft_address="a:2", tell=quiet
        )
    assert not (tmp_path / "new").exists()


def test_a_disk_that_has_no_room_for_a_lock_leaves_nothing_in_the_way_of_another_restore(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", no_room)
        with pytest.raises(DataDirectoryError, match="No space left on device"):
            restore(content, tmp_path / "new")
    restore(content, tmp_path / "new")


def test_a_full_disk_leaves_nothing(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise DiskFull("no room")

    monkeypatch.setattr("meteora.storage.snapshot_files.refuse_without_room", no_room)
    with pytest.raises(DiskFull):
        restore(content, tmp_path / "new")
    assert not (tmp_path / "new").exists()


class Crash(BaseException):
    """The process ends here: what would clean up does not."""


MOVES = 3


@pytest.mark.parametrize("moves", range(MOVES))
def test_after_a_crash_on_the_way_no_node_starts(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    crash_after(moves, monkeypatch)
    with pytest.raises(Crash):
        restore(content, tmp_path / "new")
    with pytest.raises(DataDirectoryError, match="was not finished: remove what is in it, and restore again"):
        DataDirectory.open(tmp_path / "new", 1)
    told: list[str] = []
    verify(tmp_path / "new", told.append)
    assert "was not finished" in told[0]


def test_after_a_crash_behind_the_last_move_it_is_done(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_after(MOVES, monkeypatch)
    with pytest.raises(Crash):
        restore(content, tmp_path / "new")
    DataDirectory.open(tmp_path / "new", 1).close()
    with state_in(tmp_path / "new") as machine:
        assert everything_in(machine)[b"a"] == b"1"


def crash_after(moves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The restore ends after so many moves, and cleans nothing up."""
    move, done = restoration.move, []

    def counted(source: Path, target: Path) -> None:
        if len(done) == moves:
            raise Crash
        move(source, target)
        done.append(target)

    def crashed(path: Path) -> None:
        raise Crash

    monkeypatch.setattr(restoration, "move", counted)
    monkeypatch.setattr(restoration, "remove", crashed)


def test_a_backup_whose_end_does_not_tell_what_is_in_it_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "old") as machine:
        machine.apply([entry_of(1, put(b"a", b"1"), term=TERM)])
        machine.applied_index = 1

        async def forged() -> bytes:
            from meteora.kv.backup_file import BackupWriter, Header  # noqa: PLC0415

            scan = await machine.scan()
            writer = BackupWriter()
            content = writer.begin(Header(cluster_id="1", node_id=1, release="1", created_at=""))
            content += await scan.page(writer.add)
            await scan.close()
            return content + writer.end(2, TERM)

        content = asyncio.run(forged())
    with pytest.raises(BackupDamaged, match="says that it is of entry 2"):
        restore(content, tmp_path / "new")
    with pytest.raises(BackupDamaged, match="says that it is of entry 2"):
        verify_backup(file_of(content), quiet)


def content_with(folder: Path, key: bytes, record: bytes) -> bytes:
    """A backup of a state in which this is under `key`."""
    with opened(folder) as machine:
        machine.apply([entry_of(1, put(b"a", b"1"), term=TERM)])
        batch = WriteBatch()
        batch.put(key, record)
        machine._database.write(batch)
        return backup_of(machine)


def refusals_of(content: bytes, root: Path) -> set[str]:
    """What is said to who would verify it, and to who would restore it."""
    said = set()
    for use in (lambda: verify_backup(file_of(content), quiet), lambda: restore(content, root)):
        with pytest.raises(BackupDamaged) as raised:
            use()
        said.add(str(raised.value))
    assert not root.exists()
    return said


def test_a_backup_of_a_feature_level_that_is_not_known_is_refused_and_said_to_be_of_a_later_release(
    tmp_path: Path,
) -> None:
    content = content_with(tmp_path / "old", LEVEL_KEY, b"\x63")
    (said,) = refusals_of(content, tmp_path / "new")
    assert said == (
        f"it has feature level 99, and this release knows levels up to {SUPPORTED_LEVEL}: use release {__version__}, "
        "which made it, or a later one"
    )


@pytest.mark.parametrize(
    ("key", "record", "what"),
    [
        (MEMBERSHIP_KEY, b"nonsense", "its membership or position can't be read: "),
        (LEVEL_KEY, b"99", "its membership or position can't be read: it: 3939 is not a feature level"),
        (session_key(1), b"nonsense", "no state can be made of it: "),
    ],
)
def test_of_a_backup_with_records_that_make_no_sense_is_not_said_what_a_node_should_do(
    tmp_path: Path, key: bytes, record: bytes, what: str
) -> None:
    with pytest.raises(BackupDamaged) as raised:
        restore(content_with(tmp_path / "old", key, record), tmp_path / "new")
    assert str(raised.value).startswith(what)
    assert "The files are kept" not in str(raised.value)
    assert not (tmp_path / "new").exists()


def test_what_a_backup_is_can_be_read_without_restoring_it(content: bytes) -> None:
    told: list[int] = []
    header, summary, members = verify_backup(file_of(content), told.append)
    assert (header.cluster_id, header.node_id) == (f"{CLUSTER_ID:016x}", 2)
    assert (summary.index, summary.term) == (4, TERM)
    assert {node_id: member.raft_address for node_id, member in members.by_id.items()} == {
        1: "raft1:1",
        2: "raft2:1",
        3: "raft3:1",
    }
    assert told
