"""The asyncio client of a Meteora cluster.

`blocking_client.py` is generated from this file, so only what waits stands here.
Whom to ask next, and what an answer or the lack of one means, is decided in `operation`, `routing` and `fate`, which
both clients share.
"""

import random
from collections.abc import Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import Final, Self

from meteora.client.arguments import as_bytes, checked_timeout_seconds
from meteora.client.async_wire import AsyncWire
from meteora.client.cluster_status import ClusterStatus, cluster_status
from meteora.client.fate import Failure
from meteora.client.methods import (
    CHANGE_CONFIG,
    DELETE,
    GET,
    MEMBERS_TO_CHANGE,
    NODE_STATUS,
    PUT,
    SERIALIZABLE_GET,
    TRANSFER_LEADERSHIP,
    MemberReplyT,
    Method,
    RequestT,
)
from meteora.client.operation import Attempt, Operation
from meteora.client.reading import SerializableRead, serializable_read, value_of
from meteora.client.removal import removal_of
from meteora.client.request_ids import RequestIds
from meteora.client.routing import Routes
from meteora.client.tls import TlsConfig, target_of
from meteora.pb import common_pb2, kv_pb2, raft_pb2

STATUS_SECONDS: Final = 1.0
"""For each member, all at once, to say how it is: it asks nobody else for that. One that doesn't is unreachable."""


class AsyncClient:
    """A client for any number of tasks on one event loop.

        async with AsyncClient("10.0.0.1:5000,10.0.0.2:5000") as client:
            await client.put("key", b"value")

    `endpoints` are KV addresses of any members, one string with commas or several strings; the other members and the
    leader are learned from the answers. A request is tried at one member after another until it is answered or
    `timeout_seconds` are over; a write that is tried again is applied once. Keys and values may be bytes or text,
    which is sent as UTF-8.

    With `tls`, or with endpoints that begin with https://, all members are spoken to by TLS.

    Every request may raise, all of them from `meteora.errors`:

    - `InvalidRequest`: outside the limits.
    - `NotApplied`: nobody served it in time. Nothing was done.
    - `Overloaded`: the cluster has too much to do. Nothing was done.
    - `OutcomeUnknown`: a write was sent, and no answer came in time. It may be applied, or yet be.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] = "127.0.0.1:5000",
        *,
        timeout_seconds: float = 5.0,
        tls: TlsConfig | None = None,
    ) -> None:
        """Connects to nothing yet.

        Raises `ConfigurationError` for an endpoint or a timeout that makes no sense, or certificates that can't be had.
        """
        target = target_of(endpoints, tls)
        self._routes = Routes(target.endpoints)
        self._timeout_seconds = checked_timeout_seconds(timeout_seconds)
        self._request_ids = RequestIds()
        self._wire = AsyncWire(target)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all connections. Requests under way end with an error that says what is known of them."""
        await self._wire.close()

    async def get(self, key: bytes | str, *, serializable: bool = False) -> bytes | None:
        """The value of `key`, at least as new as every write acknowledged before this call; None if there is none.

        With `serializable` it may be older, and is had without a majority: see `get_serializable`.
        """
        if serializable:
            return (await self.get_serializable(key)).value
        request = kv_pb2.GetReq(key=as_bytes(key))
        reply = await self._call(GET, lambda _: request, self._timeout_seconds)
        return value_of(reply)

    async def get_serializable(self, key: bytes | str) -> SerializableRead:
        """The value of `key` as the first node that answers has it, and how old it may be.

        The node answers at once from what it has, even if it is cut off from all others. Who reads twice may see the
        older value the second time, from another node.
        """
        request = kv_pb2.GetReq(key=as_bytes(key), serializable=True)
        return serializable_read(await self._call(SERIALIZABLE_GET, lambda _: request, self._timeout_seconds))

    async def put(self, key: bytes | str, value: bytes | str) -> None:
        """Sets `key`. Returns once that is on the disks of a majority, and applied."""
        key, value = as_bytes(key), as_bytes(value)
        with self._request_ids.issue() as name:
            await self._call(
                PUT, lambda retry: kv_pb2.PutReq(key=key, value=value, request_id=name(retry)), self._timeout_seconds
            )

    async def delete(self, key: bytes | str) -> None:
        """Removes `key`, which need not exist. Returns once that is on the disks of a majority, and applied."""
        key = as_bytes(key)
        with self._request_ids.issue() as name:
            await self._call(
                DELETE, lambda retry: kv_pb2.DeleteReq(key=key, request_id=name(retry)), self._timeout_seconds
            )

    async def leave(self, node_id: int, *, force: bool = False) -> bool:
        """Removes a node from the cluster. True if it was a member, False if it is none, or is none any more.

        Raises `ChangeRefused` with the reason if that can't be done now. With `force` it is done even if too few of
        those who stay are heard to be a majority: then nothing is served until enough of them are there, and the answer
        is `OutcomeUnknown`, because nobody can confirm it.
        """
        deadline_seconds = monotonic() + self._timeout_seconds
        status = await self._call(MEMBERS_TO_CHANGE, lambda _: common_pb2.Null(), self._timeout_seconds)
        removal = removal_of(node_id, status, force=force)
        reply = await self._call(CHANGE_CONFIG, removal, deadline_seconds - monotonic())
        return reply.state == common_pb2.OK

    async def transfer(self, node_id: int) -> None:
        """Lets another voter lead. Returns once it does, or at once if it does already.

        Raises `ChangeRefused` with the reason if it can't: it is no member, a learner, or silent.
        """
        request = raft_pb2.TransferReq(node_id=node_id)
        await self._call(TRANSFER_LEADERSHIP, lambda _: request, self._timeout_seconds)

    async def status(self) -> ClusterStatus:
        """The members, who leads, and how far each node that answers has come. Needs no majority, only one node."""
        request = common_pb2.Null()
        each_seconds = min(STATUS_SECONDS, self._timeout_seconds / 2)
        first = await self._call(NODE_STATUS, lambda _: request, self._timeout_seconds - each_seconds)
        asked = await self._wire.send_each(self._routes.members, NODE_STATUS, request, each_seconds)
        return cluster_status(first, asked)

    async def _call(
        self,
        method: Method[RequestT, MemberReplyT],
        request: Callable[[bool], RequestT],
        timeout_seconds: float,
    ) -> MemberReplyT:
        """The reply to one request. `request` makes the message, knowing whether it may have been applied before."""
        operation = Operation(method, self._routes, timeout_seconds, monotonic(), random.random)
        while True:
            attempt = operation.next_attempt(monotonic())
            await self._wire.pause(attempt.pause_seconds)
            if attempt.is_probe:
                operation.probed(attempt, await self._send(attempt, NODE_STATUS, common_pb2.Null()), monotonic())
                continue
            result = await self._send(attempt, method, request(attempt.is_retry))
            if isinstance(result, Failure):
                operation.failed(attempt, result, monotonic())
            elif operation.is_answered(attempt, result, monotonic()):
                return result

    async def _send(
        self, attempt: Attempt, method: Method[RequestT, MemberReplyT], message: RequestT
    ) -> MemberReplyT | Failure:
        return await self._wire.send(attempt.endpoint, method, message, attempt.timeout_seconds)
