"""The key-value API, on either server: what is stored, what is refused, what the replies hold."""

import itertools

import grpc
import pytest

from meteora.config import DEFAULT_MAX_REQUEST_BYTES, MAX_KEY_BYTES
from meteora.pb import common_pb2, kv_pb2
from tests.server.served import CALL_SECONDS, ServedCluster, ServedNode, refusal_of

_client_ids = itertools.count(1000)
_keys = itertools.count(1)


@pytest.fixture
def key() -> bytes:
    """One that no other test uses."""
    return b"key%d" % next(_keys)


@pytest.fixture
def client_id() -> int:
    """One that no other test uses."""
    return next(_client_ids)


# Replies


def test_a_put_is_answered_with_the_members_and_the_leader(three: ServedCluster, key: bytes) -> None:
    for each in three.nodes:
        assert each.put(key, b"value") == kv_pb2.PutReply(
            state=common_pb2.OK, address_map=three.addresses, leader_id=three.leader.config.node_id
        )


def test_a_get_is_answered_with_the_value_the_members_and_the_leader(three: ServedCluster, key: bytes) -> None:
    three.nodes[0].put(key, b"value")
    for each in three.nodes:
        assert each.get(key) == kv_pb2.GetReply(
            value=b"value", state=common_pb2.OK, address_map=three.addresses, leader_id=three.leader.config.node_id
        )


def test_a_get_of_an_absent_key_is_answered_with_not_found_the_members_and_the_leader(
    three: ServedCluster, key: bytes
) -> None:
    for each in three.nodes:
        assert each.get(key) == kv_pb2.GetReply(
            state=common_pb2.NOT_FOUND, address_map=three.addresses, leader_id=three.leader.config.node_id
        )


def test_a_delete_is_answered_with_the_members_and_the_leader(three: ServedCluster, key: bytes) -> None:
    for each in three.nodes:
        assert each.delete(key) == kv_pb2.DeleteReply(
            state=common_pb2.OK, address_map=three.addresses, leader_id=three.leader.config.node_id
        )


def test_replies_of_one_request_are_not_changed_by_another(alone: ServedNode, key: bytes) -> None:
    # What all replies share is made once.
    alone.put(key, b"value")
    assert alone.get(key).value == b"value"
    assert (alone.get(b"absent").state, alone.get(b"absent").value) == (common_pb2.NOT_FOUND, b"")
    assert alone.put(key, b"again").state == common_pb2.OK


# Values


def test_a_key_has_the_value_that_was_put_last(alone: ServedNode, key: bytes) -> None:
    for value in (b"1", b"22", b"1"):
        alone.put(key, value)
        assert alone.get(key).value == value


def test_a_deleted_key_is_absent(alone: ServedNode, key: bytes) -> None:
    alone.put(key, b"value")
    alone.delete(key)
    assert alone.get(key).state == common_pb2.NOT_FOUND


def test_an_empty_value_is_a_value(alone: ServedNode, key: bytes) -> None:
    alone.put(key, b"")
    assert (alone.get(key).state, alone.get(key).value) == (common_pb2.OK, b"")


def test_keys_and_values_are_any_bytes(alone: ServedNode) -> None:
    every_byte = bytes(range(256))
    alone.put(every_byte, every_byte[::-1])
    assert alone.get(every_byte).value == every_byte[::-1]


@pytest.mark.parametrize("other", [b"\0", b"a\0", b"aa", b"b", b"\xff"])
def test_keys_that_resemble_one_another_are_different_keys(alone: ServedNode, other: bytes) -> None:
    alone.put(b"a", b"a's")
    alone.put(other, b"other's")
    alone.delete(other)
    assert alone.get(b"a").value == b"a's"


# Limits


@pytest.mark.parametrize("size_bytes", [1, MAX_KEY_BYTES])
def test_keys_within_the_limit_are_taken(alone: ServedNode, size_bytes: int) -> None:
    key = b"k" * size_bytes
    assert alone.put(key, b"value").state == common_pb2.OK
    assert alone.get(key).value == b"value"
    assert alone.delete(key).state == common_pb2.OK


@pytest.mark.parametrize("size_bytes", [0, MAX_KEY_BYTES + 1])
@pytest.mark.parametrize("method", ["Put", "Get", "Delete"])
def test_keys_outside_the_limit_are_refused_by_name(alone: ServedNode, method: str, size_bytes: int) -> None:
    request = {"Put": kv_pb2.PutReq, "Get": kv_pb2.GetReq, "Delete": kv_pb2.DeleteReq}[method](key=b"k" * size_bytes)
    assert refusal_of(lambda: getattr(alone.kv, method)(request, timeout=CALL_SECONDS)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        f"a key has 1 to 65536 bytes, this one has {size_bytes}",
        "not-applied",
    )


def test_the_longest_value_with_the_longest_key_is_taken(alone: ServedNode) -> None:
    key, value = b"k" * MAX_KEY_BYTES, b"v" * DEFAULT_MAX_REQUEST_BYTES
    alone.put(key, value)
    assert alone.get(key).value == value


def test_a_value_that_is_too_long_is_refused_by_name(alone: ServedNode, key: bytes) -> None:
    assert refusal_of(lambda: alone.put(key, b"v" * (DEFAULT_MAX_REQUEST_BYTES + 1))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "a value has at most 1572864 bytes (--max-request-bytes), this one has 1572865",
        "not-applied",
    )
    assert alone.get(key).state == common_pb2.NOT_FOUND


def test_the_longest_value_gets_through_from_a_follower(three: ServedCluster, key: bytes) -> None:
    value = b"v" * DEFAULT_MAX_REQUEST_BYTES
    three.followers[0].put(key, value)
    assert three.followers[1].get(key).value == value


# Any node


def test_what_one_node_was_given_every_node_has_at_once(three: ServedCluster, key: bytes) -> None:
    for number in range(5):
        for writer in three.nodes:
            value = b"%d from %d" % (number, writer.config.node_id)
            writer.put(key, value)
            assert [reader.get(key).value for reader in three.nodes] == [value] * 3


def test_what_one_node_deleted_no_node_has(three: ServedCluster, key: bytes) -> None:
    for writer in three.nodes:
        writer.put(key, b"value")
        writer.delete(key)
        assert [reader.get(key).state for reader in three.nodes] == [common_pb2.NOT_FOUND] * 3


# Request ids


def test_a_request_that_is_repeated_is_applied_once(alone: ServedNode, key: bytes, client_id: int) -> None:
    assert alone.put(key, b"mine", client_id=client_id, sequence=1).state == common_pb2.OK
    alone.put(key, b"another's")
    assert alone.put(key, b"mine", client_id=client_id, sequence=1, retry=True).state == common_pb2.OK
    assert alone.get(key).value == b"another's"


def test_a_request_that_is_repeated_at_another_node_is_applied_once(
    three: ServedCluster, key: bytes, client_id: int
) -> None:
    first, second, third = three.nodes
    first.put(key, b"mine", client_id=client_id, sequence=1)
    third.put(key, b"another's")
    assert second.put(key, b"mine", client_id=client_id, sequence=1, retry=True).state == common_pb2.OK
    assert first.get(key).value == b"another's"


def test_a_repeated_request_that_does_not_say_so_is_applied_once_all_the_same(
    three: ServedCluster, key: bytes, client_id: int
) -> None:
    three.nodes[0].put(key, b"mine", client_id=client_id, sequence=1)
    three.nodes[1].put(key, b"another's")
    three.nodes[2].put(key, b"mine", client_id=client_id, sequence=1)
    assert three.nodes[0].get(key).value == b"another's"


def test_a_delete_that_is_repeated_is_applied_once(three: ServedCluster, key: bytes, client_id: int) -> None:
    three.nodes[0].delete(key, client_id=client_id, sequence=1)
    three.nodes[1].put(key, b"another's")
    three.nodes[2].delete(key, client_id=client_id, sequence=1, retry=True)
    assert three.nodes[0].get(key).value == b"another's"


def test_requests_with_other_numbers_are_other_requests(alone: ServedNode, key: bytes, client_id: int) -> None:
    for sequence in (1, 2):
        alone.put(key, b"another's")
        alone.put(key, b"mine", client_id=client_id, sequence=sequence)
        assert alone.get(key).value == b"mine"


def test_the_same_number_of_another_client_is_another_request(alone: ServedNode, key: bytes, client_id: int) -> None:
    alone.put(key, b"first", client_id=client_id, sequence=1)
    alone.put(key, b"second", client_id=client_id + 1_000_000, sequence=1)
    assert alone.get(key).value == b"second"


def test_a_request_that_its_client_has_given_up_is_not_applied_and_nobody_knows_what_became_of_it(
    alone: ServedNode, key: bytes, client_id: int
) -> None:
    alone.put(key, b"second", client_id=client_id, sequence=2, first_outstanding=2)
    code, details, outcome = refusal_of(lambda: alone.put(key, b"first", client_id=client_id, sequence=1, retry=True))
    assert (code, outcome) == (grpc.StatusCode.DEADLINE_EXCEEDED, "unknown")
    assert "the record of this client's earlier writes is gone" in details
    assert alone.get(key).value == b"second"


@pytest.mark.parametrize("request_id", [{"client_id": 0, "sequence": 1}, {"client_id": 7, "sequence": 0}])
@pytest.mark.parametrize("method", ["put", "delete"])
def test_a_request_id_of_nobody_is_refused(
    alone: ServedNode, key: bytes, method: str, request_id: dict[str, int]
) -> None:
    write = {"put": lambda: alone.put(key, b"value", **request_id), "delete": lambda: alone.delete(key, **request_id)}
    assert refusal_of(write[method]) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "a request_id has a client_id and a sequence that are not 0",
        "not-applied",
    )


# Told not to forward


def test_a_node_that_does_not_forward_says_who_leads_and_where(
    three_without_forwarding: ServedCluster, key: bytes
) -> None:
    leader = three_without_forwarding.leader.config.node_id
    said = {
        "state": common_pb2.WRONG_LEADER,
        "address_map": three_without_forwarding.addresses,
        "leader_id": leader,
    }
    for follower in three_without_forwarding.followers:
        assert follower.put(key, b"value") == kv_pb2.PutReply(**said)
        assert follower.get(key) == kv_pb2.GetReply(**said)
        assert follower.delete(key) == kv_pb2.DeleteReply(**said)


def test_a_node_that_does_not_forward_does_nothing(three_without_forwarding: ServedCluster, key: bytes) -> None:
    leader, follower = three_without_forwarding.leader, three_without_forwarding.followers[0]
    leader.put(key, b"leader's")
    follower.put(key, b"follower's")
    follower.delete(key)
    assert leader.get(key).value == b"leader's"


def test_a_leader_serves_whether_or_not_it_forwards(three_without_forwarding: ServedCluster, key: bytes) -> None:
    leader = three_without_forwarding.leader
    assert leader.put(key, b"value").state == common_pb2.OK
    assert leader.get(key).value == b"value"


def test_what_is_outside_the_limits_is_refused_even_where_it_would_not_be_served(
    three_without_forwarding: ServedCluster,
) -> None:
    code, _, _ = refusal_of(lambda: three_without_forwarding.followers[0].put(b"", b"value"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
