"""A client that can say over HTTP/2 what no gRPC client would: wrong headers, broken frames, half a request."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events

from tests.rpc.probe import METHOD, PATIENCE_SECONDS

Headers = Iterable[tuple[str, str]]

CHUNK_BYTES = 16_384
"""The largest frame that any server takes."""

GRPC: dict[str, str] = {":method": "POST", "content-type": "application/grpc", "te": "trailers"}


def framed(message: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """A message in a body; `length` lies about it."""
    return struct.pack(">BI", flag, len(message) if length is None else length) + message


@dataclass
class Response:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    has_ended: bool = False

    @property
    def status(self) -> int:
        return int(self.headers[":status"])

    @property
    def grpc_status(self) -> int:
        """From the trailers, or from headers without any."""
        return int((self.headers | self.trailers)["grpc-status"])

    @property
    def grpc_message(self) -> str:
        return (self.headers | self.trailers).get("grpc-message", "")


class Http2Client:
    """One connection. One request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._connection = h2.connection.H2Connection(
            h2.config.H2Configuration(
                header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self._connection.initiate_connection()

    async def request(
        self, body: bytes = b"", *, path: str = METHOD, is_whole: bool = True, **headers: str | None
    ) -> Response:
        """Sends a gRPC request, but for the headers given (`_` for `-`, None for none), and waits for the response."""
        stream = self.send(body, path=path, is_whole=is_whole, **headers)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._response(stream)

    def send(self, body: bytes = b"", *, path: str = METHOD, is_whole: bool = True, **headers: str | None) -> int:
        """Sends a request and doesn't wait. Without `is_whole` the body goes on, but no more of it is sent."""
        stream: int = self._connection.get_next_available_stream_id()
        given = {"method" if name == "method" else name.replace("_", "-"): value for name, value in headers.items()}
        if "method" in given:
            given[":method"] = given.pop("method")
        wanted = {**GRPC, ":scheme": "http", ":path": path, ":authority": "test", **given}
        # HTTP/2 wants its own first.
        ordered = sorted(((name, value) for name, value in wanted.items() if value is not None), key=_is_regular)
        self._connection.send_headers(stream, ordered)
        for start in range(0, len(body), CHUNK_BYTES):
            self._connection.send_data(stream, body[start : start + CHUNK_BYTES])
        if is_whole:
            self._connection.end_stream(stream)
        self._writer.write(self._connection.data_to_send())
        return stream

    def give_up(self, stream: int) -> None:
        """Wants no response any more."""
        self._connection.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self._writer.write(self._connection.data_to_send())

    async def _response(self, stream: int) -> Response:
        response = Response()
        while not response.has_ended:
            data = await self._reader.read(65_536)
            assert data, "the server closed the connection"
            for event in self._connection.receive_data(data):
                if getattr(event, "stream_id", None) == stream:
                    self._take(event, response)
            self._writer.write(self._connection.data_to_send())
        return response

    def _take(self, event: h2.events.Event, response: Response) -> None:
        match event:
            case h2.events.ResponseReceived():
                response.headers = dict(event.headers)
            case h2.events.DataReceived():
                response.body += event.data
                self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                response.trailers = dict(event.headers)
            case h2.events.StreamEnded():
                response.has_ended = True
            case h2.events.StreamReset() if not response.has_ended:
                raise AssertionError(f"reset with {event.error_code!r}")


def _is_regular(header: tuple[str, str]) -> bool:
    return not header[0].startswith(":")


@asynccontextmanager
async def http2_client(address: str) -> AsyncIterator[Http2Client]:
    """A connection to a server; dropped without a word at the end."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Http2Client(reader, writer)
    finally:
        writer.transport.abort()
