"""The asyncio client's side of the wire: channels, attempts, pauses. Its twin for threads is `blocking_wire`.

What tasks ask of one node at the same time travels together (`async_batches`).
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from time import monotonic
from typing import NamedTuple, cast

import grpc

from meteora.client.async_batches import Batches
from meteora.client.channel import CHANNEL_OPTIONS
from meteora.client.fate import CLIENT_CLOSED, CLIENT_CLOSING, Failure, failure_of_error
from meteora.client.login import Login
from meteora.client.methods import Method, ReplyT, RequestT
from meteora.client.tls import Target


class _Connection(NamedTuple):
    """The way to one endpoint."""

    channel: grpc.aio.Channel
    batches: Batches


class AsyncWire:
    """One channel an endpoint, opened when it is first used."""

    def __init__(self, target: Target, login: Login) -> None:
        self.logging_in = asyncio.Lock()
        """Held by who logs in."""
        self._credentials = target.credentials
        self._options = (*CHANNEL_OPTIONS, *target.options)
        self._login = login
        self._connections: dict[str, _Connection] = {}
        self._is_closed = False

    async def pause(self, seconds: float) -> None:
        """Lets `seconds` pass, or nothing if it is 0."""
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def send(
        self, endpoint: str, method: Method[RequestT, ReplyT], request: RequestT, timeout_seconds: float
    ) -> ReplyT | Failure:
        """The reply to one attempt, or why there is none."""
        connection = self._connection(endpoint)
        if connection is None:
            return CLIENT_CLOSED
        deadline_seconds = monotonic() + timeout_seconds
        answer = await connection.batches.send(method, request, timeout_seconds)
        if answer is not None:
            return cast("ReplyT | Failure", answer)
        return await self._send_alone(endpoint, method, request, deadline_seconds - monotonic())

    async def _send_alone(
        self, endpoint: str, method: Method[RequestT, ReplyT], request: RequestT, timeout_seconds: float
    ) -> ReplyT | Failure:
        connection = self._connection(endpoint)
        if connection is None:
            return CLIENT_CLOSED
        path, reply_type = method.path, method.reply_type
        call = connection.channel.unary_unary(path, method.request_type.SerializeToString, reply_type.FromString)
        try:
            return await call(request, timeout=timeout_seconds, metadata=self._login.metadata)
        except grpc.RpcError as error:
            return failure_of_error(error)
        except asyncio.CancelledError:
            # Closing a channel ends its calls in this way, too, although nobody cancelled the task.
            if self._is_closed and not _is_task_cancelled():
                return CLIENT_CLOSING
            raise

    async def stream(
        self, endpoint: str, method: Method[RequestT, ReplyT], request: RequestT
    ) -> AsyncGenerator[ReplyT | Failure, None]:
        """The replies to one attempt as they come; last, if it fails, why."""
        connection = self._connection(endpoint)
        if connection is None:
            yield CLIENT_CLOSED
            return
        path, reply_type = method.path, method.reply_type
        call = connection.channel.unary_stream(path, method.request_type.SerializeToString, reply_type.FromString)(
            request, metadata=self._login.metadata
        )
        try:
            async for reply in call:
                yield reply
        except grpc.RpcError as error:
            yield failure_of_error(error)
        finally:
            call.cancel()

    async def send_each(
        self,
        endpoints: Mapping[int, str],
        method: Method[RequestT, ReplyT],
        request: RequestT,
        timeout_seconds: float,
    ) -> dict[int, ReplyT | Failure]:
        """One attempt at each endpoint, all at once; the results by the keys of `endpoints`."""
        attempts = (self.send(endpoint, method, request, timeout_seconds) for endpoint in endpoints.values())
        return dict(zip(endpoints, await asyncio.gather(*attempts), strict=True))

    async def close(self) -> None:
        """Ends the connections, and what still waits on them. May be called again."""
        self._is_closed = True
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            await connection.batches.close()
            await connection.channel.close()

    def _connection(self, endpoint: str) -> _Connection | None:
        """The way to `endpoint`; None if the client is closed."""
        if self._is_closed:
            return None
        connection = self._connections.get(endpoint)
        if connection is None:
            channel = self._open(endpoint)
            connection = self._connections[endpoint] = _Connection(channel, Batches(channel, self._login))
        return connection

    def _open(self, endpoint: str) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(endpoint, self._options)
        return grpc.aio.secure_channel(endpoint, self._credentials, self._options)


def _is_task_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
