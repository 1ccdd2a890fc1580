"""A real node whose state is not what the log leads to: it is found out, stops, and stays out."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from meteora.kv.state import new_database, session_key
from meteora.pb import common_pb2, kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceStub
from meteora.storage.rocks import WriteBatch
from tests.cluster.processes import (
    CHANNEL_OPTIONS,
    START_SECONDS,
    ClusterProcesses,
    NodeProcess,
    meteora,
    node_status,
    wait_until,
)

CLIENT_ID = 77


@pytest.fixture
def cluster(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[ClusterProcesses]:
    """Three nodes that may log errors."""
    nodes = ClusterProcesses(tmp_path, [free_port() for _ in range(6)])
    try:
        yield nodes.start()
    finally:
        nodes.end()


def put_once(port: int, value: bytes, *, retry: bool = False) -> None:
    """The first write of a client; or the same one again."""
    request = kv_pb2.PutReq(
        key=b"key",
        value=value,
        request_id=kv_pb2.RequestId(client_id=CLIENT_ID, sequence=1, first_outstanding=1, retry=retry),
    )
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS) as channel:
        reply = KvServiceStub(channel).Put(request, timeout=10.0, wait_for_ready=True)
    assert reply.state == common_pb2.OK


def forget_client(node: NodeProcess) -> None:
    """Take out of the state of a stopped node what it remembers of the client, as a bug or a flipped bit could."""
    database = new_database(node.data_directory / "kv")
    batch = WriteBatch()
    batch.delete(session_key(CLIENT_ID))
    database.write(batch)
    database.flush()
    database.close()


def test_a_member_whose_state_has_lost_a_record_stops_tells_why_and_does_not_start_again(
    cluster: ClusterProcesses,
) -> None:
    put_once(cluster.kv_ports[0], b"first")
    odd = cluster.node(cluster.leader() % 3 + 1)
    wait_until(cluster.have_converged, "all have the first write", START_SECONDS)
    odd.stop()
    forget_client(odd)
    odd.start().wait_until_serving()
    # What the others know to be done already, it does once more.
    put_once(cluster.kv_ports[cluster.leader() - 1], b"first", retry=True)
    wait_until(lambda: not odd.is_running, "the odd one out has stopped", START_SECONDS)
    assert odd.process.returncode == 1
    assert "meteora: error: the state of this node differs from that of the others at index" in odd.output
    assert "Traceback" not in odd.output

    odd.start()
    wait_until(lambda: not odd.is_running, "it refuses to start", START_SECONDS)
    assert "the state of this node differs" in odd.output_since_start.splitlines()[-1]
    assert "serving" not in odd.output_since_start
    done = meteora("verify", "-d", str(odd.data_directory))
    assert (done.returncode, "the state of this node differs" in done.stdout) == (1, True)

    # The others go on, and say what they saw.
    put_once(cluster.kv_ports[cluster.leader() - 1], b"first", retry=True)
    number = str(cluster.nodes.index(odd) + 1)
    others = [port for port, node in zip(cluster.kv_ports, cluster.nodes, strict=True) if node is not odd]
    assert any(number in node_status(port).get("differing", ()) for port in others)
