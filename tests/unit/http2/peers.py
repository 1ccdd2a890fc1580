"""What the tests of this room share: an application, and other ends: frames made by hand, and `h2`'s."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import h2.config
import h2.connection
import h2.events
import uvloop

from meteora.http2 import (
    Bounds,
    ClientConnection,
    Endpoint,
    Headers,
    Route,
    ServerStream,
    connect,
    encode_headers,
)
from meteora.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    WINDOW_UPDATE,
    ErrorCode,
    Setting,
    frame,
    settings_frame,
)

HOST = "127.0.0.1"

PATIENCE_SECONDS = 20.0
"""For what happens at once, on a machine that may be busy."""

REQUEST: Headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/echo"), (b":authority", b"test")]
REQUEST_BLOCK = encode_headers(REQUEST)

RESPONSE = encode_headers([(b":status", b"200")])
TRAILERS = encode_headers([(b"outcome", b"fine")])

Event = TypeVar("Event", bound=h2.events.Event)


def run(story: Coroutine[Any, Any, None]) -> None:
    """Runs a story to its end, on the event loop that nodes run on; no task may be left then."""

    async def all_of_it() -> None:
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            await story
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left running: {left}"

    uvloop.run(all_of_it())


async def until(condition: Callable[[], object]) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


# Frames, as a client says them


def request_frames(stream_id: int, body: bytes = b"", block: bytes = REQUEST_BLOCK) -> bytes:
    """A whole request."""
    if not body:
        return frame(HEADERS, END_HEADERS | END_STREAM, stream_id, block)
    return head_of(stream_id, block) + data_of(stream_id, body, END_STREAM)


def head_of(stream_id: int, block: bytes = REQUEST_BLOCK) -> bytes:
    """The beginning of a request, or a response."""
    return frame(HEADERS, END_HEADERS, stream_id, block)


def data_of(stream_id: int, data: bytes, flags: int = 0) -> bytes:
    """Some of a body."""
    return frame(DATA, flags, stream_id, data)


def room_of(stream_id: int, increment: int) -> bytes:
    """Room for so many bytes more."""
    return frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4))


def reset_of(stream_id: int, code: int = ErrorCode.CANCEL) -> bytes:
    """The end of a stream before its time."""
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4))


# The application


class Application:
    """Answers each whole request with its own body; what is opened is kept, for the test to answer."""

    def __init__(self, *, takes_whole: bool = True) -> None:
        self.route_count = 0
        self.paths: list[bytes] = []
        """Of whole requests."""
        self.bodies: list[bytes] = []
        """Of whole requests."""
        self.opened: list[ServerStream] = []
        self.ended: list[int] = []
        """Streams that ended before their time."""
        self._takes_whole = takes_whole

    def route(self, headers: Headers) -> Route:
        self.route_count += 1
        path = dict(headers)[b":path"]

        def whole(stream: ServerStream, body: bytes) -> bool:
            self.paths.append(path)
            self.bodies.append(body)
            stream.respond(RESPONSE, body, TRAILERS)
            return True

        return Route(self._open, whole if self._takes_whole else None)

    def _open(self, stream: ServerStream) -> None:
        stream.on_ended = lambda: self.ended.append(stream.id)
        self.opened.append(stream)


def hanging() -> Application:
    """An application that is asked as soon as there are headers, and leaves everything to the test."""
    return Application(takes_whole=False)


class Serving(NamedTuple):
    endpoint: Endpoint
    port: int


@asynccontextmanager
async def serving(
    application: Application, *, send_buffer_bytes: int | None = None, bounds: Bounds | None = None
) -> AsyncIterator[Serving]:
    """An endpoint; whoever talked to it must have gone at the end, and left nothing behind."""
    listener = socket.create_server((HOST, 0))
    if send_buffer_bytes is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    endpoint = Endpoint(application.route, bounds=bounds)
    await endpoint.start(listener)
    try:
        yield Serving(endpoint, listener.getsockname()[1])
    finally:
        await endpoint.stop(PATIENCE_SECONDS)
        assert not endpoint.connections
        assert (endpoint.requests, endpoint.known, endpoint.held.total) == ([0, 0], 0, 0)


# Frames made by hand


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def is_last(self) -> bool:
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)

    @property
    def code(self) -> int:
        """Of RST_STREAM, or GOAWAY."""
        return int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload[:4])


class Peer:
    """The other end, which says and reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.seen: list[Frame] = []
        """All that was read so far."""

    def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))

    async def next(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                head = await self.reader.readexactly(9)
                payload = await self.reader.readexactly(int.from_bytes(head[:3]))
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
        found = Frame(head[3], head[4], int.from_bytes(head[5:]), payload)
        self.seen.append(found)
        return found

    async def expect(self, kind: int, stream_id: int | None = None) -> Frame:
        """The next frame of a kind, on a stream; others are passed over."""
        while (found := await self.next()) is not None:
            if found.kind == kind and stream_id in (None, found.stream_id):
                return found
        raise AssertionError(f"the connection ended; seen: {self.seen[-10:]}")

    async def response(self, stream_id: int) -> bytes:
        """The body of a response, which must come to its end."""
        body = b""
        while (found := await self.next()) is not None:
            if found.stream_id == stream_id:
                assert found.kind in (HEADERS, CONTINUATION, DATA), found
                body += found.payload if found.kind == DATA else b""
                if found.is_last:
                    return body
        raise AssertionError(f"the connection ended; seen: {self.seen[-10:]}")

    async def cut_off(self) -> ErrorCode:
        """Why the connection was ended by the other end, which it must have been."""
        found = await self.expect(GOAWAY)
        assert await self.next() is None
        return ErrorCode(found.code)

    async def closed(self) -> None:
        """Reads to the end of the connection."""
        while await self.next() is not None:
            pass

    async def answered(self) -> list[Frame]:
        """All frames that came until a ping was answered: all that was said before has been looked at."""
        start = len(self.seen)
        self.send(frame(PING, 0, 0, b"answered"))
        while True:
            found = await self.expect(PING)
            if found.flags & ACK and found.payload == b"answered":
                return self.seen[start:-1]

    def data_bytes(self, stream_id: int | None = None) -> int:
        """How much data was read so far."""
        return sum(len(each.payload) for each in self.seen if each.kind == DATA and stream_id in (None, each.stream_id))

    async def close(self) -> None:
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def socket_to(port: int, *, receive_buffer_bytes: int | None = None) -> AsyncIterator[Peer]:
    """A connection on which nothing was said yet."""
    outgoing = socket.socket()
    if receive_buffer_bytes is not None:
        outgoing.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    outgoing.setblocking(False)
    await asyncio.get_running_loop().sock_connect(outgoing, (HOST, port))
    peer = Peer(*await asyncio.open_connection(sock=outgoing))
    try:
        yield peer
    finally:
        await peer.close()


@asynccontextmanager
async def peer_of(
    port: int, settings: dict[Setting, int] | None = None, *, receive_buffer_bytes: int | None = None
) -> AsyncIterator[Peer]:
    """A client that has said which settings it wants."""
    async with socket_to(port, receive_buffer_bytes=receive_buffer_bytes) as peer:
        peer.send(PREFACE, settings_frame(settings or {}))
        yield peer


@asynccontextmanager
async def _accepting() -> AsyncIterator[tuple[int, "asyncio.Queue[Peer]"]]:
    """The port of a server, and who comes to it."""
    accepted: asyncio.Queue[Peer] = asyncio.Queue()
    server = await asyncio.start_server(lambda reader, writer: accepted.put_nowait(Peer(reader, writer)), HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1], accepted
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def client_of_peer(
    settings: dict[Setting, int] | None = None,
) -> AsyncIterator[tuple[ClientConnection, Peer]]:
    """Our client, with a server of frames made by hand that has said which settings it wants."""
    async with _accepting() as (port, accepted):
        client = await connect(HOST, port)
        peer = await accepted.get()
        try:
            assert await peer.reader.readexactly(len(PREFACE)) == PREFACE
            peer.send(settings_frame(settings or {}))
            await peer.answered()
            yield client, peer
        finally:
            client.abort()
            await client.closed
            await peer.close()


@asynccontextmanager
async def client_and_server(application: Application) -> AsyncIterator[tuple[ClientConnection, Serving]]:
    """Both of our own ends."""
    async with serving(application) as served:
        client = await connect(HOST, served.port)
        try:
            yield client, served
        finally:
            client.abort()
            await client.closed


# `h2` at the other end


class H2Peer:
    """`h2` as the other end. It raises for whatever it thinks is against the rules."""

    def __init__(self, peer: Peer, *, is_client: bool) -> None:
        self._peer = peer
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=is_client, header_encoding=None))
        self.events: list[h2.events.Event] = []
        """All so far."""
        self.gives_room = True
        """Whether what was received makes room for more."""

    def start(self, settings: dict[int, int] | None = None) -> None:
        self.http2.initiate_connection()
        if settings:
            self.http2.update_settings(settings)
        self.flush()

    def flush(self) -> None:
        self._peer.writer.write(self.http2.data_to_send())

    def ask(self, headers: Headers = REQUEST, body: bytes | None = b"") -> int:
        """Begins a request, whose body is to follow if it is None here."""
        stream_id: int = self.http2.get_next_available_stream_id()
        self.http2.send_headers(stream_id, headers, end_stream=body == b"")
        if body:
            self.http2.send_data(stream_id, body, end_stream=True)
        self.flush()
        return stream_id

    async def read(self) -> None:
        """Takes what has come."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            data = await self._peer.reader.read(1 << 16)
        assert data, "the connection ended"
        for event in self.http2.receive_data(data):
            self.events.append(event)
            if isinstance(event, h2.events.DataReceived) and self.gives_room:
                self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.flush()

    def of(self, kind: type[Event], stream_id: int | None = None) -> list[Event]:
        """The events of a kind, on a stream, so far."""
        return [
            event
            for event in self.events
            if isinstance(event, kind) and stream_id in (None, getattr(event, "stream_id", None))
        ]

    async def expect(self, kind: type[Event], stream_id: int | None = None) -> Event:
        """The first event of a kind, on a stream."""
        while not self.of(kind, stream_id):
            await self.read()
        return self.of(kind, stream_id)[0]

    def body(self, stream_id: int) -> bytes:
        """What was received so far."""
        return b"".join(event.data for event in self.of(h2.events.DataReceived, stream_id))

    async def response(self, stream_id: int) -> bytes:
        """The body of a response, which must come to its end."""
        await self.expect(h2.events.StreamEnded, stream_id)
        return self.body(stream_id)

    async def send_all(self, stream_id: int, body: bytes) -> None:
        """Sends a body, as the other end gives room."""
        while body:
            room = min(self.http2.local_flow_control_window(stream_id), self.http2.max_outbound_frame_size, len(body))
            if room:
                self.http2.send_data(stream_id, body[:room], end_stream=room == len(body))
                body = body[room:]
                self.flush()
            else:
                await self.read()


@asynccontextmanager
async def h2_client(port: int, settings: dict[int, int] | None = None) -> AsyncIterator[H2Peer]:
    """`h2` as a client."""
    async with socket_to(port) as peer:
        client = H2Peer(peer, is_client=True)
        client.start(settings)
        yield client


@asynccontextmanager
async def client_of_h2(settings: dict[int, int] | None = None) -> AsyncIterator[tuple[ClientConnection, H2Peer]]:
    """Our client, with `h2` as its server."""
    async with _accepting() as (port, accepted):
        client = await connect(HOST, port)
        peer = await accepted.get()
        server = H2Peer(peer, is_client=False)
        try:
            server.start(settings)
            yield client, server
        finally:
            client.abort()
            await client.closed
            await peer.close()


async def body_of(read: Callable[[], Coroutine[Any, Any, bytes | None]]) -> bytes:
    """All that a stream has to read."""
    parts = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (part := await read()) is not None:
            parts.append(part)
    return b"".join(parts)


def in_parts(block: bytes, stream_id: int, size: int, flags: int = 0) -> bytes:
    """Headers in as many frames as it takes if each has so many bytes."""
    parts = [block[at : at + size] for at in range(0, len(block), size)]
    frames: Iterable[bytes] = [
        frame(
            CONTINUATION if index else HEADERS,
            (0 if index else flags) | (END_HEADERS if index == len(parts) - 1 else 0),
            stream_id,
            part,
        )
        for index, part in enumerate(parts)
    ]
    return b"".join(frames)
