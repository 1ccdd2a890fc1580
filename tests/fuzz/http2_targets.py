"""HTTP/2: hostile clients, hostile servers, hostile headers."""

from contextlib import suppress

from meteora.http2 import ClientConnection, Endpoint, Headers, Route, ServerStream, StreamEnded, encode_headers
from meteora.http2.connection import CONNECTION_WINDOW_BYTES, Connection
from meteora.http2.frames import DATA, END_HEADERS, HEAD, PREFACE, ConnectionFault, StreamFault, settings_frame
from meteora.http2.headers import MAX_HEADERS_BYTES, HeaderDecoder, check_request, content_length_of
from meteora.http2.server import MAX_STREAMS, ServerConnection
from tests.fuzz.choices import Choices
from tests.fuzz.wire import Wire, judge, run, turns

RESPONSE = encode_headers([(b":status", b"200")])
TRAILERS = encode_headers([(b"outcome", b"fine")])

BLOCKS = (
    encode_headers([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/echo"), (b":authority", b"a")]),
    encode_headers([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/never")]),
    encode_headers([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/twice"), (b"content-length", b"3")]),
    encode_headers([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/reset"), (b"te", b"trailers")]),
    encode_headers([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/stream")]),
    RESPONSE,
    encode_headers([(b":status", b"100")]),
    TRAILERS,
    b"\x20",
    b"\x82\x86\x84\x41\x01a",
    b"\x40\x01x\x01y",
    b"\x3f\xe1\x1f",
)
"""Blocks of headers: requests, responses, trailers, and what changes the table."""

SETTINGS = settings_frame({})


def _respond(stream: ServerStream, path: bytes) -> None:
    match path:
        case b"/never":
            return
        case b"/reset":
            stream.connection.reset(stream, 8, "not now")  # type: ignore[arg-type]  # any code will do
        case b"/stream":
            stream.send_headers(RESPONSE)
            stream.send(bytes(100_000))
            stream.send(b"more", is_end=True)
        case b"/twice":
            stream.respond(RESPONSE, b"one", TRAILERS)
            stream.respond(RESPONSE, b"two", TRAILERS)
        case _:
            stream.respond(RESPONSE, b"body", TRAILERS)


def _route(headers: Headers) -> Route:
    path = dict(headers)[b":path"]

    def whole(stream: ServerStream, body: bytes) -> bool:
        if path == b"/stream":
            return False
        stream.respond(RESPONSE, body, TRAILERS)
        return True

    return Route(lambda stream: _respond(stream, path), None if path in {b"/never", b"/twice"} else whole)


def _ensure_bounded(connection: Connection) -> None:
    assert len(connection.streams) <= MAX_STREAMS
    kept = sum(len(data) for stream in connection.streams.values() for data in stream._received or ())
    assert kept <= CONNECTION_WINDOW_BYTES
    assert sum(map(len, connection._block)) <= MAX_HEADERS_BYTES + (256 << 10)


async def _serve(pieces: list[bytes], leave_at: int) -> None:
    endpoint = Endpoint(_route)
    connection = ServerConnection(endpoint)
    wire = Wire(connection)
    connection.connection_made(wire)
    for number, piece in enumerate(pieces):
        if number == leave_at:
            connection.leave()
        if wire.is_closing():
            break
        connection.data_received(piece)
        _ensure_bounded(connection)
        await turns()
    connection.sweep(0.0)
    connection.sweep(0.0)
    await turns()
    wire.lose()
    await turns()
    assert not connection.streams
    assert not endpoint.connections
    judge(bytes(wire.written))


def http2_server(data: bytes) -> None:
    """Any bytes behind a client's preface."""
    run(_serve([PREFACE + SETTINGS, data], -1))


def _frame(choices: Choices) -> bytes:
    kind = choices.byte() % 12
    flags = choices.byte() | END_HEADERS if choices.byte() < 200 else choices.byte()
    stream_id = choices.small() & 0xFFFF_FFFF
    if kind in {1, 9}:
        payload = choices.one_of(BLOCKS) if choices.flag() else choices.chunk()
        flags &= 0x0D if choices.byte() < 200 else 0xFF
    elif kind == DATA:
        payload = choices.chunk()
    elif kind == 4:
        payload = b"".join(
            choices.byte().to_bytes(2) + (choices.small() & 0xFFFF_FFFF).to_bytes(4) for _ in range(choices.byte() % 4)
        )
        flags, stream_id = flags & choices.byte() & 1, 0 if choices.byte() < 200 else stream_id
    elif kind == 6:
        payload, stream_id = bytes(8), 0
    elif kind in {3, 8}:
        payload = (choices.small() & 0xFFFF_FFFF).to_bytes(4)
    else:
        payload = choices.chunk()
    return HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream_id) + payload


def _pieces(choices: Choices) -> list[bytes]:
    pieces = []
    while choices and len(pieces) < 64:
        frame = _frame(choices)
        cut = choices.byte()
        # Sometimes a frame comes in two parts.
        pieces += [frame[:cut], frame[cut:]] if 0 < cut < min(len(frame), 32) else [frame]
    return pieces


def http2_server_frames(data: bytes) -> None:
    """Frames of a client that are nearly right, and a server that may stop meanwhile."""
    choices = Choices(data)
    leave_at = choices.byte()
    opening = [PREFACE[:10], PREFACE[10:] + SETTINGS] if choices.flag() else [PREFACE + SETTINGS]
    run(_serve(opening + _pieces(choices), leave_at))


async def _ask(pieces: list[bytes]) -> None:
    connection = ClientConnection()
    wire = Wire(connection)
    connection.connection_made(wire)
    streams = []
    for _ in range(3):
        stream = connection.request([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/x")])
        stream.send(bytes(70_000), is_end=True)
        streams.append(stream)
    await turns()
    for piece in pieces:
        if wire.is_closing():
            break
        connection.data_received(piece)
        _ensure_bounded(connection)
        await turns()
        for stream in streams:
            while stream.has_received:
                stream.take()
            if stream.headers is not None:
                assert dict(stream.headers)[b":status"].isdigit()
                assert not any(name.startswith(b":") for name, _ in stream.trailers or ())
        with suppress(StreamEnded):
            if connection.has_room and len(streams) < 6:
                streams.append(connection.request([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/y")]))
    wire.lose()
    await turns()
    assert not connection.streams
    assert all(stream.ending or stream.is_remote_done for stream in streams)
    judge(bytes(wire.written))


def http2_client(data: bytes) -> None:
    """Any bytes from a server."""
    run(_ask([SETTINGS, data]))


def http2_client_frames(data: bytes) -> None:
    """Frames of a server that are nearly right."""
    run(_ask([SETTINGS, *_pieces(Choices(data))]))


def hpack(data: bytes) -> None:
    """Blocks of headers, one after another, with the table that they leave."""
    choices, decoder = Choices(data), HeaderDecoder()
    while choices:
        generation = decoder.generation
        block = choices.chunk()
        try:
            headers = decoder.decode(block)
        except ConnectionFault:
            return
        assert sum(len(name) + len(value) + 32 for name, value in headers) <= MAX_HEADERS_BYTES
        if decoder.generation == generation:
            assert decoder.decode(block) == headers, "the same bytes, the same table, other headers"
        with suppress(StreamFault):
            check_request(headers)
            length = content_length_of(headers)
            assert length is None or length >= 0
        assert HeaderDecoder().decode(encode_headers(headers)) == headers
