"""Whose a directory is, who may use it, and that a crash between any two steps leaves one that opens."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meteora.errors import DataDirectoryError, ReleaseTooOld
from meteora.features import SUPPORTED_LEVEL
from meteora.raft.errors import InvariantViolation
from meteora.storage import data_directory
from meteora.storage.data_directory import DataDirectory, Identity

pytestmark = pytest.mark.usefixtures("no_leaks")

PEERS = ("127.0.0.1:7001", "host:7000")
NOW = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)


@contextmanager
def opened(path: Path, node_id: int = 1) -> Iterator[DataDirectory]:
    directory = DataDirectory.open(path, node_id)
    try:
        yield directory
    finally:
        directory.close()


def identity_at(path: Path) -> Identity | None:
    with opened(path) as directory:
        return directory.identity


def refusal(path: Path, node_id: int = 1) -> str:
    """The message of the error that opening raises: one line."""
    with pytest.raises(DataDirectoryError) as raised:
        DataDirectory.open(path, node_id)
    message = str(raised.value)
    assert "\n" not in message
    return message


def member(path: Path, node_id: int = 1) -> None:
    """The directory of a node that is in a cluster, with something in its databases."""
    with opened(path, node_id) as directory:
        directory.create_identity(node_id, instance_id=77)
        directory.set_cluster(88)
        for database in (directory.raft_path, path / "kv"):
            database.mkdir()
            (database / "file").write_text(database.name)


def removed(path: Path) -> None:
    member(path)
    with opened(path) as directory:
        directory.mark_removed(PEERS)


# Whose it is


@pytest.mark.parametrize("names", [["notes.txt"], ["a", "b", "c", "d"]])
def test_a_directory_with_other_things_in_it_is_refused_and_left_as_it_is(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    message = refusal(tmp_path)
    assert "things in it that are not Meteora's (" + ", ".join(names[:3]) in message
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("name", [".keep", "lost+found"])
def test_what_a_file_system_or_a_repository_keeps_in_an_empty_directory_is_no_harm(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert identity_at(tmp_path) is None


def test_a_directory_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert identity_at(tmp_path / "some" / "where" / "data") is None


def test_an_identity_is_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        created = directory.create_identity(1, instance_id=77)
    assert identity_at(tmp_path) == created == Identity(node_id=1, instance_id=77, cluster_id=0, removed=False)


def test_a_cluster_is_kept(tmp_path: Path) -> None:
    member(tmp_path)
    assert identity_at(tmp_path) == Identity(node_id=1, instance_id=77, cluster_id=88)


def test_a_removal_is_kept(tmp_path: Path) -> None:
    removed(tmp_path)
    assert identity_at(tmp_path) == Identity(node_id=1, instance_id=77, cluster_id=88, removed=True, peers=PEERS)


def test_numbers_of_64_bits_are_kept(tmp_path: Path) -> None:
    largest = (1 << 64) - 1
    with opened(tmp_path, largest) as directory:
        directory.create_identity(largest, largest)
        expected = directory.set_cluster(largest)
    with opened(tmp_path, largest) as directory:
        assert directory.identity == expected == Identity(node_id=largest, instance_id=largest, cluster_id=largest)


def test_what_cannot_be_is_a_bug(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        with pytest.raises(InvariantViolation, match="no identity yet"):
            directory.set_cluster(88)
        with pytest.raises(InvariantViolation, match="instance id 0"):
            directory.create_identity(1, 0)
        directory.create_identity(1, 77)
        directory.set_cluster(88)
        with pytest.raises(InvariantViolation, match="has an identity already"):
            directory.create_identity(1, 78)
        with pytest.raises(InvariantViolation, match="has a cluster already"):
            directory.set_cluster(89)
        with pytest.raises(InvariantViolation, match="not of a removed node"):
            directory.set_aside(NOW)


# Who may use it


def test_a_directory_in_use_is_refused_with_who_uses_it(tmp_path: Path) -> None:
    with opened(tmp_path):
        message = refusal(tmp_path)
    assert message == (
        f"data directory {tmp_path} is in use by another process (pid {os.getpid()}): stop that one, or choose another "
        "directory with -d"
    )


def test_a_directory_is_free_once_its_user_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from meteora.storage.data_directory import DataDirectory\n"
        "directory = DataDirectory.open(Path(sys.argv[1]), 1); print('open', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        assert f"pid {process.pid}" in refusal(tmp_path)
        process.kill()
    assert identity_at(tmp_path) is None


def test_a_refused_directory_is_left_unlocked(tmp_path: Path) -> None:
    member(tmp_path, node_id=2)
    refusal(tmp_path, node_id=1)
    with opened(tmp_path, node_id=2) as directory:
        assert directory.identity is not None


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert refusal(tmp_path / "data").startswith(f"data directory {tmp_path}/data can't be used (File exists): make it")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, if that is who runs the tests."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("has_lock", [False, True])
def test_a_directory_that_cannot_be_written_is_refused(has_lock: bool) -> None:
    # Not below pytest's own, which only their owner can enter.
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        if has_lock:
            (path / "LOCK").touch()
            (path / "LOCK").chmod(0o666)
        path.chmod(0o555)
        with as_nobody():
            message = refusal(path)
        path.chmod(0o755)
    assert message.startswith(f"data directory {name} can't be used (Permission denied): make it a directory that")


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert refusal(tmp_path) == (
        f"data directory {tmp_path} can't be locked (No locks available): choose one on a local disk with -d"
    )


@pytest.mark.parametrize("with_directory", [False, True])
def test_a_lock_that_a_restore_has_removed_as_it_failed_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_directory: bool
) -> None:
    # Another process would make another one, and have the directory as well.
    path, flock = tmp_path / "data", fcntl.flock

    def flock_late(lock: int, operation: int) -> None:
        (path / "LOCK").unlink()
        if with_directory:
            path.rmdir()
        flock(lock, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock_late)
        assert "start the node again" in refusal(path)
    with opened(path) as directory:
        assert directory.identity is None


def test_a_lock_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, data: bytes, offset: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    assert refusal(tmp_path) == (
        f"data directory {tmp_path} can't be used (No space left on device): make room there, or choose another with -d"
    )


def test_a_directory_of_another_node_is_refused(tmp_path: Path) -> None:
    member(tmp_path, node_id=2)
    assert refusal(tmp_path, node_id=1) == (
        f"data directory {tmp_path} belongs to node 2, and this is node 1: start it with -i 2, or choose another "
        "directory with -d"
    )


def test_a_directory_of_a_node_that_never_was_in_a_cluster_becomes_that_of_another(tmp_path: Path) -> None:
    with opened(tmp_path, node_id=2) as directory:
        directory.create_identity(2, instance_id=77)
    with opened(tmp_path, node_id=1) as directory:
        assert directory.create_identity(1, instance_id=78) == Identity(node_id=1, instance_id=78)
    assert identity_at(tmp_path) == Identity(node_id=1, instance_id=78)


@pytest.mark.parametrize("names", [["raft"], ["kv"], ["raft", "kv"]])
def test_databases_without_an_identity_are_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    assert refusal(tmp_path).startswith(f"data directory {tmp_path} has {' and '.join(names)} but no identity")


def test_other_files_are_let_be(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    assert identity_at(tmp_path) is None


def write_identity(path: Path, fields: dict[str, object]) -> None:
    fields = {**fields, "checksum": data_directory._checksum(fields)}
    (path / "identity").write_text(json.dumps(fields))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    write_identity(tmp_path, {"format_version": 3, "node": {"id": 1}})
    assert refusal(tmp_path) == (
        f"data directory {tmp_path} has format 3, and this release knows formats up to 2: start it with the newer "
        "release that wrote it"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 100,
        b"\xff\xfe",
        b"not JSON",
        b"[]",
        b"{}",
        b"7",
        b'{"checksum": "00000000"}',
        b'{"format_version": 1, "node_id": 1, "checksum": "00000000"}',
    ],
)
def test_an_identity_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "identity").write_bytes(content)
    assert refusal(tmp_path).startswith(f"data directory {tmp_path}: the file identity is damaged (")


@pytest.mark.parametrize("missing", ["node_id", "instance_id", "format_version"])
def test_an_identity_that_lacks_something_is_refused(tmp_path: Path, missing: str) -> None:
    fields: dict[str, object] = {"format_version": 1, "node_id": 1, "instance_id": 77}
    del fields[missing]
    write_identity(tmp_path, fields)
    assert "the file identity is damaged" in refusal(tmp_path)


def test_every_flipped_bit_of_an_identity_is_noticed(tmp_path: Path) -> None:
    member(tmp_path)
    whole = (tmp_path / "identity").read_bytes()
    expected = identity_at(tmp_path)
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "identity").write_bytes(damaged)
        # Some flips are of space between the fields.
        with suppress(DataDirectoryError):
            assert identity_at(tmp_path) == expected


# A removed node's state


def files_of(path: Path) -> dict[str, str]:
    """The files of a node's state below a directory, and what is in them."""
    names = ("identity", "raft/file", "kv/file")
    return {name: (path / name).read_text() for name in names if (path / name).exists()}


def test_set_aside_moves_everything_and_leaves_a_new_directory(tmp_path: Path) -> None:
    removed(tmp_path)
    before = files_of(tmp_path)
    with opened(tmp_path) as directory:
        aside = directory.set_aside(NOW)
        assert directory.identity is None
        directory.create_identity(1, 99)
    assert aside == tmp_path / "removed-20310203-040506"
    assert (files_of(aside), list(files_of(tmp_path))) == (before, ["identity"])


def test_set_aside_moves_the_state_that_began_with_a_snapshot(tmp_path: Path) -> None:
    removed(tmp_path)
    (tmp_path / "kv").rename(tmp_path / "kv-100")
    with opened(tmp_path) as directory:
        aside = directory.set_aside(NOW)
    assert (aside / "kv-100" / "file").read_text() == "kv"
    assert not (tmp_path / "kv-100").exists()


def test_what_was_set_aside_last_is_known(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        assert directory.former is None
        for cluster_id in (88, 99):
            directory.create_identity(1, cluster_id)
            directory.set_cluster(cluster_id)
            gone = directory.mark_removed(PEERS)
            directory.set_aside(NOW.replace(year=NOW.year + cluster_id))
        # One that is not finished tells nothing yet.
        (tmp_path / "removed-29990101-000000").mkdir()
        assert directory.former == gone


def test_set_aside_twice_in_a_second_takes_two_names(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        removed(tmp_path)
        with opened(tmp_path) as directory:
            names.append(directory.set_aside(NOW).name)
    assert names == ["removed-20310203-040506", "removed-20310203-040506-1", "removed-20310203-040506-2"]


def test_a_node_that_never_had_databases_can_be_set_aside(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        directory.create_identity(1, 77)
        directory.mark_removed(PEERS)
        assert list(files_of(directory.set_aside(NOW))) == ["identity"]


class Crash(Exception):
    """Where a test ends a process."""


STEPS_TO_THE_LAST_RENAME = 9


@pytest.mark.parametrize("steps", range(STEPS_TO_THE_LAST_RENAME))
def test_a_crash_within_set_aside_loses_nothing_and_the_next_start_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    removed(tmp_path)
    before = files_of(tmp_path)
    with opened(tmp_path) as directory, monkeypatch.context() as patch:
        crash_after(steps, patch)
        with pytest.raises(Crash):
            directory.set_aside(NOW)
    with opened(tmp_path) as directory:
        assert directory.identity is not None
        assert directory.identity.removed
        aside = directory.set_aside(NOW.replace(year=2032))
    assert (files_of(aside), files_of(tmp_path)) == (before, {})


@pytest.mark.parametrize("steps", range(STEPS_TO_THE_LAST_RENAME, STEPS_TO_THE_LAST_RENAME + 2))
def test_a_crash_after_the_last_rename_of_set_aside_leaves_it_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    removed(tmp_path)
    before = files_of(tmp_path)
    with opened(tmp_path) as directory, monkeypatch.context() as patch:
        crash_after(steps, patch)
        with pytest.raises(Crash):
            directory.set_aside(NOW)
    assert identity_at(tmp_path) is None
    assert (files_of(tmp_path / "removed-20310203-040506"), files_of(tmp_path)) == (before, {})


def crash_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """Let so many changes to directories be made, and no more."""
    left = iter(range(steps))

    def patch_change(name: str) -> None:
        change = getattr(os, name)

        def call(*arguments: object, **options: object) -> object:
            if next(left, None) is None:
                raise Crash
            return change(*arguments, **options)

        patch.setattr(os, name, call)

    for name in ("mkdir", "rename", "replace", "fsync"):
        patch_change(name)


@pytest.mark.parametrize(("steps", "is_removed"), [(0, False), (1, False), (2, True)])
def test_a_crash_while_an_identity_is_written_leaves_the_old_one_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, is_removed: bool
) -> None:
    member(tmp_path)
    with opened(tmp_path) as directory, monkeypatch.context() as patch:
        crash_after(steps, patch)
        with pytest.raises(Crash):
            directory.mark_removed(PEERS)
    identity = identity_at(tmp_path)
    assert identity is not None
    assert (identity.removed, identity.peers) == (is_removed, PEERS if is_removed else ())


def test_an_identity_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "identity").mkdir()
    assert refusal(tmp_path).startswith(f"data directory {tmp_path} can't be used (Is a directory)")


def test_a_state_that_cannot_be_moved_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    removed(tmp_path)
    before = files_of(tmp_path)
    with opened(tmp_path) as directory:
        monkeypatch.setattr(os, "rename", refuse)
        with pytest.raises(DataDirectoryError, match="Invalid cross-device link"):
            directory.set_aside(NOW)
        assert directory.identity is not None
    assert files_of(tmp_path) == before


def test_a_change_that_cannot_be_written_is_a_data_directory_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with opened(tmp_path) as directory:
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(DataDirectoryError, match="No space left on device"):
            directory.create_identity(1, 77)
        assert directory.identity is None


def test_a_directory_of_a_cluster_that_has_a_level_is_of_a_format_that_older_releases_refuse(tmp_path: Path) -> None:
    directory = DataDirectory.open(tmp_path, 1)
    directory.create_identity(1, 7)
    assert json.loads((tmp_path / "identity").read_text())["format_version"] == 1
    assert directory.note_level(1).level == 1
    directory.close()
    assert json.loads((tmp_path / "identity").read_text())["format_version"] == 2
    reopened = DataDirectory.open(tmp_path, 1)
    assert reopened.identity == Identity(node_id=1, instance_id=7, level=1)
    reopened.close()


def test_a_directory_of_a_level_that_is_not_supported_is_not_opened(tmp_path: Path) -> None:
    directory = DataDirectory.open(tmp_path, 1)
    directory.create_identity(1, 7)
    directory.note_level(SUPPORTED_LEVEL + 1)
    directory.close()
    with pytest.raises(ReleaseTooOld, match=f"data directory {tmp_path} has feature level"):
        DataDirectory.open(tmp_path, 1)
