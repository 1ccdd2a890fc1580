"""The serving end: who is let in, where requests lead, what they must be, and how it ends."""

import asyncio
import socket
from collections.abc import Callable

import h2.events
import hpack
import pytest

from meteora.http2 import Endpoint, Headers, Route, ServerStream, encode_headers
from meteora.http2 import server as server_module
from meteora.http2.connection import CONNECTION_WINDOW_BYTES
from meteora.http2.frames import (
    DATA,
    DEFAULT_WINDOW_BYTES,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MIN_FRAME_BYTES,
    PREFACE,
    RST_STREAM,
    WINDOW_UPDATE,
    ErrorCode,
    Setting,
    StreamFault,
    frame,
    settings_frame,
)
from meteora.http2.server import MAX_RESETS, MAX_STREAMS, WHOLE_BYTES
from tests.unit.http2.peers import (
    HOST,
    REQUEST,
    REQUEST_BLOCK,
    RESPONSE,
    TRAILERS,
    Application,
    Peer,
    body_of,
    data_of,
    h2_client,
    hanging,
    head_of,
    peer_of,
    request_frames,
    reset_of,
    room_of,
    run,
    serving,
    socket_to,
    until,
)

LONG_SECONDS = 60.0
"""Longer than a test may take: what is awaited with it does not come of the time."""


async def reset_code(peer: Peer, stream_id: int = 1) -> ErrorCode:
    return ErrorCode((await peer.expect(RST_STREAM, stream_id)).code)


def with_headers(*headers: tuple[bytes, bytes]) -> bytes:
    """The block of a request with more headers."""
    return encode_headers([*REQUEST, *headers])


# Who is let in


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", b"POST", b"PRI * HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00", b"\n"],
)
def test_another_protocol_is_answered_in_that(said: bytes) -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), socket_to(port) as peer:
            peer.send(said)
            assert (await peer.reader.read()).startswith(b"HTTP/1.1 505 ")

    run(story())


def test_another_protocol_is_found_out_at_the_first_byte_that_differs() -> None:
    async def story() -> None:
        async with serving(Application()) as (endpoint, port), socket_to(port) as peer:
            peer.send(PREFACE[:5])
            await until(lambda: [each for each in endpoint.connections if len(each._missing_preface) < len(PREFACE)])
            peer.send(b"?")
            assert (await peer.reader.read()).startswith(b"HTTP/1.1 505 ")

    run(story())


def test_the_preface_may_come_byte_by_byte() -> None:
    async def story() -> None:
        async with serving(Application()) as (endpoint, port), socket_to(port) as peer:
            for count in range(1, len(PREFACE) + 1):
                peer.send(PREFACE[count - 1 : count])
                left = len(PREFACE) - count
                await until(lambda left=left: {len(each._missing_preface) for each in endpoint.connections} == {left})  # type: ignore[misc]
            peer.send(settings_frame({}), request_frames(1, b"body"))
            assert await peer.response(1) == b"body"

    run(story())


@pytest.mark.parametrize("said", [b"", PREFACE[:5], PREFACE], ids=["nothing", "half a preface", "no settings"])
def test_who_does_not_open_the_connection_in_time_is_cut_off(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "OPENING_SECONDS", 0.01)
    monkeypatch.setattr(server_module, "SWEEP_SECONDS", 0.01)

    async def story() -> None:
        async with serving(Application()) as (_, port), socket_to(port) as peer:
            peer.send(said)
            await peer.closed()

    run(story())


def test_who_has_opened_the_connection_may_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "OPENING_SECONDS", 0.0)
    monkeypatch.setattr(server_module, "SWEEP_SECONDS", LONG_SECONDS)

    async def story() -> None:
        async with serving(Application()) as (endpoint, port), peer_of(port) as peer:
            await peer.answered()
            (connection,) = endpoint.connections
            connection.sweep(connection.loop.time() + LONG_SECONDS)
            await peer.answered()

    run(story())


def test_a_request_knows_who_asked() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1))
            await until(lambda: application.opened)
            assert application.opened[0].peer == peer.writer.get_extra_info("sockname")

    run(story())


# Where requests lead


def test_a_whole_request_is_answered() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), h2_client(port) as client:
            stream_id = client.ask(body=b"body")
            assert await client.response(stream_id) == b"body"
            (response,) = client.of(h2.events.ResponseReceived, stream_id)
            (trailers,) = client.of(h2.events.TrailersReceived, stream_id)
            assert response.headers == [(b":status", b"200")]
            assert trailers.headers == [(b"outcome", b"fine")]

    run(story())


def test_many_requests_at_a_time_are_answered() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), h2_client(port) as client:
            bodies = {client.ask(body=b"%d" % number): b"%d" % number for number in range(100)}
            for stream_id, body in bodies.items():
                assert await client.response(stream_id) == body

    run(story())


@pytest.mark.parametrize("last", [b"", b"end"], ids=["ends by itself", "ends with data"])
def test_a_body_in_parts_is_handed_on_as_a_whole(last: bytes) -> None:
    application = Application()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, b"one "), data_of(1, b""), data_of(1, b"two "))
            await peer.answered()
            assert not application.bodies
            peer.send(data_of(1, last, END_STREAM))
            assert await peer.response(1) == b"one two " + last
            assert application.bodies == [b"one two " + last]
            assert not application.opened

    run(story())


def test_a_body_that_ends_with_trailers_is_handed_on_as_a_whole() -> None:
    application = Application()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, b"body"), frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS))
            assert await peer.response(1) == b"body"

    run(story())


def test_a_request_without_a_body_is_opened() -> None:
    application = Application()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(request_frames(1))
            await until(lambda: application.opened)
            assert await application.opened[0].read() is None

    run(story())


def test_a_request_that_is_declined_as_a_whole_is_opened_with_all_of_its_body() -> None:
    opened: list[ServerStream] = []
    route = Route(opened.append, lambda _stream, _body: False)

    async def story() -> None:
        application = Application()
        application.route = lambda _: route  # type: ignore[method-assign]
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(request_frames(1, b"at once"), head_of(3), data_of(3, b"in "), data_of(3, b"parts", END_STREAM))
            await until(lambda: len(opened) == 2)
            assert [await body_of(stream.read) for stream in opened] == [b"at once", b"in parts"]

    run(story())


def test_a_long_body_is_opened_before_it_is_whole() -> None:
    application = Application()
    half = bytes(WHOLE_BYTES // 2 + 1)

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, half))
            await peer.answered()
            assert not application.opened
            peer.send(data_of(1, half))
            await until(lambda: application.opened)
            peer.send(data_of(1, half, END_STREAM))
            assert await body_of(application.opened[0].read) == 3 * half
            assert not application.bodies

    run(story())


def test_a_slow_body_is_opened_before_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SWEEP_SECONDS", 0.01)
    application = Application()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, b"slow "))
            await until(lambda: application.opened)
            peer.send(data_of(1, b"body", END_STREAM))
            assert await body_of(application.opened[0].read) == b"slow body"
            assert not application.bodies

    run(story())


def test_a_body_is_not_slow_before_the_second_look() -> None:
    application = Application()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, b"one "))
            await peer.answered()
            (connection,) = endpoint.connections
            connection.sweep(0.0)
            peer.send(data_of(1, b"two", END_STREAM))
            assert await peer.response(1) == b"one two"

    run(story())


def test_a_route_that_wants_no_whole_body_is_asked_as_soon_as_there_are_headers() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1))
            await until(lambda: application.opened)

    run(story())


@pytest.mark.parametrize("is_later", [False, True], ids=["answered at once", "answered later"])
@pytest.mark.parametrize("parts", [1, 2])
def test_whole_bodies_leave_the_whole_window_to_others(parts: int, is_later: bool) -> None:
    asked: list[ServerStream] = []

    def whole(stream: ServerStream, _body: bytes) -> bool:
        asked.append(stream)
        if not is_later:
            stream.respond(RESPONSE, b"", TRAILERS)
        return True

    application = Application()
    application.route = lambda _: Route(application.opened.append, whole)  # type: ignore[method-assign]
    part = bytes(WHOLE_BYTES // parts)
    rounds = 2 * CONNECTION_WINDOW_BYTES // WHOLE_BYTES

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            for number in range(rounds):
                stream_id = 2 * number + 1
                flags = [0] * (parts - 1) + [END_STREAM]
                peer.send(head_of(stream_id), *[data_of(stream_id, part, each) for each in flags])
                await until(lambda count=number + 1: len(asked) == count)  # type: ignore[misc]
                if is_later:
                    asked[-1].respond(RESPONSE, b"", TRAILERS)
            await peer.answered()
            granted = [each for each in peer.seen if each.kind == WINDOW_UPDATE and each.stream_id == 0]
            # The first one is what the connection begins with.
            room = sum(int.from_bytes(each.payload) for each in granted[1:])
            assert CONNECTION_WINDOW_BYTES < room <= rounds * WHOLE_BYTES

    run(story())


def test_a_request_that_has_no_place_to_go_ends_alone() -> None:
    def route(headers: Headers) -> Route:
        if dict(headers)[b":path"] != b"/echo":
            raise StreamFault(ErrorCode.REFUSED_STREAM, "nobody is there")
        return Application().route(headers)

    async def story() -> None:
        application = Application()
        application.route = route  # type: ignore[method-assign]
        nowhere = encode_headers([*REQUEST[:2], (b":path", b"/nowhere")])
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(request_frames(1, b"body", nowhere), request_frames(3, b"body"))
            assert await reset_code(peer) == ErrorCode.REFUSED_STREAM
            assert await peer.response(3) == b"body"

    run(story())


# Headers that are known


def test_headers_that_were_seen_before_are_not_looked_at_again() -> None:
    application = Application()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(*[request_frames(stream_id, b"body") for stream_id in (1, 3, 5)])
            await peer.response(5)
            assert (application.route_count, len(application.bodies)) == (1, 3)

    run(story())


def path_of(encoder: hpack.Encoder, path: bytes) -> bytes:
    """A block that uses the dynamic table."""
    return encoder.encode([*REQUEST[:2], (b":path", path)], huffman=False)


def test_the_same_bytes_lead_elsewhere_once_the_table_was_changed() -> None:
    application = Application()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            encoder = hpack.Encoder()
            first = [path_of(encoder, b"/one") for _ in range(3)]
            second = [path_of(encoder, b"/two") for _ in range(3)]
            assert first[1] == first[2] == second[1] == second[2], "the same bytes"
            for number, block in enumerate(first + second):
                peer.send(request_frames(2 * number + 1, b"body", block))
            await peer.response(11)
            assert application.paths == [b"/one"] * 3 + [b"/two"] * 3

    run(story())


@pytest.mark.parametrize("kind", ["trailers", "a malformed request", "a request given up", "a refused request"])
def test_the_same_bytes_lead_elsewhere_whatever_changed_the_table(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    application = Application()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            encoder = hpack.Encoder()
            first = [path_of(encoder, b"/one") for _ in range(2)]
            peer.send(request_frames(1, b"body", first[0]), request_frames(3, b"body", first[1]))
            await peer.response(3)
            match kind:
                case "trailers":
                    # A path has no place there, but changes the table as anything would.
                    block = encoder.encode([(b":path", b"/two")], huffman=False)
                    peer.send(head_of(5), frame(HEADERS, END_HEADERS | END_STREAM, 5, block))
                case "a malformed request":
                    block = encoder.encode([(b":path", b"/two")], huffman=False)
                    peer.send(head_of(5, block))
                case "a request given up":
                    block = encoder.encode([(b":path", b"/two")], huffman=False)
                    peer.send(head_of(5), room_of(5, 0), frame(HEADERS, END_HEADERS | END_STREAM, 5, block))
                case _:
                    monkeypatch.setattr(server_module, "MAX_STREAMS", 0)
                    peer.send(request_frames(5, b"body", path_of(encoder, b"/two")))
                    await peer.answered()
                    monkeypatch.setattr(server_module, "MAX_STREAMS", MAX_STREAMS)
            await peer.answered()
            again = path_of(encoder, b"/two")
            assert again == first[1], "the same bytes"
            application.paths.clear()
            peer.send(request_frames(7, b"body", again))
            await peer.response(7)
            assert application.paths == [b"/two"]

    run(story())


def test_the_same_bytes_mean_nothing_once_the_table_was_emptied() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            encoder = hpack.Encoder()
            blocks = [path_of(encoder, b"/one") for _ in range(2)]
            peer.send(request_frames(1, b"", blocks[0]), request_frames(3, b"", blocks[1]))
            peer.send(request_frames(5, b"", b"\x20" + REQUEST_BLOCK), request_frames(7, b"", blocks[1]))
            assert await peer.cut_off() == ErrorCode.COMPRESSION_ERROR

    run(story())


def test_a_block_that_changes_the_table_does_so_each_time_it_comes() -> None:
    application = Application()
    block = REQUEST_BLOCK + b"\x40\x04name\x05value"

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            # The last one has the field that was put into the table first.
            for stream_id, each in ((1, block), (3, block), (5, REQUEST_BLOCK + b"\xbf")):
                peer.send(request_frames(stream_id, b"body", each))
            assert await peer.response(5) == b"body"

    run(story())


def test_no_more_than_some_headers_are_remembered() -> None:
    application = Application()
    count = 3 * server_module._MAX_KNOWN

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            for number in range(count):
                peer.send(request_frames(2 * number + 1, b"x", with_headers((b"number", b"%d" % number))))
            peer.send(request_frames(2 * count + 1, b"x", with_headers((b"long", b"x" * server_module._KNOWN_BYTES))))
            await peer.response(2 * count + 1)
            (connection,) = endpoint.connections
            assert 0 < len(connection._known) <= server_module._MAX_KNOWN
            assert max(map(len, connection._known)) <= server_module._KNOWN_BYTES

    run(story())


# What requests must be


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(with_headers((b"Name", b"value")), id="uppercase"),
        pytest.param(with_headers(("näme".encode(), b"value")), id="a name that is no ASCII"),
        pytest.param(with_headers((b"na me", b"value")), id="a name with a space"),
        pytest.param(with_headers((b"name", b"two\r\nlines")), id="a value of two lines"),
        pytest.param(with_headers((b"connection", b"close")), id="a header of HTTP/1"),
        pytest.param(encode_headers(REQUEST[1:]), id="no method"),
        pytest.param(encode_headers([(b"name", b"value"), *REQUEST]), id="a pseudo-header behind a regular one"),
        pytest.param(with_headers((b"content-length", b"none")), id="a length that is none"),
        pytest.param(b"", id="none"),
    ],
)
def test_a_malformed_request_ends_alone(block: bytes) -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            # Twice, because what is malformed must not be known the second time.
            peer.send(request_frames(1, b"body", block), request_frames(3, b"body", block), request_frames(5, b"body"))
            assert await reset_code(peer, 1) == ErrorCode.PROTOCOL_ERROR
            assert await reset_code(peer, 3) == ErrorCode.PROTOCOL_ERROR
            assert await peer.response(5) == b"body"

    run(story())


@pytest.mark.parametrize("takes_whole", [True, False])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param([data_of(1, b"123", END_STREAM)], id="shorter"),
        pytest.param([data_of(1, b"12345", END_STREAM)], id="longer"),
        pytest.param([data_of(1, b"12"), data_of(1, b"345")], id="longer before its end"),
        pytest.param([data_of(1, b"123"), data_of(1, b"", END_STREAM)], id="shorter, which the end shows"),
        pytest.param(
            [data_of(1, b"123"), frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS)], id="shorter, with trailers"
        ),
    ],
)
def test_a_body_of_another_length_than_it_was_said_to_have_ends_its_request(
    body: list[bytes], takes_whole: bool
) -> None:
    application = Application(takes_whole=takes_whole)

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1, with_headers((b"content-length", b"4"))), *body)
            assert await reset_code(peer) == ErrorCode.PROTOCOL_ERROR
            assert not application.bodies
            assert application.ended == [stream.id for stream in application.opened]

    run(story())


def test_no_body_where_one_was_said_to_be_ends_the_request() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(request_frames(1, b"", with_headers((b"content-length", b"4"))))
            assert await reset_code(peer) == ErrorCode.PROTOCOL_ERROR

    run(story())


def test_a_body_of_the_length_it_was_said_to_have_is_taken() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            block = with_headers((b"content-length", b"4"))
            peer.send(request_frames(1, b"body", block), head_of(3, block))
            peer.send(data_of(3, b"bo"), data_of(3, b"dy"), data_of(3, b"", END_STREAM))
            assert await peer.response(1) == b"body"
            assert await peer.response(3) == b"body"

    run(story())


# Streams


def test_a_client_does_not_open_even_streams() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(request_frames(2))
            assert await peer.cut_off() == ErrorCode.PROTOCOL_ERROR

    run(story())


def test_a_client_does_not_open_even_streams_behind_others() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(request_frames(5, b"body"), request_frames(2))
            assert await peer.cut_off() == ErrorCode.PROTOCOL_ERROR

    run(story())


@pytest.mark.parametrize("stream_id", [3, 5], ids=["passed over", "used before"])
def test_a_stream_that_is_over_is_not_opened_again(stream_id: int) -> None:
    application = Application()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(request_frames(5, b"body"))
            await peer.response(5)
            peer.send(request_frames(stream_id, b"again"))
            assert await peer.cut_off() == ErrorCode.STREAM_CLOSED
            assert application.bodies == [b"body"]

    run(story())


def test_trailers_on_their_way_to_a_request_that_this_end_gave_up_are_no_fault() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), room_of(1, 0), frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS))
            peer.send(request_frames(3, b"body"))
            assert await peer.response(3) == b"body"

    run(story())


def test_trailers_have_no_pseudo_headers() -> None:
    application = Application()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, b"body"), frame(HEADERS, END_HEADERS | END_STREAM, 1, REQUEST_BLOCK))
            assert [each.kind for each in await peer.answered() if each.stream_id == 1] == [RST_STREAM]
            assert application.bodies == []

    run(story())


def test_a_response_is_sent_once() -> None:
    application = Application(takes_whole=False)

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(request_frames(1))
            await until(lambda: application.opened)
            for body in (b"one", b"two"):
                application.opened[0].respond(RESPONSE, body, TRAILERS)
            assert [each.payload for each in await peer.answered() if each.kind == DATA] == [b"one"]

    run(story())


def test_a_client_that_has_said_nothing_is_told_nothing_when_the_server_stops() -> None:
    async def story() -> None:
        async with serving(Application()) as (endpoint, port):
            reader, writer = await asyncio.open_connection(HOST, port)
            await until(lambda: endpoint.connections)
            await endpoint.stop(1.0)
            assert await reader.read() == b""
            writer.close()

    run(story())


def test_streams_may_be_passed_over() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            for stream_id in (7, 9, 1_001, 2**31 - 1):
                peer.send(request_frames(stream_id, b"body"))
                assert await peer.response(stream_id) == b"body"

    run(story())


def test_one_request_too_many_is_refused_and_the_others_are_answered() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(*[head_of(2 * number + 1) for number in range(MAX_STREAMS + 1)])
            assert await reset_code(peer, 2 * MAX_STREAMS + 1) == ErrorCode.REFUSED_STREAM
            # What it still says of that is nothing to the others.
            peer.send(data_of(2 * MAX_STREAMS + 1, b"body", END_STREAM))
            application.opened[0].respond(RESPONSE, b"body", TRAILERS)
            assert await peer.response(1) == b"body"
            peer.send(request_frames(2 * MAX_STREAMS + 3))
            await until(lambda: len(application.opened) == MAX_STREAMS + 1)

    run(story())


def test_a_client_is_told_how_many_requests_it_may_make() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), h2_client(port) as client:
            await client.expect(h2.events.RemoteSettingsChanged)
            assert client.http2.remote_settings.max_concurrent_streams == MAX_STREAMS

    run(story())


def test_a_request_that_is_given_up_is_ended() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, b"body"), reset_of(1), reset_of(1))
            await peer.answered()
            assert application.ended == [1]
            (connection,) = endpoint.connections
            assert not connection.streams

    run(story())


def test_what_was_on_its_way_to_a_stream_that_was_given_up_is_ignored() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1))
            await until(lambda: application.opened)
            application.opened[0].reset(ErrorCode.CANCEL, "not wanted")
            assert await reset_code(peer) == ErrorCode.CANCEL
            peer.send(data_of(1, b"body"), room_of(1, 1), frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS))
            assert GOAWAY not in [each.kind for each in await peer.answered()]

    run(story())


def test_as_many_requests_as_allowed_may_be_given_up() -> None:
    async def story() -> None:
        async with serving(hanging()) as (_, port), peer_of(port) as peer:
            peer.send(*[head_of(2 * number + 1) + reset_of(2 * number + 1) for number in range(MAX_RESETS)])
            await peer.answered()

    run(story())


def test_who_gives_up_too_many_requests_is_cut_off() -> None:
    async def story() -> None:
        async with serving(hanging()) as (_, port), peer_of(port) as peer:
            peer.send(*[head_of(2 * number + 1) + reset_of(2 * number + 1) for number in range(MAX_RESETS + 1)])
            assert await peer.cut_off() == ErrorCode.ENHANCE_YOUR_CALM

    run(story())


def test_who_gives_up_many_requests_over_a_long_time_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    # Any time that has passed is a long one.
    monkeypatch.setattr(server_module, "RESETS_SECONDS", -1.0)

    async def story() -> None:
        async with serving(hanging()) as (_, port), peer_of(port) as peer:
            peer.send(*[head_of(2 * number + 1) + reset_of(2 * number + 1) for number in range(MAX_RESETS + 1)])
            await peer.answered()

    run(story())


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda stream_id: room_of(stream_id, 0), id="no room"),
        pytest.param(lambda stream_id: room_of(stream_id, 2**31 - 1), id="too much room"),
        pytest.param(head_of, id="headers in the middle"),
    ],
)
def test_who_makes_this_end_give_up_too_many_requests_is_cut_off(wrong: Callable[[int], bytes]) -> None:
    async def story() -> None:
        async with serving(hanging()) as (_, port), peer_of(port) as peer:
            for number in range(MAX_RESETS + 1):
                peer.send(head_of(2 * number + 1), wrong(2 * number + 1))
            assert await peer.cut_off() == ErrorCode.ENHANCE_YOUR_CALM

    run(story())


# Responses


@pytest.mark.parametrize(
    "settings",
    [{}, {Setting.INITIAL_WINDOW_SIZE: 0}, {Setting.INITIAL_WINDOW_SIZE: 1_000}, {Setting.HEADER_TABLE_SIZE: 0}],
    ids=["as usual", "no window", "a small window", "a smaller table"],
)
@pytest.mark.parametrize("size", [0, 1, MIN_FRAME_BYTES, MIN_FRAME_BYTES + 1, 200_000])
def test_a_response_arrives_whole_and_in_order(settings: dict[Setting, int], size: int) -> None:
    application = hanging()
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port, settings) as peer:
            peer.send(request_frames(1))
            await until(lambda: application.opened)
            application.opened[0].respond(RESPONSE, body, TRAILERS)
            await peer.answered()
            while not peer.seen[-2].is_last and peer.data_bytes() < len(body):
                peer.send(room_of(0, 40_000), room_of(1, 40_000))
                await peer.answered()
            found = [each for each in peer.seen if each.stream_id == 1 and each.kind != WINDOW_UPDATE]
            assert [found[0].kind, found[-1].kind] == [HEADERS, HEADERS]
            assert {each.kind for each in found[1:-1]} <= {DATA}
            assert b"".join(each.payload for each in found[1:-1]) == body
            assert found[-1].is_last
            assert max(len(each.payload) for each in found) <= MIN_FRAME_BYTES

    run(story())


def test_responses_that_fit_a_frame_wait_for_the_window_of_the_connection() -> None:
    application = hanging()
    body = bytes(10_000)
    streams = [2 * number + 1 for number in range(10)]

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(*map(request_frames, streams))
            await until(lambda: len(application.opened) == len(streams))
            for stream in application.opened:
                stream.respond(RESPONSE, body, TRAILERS)
            await peer.answered()
            assert peer.data_bytes() == DEFAULT_WINDOW_BYTES
            peer.send(room_of(0, len(streams) * len(body)))
            await peer.answered()
            assert [peer.data_bytes(stream_id) for stream_id in streams] == [len(body)] * len(streams)

    run(story())


def test_a_response_to_a_request_that_was_given_up_is_dropped() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), reset_of(1))
            await until(lambda: application.ended)
            application.opened[0].respond(RESPONSE, b"body", TRAILERS)
            assert not [each for each in await peer.answered() if each.stream_id == 1]

    run(story())


def test_a_client_that_is_answered_early_is_told_to_send_no_more() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, b"beginning"))
            await until(lambda: application.opened)
            application.opened[0].respond(RESPONSE, b"enough", TRAILERS)
            assert await peer.response(1) == b"enough"
            assert await reset_code(peer) == ErrorCode.NO_ERROR
            (connection,) = endpoint.connections
            assert not connection.streams

    run(story())


# The end


def test_a_server_that_stops_says_so_and_takes_nobody_any_more() -> None:
    async def story() -> None:
        application = Application()
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(request_frames(1, b"body"))
            await peer.response(1)
            await endpoint.stop(LONG_SECONDS)
            found = await peer.expect(GOAWAY)
            assert (found.payload[:4], found.code) == (b"\0\0\0\x01", ErrorCode.NO_ERROR)
            assert await peer.next() is None
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(HOST, port)

    run(story())


def test_requests_under_way_are_finished_when_a_server_stops() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1))
            await until(lambda: application.opened)
            stopping = asyncio.create_task(endpoint.stop(LONG_SECONDS))
            await peer.expect(GOAWAY)
            peer.send(data_of(1, b"body", END_STREAM))
            assert await body_of(application.opened[0].read) == b"body"
            application.opened[0].respond(RESPONSE, b"answer", TRAILERS)
            assert await peer.response(1) == b"answer"
            await stopping

    run(story())


@pytest.mark.parametrize("body", [b"", b"body"], ids=["without a body", "with a body"])
def test_requests_that_cross_the_news_that_a_server_stops_are_ignored(body: bytes) -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(request_frames(1))
            await until(lambda: application.opened)
            stopping = asyncio.create_task(endpoint.stop(LONG_SECONDS))
            await peer.expect(GOAWAY)
            peer.send(request_frames(3, body), head_of(5), room_of(5, 1), reset_of(5))
            await peer.answered()
            application.opened[0].respond(RESPONSE, b"answer", TRAILERS)
            assert await peer.response(1) == b"answer"
            assert len(application.opened) == 1
            await stopping

    run(story())


def test_a_server_that_stopped_says_no_more_than_once_how_far_it_came() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(request_frames(1))
            await until(lambda: application.opened)
            stopping = asyncio.create_task(endpoint.stop(LONG_SECONDS))
            last_ids = [(await peer.expect(GOAWAY)).payload[:4]]
            peer.send(request_frames(3), data_of(0, b"wrong"))
            last_ids.append((await peer.expect(GOAWAY)).payload[:4])
            assert last_ids == [b"\0\0\0\x01"] * 2
            await stopping

    run(story())


@pytest.mark.parametrize("end", ["the client gives it up", "the server gives it up"])
def test_a_server_that_stops_waits_for_no_request_that_is_given_up(end: str) -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1))
            await until(lambda: application.opened)
            stopping = asyncio.create_task(endpoint.stop(LONG_SECONDS))
            await peer.expect(GOAWAY)
            if end == "the client gives it up":
                peer.send(reset_of(1))
            else:
                application.opened[0].reset(ErrorCode.CANCEL, "not wanted")
                assert await reset_code(peer) == ErrorCode.CANCEL
            await peer.closed()
            await stopping

    run(story())


def test_requests_that_hang_are_cut_off_when_the_time_is_up() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1))
            await until(lambda: application.opened)
            await endpoint.stop(0.01)
            assert application.ended == [1]
            await peer.closed()

    run(story())


def test_a_client_that_says_that_it_leaves_is_still_answered() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), frame(GOAWAY, 0, 0, bytes(8)), data_of(1, b"body", END_STREAM))
            assert await peer.response(1) == b"body"

    run(story())


def test_a_server_that_was_never_started_can_be_stopped() -> None:
    async def story() -> None:
        await Endpoint(Application().route).stop(LONG_SECONDS)

    run(story())


def test_nothing_of_a_server_stays(no_leaks: None) -> None:
    async def story() -> None:
        application = hanging()
        listener = socket.create_server((HOST, 0))
        endpoint = Endpoint(application.route)
        await endpoint.start(listener)
        async with peer_of(listener.getsockname()[1]) as peer, socket_to(listener.getsockname()[1]):
            peer.send(head_of(1), data_of(1, b"body"))
            await until(lambda: application.opened)
            await endpoint.stop(0.0)
        await until(lambda: not endpoint.connections)

    run(story())
