"""Serializable reads, on either server: answered by the node that is asked, which says how old the answer may be."""

import grpc

from meteora.pb import common_pb2, kv_pb2
from tests.server.served import CALL_SECONDS, ServedCluster, ServedNode, refusal_of, wait_until


def get(asked: ServedNode, key: bytes) -> kv_pb2.GetReply:
    return asked.kv.Get(kv_pb2.GetReq(key=key, serializable=True), timeout=CALL_SECONDS)


def test_every_node_answers_with_what_it_has_applied(three: ServedCluster) -> None:
    three.leader.put(b"everywhere", b"value")
    index = three.leader.status().applied_index
    for each in three.nodes:
        wait_until(lambda asked=each: asked.status().applied_index >= index, "the node has applied it")
        reply = get(each, b"everywhere")
        assert (reply.state, reply.value, dict(reply.address_map)) == (common_pb2.OK, b"value", three.addresses)
        assert reply.applied_index >= index


def test_an_absent_key_is_not_found(three: ServedCluster) -> None:
    reply = get(three.followers[0], b"absent")
    assert (reply.state, reply.value, reply.applied_index > 0) == (common_pb2.NOT_FOUND, b"", True)


def test_every_node_comes_to_know_how_old_its_answers_may_be(three: ServedCluster) -> None:
    for each in three.nodes:
        wait_until(lambda asked=each: get(asked, b"k").HasField("staleness_milliseconds"), "the node can tell")


def test_a_linearizable_reply_says_nothing_of_age(three: ServedCluster) -> None:
    reply = three.nodes[0].get(b"k")
    assert (reply.applied_index, reply.HasField("staleness_milliseconds")) == (0, False)


def test_a_node_that_does_not_forward_answers_by_itself(three_without_forwarding: ServedCluster) -> None:
    assert get(three_without_forwarding.followers[0], b"absent").state == common_pb2.NOT_FOUND


def test_a_node_without_a_leader_answers_and_does_not_know_how_old_that_is(leaderless: ServedNode) -> None:
    reply = get(leaderless, b"key")
    assert (reply.state, reply.value, reply.leader_id) == (common_pb2.OK, b"value", 0)
    assert reply.applied_index == leaderless.status().applied_index
    assert not reply.HasField("staleness_milliseconds")


def test_a_key_outside_the_limits_is_refused(three: ServedCluster) -> None:
    code, _, outcome = refusal_of(lambda: get(three.nodes[0], b""))
    assert (code, outcome) == (grpc.StatusCode.INVALID_ARGUMENT, "not-applied")
