"""What one failed attempt says about the fate of its request.

Pure. The rule: a request that was sent counts as not applied only if a node says so; whatever is not certain is
unknown.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, cast

import grpc

from meteora.connecting import why_not_connected
from meteora.errors import (
    NO_ROOM,
    ChangeRefused,
    InvalidRequest,
    NoRoom,
    NotApplied,
    PermissionDenied,
    RequestError,
    Unauthenticated,
)
from meteora.pb import common_pb2

OUTCOME_METADATA_KEY: Final = "meteora-outcome"
"""The trailing metadata in which a node says what is known of a request that it could not finish in time."""

OUTCOME_NOT_APPLIED: Final = "not-applied"
OUTCOME_UNKNOWN: Final = "unknown"


class Fate(Enum):
    """What is known after an attempt that failed."""

    UNSERVED = "unserved"
    """It reached nobody who takes requests: no connection, or not a Meteora node. Nothing was done."""
    NOT_APPLIED = "not applied"
    """A node took it and says that nothing was done."""
    OVERLOADED = "overloaded"
    """A queue is full. Nothing was done, and asking again at once makes it worse."""
    UNKNOWN = "unknown"
    """It was sent. It may have been, or yet be, applied."""
    REFUSED = "refused"
    """Nothing was done, and no other attempt would end otherwise."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, in words for users, and what that means."""

    fate: Fate
    reason: str
    error: type[RequestError] = NotApplied
    """What a REFUSED request is reported as; means nothing for other fates."""


CLIENT_CLOSED: Final = Failure(Fate.REFUSED, "this client is closed")
CLIENT_CLOSING: Final = Failure(Fate.UNKNOWN, "this client was closed before the answer came")

_REFUSALS: Final[Mapping[grpc.StatusCode, type[RequestError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: ChangeRefused,
}

_DENIALS: Final[Mapping[grpc.StatusCode, type[RequestError]]] = {
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
}
"""What a node says of who asks. Others, which don't tell the outcome, may be between us and a node."""

_TOO_LONG: Final = "message larger than max"
"""In what gRPC itself says, on both RPC servers, before anybody has looked at a request that is too long."""

_UNSERVED: Final = frozenset(
    {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}
)
"""Turned away at the door: this address does not serve us, another one may."""


def failure_of_error(error: grpc.RpcError) -> Failure:
    """What the error that a gRPC call raised means."""
    # The two kinds of channel have different types of metadata, which are both made of pairs.
    pairs = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    outcome = next((value for key, value in pairs if key == OUTCOME_METADATA_KEY), None)
    return failure_of_status(error.code(), error.details() or "", outcome)


def failure_of_status(code: grpc.StatusCode, details: str, outcome: str | bytes | None) -> Failure:
    """What a status other than OK means. `outcome` is what the node said in its trailing metadata, if anything."""
    reason = _reason(code, details)
    if outcome == OUTCOME_UNKNOWN:
        return Failure(Fate.UNKNOWN, details or reason)
    if code in _REFUSALS:
        return Failure(Fate.REFUSED, details or reason, _REFUSALS[code])
    if code in _DENIALS and outcome == OUTCOME_NOT_APPLIED:
        return Failure(Fate.REFUSED, details or reason, _DENIALS[code])
    if outcome == OUTCOME_NOT_APPLIED and details.startswith(NO_ROOM):
        return Failure(Fate.REFUSED, details, NoRoom)
    if outcome == OUTCOME_NOT_APPLIED:
        fate = Fate.OVERLOADED if code is grpc.StatusCode.RESOURCE_EXHAUSTED else Fate.NOT_APPLIED
        return Failure(fate, details or reason)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LONG in details:
        return Failure(Fate.REFUSED, reason, InvalidRequest)
    if code in _UNSERVED:
        return Failure(Fate.UNSERVED, reason)
    return Failure(Fate.UNKNOWN, reason)


def _reason(code: grpc.StatusCode, details: str) -> str:
    """What happened, for users; what gRPC itself says of the most usual cases is put into plainer words."""
    not_connected = why_not_connected(details)
    if not_connected is not None:
        return not_connected
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and "Deadline Exceeded" in details:
        return "no answer in time"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return "does not serve this: expected the KV address of a node"
    if _TOO_LONG in details:
        return f"it is longer than the node takes (--max-request-bytes): {details}"
    words = code.name.lower().replace("_", " ")
    return f"{words}: {details}" if details and details.lower() != words else words


def failure_of_state(state: common_pb2.State) -> Failure | None:
    """What the state inside a reply means; None if the request was served."""
    if state in {common_pb2.OK, common_pb2.NOT_FOUND}:
        return None
    if state == common_pb2.WRONG_LEADER:
        return Failure(Fate.NOT_APPLIED, "does not lead, and was told not to forward")
    if state == common_pb2.IO_ERROR:
        return Failure(Fate.UNKNOWN, "its disk failed")
    return Failure(Fate.UNKNOWN, f"answered with state {state}, which this client does not know")
