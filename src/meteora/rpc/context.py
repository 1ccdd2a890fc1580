"""What a handler is given as its context, and as its requests where they stream.

Rule: to a handler this is grpcio's own. What `grpc.aio.ServicerContext` says of a method holds here, but that responses
are never compressed.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import quote

import grpc

from meteora.rpc.call import Call
from meteora.rpc.metadata import MetadataValue, Metadatum, decode_metadata, encode_metadata
from meteora.rpc.status import OK, number_of

_COMMON_NAME: Final = "x509_common_name"
_ALTERNATIVE_NAMES: Final = "x509_subject_alternative_name"

Metadata = Iterable[tuple[str, MetadataValue]]


class CallContext(Call):
    """A call as its handler sees it."""

    __slots__ = ("_code", "_trailing_metadata")

    # The request

    async def read(self) -> Any:
        """The next request; `grpc.aio.EOF` when the client has sent all. Raises `CancelledError` if it has gone."""
        self._check_running()
        message = await self.reader.read()
        return grpc.aio.EOF if message is None else self.method.parse(message)

    def invocation_metadata(self) -> tuple[Metadatum, ...]:
        """The metadata that the client sent."""
        return decode_metadata(self._headers)

    def peer(self) -> str:
        """The client's address as `ipv4:host:port` or `ipv6:%5Bhost%5D:port`."""
        client = self.stream.peer
        if client is None:
            return "unknown:"
        host, port = client
        return f"ipv6:{quote(f'[{host}]', safe=':')}:{port}" if ":" in host else f"ipv4:{host}:{port}"

    def peer_identities(self) -> Iterable[bytes] | None:
        """The names in the certificate that the client has shown and that was verified; None if there is none."""
        key = self.peer_identity_key()
        return None if key is None else self.auth_context()[key]

    def peer_identity_key(self) -> str | None:
        """Which of `auth_context` these are; None if the client has shown no certificate."""
        certificate = self.stream.certificate
        if certificate is None:
            return None
        return _ALTERNATIVE_NAMES if certificate.alternative_names else _COMMON_NAME

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What the client's certificate says, if it has shown one: as grpcio names it."""
        certificate = self.stream.certificate
        if certificate is None:
            return {}
        common_names = [certificate.common_name] if certificate.common_name is not None else []
        names = {_COMMON_NAME: common_names, _ALTERNATIVE_NAMES: certificate.alternative_names}
        return {key: [name.encode() for name in values] for key, values in names.items() if values}

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, 0 from then on; None without a deadline."""
        if self._deadline is None:
            return None
        return max(self._deadline - self._loop.time(), 0.0)

    # The response

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        """Sends metadata, now. It must be before the first response; raises `grpc.aio.UsageError` otherwise."""
        self._check_running()
        if self._has_started:
            raise grpc.aio.UsageError("Send initial metadata failed: already sent")
        self.start(encode_metadata(initial_metadata))

    async def write(self, message: Any) -> None:
        """Sends a response; waits while the client has too many to read."""
        self._check_running()
        await self.respond(message)

    def set_compression(self, compression: grpc.Compression) -> None:
        """Accepted, and not followed: what we send is small, or compressed already."""

    def disable_next_message_compression(self) -> None:
        """Nothing is compressed anyway."""

    # The status

    def set_code(self, code: grpc.StatusCode | int) -> None:
        """The code that the call is to end with."""
        self._is_plain = False
        self._status = number_of(code)
        self._code = code

    def code(self) -> grpc.StatusCode | int | None:
        """What was set; None if nothing was."""
        return getattr(self, "_code", None)

    def set_details(self, details: str) -> None:
        """The message, for people, that the call is to end with."""
        self._is_plain = False
        self._status_details = details

    def details(self) -> str:
        """What was set; empty if nothing was."""
        return self._status_details

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        """The metadata that the call is to end with. Raises `ValueError` for what can't be sent."""
        self._is_plain = False
        kept = tuple(trailing_metadata)
        self._trailers = encode_metadata(kept)
        self._trailing_metadata = kept

    def trailing_metadata(self) -> tuple[tuple[str, MetadataValue], ...]:
        """What was set; empty if nothing was."""
        return getattr(self, "_trailing_metadata", ())

    async def abort(self, code: grpc.StatusCode | int, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """Ends the call with an error, by raising `grpc.aio.AbortError`. Details and metadata may be set already."""
        if self._is_aborted:
            raise grpc.aio.UsageError("Abort already called!")
        if number_of(code) == OK:
            raise ValueError("a call can't be aborted with OK")
        if trailing_metadata:
            self.set_trailing_metadata(trailing_metadata)
        self.set_code(code)
        self.set_details(details or self._status_details)
        self._is_aborted = True
        raise grpc.aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """As `abort`."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    # The end

    def add_done_callback(self, callback: Callable[["CallContext"], None]) -> None:
        """`callback` is called with this context when the call has ended."""
        if self._done_callbacks is None:
            self._done_callbacks = []
        self._done_callbacks.append(functools.partial(callback, self))

    def done(self) -> bool:
        """Whether the call has ended."""
        return self._has_ended

    def cancelled(self) -> bool:
        """Whether the client has cancelled the call, or gone."""
        return self._status == number_of(grpc.StatusCode.CANCELLED)

    def _check_running(self) -> None:
        if self._is_aborted or self._has_ended:
            raise grpc.aio.UsageError("RPC already finished.")


class Requests:
    """The requests of a stream, for `async for`."""

    __slots__ = ("_context",)

    def __init__(self, context: CallContext) -> None:
        self._context = context

    def __aiter__(self) -> "Requests":
        return self

    async def __anext__(self) -> Any:
        request = await self._context.read()
        if request is grpc.aio.EOF:
            raise StopAsyncIteration
        return request

    async def hand_each(self, take: Callable[[Any], object]) -> None:
        """See `each_request`."""
        stream, reader = self._context.stream, self._context.reader
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        errors: list[Exception] = []

        def received() -> None:
            if ended.done():
                return
            try:
                self._hand_all(take)
                if not stream.is_remote_done:
                    return
                reader.ensure_whole()
            except Exception as error:  # noqa: BLE001  whatever it is, it is raised below
                errors.append(error)
            ended.set_result(None)

        stream.on_received = received
        received()
        try:
            await ended
        finally:
            stream.on_received = None
        if errors:
            # Taken out, because it leads to this frame, which would lead back to it.
            raise errors.pop()

    def _hand_all(self, take: Callable[[Any], object]) -> None:
        """Hands on all requests that are here."""
        context = self._context
        stream, reader, parse = context.stream, context.reader, context.method.parse
        while True:
            # Some may have come together with the one that was read before.
            while (message := reader.next_whole()) is not None:
                take(parse(message))
            if not stream.has_received:
                return
            reader.feed(stream.take())


async def each_request(requests: AsyncIterator[Any], take: Callable[[Any], object]) -> None:
    """Calls `take` with each request of a stream, until the last one, or until `take` raises, which this raises, too.

    On our own host that is within the call that takes the request from the socket: no task is woken for it.
    """
    if isinstance(requests, Requests):
        await requests.hand_each(take)
    else:
        async for request in requests:
            take(request)


# For those who ask whether they were given a context.
grpc.aio.ServicerContext.register(CallContext)
