"""A cluster is upgraded from the release before this one, node by node and under load, and does not go back."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from meteora.client import Client
from meteora.features import SUPPORTED_LEVEL
from tests.cluster.earlier_release import unpacked
from tests.cluster.load import PAUSE_SECONDS, Load, assert_kept
from tests.cluster.processes import ClusterProcesses, NodeProcess, meteora, wait_until

LEVEL_SECONDS = 15.0
"""For the leader to hear from everybody, and to raise the level."""

HELD_BACK = "Feature level 0, until all members run a later release: node 2 runs an older release, node 3 runs an older"

WRITES = 100
"""Acknowledged between two steps."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("earlier"))


@pytest.fixture
def old_cluster(tmp_path: Path, earlier: Path, free_port: Callable[[], int]) -> Iterator[ClusterProcesses]:
    """Three nodes of the release before."""
    cluster = ClusterProcesses(tmp_path, [free_port() for _ in range(6)])
    for node in cluster.nodes:
        node.environment["PYTHONPATH"] = str(earlier)
    try:
        yield cluster.start()
    finally:
        cluster.end()


@pytest.fixture
def present(pytestconfig: pytest.Config) -> str:
    return str(pytestconfig.rootpath / "src")


@contextmanager
def unfailing_client(cluster: ClusterProcesses) -> Iterator[None]:
    """A client of which no request may fail: what a restart interrupts, it tries again."""
    is_over = threading.Event()

    def use(client: Client) -> int:
        count = 0
        while not is_over.wait(PAUSE_SECONDS):
            value = str(count).encode()
            client.put(b"unfailing", value)
            assert client.get(b"unfailing") == value
            count += 1
        return count

    with Client(cluster.endpoints, timeout_seconds=LEVEL_SECONDS) as client, ThreadPoolExecutor(1) as thread:
        used = thread.submit(use, client)
        try:
            yield
        finally:
            is_over.set()
        assert used.result() > WRITES


def levels(cluster: ClusterProcesses) -> list[int]:
    """Of all nodes that answer."""
    return [int(status.get("level", 0)) for status in cluster.statuses().values()]


def status(cluster: ClusterProcesses) -> str:
    return meteora("status", "-a", cluster.endpoints[0]).stdout


def start_with(node: NodeProcess, sources: str) -> NodeProcess:
    node.environment["PYTHONPATH"] = sources
    return node.start()


def upgrade(cluster: ClusterProcesses, number: int, sources: str) -> None:
    node = cluster.node(number)
    assert node.stop() == 0
    start_with(node, sources).wait_until_serving()
    wait_until(cluster.is_whole, "all nodes are back", LEVEL_SECONDS)


def assert_refuses_to_start(node: NodeProcess, sources: str, why: str) -> None:
    assert start_with(node, sources).wait() != 0
    assert why in node.output_since_start


def test_a_cluster_is_upgraded_node_by_node_under_load_and_does_not_go_back(
    old_cluster: ClusterProcesses, earlier: Path, present: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    with Load(old_cluster) as load, unfailing_client(old_cluster):
        for number in (1, 2, 3):
            load.wait_for_writes(WRITES)
            assert levels(old_cluster) == [0, 0, 0]
            upgrade(old_cluster, number, present)
            if number == 1:
                wait_until(lambda: HELD_BACK in status(old_cluster), HELD_BACK, LEVEL_SECONDS)
                refused = meteora("user", "add", "alice", "--no-password", "-a", old_cluster.endpoints[0])
                assert "all members must run release 0.2.0 or later: node 2 runs an older" in refused.stderr
        wait_until(lambda: levels(old_cluster) == [SUPPORTED_LEVEL] * 3, "the new level", LEVEL_SECONDS)
        load.wait_for_writes(WRITES)
    assert_kept(old_cluster, load)
    assert old_cluster.node(2).stop() == 0
    assert_refuses_to_start(old_cluster.node(2), str(earlier), "start it with the newer release that wrote it")
    arguments = ["-i", "4", "-a", "127.0.0.1", "-r", str(free_port()), "-k", str(free_port())]
    peer = ["-d", str(tmp_path / "4"), "-p", f"127.0.0.1:{old_cluster.raft_ports[0]}"]
    newcomer = NodeProcess([*arguments, *peer], tmp_path / "node4.log")
    try:
        assert_refuses_to_start(newcomer, str(earlier), "runs an older release: start it with release")
    finally:
        newcomer.end()
    start_with(old_cluster.node(2), present).wait_until_serving()
    assert_kept(old_cluster, load)
