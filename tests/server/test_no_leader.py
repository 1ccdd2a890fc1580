"""A node that can't reach a majority says so, in time, and never answers from what it has."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from meteora.config import RpcServerKind
from meteora.errors import RequestError
from meteora.pb import common_pb2, kv_pb2, raft_pb2
from meteora.pb.kv_pb2_grpc import KvServiceStub
from tests.cluster.processes import ClusterProcesses, node_status, wait_until
from tests.server.served import CALL_SECONDS, CHANNEL_OPTIONS, ServedNode, refusal_of

NO_LEADER = "no leader: a majority of the members can't be reached"
IN_TIME_SECONDS = 2.0
"""The deadline of a client that waits for less time than the node would by itself."""

STEP_DOWN_SECONDS = 10.0


def test_a_write_was_certainly_not_applied(leaderless: ServedNode) -> None:
    for write in (lambda: leaderless.put(b"key", b"new"), lambda: leaderless.delete(b"key")):
        assert refusal_of(write) == (
            grpc.StatusCode.UNAVAILABLE,
            f"{NO_LEADER}: the write was not applied, try again",
            "not-applied",
        )


def test_a_read_is_not_answered_from_what_is_there(leaderless: ServedNode) -> None:
    assert leaderless.status().applied_index > 0
    assert refusal_of(lambda: leaderless.get(b"key")) == (
        grpc.StatusCode.UNAVAILABLE,
        f"{NO_LEADER}: the read was not answered, try again",
        "not-applied",
    )


def test_the_fate_of_a_repeated_write_is_unknown(leaderless: ServedNode) -> None:
    # Another node may have applied it.
    code, details, outcome = refusal_of(
        lambda: leaderless.put(b"key", b"new", client_id=5, sequence=1, retry=True),
    )
    assert (code, outcome) == (grpc.StatusCode.DEADLINE_EXCEEDED, "unknown")
    assert details.startswith(f"{NO_LEADER}: the write may have been applied")


def test_a_client_with_less_time_than_the_node_gets_our_answer_and_not_its_own_time_out(leaderless: ServedNode) -> None:
    request = kv_pb2.GetReq(key=b"key")
    code, details, _ = refusal_of(lambda: leaderless.kv.Get(request, timeout=0.4))
    assert (code, details.startswith(NO_LEADER)) == (grpc.StatusCode.UNAVAILABLE, True)


def test_a_membership_change_was_certainly_not_made(leaderless: ServedNode) -> None:
    assert refusal_of(lambda: leaderless.change(raft_pb2.RemoveNode, 2)) == (
        grpc.StatusCode.UNAVAILABLE,
        f"{NO_LEADER}; nothing was changed",
        "not-applied",
    )


def test_a_node_that_does_not_forward_says_so_too_and_not_that_nobody_leads(
    leaderless_without_forwarding: ServedNode,
) -> None:
    node = leaderless_without_forwarding
    calls = (lambda: node.get(b"key"), lambda: node.put(b"key", b"new"), lambda: node.delete(b"key"))
    for call in calls:
        assert refusal_of(call) == (grpc.StatusCode.UNAVAILABLE, f"{NO_LEADER}: nothing was done", "not-applied")
    repeated = refusal_of(lambda: node.put(b"key", b"new", client_id=5, sequence=1, retry=True))
    assert repeated == (grpc.StatusCode.DEADLINE_EXCEEDED, f"{NO_LEADER}: a retry is safe", "unknown")


@pytest.mark.parametrize("sequence", [0, 1], ids=["without a request id", "with one"])
def test_a_request_that_was_not_served_is_out_of_memory_without_the_garbage_collector(
    leaderless: ServedNode, sequence: int
) -> None:
    if leaderless.config.rpc_server == "grpcio":
        pytest.skip("grpcio's own state of a call that was aborted leads back to itself")
    request_id = {"client_id": 7, "sequence": sequence} if sequence else {}
    gc.collect()
    gc.disable()
    try:
        refusal_of(lambda: leaderless.put(b"key", b"new", **request_id))
        refusal_of(lambda: leaderless.delete(b"key", **request_id))
        refusal_of(lambda: leaderless.get(b"key"))
        wait_until(lambda: not errors_in_memory(), "no error leads to its request any more", CALL_SECONDS)
    finally:
        gc.enable()


def errors_in_memory() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, RequestError)]


def test_the_members_are_still_known(leaderless: ServedNode) -> None:
    status = leaderless.raft.Status(common_pb2.Null(), timeout=CALL_SECONDS)
    assert (status.state, status.leader_id, sorted(status.address_map)) == (common_pb2.OK, 0, [1, 2, 3])


# Two of three are killed


@pytest.fixture
def survivor(tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind) -> Iterator[grpc.Channel]:
    """The last of three real nodes with `key` at `value`, once it knows of no leader."""
    cluster = ClusterProcesses(tmp_path, [free_port() for _ in range(6)], "--rpc-server", kind)
    try:
        survivor = cluster.start().leader()
        endpoint, port = cluster.endpoints[survivor - 1], cluster.kv_ports[survivor - 1]
        with grpc.insecure_channel(endpoint, CHANNEL_OPTIONS) as channel:
            KvServiceStub(channel).Put(kv_pb2.PutReq(key=b"key", value=b"value"), timeout=CALL_SECONDS)
            for number, node in enumerate(cluster.nodes, 1):
                if number != survivor:
                    node.kill()
            wait_until(lambda: "leaderId" not in node_status(port), "nobody leads", STEP_DOWN_SECONDS)
            yield channel
    finally:
        cluster.end()


def test_the_last_of_three_serves_nothing_and_says_so_within_the_deadline(survivor: grpc.Channel) -> None:
    stub = KvServiceStub(survivor)
    calls = (
        stub.Get.future(kv_pb2.GetReq(key=b"key"), timeout=IN_TIME_SECONDS),
        stub.Put.future(kv_pb2.PutReq(key=b"key", value=b"new"), timeout=IN_TIME_SECONDS),
        stub.Delete.future(kv_pb2.DeleteReq(key=b"key"), timeout=IN_TIME_SECONDS),
    )
    for call in calls:
        code, details, outcome = refusal_of(call.result)
        assert (code, outcome) == (grpc.StatusCode.UNAVAILABLE, "not-applied")
        assert details.startswith(NO_LEADER)
