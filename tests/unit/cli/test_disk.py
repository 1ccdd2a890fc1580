"""The commands for a stopped node's disk, up to what they say. What they do is tested in tests/unit/server."""

import asyncio
from pathlib import Path

import pytest

from meteora.node.members import Member, encode_context
from meteora.raft import Change, ChangeKind, ConfChange, Entry, EntryKind, HardState
from meteora.storage.data_directory import DataDirectory, read_identity
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from tests.unit.cli.conftest import Run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory of one of two, whose log ends with an entry that is not known to be committed."""
    directory = DataDirectory.open(tmp_path / "data", 1)
    directory.create_identity(1, 10)
    directory.set_cluster(0xAB)
    disk = DiskThread("raft log")
    log = RaftLog.open(directory.raft_path, disk)
    members = {node_id: Member(f"h:500{node_id}", f"h:700{node_id}", 10 * node_id) for node_id in (1, 2)}
    changes = [
        ConfChange((Change(ChangeKind.ADD_VOTER, node_id),), context=encode_context({node_id: members[node_id]}))
        for node_id in (1, 2)
    ]
    entries = [Entry(1, index, change.encode(), EntryKind.CONF_CHANGE) for index, change in enumerate(changes, 1)]
    asyncio.run(log.append([*entries, Entry(1, 3)], HardState(1, 1, 2)))
    for part in (log, disk, directory):
        part.close()
    return directory.path


def cluster_id(root: Path) -> int:
    identity = read_identity(root)
    assert identity is not None
    return identity.cluster_id


def recover(run: Run, root: Path, *options: str, stdin: bytes = b"") -> tuple[int, str, str]:
    ended = run("recover", "-d", str(root), *options, stdin=stdin)
    return ended.status, ended.out.decode(), ended.err


def test_what_will_be_done_and_what_may_be_lost_is_said(run: Run, root: Path) -> None:
    _, out, _ = recover(run, root, "--force-new-cluster", "--yes")
    said = out.splitlines()
    assert said[0] == f"Node 1 in {root}, a member of cluster 00000000000000ab, becomes a new cluster."
    assert said[1].startswith("- Its log ends at entry 3, of term 1. What only others have is lost")
    assert said[2].startswith("- Entries 3 to 3 are not known to be committed.")
    assert said[3].startswith("- Node 2 at h:7002 is given up")
    assert "there will be two clusters" in said[4]


def test_that_the_node_has_gone_its_own_way_is_said_and_is_over_then(run: Run, root: Path) -> None:
    directory = DataDirectory.open(root, 1)
    directory.mark_diverged("its state differs")
    directory.close()
    _, out, _ = recover(run, root, "--force-new-cluster", "--yes")
    assert "- It was found to have gone its own way, and is taken as it is: its state differs" in out.splitlines()
    identity = read_identity(root)
    assert identity is not None
    assert not identity.diverged


def test_that_the_node_has_gone_its_own_way_is_still_said_when_it_is_gone_on_with(run: Run, root: Path) -> None:
    directory = DataDirectory.open(root, 1)
    directory.mark_diverged("its state differs")
    directory.begin_recovery(0xCD, 0xEF)
    directory.close()
    _, out, _ = recover(run, root, "--force-new-cluster", "--yes")
    assert out.splitlines()[0].startswith("This was begun before")
    assert out.splitlines()[1].endswith("is taken as it is: its state differs")
    identity = read_identity(root)
    assert identity is not None
    assert not identity.diverged


def test_with_yes_nobody_is_asked(run: Run, root: Path) -> None:
    status, out, err = recover(run, root, "--force-new-cluster", "--yes")
    assert (status, err, cluster_id(root) != 0xAB) == (0, "", True)
    assert out.splitlines()[-1].startswith(f"Node 1 is cluster {cluster_id(root):016x} by itself")


def test_who_agrees_gets_it(run: Run, root: Path) -> None:
    assert recover(run, root, "--force-new-cluster", stdin=b"y\n")[0] == 0
    assert cluster_id(root) != 0xAB


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b""])
def test_without_a_yes_nothing_is_changed(run: Run, root: Path, answer: bytes) -> None:
    status, _, err = recover(run, root, "--force-new-cluster", stdin=answer)
    assert (status, err.splitlines()[-1], cluster_id(root)) == (1, "meteora: error: nothing was changed", 0xAB)


def test_it_must_be_asked_for_by_name(run: Run, root: Path) -> None:
    status, _, err = recover(run, root, "--yes")
    assert (status, "--force-new-cluster" in err, cluster_id(root)) == (2, True, 0xAB)


def test_a_refusal_is_one_line(run: Run, tmp_path: Path) -> None:
    status, out, err = recover(run, tmp_path, "--force-new-cluster", "--yes")
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith("meteora: error: ")


# As in a container, whose image says where the data is.


def test_what_is_verified_is_the_directory_of_the_node_in_the_same_environment(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METEORA_DATA_DIRECTORY", str(root))
    assert b"3 entries" in run("verify").out


def test_what_is_recovered_is_the_directory_of_the_node_in_the_same_environment(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METEORA_DATA_DIRECTORY", str(root))
    assert run("recover", "--force-new-cluster", "--yes").status == 0
    assert cluster_id(root) != 0xAB


def test_a_directory_whose_name_is_no_text_is_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    odd = str(tmp_path / "\udcff")
    for command in (["verify"], ["recover", "--force-new-cluster"], ["start"]):
        status, out, err = run(*command, "-d", odd)
        assert (status, out, err.count("\n")) == (2, b"", 1)
        assert "is not UTF-8, and RocksDB takes no other path" in err
