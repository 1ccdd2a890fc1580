"""`KvService.Batch`: many operations in one message, each of which stands for itself.

Rules:

- An operation ends as its own method would end, whatever becomes of the others.
- All are queued on the node before anything is waited for, and no operation is a task: that is what a batch saves.
- Whoever stops waiting takes back what is its own. A write that its retry waits for as well goes on.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple

from meteora.errors import InvalidRequest, NotApplied, Overloaded, RequestError
from meteora.kv.command import Operation
from meteora.kv.users import Access
from meteora.node.node import Node
from meteora.pb import common_pb2, kv_pb2
from meteora.server.access import Gate
from meteora.server.leading import no_leader
from meteora.server.replies import Replies, tell_age
from meteora.server.requests import Limits, command_of
from meteora.server.statuses import failure_of

MAX_REPLY_VALUE_BYTES: Final = 3 << 20
"""Of the values in one reply: what gRPC clients take as one message by default is 4 MiB, which hold names and failures
besides."""

_DONE: Final = kv_pb2.Result(state=common_pb2.OK)
_ABSENT: Final = kv_pb2.Result(state=common_pb2.NOT_FOUND)
_ELSEWHERE: Final = kv_pb2.Result(state=common_pb2.WRONG_LEADER)
_ASK_ALONE: Final = kv_pb2.Result(ask_alone=True)


_Refuse = Callable[[bool], kv_pb2.Result]
"""What is said of an operation that isn't served here, knowing whether it is a write that may have been sent before."""


class Batches:
    """Serves batches on one node."""

    def __init__(self, node: Node, replies: Replies, limits: Limits, gate: Gate, *, forwards: bool) -> None:
        """`forwards`: see `KvService`."""
        self._node = node
        self._replies = replies
        self._limits = limits
        self._gate = gate
        self._forwards = forwards

    async def serve(
        self, operations: Iterable[kv_pb2.Operation], authorization: str | None, deadline: float
    ) -> kv_pb2.BatchReply:
        """The result of each operation, once the last of them has one. `deadline` is in the loop's time.

        Raises `Unauthenticated` if users are enabled, and who calls is not logged in.
        """
        if self._gate.users.is_enabled:
            await self._gate.admit(authorization, deadline)
        is_served = self._forwards and not self._node.freshness.is_behind
        refuse = None if is_served else await self._refusal(operations, deadline)
        batch = _Batch(self._node, self._limits, partial(self._check, authorization), deadline, refuse)
        try:
            for operation in operations:
                batch.begin(operation)
            return self._replies.batch(await batch.results())
        finally:
            batch.abandon()

    def _check(self, authorization: str | None, access: Access, key: bytes) -> None:
        if self._gate.users.is_enabled:
            self._gate.check(authorization, access, key)

    async def _refusal(self, operations: Iterable[kv_pb2.Operation], deadline: float) -> _Refuse | None:
        """What to say of all that needs a leader; None if it is served here."""
        if all(operation.get.serializable for operation in operations):
            return None
        if not self._forwards and not await self._node.wait_for_leader(deadline):
            return lambda is_retry: _failed(no_leader(is_retry=is_retry))
        if not (self._forwards or self._node.leads):
            return lambda _: _ELSEWHERE
        if self._node.freshness.is_behind:
            # Who may write is not judged by a state so old.
            try:
                await self._node.catch_up(deadline)
            except (NotApplied, Overloaded) as error:
                cause = error
                return lambda is_retry: _failed(self._node.unanswered(cause, may_be_applied=is_retry))
        return None if self._forwards or self._node.leads else lambda _: _ELSEWHERE


class _Queued(NamedTuple):
    """An operation that the node has taken."""

    future: asyncio.Future[Any]
    result: Callable[[Any], kv_pb2.Result]
    """Of what the future has come to."""


class _Batch:
    """The operations of one call."""

    def __init__(
        self,
        node: Node,
        limits: Limits,
        check: Callable[[Access, bytes], None],
        deadline: float,
        refuse: _Refuse | None,
    ) -> None:
        """`check` raises `RequestError` unless the caller may do that with a key."""
        self._node = node
        self._limits = limits
        self._check = check
        self._deadline = deadline
        self._refuse = refuse
        self._state = node.applied_state()
        self._begun: list[_Queued | kv_pb2.Result] = []
        self._value_bytes = 0

    def begin(self, operation: kv_pb2.Operation) -> None:
        """Queue an operation, or note at once why not."""
        try:
            self._begun.append(self._queue(operation))
        except RequestError as error:
            self._begun.append(_failed(error))

    def _queue(self, operation: kv_pb2.Operation) -> _Queued | kv_pb2.Result:
        match operation.WhichOneof("operation"):
            case "put":
                return self._queue_write(Operation.PUT, operation.put, operation.put.value)
            case "get":
                return self._queue_read(operation.get)
            case "delete":
                return self._queue_write(Operation.DELETE, operation.delete, b"")
        raise InvalidRequest("an operation is a get, a put or a delete; this one is empty, or of a later release")

    def _queue_write(
        self, operation: Operation, request: kv_pb2.PutReq | kv_pb2.DeleteReq, value: bytes
    ) -> _Queued | kv_pb2.Result:
        self._limits.check_key(request.key)
        self._limits.check_value(value)
        self._check(Access.WRITE, request.key)
        if self._refuse is not None:
            return self._refuse(request.request_id.retry)
        if request.HasField("request_id"):
            return _Queued(self._node.write(command_of(operation, request, value), self._deadline), _written)
        if operation is Operation.PUT:
            return _Queued(self._node.put(request.key, value, self._deadline), _written)
        return _Queued(self._node.delete(request.key, self._deadline), _written)

    def _queue_read(self, request: kv_pb2.GetReq) -> _Queued | kv_pb2.Result:
        self._limits.check_key(request.key)
        self._check(Access.READ, request.key)
        if request.serializable:
            return _Queued(self._node.queue_stale_read(request.key, self._deadline), self._read_stale)
        if self._refuse is not None:
            return self._refuse(False)
        return _Queued(self._node.get(request.key, self._deadline), partial(self._read_checked, request.key))

    async def results(self) -> list[kv_pb2.Result]:
        """What became of each operation, once every one has come to an end."""
        # Most of them end together, so that the first that is waited for is the last. What is waited for in this way
        # is not cancelled with the call, and no error is raised from it. What was read is let go of at once, if there
        # is no room for it in the reply: all values together may be much.
        results: list[kv_pb2.Result] = []
        for position, each in enumerate(self._begun):
            if isinstance(each, kv_pb2.Result):
                results.append(each)
                continue
            if not each.future.done():
                await asyncio.wait((each.future,))
            results.append(self._result(each))
            self._begun[position] = results[-1]
        return results

    def _result(self, each: _Queued) -> kv_pb2.Result:
        try:
            error = each.future.exception()
            return each.result(each.future.result()) if error is None else _failed(error)
        except RequestError as error:
            return _failed(error)

    def abandon(self) -> None:
        """Take back what nobody waits for any more."""
        for each in self._begun:
            if isinstance(each, _Queued) and not each.future.cancel() and not each.future.cancelled():
                # It has ended meanwhile: asyncio would log an error that nobody has looked at.
                each.future.exception()

    def _read_checked(self, key: bytes, value: bytes | None) -> kv_pb2.Result:
        # What this node has caught up with for this read may have taken the right to it.
        self._check(Access.READ, key)
        return self._read(value)

    def _read(self, value: bytes | None) -> kv_pb2.Result:
        if value is None:
            return _ABSENT
        if self._value_bytes + len(value) > MAX_REPLY_VALUE_BYTES:
            return _ASK_ALONE
        self._value_bytes += len(value)
        return kv_pb2.Result(state=common_pb2.OK, value=value)

    def _read_stale(self, value: bytes | None) -> kv_pb2.Result:
        result = kv_pb2.Result()
        result.CopyFrom(self._read(value))
        tell_age(result, self._node.stale_read(value, self._state))
        return result


def _written(_: None) -> kv_pb2.Result:
    return _DONE


def _failed(error: BaseException) -> kv_pb2.Result:
    if not isinstance(error, RequestError):
        raise error
    return kv_pb2.Result(failure=failure_of(error))
