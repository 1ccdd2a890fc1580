"""The blocking client's side of the wire: channels, attempts, pauses. Safe for threads.

The rule: a request is handed only to a connection that was seen to be up, so that a node that can't be connected to
is certain not to have it. Its twin for asyncio is `async_wire`; what both do must stay alike.
"""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import grpc

from meteora.client.channel import CHANNEL_OPTIONS
from meteora.client.fate import CLIENT_CLOSED, CLIENT_CLOSING, NO_CONNECTION, Failure, failure_of_error
from meteora.client.methods import Method, ReplyT, RequestT


class BlockingWire:
    """One channel an endpoint, opened when it is first used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: dict[str, grpc.Channel] = {}
        # A blocking channel can't be asked for its state at a price that each request could pay.
        self._seen_connected: set[str] = set()
        self._is_closed = False

    def pause(self, seconds: float) -> None:
        """Lets `seconds` pass, or nothing if it is 0."""
        if seconds > 0:
            time.sleep(seconds)

    def send(
        self, endpoint: str, method: Method[RequestT, ReplyT], request: RequestT, timeout_seconds: float
    ) -> ReplyT | Failure:
        """The reply to one attempt, or why there is none."""
        deadline_seconds = monotonic() + timeout_seconds
        try:
            channel = self._channel(endpoint)
            if channel is None:
                return CLIENT_CLOSED
            if not self._is_connected(endpoint, channel, timeout_seconds):
                return NO_CONNECTION
            call = channel.unary_unary(method.path, method.request_type.SerializeToString, method.reply_type.FromString)
            return call(request, timeout=max(0.0, deadline_seconds - monotonic()))
        except grpc.RpcError as error:
            self._seen_connected.discard(endpoint)
            return failure_of_error(error)
        except ValueError:
            # What gRPC raises for a channel that another thread has closed.
            if self._is_closed:
                return CLIENT_CLOSING
            raise

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
                channel = self._channels[endpoint] = grpc.insecure_channel(endpoint, CHANNEL_OPTIONS)
            return channel

    def _is_connected(self, endpoint: str, channel: grpc.Channel, timeout_seconds: float) -> bool:
        if endpoint in self._seen_connected:
            return True
        if not _connect(channel, timeout_seconds):
            return False
        self._seen_connected.add(endpoint)
        return True


def _connect(channel: grpc.Channel, timeout_seconds: float) -> bool:
    """Connects, unless that is done; False if the endpoint refuses, or does not answer in time."""
    settled = threading.Event()
    is_ready = False

    def watch(state: grpc.ChannelConnectivity) -> None:
        nonlocal is_ready
        if state in {grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE}:
            is_ready = state is grpc.ChannelConnectivity.READY
            settled.set()

    channel.subscribe(watch, try_to_connect=True)
    try:
        settled.wait(timeout_seconds)
    finally:
        channel.unsubscribe(watch)
    return is_ready
