"""`meteora recover`: of three nodes two are lost for good, and the third becomes a cluster."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.processes import (
    START_SECONDS,
    ClusterProcesses,
    NodeProcess,
    get,
    meteora,
    node_status,
    put,
    wait_until,
)

KEYS = [b"key%d" % number for number in range(20)]


def recover(node: NodeProcess) -> "subprocess.CompletedProcess[str]":
    return meteora("recover", "--force-new-cluster", "--yes", "-d", str(node.data_directory))


@pytest.fixture
def recovered(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[ClusterProcesses]:
    """Three nodes that have acknowledged writes, of which only the third runs: alone, in a new cluster."""
    cluster = ClusterProcesses(tmp_path, [free_port() for _ in range(6)])
    try:
        cluster.start()
        for number, key in enumerate(KEYS):
            assert put(cluster.kv_ports[number % 3], key, key)["state"] == "OK"
        wait_until(cluster.have_converged, "the third node has what was acknowledged", START_SECONDS)
        cluster.kill_all()
        done = recover(cluster.node(3))
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        cluster.node(3).start().wait_until_serving()
        yield cluster
    finally:
        cluster.end()


@contextmanager
def newcomer(recovered: ClusterProcesses, node_id: int, folder: Path, port: Callable[[], int]) -> Iterator[int]:
    """A node with an empty directory that joins: its KV port."""
    kv_port = port()
    options = ["-i", str(node_id), "-a", "127.0.0.1", "-r", str(port()), "-k", str(kv_port)]
    peer = f"127.0.0.1:{recovered.raft_ports[2]}"
    node = NodeProcess([*options, "-d", str(folder / "new" / str(node_id)), "-p", peer], folder / f"new{node_id}.log")
    try:
        node.start().wait_until_serving()
        yield kv_port
    finally:
        node.end()


def voters(port: int) -> set[str]:
    members = (node_status(port) or {}).get("members", ())
    return {each["id"] for each in members if not each.get("learner")}


def test_what_was_acknowledged_is_read_back(recovered: ClusterProcesses) -> None:
    port = recovered.kv_ports[2]
    assert voters(port) == {"3"}
    assert [get(port, key)["state"] for key in KEYS] == ["OK"] * len(KEYS)
    assert put(port, b"more", b"value")["state"] == "OK"


def test_two_new_nodes_join_and_one_of_the_three_may_fall(
    recovered: ClusterProcesses, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    with newcomer(recovered, 4, tmp_path, free_port) as port, newcomer(recovered, 1, tmp_path, free_port) as other:
        wait_until(lambda: voters(port) == voters(other) == {"1", "3", "4"}, "the newcomers are voters", START_SECONDS)
        recovered.node(3).kill()
        assert put(port, b"more", b"value")["state"] == "OK"
        assert [get(other, key)["state"] for key in KEYS] == ["OK"] * len(KEYS)


def test_an_old_member_that_comes_back_is_refused_and_disturbs_nobody(recovered: ClusterProcesses) -> None:
    port = recovered.kv_ports[2]
    term = node_status(port)["term"]
    recovered.node(1).start()
    recovered.node(3).wait_for_line("belongs to cluster")
    recovered.node(1).wait_for_line("belongs to cluster")
    assert put(port, b"more", b"value")["state"] == "OK"
    assert (voters(port), node_status(port)["term"]) == ({"3"}, term)


def test_a_node_that_runs_is_refused(three_nodes: ClusterProcesses) -> None:
    done = recover(three_nodes.node(3))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "in use by another process (pid " in done.stderr
