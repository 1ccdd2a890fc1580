"""What a node does at its limits, over the wire.

Room is looked after on either server; the rest is ours only, but for the number of requests, of which grpcio says less.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from meteora.config import RpcServerKind
from meteora.errors import NO_ROOM
from meteora.http2 import encode_headers
from meteora.http2.frames import DATA, END_HEADERS, HEADERS, PREFACE, frame, settings_frame
from meteora.pb import common_pb2, kv_pb2, raft_pb2
from meteora.pb.raft_pb2_grpc import RaftServiceStub
from meteora.rpc import admission
from meteora.rpc import frame as framed
from tests.server.served import CALL_SECONDS, ServedNode, refusal_of, served_cluster, wait_until

PUT_BLOCK = encode_headers(
    [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/meteora.kv.KvService/Put"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]
)

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


# Requests and connections


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[ServedNode]:
    """A node that takes few requests, few connections, and few bytes."""
    with served_cluster(
        tmp_path_factory.mktemp("narrow"),
        free_port,
        1,
        "http2",
        max_concurrent_requests=4,
        max_connections=8,
        max_request_bytes=1 << 20,
        max_buffered_bytes=8 << 20,
    ) as cluster:
        yield cluster.nodes[0]


def begun(node: ServedNode, count: int) -> list[grpc.Call]:
    """Calls that last until they are cancelled."""
    watch = HealthStub(node.channel).Watch
    calls = [watch(HealthCheckRequest(service=""), timeout=CALL_SECONDS) for _ in range(count)]
    for call in calls:
        next(iter(call))
    return calls


@contextmanager
def half_requests(node: ServedNode, count: int) -> Iterator[None]:
    """Puts whose bodies are yet to come."""
    with connect(node.config.kv_port) as client:
        heads = b"".join(frame(HEADERS, END_HEADERS, 2 * number + 1, PUT_BLOCK) for number in range(count))
        client.sendall(PREFACE + settings_frame({}) + heads)
        wait_until(lambda: node.pressure.requests >= count, "they have begun")
        yield
    wait_until(lambda: node.pressure.requests == 0, "they have ended")


def test_one_request_too_many_is_refused_and_was_certainly_not_applied(narrow: ServedNode) -> None:
    with half_requests(narrow, 4):
        code, details, outcome = refusal_of(lambda: narrow.put(b"key", b"value"))
        assert (code, outcome) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "not-applied")
        assert details == "more than 4 requests at a time: try again later"
    assert narrow.put(b"key", b"value").state == common_pb2.OK


def test_half_requests_do_not_keep_others_out_for_long(narrow: ServedNode) -> None:
    with half_requests(narrow, 4):
        with pytest.raises(grpc.RpcError):
            narrow.put(b"key", b"value")
        wait_until(lambda: _is_taken(narrow), "those that came no further have made room")


def _is_taken(node: ServedNode) -> bool:
    try:
        return node.put(b"key", b"value").state == common_pb2.OK
    except grpc.RpcError:
        return False


def test_status_and_health_are_told_although_there_are_too_many_requests(narrow: ServedNode) -> None:
    with half_requests(narrow, 4):
        stub = RaftServiceStub(narrow.channel)
        assert stub.NodeStatus(common_pb2.Null(), timeout=CALL_SECONDS).node_id == 1
        assert HealthStub(narrow.channel).Check(HealthCheckRequest(service=""), timeout=CALL_SECONDS).status == 1


def test_on_grpcio_one_request_too_many_is_refused_as_well(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> None:
    folder = tmp_path_factory.mktemp("grpcio")
    with served_cluster(folder, free_port, 1, "grpcio", max_concurrent_requests=2) as cluster:
        calls = begun(cluster.nodes[0], 2)
        assert refusal_of(lambda: cluster.nodes[0].put(b"key", b"value"))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in calls:
            call.cancel()


def test_of_long_requests_that_wait_only_so_many_are_kept(narrow: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_BYTES", 100_000)
    batch = kv_pb2.BatchReq(operations=[kv_pb2.Operation(put=kv_pb2.PutReq(key=b"key", value=bytes(100_000)))])
    code, details, outcome = refusal_of(lambda: narrow.kv.Batch(batch, timeout=CALL_SECONDS))
    assert (code, outcome) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "not-applied")
    assert details == "too many long requests are being served: try again later"
    batch.operations[0].put.value = bytes(50_000)
    assert narrow.kv.Batch(batch, timeout=CALL_SECONDS).results[0].state == common_pb2.OK


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=CALL_SECONDS)


def is_closed(client: socket.socket) -> bool:
    """Whether the other end has closed it without a word."""
    return client.recv(1) == b""


def test_clients_that_fill_the_kv_port_take_nothing_of_the_raft_port(narrow: ServedNode) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(narrow.config.kv_port)) for _ in range(8)]
        with connect(narrow.config.kv_port) as late:
            assert is_closed(late)
        assert narrow.pressure.refused_connections >= 1
        assert narrow.raft.Status(common_pb2.Null(), timeout=CALL_SECONDS).state == common_pb2.OK
        assert len(clients) == 8
    wait_until(lambda: narrow.put(b"key", b"value").state == common_pb2.OK, "there is room again")


def test_half_sent_bodies_of_many_clients_are_bounded_and_an_honest_client_is_served(narrow: ServedNode) -> None:
    value = bytes(1 << 20)
    body = framed(kv_pb2.PutReq(key=b"key", value=value).SerializeToString())
    piece = frame(DATA, 0, 1, body[:16_000])
    with ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(connect(narrow.config.kv_port))
            client.sendall(PREFACE + settings_frame({}) + frame(HEADERS, END_HEADERS, 1, PUT_BLOCK))
            client.sendall(piece * (len(body) // 16_000 - 1))
        wait_until(lambda: narrow.pressure.held_bytes > 2 << 20, "they have said half")
        assert narrow.put(b"key", value).state == common_pb2.OK
        assert narrow.pressure.held_bytes <= 8 << 20
    wait_until(lambda: narrow.pressure.held_bytes == 0, "nothing is left of them")
