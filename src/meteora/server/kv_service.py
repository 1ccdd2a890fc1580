"""`meteora.kv.KvService`: Get, Put and Delete; what Batch does with many of them is in `batch`."""

import asyncio
from typing import Any, NamedTuple, TypeVar

import grpc

from meteora.errors import NotApplied, Overloaded, RequestError, Unauthenticated
from meteora.kv.command import Operation
from meteora.kv.users import Access
from meteora.node.node import Node
from meteora.pb import common_pb2, kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceServicer
from meteora.rpc import Direct, frame
from meteora.server.access import Gate, authorization_of
from meteora.server.batch import Batches
from meteora.server.deadlines import deadline_after, deadline_of
from meteora.server.leading import leads
from meteora.server.replies import Replies
from meteora.server.requests import Limits, command_of
from meteora.server.statuses import abort

_Reply = TypeVar("_Reply", kv_pb2.GetReply, kv_pb2.PutReply, kv_pb2.DeleteReply)


class _Judged(NamedTuple):
    """What was read for one who may read it, by all that this node had applied by then."""

    value: bytes | None


class KvService(KvServiceServicer):
    """Checks the limits, asks the node, and answers."""

    def __init__(
        self,
        node: Node,
        replies: Replies,
        gate: Gate,
        *,
        max_value_bytes: int,
        timeout_seconds: float,
        forwards: bool,
    ) -> None:
        """`forwards`: serve on any node; else one that doesn't lead answers WRONG_LEADER once it knows who does."""
        self._loop = asyncio.get_running_loop()
        self._node = node
        self._replies = replies
        self._limits = Limits(max_value_bytes)
        self._gate = gate
        self._users = node.users
        self._freshness = node.freshness
        self._batches = Batches(node, replies, self._limits, gate, forwards=forwards)
        self._timeout_seconds = timeout_seconds
        self._forwards = forwards

    @property
    def direct_methods(self) -> dict[str, Direct]:
        """The ways past the handlers, for what needs nothing but this node and a future of it."""
        return {
            "Get": Direct(self._begin_get, self._finish_get, _explain),
            "Put": Direct(self._begin_put, self._replies.framed_put, _explain),
            "Delete": Direct(self._begin_delete, self._replies.framed_delete, _explain),
        }

    async def Get(  # noqa: N802  the method's name in the proto
        self, request: kv_pb2.GetReq, context: grpc.aio.ServicerContext[kv_pb2.GetReq, kv_pb2.GetReply]
    ) -> kv_pb2.GetReply:
        """The value of a key, linearizable unless it is asked for as this node has it."""
        try:
            self._limits.check_key(request.key)
            deadline = deadline_of(context, self._timeout_seconds, self._loop.time())
            await self._admit(context, Access.READ, request.key, deadline)
            if request.serializable:
                return self._replies.stale(await self._node.get_stale(request.key, deadline))
            if not (self._forwards or await leads(self._node, deadline)):
                return self._elsewhere(self._replies.get(None))
            value = await self._node.get(request.key, deadline)
            # What this node has caught up with for this read may have taken the right to it.
            await self._admit(context, Access.READ, request.key, deadline)
        except RequestError as error:
            await abort(context, error)
        return self._replies.get(value)

    def _begin_get(
        self,
        request: kv_pb2.GetReq,
        timeout_seconds: float | None,
        authorization: str | None,
    ) -> "asyncio.Future[Any] | None":
        if request.serializable or not self._forwards or self._freshness.is_behind:
            return None
        is_guarded = self._users.is_enabled
        if is_guarded and not self._is_admitted(authorization, Access.READ, request.key):
            return None
        self._limits.check_key(request.key)
        deadline = deadline_after(timeout_seconds, self._timeout_seconds, self._loop.time())
        value = self._node.get(request.key, deadline)
        return self._judged_again(value, authorization, request.key) if is_guarded else value

    def _finish_get(self, read: "bytes | _Judged | None") -> bytes:
        # No function is called for this: it is in the way of every read.
        if read.__class__ is _Judged:
            read = read.value
        elif self._users.is_enabled:
            # That was acknowledged before the read, perhaps, and applied here for it.
            raise Unauthenticated("users were enabled meanwhile, and this request is not logged in")
        return frame(self._replies.get(read).SerializeToString())  # type: ignore[arg-type]  # it is judged no more

    async def Put(  # noqa: N802  the method's name in the proto
        self, request: kv_pb2.PutReq, context: grpc.aio.ServicerContext[kv_pb2.PutReq, kv_pb2.PutReply]
    ) -> kv_pb2.PutReply:
        """Set a key."""
        try:
            self._check_put(request)
            deadline = deadline_of(context, self._timeout_seconds, self._loop.time())
            await self._admit_write(context, request, deadline)
            if not (self._forwards or await leads(self._node, deadline, is_retry=request.request_id.retry)):
                return self._elsewhere(self._replies.put())
            await self._put(request, deadline)
        except RequestError as error:
            await abort(context, error)
        return self._replies.put()

    def _begin_put(
        self, request: kv_pb2.PutReq, timeout_seconds: float | None, authorization: str | None
    ) -> asyncio.Future[None] | None:
        if (
            not self._forwards
            or self._freshness.is_behind
            or (self._users.is_enabled and not self._is_admitted(authorization, Access.WRITE, request.key))
        ):
            return None
        self._check_put(request)
        return self._put(request, deadline_after(timeout_seconds, self._timeout_seconds, self._loop.time()))

    def _put(self, request: kv_pb2.PutReq, deadline: float) -> asyncio.Future[None]:
        if request.HasField("request_id"):
            return self._node.write(command_of(Operation.PUT, request, request.value), deadline)
        return self._node.put(request.key, request.value, deadline)

    async def Delete(  # noqa: N802  the method's name in the proto
        self, request: kv_pb2.DeleteReq, context: grpc.aio.ServicerContext[kv_pb2.DeleteReq, kv_pb2.DeleteReply]
    ) -> kv_pb2.DeleteReply:
        """Remove a key."""
        try:
            self._limits.check_key(request.key)
            deadline = deadline_of(context, self._timeout_seconds, self._loop.time())
            await self._admit_write(context, request, deadline)
            if not (self._forwards or await leads(self._node, deadline, is_retry=request.request_id.retry)):
                return self._elsewhere(self._replies.delete())
            await self._delete(request, deadline)
        except RequestError as error:
            await abort(context, error)
        return self._replies.delete()

    def _begin_delete(
        self, request: kv_pb2.DeleteReq, timeout_seconds: float | None, authorization: str | None
    ) -> asyncio.Future[None] | None:
        if (
            not self._forwards
            or self._freshness.is_behind
            or (self._users.is_enabled and not self._is_admitted(authorization, Access.WRITE, request.key))
        ):
            return None
        self._limits.check_key(request.key)
        return self._delete(request, deadline_after(timeout_seconds, self._timeout_seconds, self._loop.time()))

    def _delete(self, request: kv_pb2.DeleteReq, deadline: float) -> asyncio.Future[None]:
        if request.HasField("request_id"):
            return self._node.write(command_of(Operation.DELETE, request, b""), deadline)
        return self._node.delete(request.key, deadline)

    async def Batch(  # noqa: N802  the method's name in the proto
        self, request: kv_pb2.BatchReq, context: grpc.aio.ServicerContext[kv_pb2.BatchReq, kv_pb2.BatchReply]
    ) -> kv_pb2.BatchReply:
        """Many operations, each of which stands for itself."""
        try:
            self._limits.check_batch(request)
            deadline = deadline_of(context, self._timeout_seconds, self._loop.time())
            return await self._batches.serve(request.operations, authorization_of(context), deadline)
        except RequestError as error:
            await abort(context, error)

    async def _admit(
        self, context: "grpc.aio.ServicerContext[Any, Any]", access: Access, key: bytes, deadline: float
    ) -> None:
        """Raises `Unauthenticated` or `PermissionDenied` if users are enabled, and the caller may not do this."""
        if not self._users.is_enabled:
            return
        authorization = authorization_of(context)
        if await self._gate.admit(authorization, deadline) is not None:
            self._gate.check(authorization, access, key)

    async def _admit_write(
        self,
        context: "grpc.aio.ServicerContext[Any, Any]",
        request: kv_pb2.PutReq | kv_pb2.DeleteReq,
        deadline: float,
    ) -> None:
        """As `_admit`, by a state that is not old. Raises `OutcomeUnknown` for what may have been sent before."""
        if not (self._users.is_enabled or self._freshness.is_behind):
            return
        authorization, is_retry = authorization_of(context), request.request_id.retry
        # What is not done here is judged where it is.
        is_done_here = self._forwards or await leads(self._node, deadline, is_retry=is_retry)
        try:
            caller = await self._gate.admit(authorization, deadline, is_write=is_done_here)
        except (NotApplied, Overloaded) as cause:
            raise self._node.unanswered(cause, may_be_applied=is_retry) from None
        if caller is not None:
            self._gate.check(authorization, Access.WRITE, request.key)

    def _is_admitted(self, authorization: str | None, access: Access, key: bytes) -> bool:
        """False if this node doesn't know yet who calls. Raises as `_admit`."""
        if not self._gate.knows(authorization):
            return False
        self._gate.check(authorization, access, key)
        return True

    def _judged_again(
        self, value: "asyncio.Future[bytes | None]", authorization: str | None, key: bytes
    ) -> "asyncio.Future[_Judged]":
        """The value, unless what this node has caught up with for it has taken the right to it."""
        judged: asyncio.Future[_Judged] = self._loop.create_future()
        revision = self._users.revision

        def judge(read: "asyncio.Future[bytes | None]") -> None:
            if judged.done() or read.cancelled():
                judged.cancel()
            elif (error := read.exception()) is not None:
                judged.set_exception(error)
            else:
                try:
                    if self._users.revision != revision and self._users.is_enabled:
                        self._gate.check(authorization, Access.READ, key)
                except RequestError as refusal:
                    judged.set_exception(refusal)
                else:
                    judged.set_result(_Judged(read.result()))

        value.add_done_callback(judge)
        judged.add_done_callback(lambda outcome: outcome.cancelled() and value.cancel())
        return judged

    def _check_put(self, request: kv_pb2.PutReq) -> None:
        self._limits.check_key(request.key)
        self._limits.check_value(request.value)

    def _elsewhere(self, reply: _Reply) -> _Reply:
        """WRONG_LEADER, with the leader's id and all addresses, so that the caller can go there."""
        answer = type(reply)()
        answer.CopyFrom(reply)
        answer.state = common_pb2.WRONG_LEADER
        return answer


async def _explain(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    if isinstance(error, RequestError):
        await abort(context, error)
