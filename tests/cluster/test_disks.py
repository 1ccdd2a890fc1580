"""Disks that fill up or lose bits under one of three real nodes: it stops and says why, and the others go on."""

import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from meteora.client import Client
from meteora.errors import NoRoom
from meteora.pb import kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceStub
from tests.cluster.load import Load, assert_kept
from tests.cluster.processes import CHANNEL_OPTIONS, START_SECONDS, ClusterProcesses, NodeProcess, wait_until

pytestmark = pytest.mark.faults

SMALL_DISK_MEBIBYTES = 48

OTHERS_MEBIBYTES = 64
"""What somebody else has on that disk is three times as much as is left to the node then: less than a quarter of it."""

LARGE_VALUE = bytes(256 * 1024)

LARGE_WRITES = 400
"""Twice what fits."""

SOME_WRITES = 200

EXIT_FAILURE = 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a small disk of its own. Skips the test where there can be none."""
    disk = tmp_path / "3"
    disk.mkdir()
    mounted = _mount(disk, f"size={SMALL_DISK_MEBIBYTES}m")
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here ({mounted.stderr.strip()}): a full one is only simulated")
    yield disk
    subprocess.run(["umount", disk], check=True)


def _mount(disk: Path, options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=False, capture_output=True, text=True
    )


@pytest.fixture
def unguarded(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[ClusterProcesses]:
    """A cluster of three that look at no disk before it is full."""
    processes = ClusterProcesses(tmp_path, [free_port() for _ in range(6)], "--min-free-bytes", "0")
    try:
        yield processes.start()
    finally:
        processes.end()


@pytest.fixture
def cluster(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[ClusterProcesses]:
    """A cluster of three with the default settings."""
    processes = ClusterProcesses(tmp_path, [free_port() for _ in range(6)])
    try:
        yield processes.start()
    finally:
        processes.end()


def _fill(endpoint: str) -> None:
    with grpc.insecure_channel(endpoint, CHANNEL_OPTIONS) as channel:
        stub = KvServiceStub(channel)
        for number in range(LARGE_WRITES):
            stub.Put(kv_pb2.PutReq(key=b"large%d" % number, value=LARGE_VALUE), timeout=START_SECONDS)


def _alarms(cluster: ClusterProcesses) -> set[int]:
    """How many the nodes know."""
    return {len(status.get("alarms", ())) for status in cluster.statuses().values()}


def test_before_a_disk_is_full_puts_are_refused_and_they_are_taken_when_there_is_room(
    small_disk: Path, cluster: ClusterProcesses
) -> None:
    assert _mount(small_disk, f"remount,size={4 * OTHERS_MEBIBYTES}m").returncode == 0
    others = small_disk / "others"
    with Client(cluster.endpoints) as client:
        client.put(b"key", b"value")
        others.write_bytes(bytes(OTHERS_MEBIBYTES << 20) * 3)
        wait_until(lambda: _alarms(cluster) == {1}, "all nodes know that little room is left", START_SECONDS)
        with pytest.raises(NoRoom, match="the disk of node 3 has"):
            client.put(b"key", b"another")
        assert client.get(b"key") == b"value"
        client.delete(b"key")
        others.unlink()
        wait_until(lambda: _alarms(cluster) == {0}, "all nodes know that there is room again", START_SECONDS)
        client.put(b"key", b"value")


def test_a_node_whose_disk_is_full_stops_and_goes_on_when_there_is_room(
    small_disk: Path, unguarded: ClusterProcesses
) -> None:
    cluster = unguarded
    full = cluster.node(3)
    with Load(cluster) as load:
        _fill(cluster.endpoints[0])
        assert full.wait() == EXIT_FAILURE
        load.wait_for_writes(SOME_WRITES)
        assert "No space left on device" in full.output
        assert "Traceback" not in full.output
        assert _mount(small_disk, "remount,size=1g").returncode == 0
        full.start().wait_until_serving()
        load.wait_for_writes(SOME_WRITES)
    assert_kept(cluster, load)


def _data(node: NodeProcess) -> Path:
    return Path(node.arguments[node.arguments.index("-d") + 1])


def _flip_a_bit(files: Iterable[Path]) -> None:
    """In the middle of the largest of these files."""
    file = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


def _assert_replaceable(cluster: ClusterProcesses, node: NodeProcess) -> None:
    """The node has said what it found and what to do; that is done, and it is whole again."""
    assert "let it join anew with an empty directory" in node.output_since_start
    assert "Traceback" not in node.output_since_start
    with Client(cluster.endpoints[:2]) as client:
        assert client.leave(3)
    _data(node).rename(_data(node).with_name("corrupt"))
    node.start().wait_until_serving()
    wait_until(cluster.is_whole, "the node votes again", START_SECONDS)


def test_a_node_with_a_flipped_bit_in_its_log_refuses_to_start_and_can_be_replaced(cluster: ClusterProcesses) -> None:
    node = cluster.node(3)
    with Load(cluster) as load:
        load.wait_for_writes(SOME_WRITES)
        node.kill()
        _flip_a_bit(_data(node).glob("raft/*.log"))
        assert node.start().wait() == EXIT_FAILURE
        _assert_replaceable(cluster, node)
        load.wait_for_writes(SOME_WRITES)
    assert_kept(cluster, load)


def test_a_node_that_reads_a_flipped_bit_in_its_data_stops_instead_of_answering_and_can_be_replaced(
    cluster: ClusterProcesses,
) -> None:
    node = cluster.node(3)
    with Load(cluster) as load:
        load.wait_for_writes(SOME_WRITES)
        node.stop()  # Which writes all data into tables.
        _flip_a_bit(_data(node).glob("kv/*.sst"))
        node.start().wait_until_serving()
        _read_until_it_stops(cluster.endpoints[2], node, load)
        assert node.wait() == EXIT_FAILURE
        _assert_replaceable(cluster, node)
        load.wait_for_writes(SOME_WRITES)
    assert_kept(cluster, load)


def _read_until_it_stops(endpoint: str, node: NodeProcess, load: Load) -> None:
    with grpc.insecure_channel(endpoint, CHANNEL_OPTIONS) as channel:
        stub = KvServiceStub(channel)
        for key in list(load.may_hold):
            if node.is_running:
                with suppress(grpc.RpcError):
                    stub.Get(kv_pb2.GetReq(key=key), timeout=START_SECONDS)
