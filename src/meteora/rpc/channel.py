"""A channel to one server on our own HTTP/2, for grpcio's generated stubs.

Rule: to who calls, this is grpcio's own, as far as it goes: what fails raises `grpc.aio.AioRpcError`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import grpc

from meteora.http2 import ClientConnection, StreamEnded
from meteora.rpc.metadata import MetadataValue
from meteora.rpc.outgoing import Ending, OutgoingCall
from meteora.rpc.status import CallFailed

_Metadata = Iterable[tuple[str, MetadataValue]]

_LATE: Final = Ending(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ())


class Http2Channel:
    """Calls to one server, over one connection that is made at the first call.

    `dial` makes it, and raises `ConnectionError` with the reason, for people, if it can't be. `max_message_bytes` is
    the longest answer that is taken.
    """

    def __init__(
        self, dial: Callable[[], Awaitable[ClientConnection]], authority: str, *, max_message_bytes: int
    ) -> None:
        self.authority = authority
        self.max_message_bytes = max_message_bytes
        self._dial = dial
        self._dialling = asyncio.Lock()
        self._connection: ClientConnection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection, and all calls on it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
            await connection.closed

    async def connected(self) -> ClientConnection:
        """The connection. Raises `AioRpcError`."""
        async with self._dialling:
            if self._connection is None:
                try:
                    self._connection = await self._dial()
                except ConnectionError as error:
                    raise _error(Ending(grpc.StatusCode.UNAVAILABLE, str(error), ())) from error
            return self._connection

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = None,
    ) -> "UnaryCall":
        """As `grpc.aio.Channel`."""
        return UnaryCall(self, method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = None,
    ) -> Callable[..., "StreamCall"]:
        """As `grpc.aio.Channel`, for calls that are written to and read from."""

        def call(*, metadata: _Metadata = ()) -> StreamCall:
            return StreamCall(self, method, request_serializer, response_deserializer, metadata)

        return call


class UnaryCall:
    """A method that takes one message and answers with one."""

    def __init__(
        self, channel: Http2Channel, path: str, serialize: Callable[[Any], bytes], deserialize: Callable[[bytes], Any]
    ) -> None:
        self._channel = channel
        self._path = path
        self._serialize = serialize
        self._deserialize = deserialize

    async def __call__(self, request: Any, *, timeout: float | None = None, metadata: _Metadata = ()) -> Any:  # noqa: ASYNC109  grpcio's
        """The answer. Raises `AioRpcError`."""
        try:
            async with asyncio.timeout(timeout):
                return await self._answer(request, timeout, metadata)
        except TimeoutError:
            raise _error(_LATE) from None

    async def _answer(self, request: Any, timeout_seconds: float | None, metadata: _Metadata) -> Any:
        call = await _begun(self._channel, self._path, metadata, timeout_seconds)
        answer: bytes | None = None
        try:
            call.send(self._serialize(request), is_last=True)
            while (message := await call.read()) is not None:
                answer = message
        except (StreamEnded, CallFailed) as error:
            raise _error(_ending_by(call, error)) from None
        finally:
            call.cancel()
        ending = call.ending()
        if ending.code is not grpc.StatusCode.OK or answer is None:
            raise _error(ending)
        return self._deserialize(answer)


class StreamCall:
    """A call whose messages stream both ways: a `grpc.aio.StreamStreamCall`, as far as it goes."""

    def __init__(
        self,
        channel: Http2Channel,
        path: str,
        serialize: Callable[[Any], bytes],
        deserialize: Callable[[bytes], Any],
        metadata: _Metadata,
    ) -> None:
        self._channel = channel
        self._path = path
        self._serialize = serialize
        self._deserialize = deserialize
        self._metadata = metadata
        self._call: OutgoingCall | None = None
        self._ending: Ending | None = None

    async def write(self, message: Any) -> None:
        """Sends a message; waits while the other end has too many to read. Raises `AioRpcError` if it has ended."""
        call = await self._begun()
        with suppress(StreamEnded):
            call.send(self._serialize(message))
            await call.stream.drained()
        if call.is_over:
            self._end(call.ending())

    async def read(self) -> Any:
        """The next message; `grpc.aio.EOF` at the end. Raises `AioRpcError` if that is not a good one."""
        call = await self._begun()
        try:
            message = await call.read()
        except (StreamEnded, CallFailed) as error:
            self._end(_ending_by(call, error))
        if message is not None:
            return self._deserialize(message)
        if call.ending().code is not grpc.StatusCode.OK:
            self._end(call.ending())
        return grpc.aio.EOF

    async def code(self) -> grpc.StatusCode | None:
        """How it ended; None if it has not."""
        return self._ending.code if self._ending is not None else None

    async def details(self) -> str:
        """What was said of that; empty if nothing was."""
        return self._ending.details if self._ending is not None else ""

    def cancel(self) -> None:
        """Gives it up, if it has not ended."""
        if self._call is not None:
            self._call.cancel()

    async def _begun(self) -> OutgoingCall:
        if self._call is None:
            try:
                self._call = await _begun(self._channel, self._path, self._metadata)
            except grpc.aio.AioRpcError as error:
                self._ending = Ending(error.code(), error.details() or "", ())
                raise
        return self._call

    def _end(self, ending: Ending) -> NoReturn:
        self._ending = ending
        raise _error(ending)


async def _begun(
    channel: Http2Channel, path: str, metadata: _Metadata, timeout_seconds: float | None = None
) -> OutgoingCall:
    connection = await channel.connected()
    try:
        return OutgoingCall(
            connection,
            channel.authority,
            path,
            metadata,
            max_message_bytes=channel.max_message_bytes,
            timeout_seconds=timeout_seconds,
        )
    except StreamEnded as ended:
        raise _error(Ending(grpc.StatusCode.UNAVAILABLE, str(ended), ())) from None


def _ending_by(call: OutgoingCall, error: StreamEnded | CallFailed) -> Ending:
    """How a call ended that broke off."""
    return call.ending() if isinstance(error, StreamEnded) else Ending(error.code, error.details, ())


def _error(ending: Ending) -> grpc.aio.AioRpcError:
    metadata = grpc.aio.Metadata(*((key, value) for key, value in ending.metadata))
    return grpc.aio.AioRpcError(ending.code, grpc.aio.Metadata(), metadata, ending.details)
