"""Several requests as one message, and what its reply says to each of them. Pure.

Rule: who sent a request in a batch gets what the request's own method would have brought: a reply, or a failure that
says the same of its fate.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from meteora.client.fate import Failure, Fate, failure_of_status
from meteora.client.methods import MemberReply, Method
from meteora.pb import kv_pb2

MAX_OPERATIONS: Final = 1024
"""What a node takes in one batch."""

MAX_BYTES: Final = 64 * 1024
"""Of the operations in one batch. Every node takes a message of this length, whatever its --max-request-bytes; and a
call costs little by then beside what it carries."""

OPERATION_OVERHEAD_BYTES: Final = 16
"""Beside a request, in a batch: two tags and two lengths, generously."""

Request = tuple[Method[Any, Any], Message]

Answer = MemberReply | Failure | None
"""None: the request is to be sent alone. Nothing was done."""

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def batch_of(requests: Iterable[Request]) -> kv_pb2.BatchReq:
    """The message for these requests, each of which has a `Method.operation`."""
    batch = kv_pb2.BatchReq()
    add = batch.operations.add
    for method, request in requests:
        getattr(add(), method.operation).CopyFrom(request)
    return batch


def answers_of(requests: Sequence[Request], reply: kv_pb2.BatchReply) -> list[Answer]:
    """What `reply` says to each of the requests that it answers."""
    if len(reply.results) != len(requests):
        wrong = Failure(Fate.UNKNOWN, f"answered {len(reply.results)} of {len(requests)} operations")
        return [wrong] * len(requests)
    return list(_answers(requests, reply))


def _answers(requests: Iterable[Request], reply: kv_pb2.BatchReply) -> Iterator[Answer]:
    # Of replies that are alike there is one for all: nobody changes them.
    shared: dict[tuple[type[Message], int], Any] = {}
    for (method, _), result in zip(requests, reply.results, strict=True):
        state, reply_type = result.state, method.reply_type
        if not state and result.ask_alone:
            yield None
        elif not state and result.HasField("failure"):
            yield _failure_of(result.failure)
        else:
            alike = shared.get((reply_type, state))
            if alike is None:
                alike = shared[reply_type, state] = reply_type(
                    state=state, address_map=reply.address_map, leader_id=reply.leader_id
                )
            yield _with_value(alike, result) if reply_type is kv_pb2.GetReply else alike


def _with_value(alike: kv_pb2.GetReply, result: kv_pb2.Result) -> kv_pb2.GetReply:
    reply = kv_pb2.GetReply()
    reply.CopyFrom(alike)
    reply.value = result.value
    if result.applied_index:
        reply.applied_index = result.applied_index
    if result.HasField("staleness_milliseconds"):
        reply.staleness_milliseconds = result.staleness_milliseconds
    return reply


def _failure_of(failure: kv_pb2.Failure) -> Failure:
    code = _CODES.get(failure.code, grpc.StatusCode.UNKNOWN)
    return failure_of_status(code, failure.message, failure.outcome or None)
