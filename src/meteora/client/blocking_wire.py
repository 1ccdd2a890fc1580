"""The blocking client's side of the wire: channels, attempts, pauses. Safe for threads. Its twin is `async_wire`."""

import threading
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc

from meteora.client.channel import CHANNEL_OPTIONS
from meteora.client.fate import CLIENT_CLOSED, Failure, failure_of_error
from meteora.client.login import Login
from meteora.client.methods import Method, ReplyT, RequestT
from meteora.client.tls import Target


class BlockingWire:
    """One channel an endpoint, opened when it is first used."""

    def __init__(self, target: Target, login: Login) -> None:
        self.logging_in = threading.Lock()
        """Held by who logs in."""
        self._credentials = target.credentials
        self._options = (*CHANNEL_OPTIONS, *target.options)
        self._login = login
        self._lock = threading.Lock()
        self._channels: dict[str, grpc.Channel] = {}
        self._is_closed = False

    def pause(self, seconds: float) -> None:
        """Lets `seconds` pass, or nothing if it is 0."""
        if seconds > 0:
            time.sleep(seconds)

    def send(
        self, endpoint: str, method: Method[RequestT, ReplyT], request: RequestT, timeout_seconds: float
    ) -> ReplyT | Failure:
        """The reply to one attempt, or why there is none."""
        channel = self._channel(endpoint)
        if channel is None:
            return CLIENT_CLOSED
        call = channel.unary_unary(method.path, method.request_type.SerializeToString, method.reply_type.FromString)
        try:
            return call(request, timeout=timeout_seconds, metadata=self._login.metadata)
        except grpc.RpcError as error:
            return failure_of_error(error)
        except ValueError:
            # What gRPC raises, before anything is sent, if another thread has closed the channel since.
            if self._is_closed:
                return CLIENT_CLOSED
            raise

    def stream(
        self, endpoint: str, method: Method[RequestT, ReplyT], request: RequestT
    ) -> Generator[ReplyT | Failure, None, None]:
        """The replies to one attempt as they come; last, if it fails, why."""
        channel = self._channel(endpoint)
        if channel is None:
            yield CLIENT_CLOSED
            return
        call = channel.unary_stream(method.path, method.request_type.SerializeToString, method.reply_type.FromString)(
            request, metadata=self._login.metadata
        )
        try:
            yield from call
        except grpc.RpcError as error:
            yield failure_of_error(error)
        finally:
            call.cancel()

    def send_each(
        self,
        endpoints: Mapping[int, str],
        method: Method[RequestT, ReplyT],
        request: RequestT,
        timeout_seconds: float,
    ) -> dict[int, ReplyT | Failure]:
        """One attempt at each endpoint, all at once; the results by the keys of `endpoints`."""
        with ThreadPoolExecutor(max_workers=max(1, len(endpoints))) as threads:
            attempts = threads.map(
                lambda endpoint: self.send(endpoint, method, request, timeout_seconds), endpoints.values()
            )
            return dict(zip(endpoints, attempts, strict=True))

    def close(self) -> None:
        """Ends the connections, and what still waits on them. May be called again."""
        with self._lock:
            self._is_closed = True
            channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.close()

    def _channel(self, endpoint: str) -> grpc.Channel | None:
        """The channel to `endpoint`; None if the client is closed."""
        with self._lock:
            if self._is_closed:
                return None
            channel = self._channels.get(endpoint)
            if channel is None:
                channel = self._channels[endpoint] = self._open(endpoint)
            return channel

    def _open(self, endpoint: str) -> grpc.Channel:
        if self._credentials is None:
            return grpc.insecure_channel(endpoint, self._options)
        return grpc.secure_channel(endpoint, self._credentials, self._options)
