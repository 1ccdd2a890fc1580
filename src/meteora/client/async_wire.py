"""The asyncio client's side of the wire: channels, attempts, pauses. Its twin for threads is `blocking_wire`."""

import asyncio
from collections.abc import Mapping

import grpc

from meteora.client.channel import CHANNEL_OPTIONS
from meteora.client.fate import CLIENT_CLOSED, CLIENT_CLOSING, Failure, failure_of_error
from meteora.client.methods import Method, ReplyT, RequestT


class AsyncWire:
    """One channel an endpoint, opened when it is first used."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._is_closed = False

    async def pause(self, seconds: float) -> None:
        """Lets `seconds` pass, or nothing if it is 0."""
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def send(
        self, endpoint: str, method: Method[RequestT, ReplyT], request: RequestT, timeout_seconds: float
    ) -> ReplyT | Failure:
        """The reply to one attempt, or why there is none."""
        channel = self._channel(endpoint)
        if channel is None:
            return CLIENT_CLOSED
        call = channel.unary_unary(method.path, method.request_type.SerializeToString, method.reply_type.FromString)
        try:
            return await call(request, timeout=timeout_seconds)
        except grpc.RpcError as error:
            return failure_of_error(error)
        except asyncio.CancelledError:
            # Closing a channel ends its calls in this way, too, although nobody cancelled the task.
            if self._is_closed and not _is_task_cancelled():
                return CLIENT_CLOSING
            raise

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
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()

    def _channel(self, endpoint: str) -> grpc.aio.Channel | None:
        """The channel to `endpoint`; None if the client is closed."""
        if self._is_closed:
            return None
        channel = self._channels.get(endpoint)
        if channel is None:
            channel = self._channels[endpoint] = grpc.aio.insecure_channel(endpoint, CHANNEL_OPTIONS)
        return channel


def _is_task_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
