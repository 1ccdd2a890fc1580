"""Errors of requests as gRPC statuses.

What a client must know to retry safely is whether a write may have happened, so that stands beside the code, in the
trailing metadata `meteora-outcome`: `not-applied` or `unknown`. Of an operation in a batch the same is said in a
`Failure` of its own.
"""

from typing import Any, NoReturn

import grpc

from meteora.errors import (
    NO_ROOM,
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
from meteora.pb import kv_pb2

OUTCOME_KEY = "meteora-outcome"

_NOT_APPLIED = "not-applied"
_UNKNOWN = "unknown"

NOT_APPLIED_METADATA = ((OUTCOME_KEY, _NOT_APPLIED),)
"""For calls of which nothing was done."""

_STATUSES: dict[type[RequestError], tuple[grpc.StatusCode, str]] = {
    InvalidRequest: (grpc.StatusCode.INVALID_ARGUMENT, _NOT_APPLIED),
    Overloaded: (grpc.StatusCode.RESOURCE_EXHAUSTED, _NOT_APPLIED),
    NoRoom: (grpc.StatusCode.RESOURCE_EXHAUSTED, _NOT_APPLIED),
    NotApplied: (grpc.StatusCode.UNAVAILABLE, _NOT_APPLIED),
    OutcomeUnknown: (grpc.StatusCode.DEADLINE_EXCEEDED, _UNKNOWN),
    Unauthenticated: (grpc.StatusCode.UNAUTHENTICATED, _NOT_APPLIED),
    PermissionDenied: (grpc.StatusCode.PERMISSION_DENIED, _NOT_APPLIED),
    ChangeRefused: (grpc.StatusCode.FAILED_PRECONDITION, _NOT_APPLIED),
}


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: RequestError) -> NoReturn:
    """End the call with the status of `error`."""
    code, outcome = _STATUSES[type(error)]
    await context.abort(code, str(error), ((OUTCOME_KEY, outcome),))


def failure_of(error: RequestError) -> kv_pb2.Failure:
    """What `abort` would end the call with, for an operation that has no call of its own."""
    code, outcome = _STATUSES[type(error)]
    number: int = code.value[0]
    return kv_pb2.Failure(code=number, message=str(error), outcome=outcome)


def error_of(failure: grpc.aio.AioRpcError, what: str) -> RequestError:
    """The error that another node answered with, or that calling it came to; `what` was asked of it."""
    outcome = dict(failure.trailing_metadata() or ()).get(OUTCOME_KEY)
    detail = f"{what}: {failure.details() or failure.code().name}"
    if outcome is not None and (failure.details() or "").startswith(NO_ROOM):
        return NoRoom(detail)
    for error, (code, _) in _STATUSES.items():
        if code is failure.code() and outcome is not None:
            return error(detail)
    if failure.code() is grpc.StatusCode.UNIMPLEMENTED:
        return ChangeRefused(f"{detail} (it runs another release)")
    return OutcomeUnknown(detail)
