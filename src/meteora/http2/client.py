"""The asking end: one connection, and its requests."""

import asyncio
from typing import Final

from meteora.http2.connection import Connection, opening_frames
from meteora.http2.frames import PREFACE, ConnectionFault, ErrorCode, Setting, StreamFault
from meteora.http2.headers import Headers, check_response, check_trailers, encode_headers
from meteora.http2.stream import Stream, StreamEnded
from meteora.tls import OutgoingTls

_DEFAULT_MAX_STREAMS: Final = 100
"""Requests at a time, until the server has said how many it takes: what section 6.5.2 wants it to take at least."""

_MAX_STREAM_ID: Final = 2**31 - 1


class ClientStream(Stream):
    """One request, and its response."""

    __slots__ = ("headers", "trailers")

    def __init__(self, connection: "ClientConnection", stream_id: int, send_window: int) -> None:
        super().__init__(connection, stream_id, send_window)
        self.headers: Headers | None = None
        """Of the response; None before they came."""
        self.trailers: Headers | None = None
        """Of the response; None before they came, or if there were none."""


class ClientConnection(Connection):
    """A connection to one server."""

    def __init__(self, scheme: bytes = b"http") -> None:
        super().__init__()
        self.scheme = scheme
        """What requests on it state as theirs: whether there is TLS below."""
        self._next_id = 1
        self._max_streams = _DEFAULT_MAX_STREAMS
        self._is_refusing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        super().connection_made(transport)
        self._write(PREFACE + opening_frames({Setting.ENABLE_PUSH: 0}))

    @property
    def has_room(self) -> bool:
        """Whether the server takes one more request now."""
        return not self._is_closing and not self._is_refusing and len(self.streams) < self._max_streams

    def request(self, headers: Headers) -> ClientStream:
        """Begins a request; its body is sent on the stream. Raises `StreamEnded` if the connection takes none."""
        if not self.has_room or self._next_id > _MAX_STREAM_ID:
            raise StreamEnded("the connection takes no more requests", ErrorCode.REFUSED_STREAM)
        stream = ClientStream(self, self._next_id, self._peer_stream_window)
        self._next_id += 2
        self.streams[stream.id] = stream
        stream.send_headers(encode_headers(headers))
        return stream

    def _is_known(self, stream_id: int) -> bool:
        return 0 < stream_id < self._next_id and stream_id % 2 == 1

    def _on_headers(self, stream_id: int, block: bytes, *, is_end: bool) -> None:
        headers = self._decoder.decode(block)
        stream = self.streams.get(stream_id)
        if stream is None:
            if not self._is_known(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"headers on stream {stream_id}, which is not ours")
            return  # Of a stream that this end has given up: they were on their way.
        assert isinstance(stream, ClientStream)
        if stream.is_remote_done:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "headers after the end of the stream")
        if stream.headers is None:
            check_response(headers)
            if dict(headers)[b":status"].startswith(b"1") and not is_end:
                return  # An interim response: the real one follows.
            stream.headers = headers
        elif is_end:
            check_trailers(headers)
            stream.trailers = headers
        else:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "headers in the middle of a stream")
        if is_end:
            self.finish_remote(stream)
        stream.wake_reader()

    def _on_data(self, stream: Stream, data: bytes, *, is_end: bool) -> None:
        assert isinstance(stream, ClientStream)
        if stream.headers is None:
            self.return_room(len(data))
            self._refuse(stream, ErrorCode.PROTOCOL_ERROR, "data before the headers")
            return
        if is_end:
            self.finish_remote(stream)
        stream.feed(data)

    def _on_goaway(self, last_stream_id: int, code: int, reason: bytes) -> None:
        self._is_refusing = True
        ending = StreamEnded(reason.decode(errors="replace") or "the server ends the connection", code)
        for stream in [each for each in self.streams.values() if each.id > last_stream_id]:
            self._forget(stream)
            stream.end(ending)

    def _on_setting(self, key: int, value: int) -> None:
        if key == Setting.MAX_CONCURRENT_STREAMS:
            self._max_streams = value
        elif key == Setting.ENABLE_PUSH and value:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "servers push to nobody who did not ask for it")


async def connect(host: str, port: int, tls: OutgoingTls | None = None) -> ClientConnection:
    """A connection to a server.

    Raises `OSError`, of which `TlsFailure` is one; `ValueError` for a host that can't be a name.
    """
    loop = asyncio.get_running_loop()
    if tls is None:
        _, connection = await loop.create_connection(ClientConnection, host, port)
        return connection
    connection = ClientConnection(b"https")
    layer, done = tls.new_layer(host, lambda: connection)
    try:
        await loop.create_connection(lambda: layer, host, port)
        try:
            await done
        except BaseException:
            layer.abort()
            raise
    finally:
        # Who has given up does not ask how it ends.
        done.cancel()
    return connection
