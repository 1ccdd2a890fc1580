"""Nodes that lack what the others' logs no longer have: they get a snapshot, and everything goes on meanwhile."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from meteora.client import Client
from meteora.pb import kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceStub
from tests.cluster.load import Load, assert_kept
from tests.cluster.processes import CHANNEL_OPTIONS, START_SECONDS, ClusterProcesses, wait_until

pytestmark = pytest.mark.faults

CATCHUP_ENTRIES = 50

LARGE_VALUE = bytes(256 * 1024)

LARGE_WRITES = 400
"""Three flushes of the state, after each of which the log is cut."""

SOME_WRITES = 200

CATCH_UP_SECONDS = 30.0


@pytest.fixture
def cluster(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[ClusterProcesses]:
    """A cluster of three whose logs are short."""
    options = ("--snapshot-catchup-entries", str(CATCHUP_ENTRIES))
    processes = ClusterProcesses(tmp_path, [free_port() for _ in range(6)], *options)
    try:
        yield processes.start()
        for node in processes.nodes:
            assert " ERROR " not in node.output
            assert "Traceback" not in node.output
    finally:
        processes.end()


def _write_much(endpoint: str) -> None:
    with grpc.insecure_channel(endpoint, CHANNEL_OPTIONS) as channel:
        stub = KvServiceStub(channel)
        for number in range(LARGE_WRITES):
            stub.Put(kv_pb2.PutReq(key=b"large%d" % number, value=LARGE_VALUE), timeout=START_SECONDS)


def test_a_follower_that_was_down_for_long_catches_up_by_a_snapshot_while_writes_go_on(
    cluster: ClusterProcesses,
) -> None:
    leader = cluster.leader()
    late = cluster.node(leader % 3 + 1)
    with Load(cluster) as load:
        load.wait_for_writes(SOME_WRITES)
        late.kill()
        _write_much(cluster.endpoints[leader - 1])
        load.wait_for_writes(SOME_WRITES)
        late.start().wait_for_line("installed a snapshot", CATCH_UP_SECONDS)
        load.wait_for_writes(SOME_WRITES)
    assert_kept(cluster, load)


def test_a_node_that_joins_late_gets_a_snapshot_and_votes(cluster: ClusterProcesses) -> None:
    newcomer = cluster.node(3)
    with Load(cluster) as load:
        load.wait_for_writes(SOME_WRITES)
        newcomer.kill()
        with Client(cluster.endpoints[:2]) as client:
            assert client.leave(3)
        data = Path(newcomer.arguments[newcomer.arguments.index("-d") + 1])
        data.rename(data.with_name("lost"))
        _write_much(cluster.endpoints[0])
        newcomer.start().wait_for_line("installed a snapshot", CATCH_UP_SECONDS)
        wait_until(cluster.is_whole, "it votes", CATCH_UP_SECONDS)
        load.wait_for_writes(SOME_WRITES)
    assert_kept(cluster, load)
