"""A call from this end: messages out, messages back, and how it ended.

Rule: the status is the peer's word wherever it has one; else what is known of the connection, as UNAVAILABLE.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

import grpc

from meteora.http2 import ClientConnection, ClientStream, Header, Headers
from meteora.http2.frames import ErrorCode
from meteora.rpc.deadline import format_timeout
from meteora.rpc.framing import MessageReader, frame
from meteora.rpc.metadata import MetadataValue, Metadatum, decode_metadata, encode_metadata
from meteora.rpc.status import MAX_DETAILS_CHARACTERS, CallFailed

_CODES: Final = {b"%d" % code.value[0]: code for code in grpc.StatusCode}

_OF_HTTP: Final = {
    b"400": grpc.StatusCode.INTERNAL,
    b"401": grpc.StatusCode.UNAUTHENTICATED,
    b"403": grpc.StatusCode.PERMISSION_DENIED,
    b"404": grpc.StatusCode.UNIMPLEMENTED,
}
"""What HTTP's own codes mean, where no gRPC server has answered; any other means UNAVAILABLE or UNKNOWN."""

_STRANGE: Final = grpc.StatusCode.UNKNOWN


class Ending(NamedTuple):
    """How a call ended."""

    code: grpc.StatusCode
    details: str
    metadata: tuple[Metadatum, ...]


class OutgoingCall:
    """One call of a method, of whatever shape, on a connection. Messages are bytes.

    Raises `StreamEnded`, here and in its methods, when the connection takes no call, or the call has broken off.
    """

    def __init__(
        self,
        connection: ClientConnection,
        authority: str,
        path: str,
        metadata: Iterable[tuple[str, MetadataValue]],
        *,
        max_message_bytes: int,
        timeout_seconds: float | None = None,
    ) -> None:
        headers = _request_headers(connection.scheme, authority, path)
        if timeout_seconds is not None:
            headers.append((b"grpc-timeout", format_timeout(timeout_seconds)))
        self.stream: ClientStream = connection.request([*headers, *encode_metadata(metadata)])
        self._reader = MessageReader(self.stream.read, b"identity", max_message_bytes)

    def send(self, message: bytes, *, is_last: bool = False) -> None:
        """Sends a message, or queues what the peer has no room for: `stream.queue` tells, `stream.drained` waits."""
        self.stream.send(frame(message), is_end=is_last)

    def cancel(self) -> None:
        """Gives the call up, if it is not over."""
        self.stream.reset(ErrorCode.CANCEL, "cancelled by this end")

    async def read(self) -> bytes | None:
        """The next message; None when no more will come. Raises `CallFailed` for one that can't be taken."""
        return await self._reader.read()

    @property
    def is_over(self) -> bool:
        """Whether the peer will say nothing more."""
        return self.stream.is_remote_done or self.stream.ending is not None

    def ending(self) -> Ending:
        """How the call ended, which it has."""
        headers = dict(self.stream.trailers or self.stream.headers or ())
        status = headers.get(b"grpc-status", b"")
        if status in _CODES:
            details = unquote_to_bytes(headers.get(b"grpc-message", b"")).decode(errors="replace")
            return Ending(_CODES[status], details[:MAX_DETAILS_CHARACTERS], _metadata_in(headers.items()))
        if self.stream.ending is not None:
            return Ending(grpc.StatusCode.UNAVAILABLE, str(self.stream.ending)[:MAX_DETAILS_CHARACTERS], ())
        http_status = headers.get(b":status", b"no")
        code = _OF_HTTP.get(http_status, grpc.StatusCode.UNAVAILABLE if http_status[:1] == b"5" else _STRANGE)
        return Ending(code, f"no gRPC status was sent (HTTP status {http_status.decode('latin-1')[:3]})", ())


def _request_headers(scheme: bytes, authority: str, path: str) -> Headers:
    return [
        (b":method", b"POST"),
        (b":scheme", scheme),
        (b":path", path.encode()),
        (b":authority", authority.encode()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]


def _metadata_in(headers: Iterable[Header]) -> tuple[Metadatum, ...]:
    """What of the headers may be metadata; nothing if a peer sends what can't be read."""
    try:
        return decode_metadata(
            [header for header in headers if header[0] not in (b":status", b"grpc-status", b"grpc-message")]
        )
    except (CallFailed, UnicodeDecodeError):
        return ()
