import grpc
import pytest
from grpc import StatusCode

from meteora.client.fate import Failure, Fate, failure_of_error, failure_of_state, failure_of_status
from meteora.errors import NO_ROOM, ChangeRefused, InvalidRequest, NoRoom, RequestError
from meteora.pb import common_pb2


@pytest.mark.parametrize(
    ("code", "outcome", "fate"),
    [
        (StatusCode.UNAVAILABLE, "not-applied", Fate.NOT_APPLIED),
        (StatusCode.UNAVAILABLE, "unknown", Fate.UNKNOWN),
        (StatusCode.UNAVAILABLE, None, Fate.UNKNOWN),
        (StatusCode.UNAVAILABLE, "something new", Fate.UNKNOWN),
        (StatusCode.DEADLINE_EXCEEDED, "not-applied", Fate.NOT_APPLIED),
        (StatusCode.DEADLINE_EXCEEDED, "unknown", Fate.UNKNOWN),
        (StatusCode.DEADLINE_EXCEEDED, None, Fate.UNKNOWN),
        (StatusCode.CANCELLED, None, Fate.UNKNOWN),
        (StatusCode.UNKNOWN, None, Fate.UNKNOWN),
        (StatusCode.INTERNAL, None, Fate.UNKNOWN),
        (StatusCode.ABORTED, None, Fate.UNKNOWN),
        (StatusCode.DATA_LOSS, None, Fate.UNKNOWN),
        (StatusCode.RESOURCE_EXHAUSTED, "not-applied", Fate.OVERLOADED),
        (StatusCode.RESOURCE_EXHAUSTED, None, Fate.UNKNOWN),
        (StatusCode.RESOURCE_EXHAUSTED, "unknown", Fate.UNKNOWN),
        (StatusCode.UNIMPLEMENTED, None, Fate.UNSERVED),
        (StatusCode.UNAUTHENTICATED, None, Fate.UNSERVED),
        (StatusCode.PERMISSION_DENIED, None, Fate.UNSERVED),
        (StatusCode.INVALID_ARGUMENT, "not-applied", Fate.REFUSED),
        (StatusCode.INVALID_ARGUMENT, None, Fate.REFUSED),
        (StatusCode.FAILED_PRECONDITION, None, Fate.REFUSED),
    ],
)
def test_only_what_is_certain_counts_as_not_applied(code: StatusCode, outcome: str | None, fate: Fate) -> None:
    assert failure_of_status(code, "", outcome).fate is fate


@pytest.mark.parametrize(
    ("code", "error"), [(StatusCode.INVALID_ARGUMENT, InvalidRequest), (StatusCode.FAILED_PRECONDITION, ChangeRefused)]
)
def test_a_refusal_names_its_error(code: StatusCode, error: type[RequestError]) -> None:
    assert failure_of_status(code, "", None).error is error


@pytest.mark.parametrize("who", ["", "SERVER: "])
def test_a_message_that_is_too_long_was_certainly_not_applied(who: str) -> None:
    failure = failure_of_status(
        StatusCode.RESOURCE_EXHAUSTED, f"{who}Received message larger than max (20 vs. 10)", None
    )
    assert (failure.fate, failure.error) == (Fate.REFUSED, InvalidRequest)


@pytest.mark.parametrize(
    ("code", "details", "outcome", "reason"),
    [
        (StatusCode.UNAVAILABLE, "no leader", "not-applied", "no leader"),
        (StatusCode.UNAVAILABLE, "Socket closed", None, "unavailable: Socket closed"),
        (StatusCode.INTERNAL, "", None, "internal"),
        (
            StatusCode.UNIMPLEMENTED,
            "Method not found!",
            None,
            "does not serve this: expected the KV address of a node",
        ),
        (
            StatusCode.RESOURCE_EXHAUSTED,
            "Received message larger than max (20 vs. 10)",
            None,
            "it is longer than the node takes (--max-request-bytes): Received message larger than max (20 vs. 10)",
        ),
        (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", None, "no answer in time"),
        (StatusCode.DEADLINE_EXCEEDED, "Stream removed (Deadline Exceeded)", None, "no answer in time"),
        (
            StatusCode.UNAVAILABLE,
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused",
            None,
            "can't be connected to: Connection refused",
        ),
        (
            StatusCode.UNAVAILABLE,
            "errors resolving a:1: [field:hostname lookup error:address lookup failed for a:1: Domain name not found]",
            None,
            "its name can't be looked up: Domain name not found",
        ),
    ],
)
def test_the_reason_is_what_the_node_said_or_plain_words(
    code: StatusCode, details: str, outcome: str | None, reason: str
) -> None:
    assert failure_of_status(code, details, outcome).reason == reason


@pytest.mark.parametrize(
    ("state", "fate"),
    [
        (common_pb2.OK, None),
        (common_pb2.NOT_FOUND, None),
        (common_pb2.WRONG_LEADER, Fate.NOT_APPLIED),
        (common_pb2.IO_ERROR, Fate.UNKNOWN),
        (common_pb2.UNKNOWN, Fate.UNKNOWN),
        (99, Fate.UNKNOWN),
    ],
)
def test_the_state_of_a_reply_says_whether_it_was_served(state: common_pb2.State, fate: Fate | None) -> None:
    failure = failure_of_state(state)
    assert (failure and failure.fate) == fate


def test_the_outcome_is_read_from_the_trailing_metadata() -> None:
    error = grpc.aio.AioRpcError(
        StatusCode.UNAVAILABLE,
        trailing_metadata=grpc.aio.Metadata(("other-bin", b"\xff"), ("meteora-outcome", "not-applied")),
        details="no leader",
    )
    assert failure_of_error(error).fate is Fate.NOT_APPLIED


def test_an_error_without_metadata_leaves_the_outcome_open() -> None:
    assert failure_of_error(grpc.aio.AioRpcError(StatusCode.UNAVAILABLE)).fate is Fate.UNKNOWN


def test_a_put_for_which_there_is_no_room_is_refused_and_not_tried_again() -> None:
    failure = failure_of_status(StatusCode.RESOURCE_EXHAUSTED, f"{NO_ROOM}: node 1 is full", "not-applied")
    assert failure == Failure(Fate.REFUSED, f"{NO_ROOM}: node 1 is full", NoRoom)
