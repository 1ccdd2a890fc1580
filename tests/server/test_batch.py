"""Batches, on either server: each operation ends as its own call would, whatever becomes of the others."""

import itertools

import grpc
import pytest

from meteora.config import DEFAULT_MAX_REQUEST_BYTES, MAX_KEY_BYTES
from meteora.pb import common_pb2, kv_pb2
from meteora.server.batch import MAX_REPLY_VALUE_BYTES
from meteora.server.requests import MAX_BATCH_OPERATIONS
from tests.server.served import CALL_SECONDS, ServedCluster, ServedNode, refusal_of, wait_until

OK = kv_pb2.Result(state=common_pb2.OK)
ABSENT = kv_pb2.Result(state=common_pb2.NOT_FOUND)
ELSEWHERE = kv_pb2.Result(state=common_pb2.WRONG_LEADER)

_keys = itertools.count(1)
_client_ids = itertools.count(5000)


@pytest.fixture
def key() -> bytes:
    """One that no other test uses."""
    return b"batch%d" % next(_keys)


def put(key: bytes, value: bytes, **request_id: int | bool) -> kv_pb2.Operation:
    request = kv_pb2.PutReq(key=key, value=value)
    if request_id:
        request.request_id.CopyFrom(kv_pb2.RequestId(**request_id))
    return kv_pb2.Operation(put=request)


def get(key: bytes, *, serializable: bool = False) -> kv_pb2.Operation:
    return kv_pb2.Operation(get=kv_pb2.GetReq(key=key, serializable=serializable))


def delete(key: bytes) -> kv_pb2.Operation:
    return kv_pb2.Operation(delete=kv_pb2.DeleteReq(key=key))


def ask(node: ServedNode, *operations: kv_pb2.Operation, timeout: float = CALL_SECONDS) -> kv_pb2.BatchReply:
    return node.kv.Batch(kv_pb2.BatchReq(operations=operations), timeout=timeout)


def failures(reply: kv_pb2.BatchReply) -> list[tuple[int, str]]:
    return [(each.failure.code, each.failure.outcome) for each in reply.results]


def number(code: grpc.StatusCode) -> int:
    return int(code.value[0])


def test_the_reply_names_the_members_and_the_leader_once(three: ServedCluster, key: bytes) -> None:
    for each in three.nodes:
        assert ask(each, put(key, b"value")) == kv_pb2.BatchReply(
            results=[OK], address_map=three.addresses, leader_id=three.leader.config.node_id
        )


def test_results_come_in_the_order_of_the_operations(three: ServedCluster, key: bytes) -> None:
    for each in three.nodes:
        three.nodes[0].put(key, b"value")
        reply = ask(each, get(key), put(key + b"2", b"other"), get(key + b"absent"), delete(key + b"3"))
        assert list(reply.results) == [kv_pb2.Result(state=common_pb2.OK, value=b"value"), OK, ABSENT, OK]


def test_what_a_batch_wrote_is_there_once_it_is_answered(three: ServedCluster, key: bytes) -> None:
    names = [key + b"-%d" % index for index in range(100)]
    ask(three.followers[0], *(put(name, name) for name in names))
    reply = ask(three.followers[1], *(get(name) for name in names))
    assert [each.value for each in reply.results] == names


def test_what_a_batch_deletes_is_gone(alone: ServedNode, key: bytes) -> None:
    alone.put(key, b"value")
    ask(alone, delete(key))
    assert alone.get(key).state == common_pb2.NOT_FOUND


def test_a_batch_of_nothing_is_answered(alone: ServedNode) -> None:
    assert not ask(alone).results


def test_a_write_is_applied_once_however_often_its_request_id_comes(alone: ServedNode, key: bytes) -> None:
    name = {"client_id": next(_client_ids), "sequence": 1}
    twice = ask(alone, put(key, b"first", **name), put(key, b"first", **name))
    alone.put(key, b"second")
    assert list(twice.results) == [OK, OK]
    assert list(ask(alone, put(key, b"first", retry=True, **name)).results) == [OK]
    assert alone.get(key).value == b"second"


@pytest.mark.parametrize(
    "wrong",
    [
        put(b"", b"value"),
        get(b""),
        delete(b""),
        put(b"k" * (MAX_KEY_BYTES + 1), b""),
        put(b"key", b"v" * (DEFAULT_MAX_REQUEST_BYTES + 1)),
        put(b"key", b"value", client_id=0, sequence=1),
        kv_pb2.Operation(),
    ],
    ids=["empty-key", "empty-key-get", "empty-key-delete", "long-key", "long-value", "nobodys-request", "nothing"],
)
def test_an_operation_that_is_invalid_fails_alone(alone: ServedNode, key: bytes, wrong: kv_pb2.Operation) -> None:
    reply = ask(alone, put(key, b"1"), wrong, put(key + b"2", b"2"))
    assert failures(reply) == [(0, ""), (number(grpc.StatusCode.INVALID_ARGUMENT), "not-applied"), (0, "")]
    assert (alone.get(key).value, alone.get(key + b"2").value) == (b"1", b"2")


def test_too_many_operations_are_refused_and_none_is_done(alone: ServedNode, key: bytes) -> None:
    code, details, outcome = refusal_of(lambda: ask(alone, *[put(key, b"value")] * (MAX_BATCH_OPERATIONS + 1)))
    assert (code, outcome) == (grpc.StatusCode.INVALID_ARGUMENT, "not-applied")
    assert details == f"a batch has at most {MAX_BATCH_OPERATIONS} operations, this one has {MAX_BATCH_OPERATIONS + 1}"
    assert alone.get(key).state == common_pb2.NOT_FOUND


def test_as_many_operations_as_are_allowed_are_served(alone: ServedNode, key: bytes) -> None:
    assert list(ask(alone, *[put(key, b"value")] * MAX_BATCH_OPERATIONS).results) == [OK] * MAX_BATCH_OPERATIONS


def test_a_batch_that_is_longer_than_a_message_may_be_is_refused(alone: ServedNode, key: bytes) -> None:
    half = DEFAULT_MAX_REQUEST_BYTES // 2
    code, _, _ = refusal_of(lambda: ask(alone, *[put(key, b"v" * half)] * 4))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert alone.get(key).state == common_pb2.NOT_FOUND


def test_values_that_one_reply_cannot_hold_are_to_be_asked_for_alone(alone: ServedNode, key: bytes) -> None:
    alone.put(key, b"v" * DEFAULT_MAX_REQUEST_BYTES)
    fit = MAX_REPLY_VALUE_BYTES // DEFAULT_MAX_REQUEST_BYTES
    reply = ask(alone, *[get(key)] * (fit + 2))
    assert [each.ask_alone for each in reply.results] == [False] * fit + [True] * 2


def test_a_serializable_read_says_how_old_it_may_be(alone: ServedNode, key: bytes) -> None:
    alone.put(key, b"value")
    result = ask(alone, get(key, serializable=True)).results[0]
    assert (result.state, result.value, result.applied_index > 0) == (common_pb2.OK, b"value", True)


def test_a_node_that_does_not_forward_sends_each_operation_to_the_leader(
    three_without_forwarding: ServedCluster, key: bytes
) -> None:
    follower = three_without_forwarding.followers[0]
    reply = ask(follower, put(key, b"value"), get(key), get(key, serializable=True), delete(b""))
    assert [each.state for each in reply.results[:3]] == [ELSEWHERE.state, ELSEWHERE.state, common_pb2.NOT_FOUND]
    assert reply.results[3].failure.code == number(grpc.StatusCode.INVALID_ARGUMENT)
    assert reply.leader_id == three_without_forwarding.leader.config.node_id


def test_a_leader_that_does_not_forward_serves_a_batch(three_without_forwarding: ServedCluster, key: bytes) -> None:
    assert list(ask(three_without_forwarding.leader, put(key, b"value"), delete(b"other")).results) == [OK, OK]


def test_without_a_leader_each_operation_says_what_became_of_it(leaderless: ServedNode) -> None:
    retry = put(b"key", b"new", client_id=next(_client_ids), sequence=1, retry=True)
    reply = ask(leaderless, put(b"key", b"new"), retry, get(b"key"), get(b"key", serializable=True))
    not_applied = (number(grpc.StatusCode.UNAVAILABLE), "not-applied")
    unknown = (number(grpc.StatusCode.DEADLINE_EXCEEDED), "unknown")
    assert failures(reply) == [not_applied, unknown, not_applied, (0, "")]
    assert reply.results[3].value == b"value"


def test_without_a_leader_a_node_that_does_not_forward_says_the_same(leaderless_without_forwarding: ServedNode) -> None:
    retry = put(b"key", b"new", client_id=next(_client_ids), sequence=1, retry=True)
    reply = ask(leaderless_without_forwarding, put(b"key", b"new"), retry)
    assert failures(reply) == [
        (number(grpc.StatusCode.UNAVAILABLE), "not-applied"),
        (number(grpc.StatusCode.DEADLINE_EXCEEDED), "unknown"),
    ]


def test_a_batch_is_answered_before_its_own_deadline(leaderless: ServedNode) -> None:
    reply = ask(leaderless, put(b"key", b"new"), timeout=0.4)
    assert failures(reply) == [(number(grpc.StatusCode.UNAVAILABLE), "not-applied")]


def test_a_client_that_cancels_its_batch_leaves_nothing_behind(leaderless: ServedNode) -> None:
    writes, reads = leaderless.node._writes, leaderless.node._reads
    call = leaderless.kv.Batch.future(
        kv_pb2.BatchReq(operations=[put(b"key", b"new"), get(b"key")]), timeout=CALL_SECONDS
    )
    wait_until(lambda: len(writes) or call.done(), "the batch has come")
    call.cancel()
    wait_until(lambda: not writes and not len(reads), "nothing is waited for any more")
