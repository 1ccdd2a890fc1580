"""Several requests as one message, and what its reply says to each."""

from typing import Any

from google.protobuf.message import Message

from meteora.client.batch import OPERATION_OVERHEAD_BYTES, answers_of, batch_of
from meteora.client.fate import Failure, Fate
from meteora.client.methods import DELETE, GET, PUT, SERIALIZABLE_GET, Method
from meteora.pb import common_pb2, kv_pb2

PUT_A: tuple[Method[Any, Any], Message] = (PUT, kv_pb2.PutReq(key=b"a", value=b"1"))
GET_B: tuple[Method[Any, Any], Message] = (GET, kv_pb2.GetReq(key=b"b"))
DELETE_C: tuple[Method[Any, Any], Message] = (DELETE, kv_pb2.DeleteReq(key=b"c"))
OK = kv_pb2.Result(state=common_pb2.OK)


def reply(*results: kv_pb2.Result) -> kv_pb2.BatchReply:
    return kv_pb2.BatchReply(
        results=results, address_map={1: common_pb2.NodeAddress(kv_address="host:5000")}, leader_id=1
    )


def failure(code: int, outcome: str) -> kv_pb2.Result:
    return kv_pb2.Result(failure=kv_pb2.Failure(code=code, message="why", outcome=outcome))


def test_each_request_is_an_operation_in_its_place() -> None:
    assert batch_of([PUT_A, GET_B, DELETE_C]) == kv_pb2.BatchReq(
        operations=[
            kv_pb2.Operation(put=PUT_A[1]),
            kv_pb2.Operation(get=GET_B[1]),
            kv_pb2.Operation(delete=DELETE_C[1]),
        ]
    )


def test_an_operation_is_no_longer_than_its_request_and_the_overhead() -> None:
    for length in (0, 1, 100, 200, 20_000, 60_000, 4_000_000):
        request = kv_pb2.PutReq(key=b"a", value=b"v" * length)
        assert batch_of([(PUT, request)]).ByteSize() <= request.ByteSize() + OPERATION_OVERHEAD_BYTES


def test_each_answer_is_what_its_own_method_would_have_brought() -> None:
    value = kv_pb2.Result(state=common_pb2.OK, value=b"2")
    put, get, delete = answers_of([PUT_A, GET_B, DELETE_C], reply(OK, value, OK))
    known = {"address_map": reply().address_map, "leader_id": 1}
    assert put == kv_pb2.PutReply(state=common_pb2.OK, **known)
    assert get == kv_pb2.GetReply(state=common_pb2.OK, value=b"2", **known)
    assert delete == kv_pb2.DeleteReply(state=common_pb2.OK, **known)


def test_a_serializable_read_keeps_its_age() -> None:
    request = kv_pb2.GetReq(key=b"b", serializable=True)
    result = kv_pb2.Result(state=common_pb2.OK, value=b"2", applied_index=7, staleness_milliseconds=0)
    [answer] = answers_of([(SERIALIZABLE_GET, request)], reply(result))
    assert isinstance(answer, kv_pb2.GetReply)
    assert (answer.applied_index, answer.HasField("staleness_milliseconds")) == (7, True)


def test_a_failure_means_what_the_status_of_a_call_would() -> None:
    results = [failure(8, "not-applied"), failure(14, "not-applied"), failure(4, "unknown"), failure(99, "")]
    answers = answers_of([PUT_A] * 4, reply(*results))
    fates = [each.fate for each in answers if isinstance(each, Failure)]
    assert fates == [Fate.OVERLOADED, Fate.NOT_APPLIED, Fate.UNKNOWN, Fate.UNKNOWN]


def test_a_result_that_says_nothing_leaves_a_write_in_doubt_and_not_done() -> None:
    [answer] = answers_of([PUT_A], reply(kv_pb2.Result()))
    assert isinstance(answer, kv_pb2.PutReply)
    assert answer.state == common_pb2.UNKNOWN


def test_what_is_to_be_asked_for_alone_has_no_answer_yet() -> None:
    assert answers_of([GET_B], reply(kv_pb2.Result(ask_alone=True))) == [None]


def test_a_reply_with_too_few_results_answers_nobody() -> None:
    answers = answers_of([PUT_A, DELETE_C], reply(OK))
    assert [each.fate for each in answers if isinstance(each, Failure)] == [Fate.UNKNOWN] * 2
