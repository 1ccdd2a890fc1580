"""What a node does at its limits, over the wire, on either server."""

from collections.abc import Callable, Iterator

import grpc
import pytest

from meteora.config import RpcServerKind
from meteora.errors import NO_ROOM
from meteora.pb import common_pb2, kv_pb2, raft_pb2
from tests.server.served import CALL_SECONDS, ServedNode, refusal_of, served_cluster, wait_until

# Room


@pytest.fixture(scope="module")
def crammed(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], kind: RpcServerKind
) -> Iterator[ServedNode]:
    """A node whose disk has less room than it ought to have: no disk has so much."""
    folder = tmp_path_factory.mktemp("crammed")
    with served_cluster(folder, free_port, 1, kind, min_free_bytes=1 << 62) as cluster:
        node = cluster.nodes[0]
        wait_until(lambda: node.node.alarms, "it has looked at its disk")
        yield node


def test_a_put_for_which_there_is_no_room_is_refused_with_what_to_do(crammed: ServedNode) -> None:
    code, details, outcome = refusal_of(lambda: crammed.put(b"key", b"value"))
    assert (code, outcome) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "not-applied")
    assert details.startswith(f"{NO_ROOM}: the disk of node 1 has ")
    assert "make room there, or delete keys" in details


def test_where_there_is_no_room_for_puts_reads_and_deletes_go_on(crammed: ServedNode) -> None:
    assert crammed.get(b"key").state == common_pb2.NOT_FOUND
    assert crammed.delete(b"key").state == common_pb2.OK


def test_of_a_batch_only_the_puts_are_refused(crammed: ServedNode) -> None:
    operations = [
        kv_pb2.Operation(put=kv_pb2.PutReq(key=b"key", value=b"value")),
        kv_pb2.Operation(get=kv_pb2.GetReq(key=b"key")),
        kv_pb2.Operation(delete=kv_pb2.DeleteReq(key=b"key")),
    ]
    put, get, delete = crammed.kv.Batch(kv_pb2.BatchReq(operations=operations), timeout=CALL_SECONDS).results
    assert put.failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert put.failure.outcome == "not-applied"
    assert put.failure.message.startswith(NO_ROOM)
    assert (get.state, delete.state) == (common_pb2.NOT_FOUND, common_pb2.OK)


def test_the_status_of_a_node_tells_the_alarm_and_the_numbers(crammed: ServedNode) -> None:
    status = crammed.raft.NodeStatus(common_pb2.Null(), timeout=CALL_SECONDS)
    assert [(alarm.node_id, alarm.kind) for alarm in status.alarms] == [(1, raft_pb2.DISK_SPACE)]
    assert status.alarms[0].message.startswith("the disk of node 1 has ")
    assert 0 < status.free_bytes < status.min_free_bytes == 1 << 62
    assert 0 < status.stored_bytes < status.quota_bytes == 8 << 30
