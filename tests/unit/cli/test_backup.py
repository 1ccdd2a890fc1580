import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.kv.state_machines import put
from tests.unit.server.backups import backup_with

FEW_FILES = 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "backup"
    path.write_bytes(backup_with(tmp_path / "old", put(b"a", b"1")))
    return path


def test_a_whole_backup_is_told_what_it_is(run: Run, file: Path) -> None:
    status, out, err = run("backup", "--verify", str(file))
    assert (status, err) == (0, "")
    assert out.startswith(b"whole: 4 records as of entry 4 of term 3; taken ")
    assert b"members 1 at raft1:1, 2 at raft2:1, 3 at raft3:1" in out


def test_to_verify_one_no_cluster_is_asked_and_nobody_for_a_password(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METEORA_USER", "root")
    monkeypatch.setenv("METEORA_CACERT", "/nowhere")
    assert run("backup", "--verify", str(file)).status == 0


@pytest.mark.parametrize("command", [("backup", "--verify"), ("restore", "-d", "new")])
def test_a_file_that_is_no_whole_backup_is_named(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    for content, what in ((b"nonsense", "it ends at byte 8"), (file.read_bytes()[:-1], "it ends at byte")):
        file.write_bytes(content)
        status, out, err = run(*command, str(file))
        assert (status, out) == (1, b"")
        assert err.startswith(f"meteora: error: {file} can't be used as a backup: {what}")
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    status, _, err = run("restore", str(tmp_path / "nothing"), "-d", str(tmp_path / "new"))
    assert (status, err) == (1, f"meteora: error: {tmp_path / 'nothing'} can't be read: No such file or directory\n")


def test_a_backup_from_stdin_is_restored(run: Run, file: Path, tmp_path: Path) -> None:
    status, out, err = run("restore", "-", "-d", str(tmp_path / "new"), "-i", "4", stdin=file.read_bytes())
    assert (status, err) == (0, "")
    assert f"meteora start -i 4 -d {tmp_path / 'new'}".encode() in out


@contextmanager
def few_files() -> Iterator[None]:
    """This process may open few files, unless it asks for more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + FEW_FILES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_state_of_many_tables_is_restored_and_verified_though_few_files_may_be_open(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meteora.storage.snapshot_files.TABLE_BYTES", 1)
    file, new = tmp_path / "backup", str(tmp_path / "new")
    file.write_bytes(
        backup_with(tmp_path / "old", *(put(b"%03d" % number, os.urandom(8192)) for number in range(2 * FEW_FILES)))
    )
    for command in (("restore", str(file), "-d", new), ("verify", "-d", new)):
        with few_files():
            assert run(*command).status == 0


def test_a_directory_that_is_not_empty_is_refused(run: Run, file: Path, tmp_path: Path) -> None:
    status, out, err = run("restore", str(file), "-d", str(tmp_path))
    assert (status, out) == (1, b"")
    assert f"{tmp_path} is not empty" in err


def test_a_node_that_takes_no_backups_is_named(run: Run, tmp_path: Path) -> None:
    status, _, err = run("backup", str(tmp_path / "new"), "-a", "127.0.0.1:1", "--timeout", "0.5")
    assert status == 3
    assert "nobody served the backup (127.0.0.1:1: " in err
    assert list(tmp_path.iterdir()) == []
