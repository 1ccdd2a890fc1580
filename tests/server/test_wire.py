"""What is not a request, and clients that go: the right status, the connection lives on, nothing is left behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from meteora.config import DEFAULT_MAX_REQUEST_BYTES, MAX_KEY_BYTES
from meteora.pb import common_pb2, kv_pb2, peer_pb2
from meteora.pb.kv_pb2_grpc import KvServiceStub
from meteora.server.assembly import MESSAGE_OVERHEAD_BYTES
from tests.server.served import (
    CALL_SECONDS,
    CHANNEL_OPTIONS,
    LoopThread,
    ServedNode,
    just_in_touch,
    refusal_of,
    wait_until,
)

MAX_MESSAGE_BYTES = DEFAULT_MAX_REQUEST_BYTES + MAX_KEY_BYTES + MESSAGE_OVERHEAD_BYTES
ESTABLISHED = "01"
IN_FLIGHT = 30
LONG_SECONDS = 60.0
"""The deadline of a request whose client does not wait for it."""


def raw_call(channel: grpc.Channel, method: str, data: bytes) -> Callable[[], Any]:
    """A call whose request is just these bytes."""
    return lambda: channel.unary_unary(method)(data, timeout=CALL_SECONDS)


def connections_to(port: int) -> set[str]:
    """The local ends of the connections of this machine to this port, as hexadecimal address:port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == ESTABLISHED}


def refused_on_a_connection_that_lives_on(node: ServedNode, method: str, data: bytes) -> grpc.StatusCode:
    """The status of a call, between two requests over the same connection that are served."""
    port = node.config.kv_port
    with grpc.insecure_channel(node.config.kv_address, CHANNEL_OPTIONS) as channel:
        stub = KvServiceStub(channel)
        others = connections_to(port)
        stub.Get(kv_pb2.GetReq(key=b"k"), timeout=CALL_SECONDS)
        mine = connections_to(port) - others
        code, _, _ = refusal_of(raw_call(channel, method, data))
        stub.Get(kv_pb2.GetReq(key=b"k"), timeout=CALL_SECONDS)
        assert connections_to(port) - others == mine
    return code


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("/meteora.kv.KvService/Put", b"\xff\xff\xff"),
        # A field of three bytes of which only two come.
        ("/meteora.kv.KvService/Get", b"\x0a\x03ab"),
        ("/meteora.raft.RaftService/ChangeConfig", b"\x22\x05"),
    ],
)
def test_a_malformed_message_is_refused_and_the_connection_lives_on(
    alone: ServedNode, method: str, data: bytes
) -> None:
    assert refused_on_a_connection_that_lives_on(alone, method, data) is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(
    "method",
    ["/meteora.kv.KvService/Steal", "/meteora.kv.NoService/Put", "/meteora.peer.PeerService/Join", "/"],
)
def test_an_unknown_method_is_refused_and_the_connection_lives_on(alone: ServedNode, method: str) -> None:
    assert refused_on_a_connection_that_lives_on(alone, method, b"") is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_that_is_too_long_is_refused_and_the_connection_lives_on(alone: ServedNode) -> None:
    data = kv_pb2.PutReq(key=b"k", value=bytes(MAX_MESSAGE_BYTES)).SerializeToString()
    code = refused_on_a_connection_that_lives_on(alone, "/meteora.kv.KvService/Put", data)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert alone.get(b"k").state == common_pb2.NOT_FOUND


def test_fields_that_this_release_does_not_know_are_no_harm(alone: ServedNode) -> None:
    # Field 1000, of which a later release may know.
    request = kv_pb2.PutReq(key=b"known", value=b"value").SerializeToString() + b"\xc2\x3e\x03new"
    raw_call(alone.channel, "/meteora.kv.KvService/Put", request)()
    assert alone.get(b"known").value == b"value"


def requests_of(node: ServedNode, number: int) -> list[grpc.Future]:
    """One of each kind, none of which can be answered without a leader."""
    request_id = kv_pb2.RequestId(client_id=77, sequence=number)
    return [
        node.kv.Get.future(kv_pb2.GetReq(key=b"k"), timeout=LONG_SECONDS),
        node.kv.Put.future(kv_pb2.PutReq(key=b"k", value=b"v"), timeout=LONG_SECONDS),
        node.kv.Put.future(kv_pb2.PutReq(key=b"k", value=b"v", request_id=request_id), timeout=LONG_SECONDS),
        node.kv.Delete.future(kv_pb2.DeleteReq(key=b"k"), timeout=LONG_SECONDS),
    ]


@pytest.mark.parametrize("going", ["cancels", "disconnects"])
def test_a_client_that_goes_leaves_nothing_behind(leaderless: ServedNode, loop_thread: LoopThread, going: str) -> None:
    writes, reads = leaderless.node._writes, leaderless.node._reads
    leaderless.status()
    wait_until(lambda: not len(writes) and not len(reads), "nothing is pending from before")
    tasks_before = loop_thread.task_count()
    client = ServedNode(loop_thread, leaderless.config)
    with just_in_touch(leaderless):
        calls = [call for number in range(1, IN_FLIGHT + 1) for call in requests_of(client, number)]
        wait_until(lambda: len(writes) == 3 * IN_FLIGHT and len(reads) == IN_FLIGHT, "all requests are pending")
    if going == "cancels":
        for call in calls:
            call.cancel()
    client.end()
    wait_until(lambda: not len(writes) and not len(reads) and not writes.has_queued, "nothing is pending")
    wait_until(lambda: loop_thread.task_count() <= tasks_before, "no task is left")


# Nodes that ask to join, by what no node would send


SOMEWHERE = common_pb2.NodeAddress(raft_address="127.0.0.1:1")


@pytest.mark.parametrize(
    "request_",
    [
        peer_pb2.JoinReq(instance_id=5, address=SOMEWHERE),
        peer_pb2.JoinReq(node_id=9, address=SOMEWHERE),
        peer_pb2.JoinReq(node_id=9, instance_id=5),
    ],
    ids=["no node id", "no instance id", "no address"],
)
def test_who_does_not_say_who_and_where_it_is_does_not_join(alone: ServedNode, request_: peer_pb2.JoinReq) -> None:
    assert refusal_of(lambda: alone.peer.Join(request_, timeout=CALL_SECONDS)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "who joins has a node_id and an instance_id that are not 0, and a raft_address",
        "not-applied",
    )
    assert list(alone.node.members.by_id) == [1]


@pytest.mark.parametrize("name", ["kv_address", "raft_address"])
def test_who_says_that_it_is_where_nothing_can_be_does_not_join(alone: ServedNode, name: str) -> None:
    address = common_pb2.NodeAddress(kv_address="127.0.0.1:1", raft_address="127.0.0.1:2")
    setattr(address, name, "somewhere")
    request = peer_pb2.JoinReq(node_id=9, instance_id=5, address=address)
    code, details, outcome = refusal_of(lambda: alone.peer.Join(request, timeout=CALL_SECONDS))
    assert (code, outcome) == (grpc.StatusCode.INVALID_ARGUMENT, "not-applied")
    assert details.startswith(f"{name}: 'somewhere' is not an address")
    assert list(alone.node.members.by_id) == [1]
