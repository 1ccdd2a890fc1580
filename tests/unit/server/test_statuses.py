import asyncio
from typing import Any, NoReturn

import grpc
import pytest

from meteora import errors
from meteora.errors import (
    ChangeRefused,
    InvalidRequest,
    NoRoom,
    NotApplied,
    OutcomeUnknown,
    Overloaded,
    PermissionDenied,
    RequestError,
    Unauthenticated,
)
from meteora.server.statuses import OUTCOME_KEY, abort, error_of

CODES = {
    InvalidRequest: (grpc.StatusCode.INVALID_ARGUMENT, "not-applied"),
    Overloaded: (grpc.StatusCode.RESOURCE_EXHAUSTED, "not-applied"),
    NoRoom: (grpc.StatusCode.RESOURCE_EXHAUSTED, "not-applied"),
    NotApplied: (grpc.StatusCode.UNAVAILABLE, "not-applied"),
    OutcomeUnknown: (grpc.StatusCode.DEADLINE_EXCEEDED, "unknown"),
    ChangeRefused: (grpc.StatusCode.FAILED_PRECONDITION, "not-applied"),
    Unauthenticated: (grpc.StatusCode.UNAUTHENTICATED, "not-applied"),
    PermissionDenied: (grpc.StatusCode.PERMISSION_DENIED, "not-applied"),
}


class Aborted(Exception):
    pass


class Context:
    """A servicer's context that remembers how the call ended."""

    async def abort(self, code: grpc.StatusCode, details: str, metadata: Any) -> NoReturn:
        raise Aborted(code, details, dict(metadata))


def failure(code: grpc.StatusCode, details: str, outcome: str | None) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata(*(((OUTCOME_KEY, outcome),) if outcome else ()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_an_error_ends_the_call_with_its_status_its_words_and_what_is_known_of_the_outcome(
    kind: type[RequestError],
) -> None:
    with pytest.raises(Aborted) as ended:
        asyncio.run(abort(Context(), kind("what happened")))
    code, outcome = CODES[kind]
    assert ended.value.args == (code, "what happened", {OUTCOME_KEY: outcome})


def test_every_error_of_a_request_has_a_status() -> None:
    # WRONG_LEADER is a state inside a reply, because it comes with addresses.
    of_requests = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, RequestError)}
    assert of_requests - {RequestError} == CODES.keys()


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_an_error_that_another_node_answered_with_is_the_same_error_here(kind: type[RequestError]) -> None:
    said = f"{errors.NO_ROOM}: what happened" if kind is NoRoom else "what happened"
    error = error_of(failure(CODES[kind][0], said, CODES[kind][1]), "the leader, node 2, answered")
    assert (type(error), str(error)) == (kind, f"the leader, node 2, answered: {said}")


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_a_status_that_does_not_say_what_became_of_the_request_leaves_it_unknown(kind: type[RequestError]) -> None:
    # gRPC itself ends calls with the same codes.
    assert type(error_of(failure(CODES[kind][0], "socket closed", None), "asking")) is OutcomeUnknown


def test_a_status_without_words_is_named_by_its_code() -> None:
    assert str(error_of(failure(grpc.StatusCode.INTERNAL, "", None), "asking")) == "asking: INTERNAL"


def test_a_node_that_does_not_know_the_method_refuses() -> None:
    error = error_of(failure(grpc.StatusCode.UNIMPLEMENTED, "Method not found!", None), "asking")
    assert (type(error), str(error)) == (ChangeRefused, "asking: Method not found! (it runs another release)")
