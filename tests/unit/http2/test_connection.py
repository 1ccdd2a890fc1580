"""What both ends have in common, shown on the serving end: frames, windows, settings, pings, and who is cut off."""

import asyncio
import struct
from collections.abc import Callable

import h2.errors
import h2.events
import h2.settings
import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meteora.http2 import Endpoint, ServerStream, encode_headers
from meteora.http2.connection import (
    CONNECTION_WINDOW_BYTES,
    MAX_CONTROL_FRAMES,
    MAX_FRAME_BYTES,
)
from meteora.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW_BYTES,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEAD_BYTES,
    HEADERS,
    MAX_WINDOW_BYTES,
    MIN_FRAME_BYTES,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    Setting,
    frame,
    settings_frame,
)
from meteora.http2.headers import MAX_HEADERS_BYTES, TABLE_EMPTIED
from meteora.http2.server import ServerConnection
from meteora.http2.stream import STREAM_WINDOW_BYTES
from tests.unit.http2.peers import (
    REQUEST,
    REQUEST_BLOCK,
    RESPONSE,
    TRAILERS,
    Application,
    Frame,
    body_of,
    client_and_server,
    client_of_peer,
    data_of,
    h2_client,
    hanging,
    head_of,
    in_parts,
    peer_of,
    request_frames,
    reset_of,
    room_of,
    run,
    serving,
    socket_to,
    until,
)

SMALL_BUFFER_BYTES = 4_096


def cut_off_by(*said: bytes, settings: bytes = settings_frame({})) -> ErrorCode:
    """Why a client that says this is cut off, which it is."""
    codes = []

    async def story() -> None:
        async with serving(Application()) as (_, port), socket_to(port) as peer:
            peer.send(PREFACE, settings, *said)
            codes.append(await peer.cut_off())

    run(story())
    return codes[0]


def reset_by(*said: bytes) -> ErrorCode:
    """Why stream 1 of a client that says this is ended, which it is, but not the connection."""
    codes = []

    async def story() -> None:
        async with serving(hanging()) as (_, port), peer_of(port) as peer:
            peer.send(*said)
            codes.append(ErrorCode((await peer.expect(RST_STREAM, 1)).code))
            peer.send(head_of(9))
            kinds = [each.kind for each in await peer.answered()]
            assert GOAWAY not in kinds

    run(story())
    return codes[0]


class Pipe(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:  # type: ignore[override]
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


# Frames


def test_a_server_opens_with_its_settings() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), socket_to(port) as peer:
            peer.send(PREFACE)
            first = await peer.next()
            assert first is not None
            assert (first.kind, first.flags) == (SETTINGS, 0)

    run(story())


def test_settings_are_acknowledged() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            while not (await peer.expect(SETTINGS)).flags & ACK:
                pass

    run(story())


@pytest.mark.parametrize(
    "first",
    [
        frame(PING, 0, 0, bytes(8)),
        request_frames(1),
        in_parts(REQUEST_BLOCK, 1, 10),
        data_of(1, b""),
        frame(99, 0, 0),
    ],
    ids=["PING", "HEADERS", "CONTINUATION", "DATA", "unknown"],
)
def test_a_first_frame_other_than_settings_is_an_error(first: bytes) -> None:
    assert cut_off_by(first, settings=b"") == ErrorCode.PROTOCOL_ERROR


def test_an_acknowledgement_is_no_settings() -> None:
    assert cut_off_by(request_frames(1), settings=frame(SETTINGS, ACK, 0)) == ErrorCode.PROTOCOL_ERROR


def conversation() -> bytes:
    """What a client says in which every kind of frame occurs."""
    return b"".join(
        (
            PREFACE,
            settings_frame({Setting.INITIAL_WINDOW_SIZE: 100_000}),
            request_frames(1, b"one"),
            frame(PRIORITY, 0, 3, bytes(5)),
            in_parts(REQUEST_BLOCK, 3, 10),
            data_of(3, b"\x02two\0\0", PADDED),
            data_of(3, b"", END_STREAM),
            frame(99, 0xFF, 77, b"unknown"),
            room_of(0, 1_000),
            head_of(5),
            room_of(5, 1_000),
            data_of(5, b"three"),
            reset_of(5),
            frame(HEADERS, END_HEADERS | HAS_PRIORITY, 7, bytes(5) + REQUEST_BLOCK),
            data_of(7, b"four", END_STREAM),
            frame(PING, 0, 0, b"the last"),
        )
    )


def replies_to(*parts: bytes) -> bytes:
    """What is answered to a client whose bytes come in these parts."""
    pipe = Pipe()

    async def story() -> None:
        connection = ServerConnection(Endpoint(Application().route))
        connection.connection_made(pipe)
        for part in parts:
            connection.data_received(part)
        await asyncio.sleep(0)
        connection.connection_lost(None)

    asyncio.run(story())
    return bytes(pipe.written)


def test_frames_may_be_cut_anywhere() -> None:
    whole = conversation()
    expected = replies_to(whole)
    assert expected.endswith(frame(PING, ACK, 0, b"the last"))
    assert not [cut for cut in range(1, len(whole)) if replies_to(whole[:cut], whole[cut:]) != expected]


def test_frames_may_come_byte_by_byte() -> None:
    whole = conversation()
    assert replies_to(*[whole[at : at + 1] for at in range(len(whole))]) == replies_to(whole)


def test_a_frame_as_long_as_allowed_is_taken() -> None:
    body = bytes(MAX_FRAME_BYTES)
    application = Application()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(request_frames(1, body))
            await peer.answered()
            assert application.bodies == [body]

    run(story())


def test_a_frame_that_is_too_long_is_an_error_before_it_is_there() -> None:
    head = frame(DATA, 0, 1)[3:]
    assert cut_off_by((MAX_FRAME_BYTES + 1).to_bytes(3) + head) == ErrorCode.FRAME_SIZE_ERROR


def test_a_frame_of_an_unknown_kind_is_ignored() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(frame(0x99, 0xFF, 1, b"whatever"), request_frames(1, b"body"))
            assert await peer.response(1) == b"body"

    run(story())


def test_the_reserved_bit_of_a_stream_is_not_looked_at() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(
                frame(HEADERS, END_HEADERS, 1 | 1 << 31, REQUEST_BLOCK), data_of(1 | 1 << 31, b"body", END_STREAM)
            )
            assert await peer.response(1) == b"body"

    run(story())


@pytest.mark.parametrize("padding", [0, 1, 255])
def test_padding_is_no_part_of_the_body(padding: int) -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            padded = bytes((padding,)) + b"body" + bytes(padding)
            peer.send(head_of(1), data_of(1, padded, PADDED | END_STREAM))
            assert await peer.response(1) == b"body"

    run(story())


@pytest.mark.parametrize(
    ("flags", "payload"),
    [
        (PADDED, b"\x03" + REQUEST_BLOCK + bytes(3)),
        (HAS_PRIORITY, bytes(5) + REQUEST_BLOCK),
        (PADDED | HAS_PRIORITY, b"\x03" + bytes(5) + REQUEST_BLOCK + bytes(3)),
    ],
    ids=["padding", "priority", "both"],
)
@pytest.mark.parametrize("is_whole", [True, False], ids=["one frame", "continued"])
def test_what_stands_around_headers_is_taken_off(flags: int, payload: bytes, is_whole: bool) -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            if is_whole:
                peer.send(frame(HEADERS, flags | END_HEADERS, 1, payload))
            else:
                peer.send(frame(HEADERS, flags, 1, payload), frame(CONTINUATION, END_HEADERS, 1))
            peer.send(data_of(1, b"body", END_STREAM))
            assert await peer.response(1) == b"body"

    run(story())


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param(1, head_of(1) + data_of(1, b"\x05data", PADDED), id="DATA with more padding than frame"),
        pytest.param(1, frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff"), id="HEADERS with more padding than frame"),
        pytest.param(6, frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"\0\0"), id="HEADERS shorter than a priority"),
        pytest.param(1, data_of(0, b"data"), id="DATA on stream 0"),
        pytest.param(1, request_frames(0), id="HEADERS on stream 0"),
        pytest.param(1, in_parts(REQUEST_BLOCK, 0, 10), id="continued HEADERS on stream 0"),
        pytest.param(1, reset_of(0), id="RST_STREAM on stream 0"),
        pytest.param(1, frame(PRIORITY, 0, 0, bytes(5)), id="PRIORITY on stream 0"),
        pytest.param(1, frame(SETTINGS, 0, 1), id="SETTINGS on a stream"),
        pytest.param(1, frame(PING, 0, 1, bytes(8)), id="PING on a stream"),
        pytest.param(1, frame(GOAWAY, 0, 1, bytes(8)), id="GOAWAY on a stream"),
        pytest.param(6, frame(SETTINGS, 0, 0, bytes(5)), id="SETTINGS of another length"),
        pytest.param(6, frame(SETTINGS, ACK, 0, bytes(6)), id="SETTINGS that acknowledge and set"),
        pytest.param(6, frame(PING, 0, 0, bytes(7)), id="PING of another length"),
        pytest.param(6, frame(PRIORITY, 0, 1, bytes(4)), id="PRIORITY of another length"),
        pytest.param(6, frame(GOAWAY, 0, 0, bytes(7)), id="GOAWAY of another length"),
        pytest.param(6, frame(WINDOW_UPDATE, 0, 0, bytes(3)), id="WINDOW_UPDATE of another length"),
        pytest.param(6, head_of(1) + frame(RST_STREAM, 0, 1, bytes(5)), id="RST_STREAM of another length"),
        pytest.param(1, data_of(1, b"data"), id="DATA on a stream that is none"),
        pytest.param(1, room_of(1, 1), id="WINDOW_UPDATE on a stream that is none"),
        pytest.param(1, reset_of(1), id="RST_STREAM on a stream that is none"),
        pytest.param(1, frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4) + REQUEST_BLOCK), id="PUSH_PROMISE"),
        pytest.param(1, frame(CONTINUATION, END_HEADERS, 1), id="CONTINUATION of nothing"),
        pytest.param(1, room_of(0, 0), id="no room on the connection"),
        pytest.param(3, room_of(0, MAX_WINDOW_BYTES), id="too much room on the connection"),
    ],
)
def test_what_breaks_a_rule_of_the_connection_ends_it(code: ErrorCode, said: bytes) -> None:
    assert cut_off_by(said) == code


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param(1, head_of(1) + room_of(1, 0), id="no room"),
        pytest.param(3, head_of(1) + room_of(1, MAX_WINDOW_BYTES), id="too much room"),
        pytest.param(5, request_frames(1) + data_of(1, b"more"), id="data behind the end"),
        pytest.param(1, request_frames(1) + request_frames(1), id="headers behind the end"),
        pytest.param(1, head_of(1) + head_of(1), id="headers in the middle"),
    ],
)
def test_what_breaks_a_rule_of_a_stream_ends_only_that(code: ErrorCode, said: bytes) -> None:
    assert reset_by(said) == code


def test_a_peer_is_told_why_it_is_cut_off() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(request_frames(5), data_of(7, b"data"))
            last_id, code, reason = struct.unpack(">LL50s", (await peer.expect(GOAWAY)).payload[:58].ljust(58))
            assert (last_id, code) == (5, ErrorCode.PROTOCOL_ERROR)
            assert b"stream 7" in reason

    run(story())


def test_nothing_is_taken_in_behind_what_broke_a_rule() -> None:
    application = Application()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(data_of(1, b"data"), request_frames(1, b"body"))
            await peer.closed()
            assert not application.bodies

    run(story())


def test_streams_end_when_their_connection_does() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1), head_of(3))
            await until(lambda: len(application.opened) == 2)
            await peer.close()
            await until(lambda: not endpoint.connections)
            assert sorted(application.ended) == [1, 3]

    run(story())


# Headers in several frames


@pytest.mark.parametrize("size", [1, 7, len(REQUEST_BLOCK) - 1])
def test_headers_may_come_in_several_frames(size: int) -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(in_parts(REQUEST_BLOCK, 1, size), data_of(1, b"body", END_STREAM))
            assert await peer.response(1) == b"body"

    run(story())


def test_the_end_of_the_stream_is_said_in_the_first_frame_of_its_headers() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(in_parts(REQUEST_BLOCK, 1, 10, END_STREAM))
            await until(lambda: application.opened)
            assert application.opened[0].is_remote_done

    run(story())


@pytest.mark.parametrize(
    "between",
    [
        data_of(1, b"data"),
        request_frames(3),
        frame(CONTINUATION, END_HEADERS, 3),
        frame(PING, 0, 0, bytes(8)),
        settings_frame({}),
        room_of(0, 1),
        frame(99, 0, 0),
    ],
    ids=["DATA", "HEADERS", "CONTINUATION of another stream", "PING", "SETTINGS", "WINDOW_UPDATE", "unknown"],
)
def test_nothing_may_come_between_frames_of_headers(between: bytes) -> None:
    begun = frame(HEADERS, 0, 1, REQUEST_BLOCK[:10])
    assert cut_off_by(begun, between) == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("size", [0, 1, MIN_FRAME_BYTES])
def test_headers_without_end_are_cut_off(size: int) -> None:
    count = MAX_HEADERS_BYTES // (size + 9) + 2
    part = frame(CONTINUATION, 0, 1, bytes(size))
    assert cut_off_by(frame(HEADERS, 0, 1), part * count) == ErrorCode.ENHANCE_YOUR_CALM


def test_headers_that_can_not_be_read_end_the_connection() -> None:
    assert cut_off_by(head_of(1, b"\x80")) == ErrorCode.COMPRESSION_ERROR


def test_headers_that_can_not_be_read_end_the_connection_whatever_their_length() -> None:
    # Whose description would not fit a frame.
    assert cut_off_by(head_of(1, b"\x00\xff" + b"\x80" * 60_000)) == ErrorCode.COMPRESSION_ERROR


def test_headers_that_are_huge_end_the_connection() -> None:
    block = encode_headers([*REQUEST, (b"name", bytes(MAX_HEADERS_BYTES))])
    assert cut_off_by(head_of(1, block)) == ErrorCode.ENHANCE_YOUR_CALM


def test_headers_longer_than_a_frame_are_sent_in_several() -> None:
    application = hanging()
    headers = [(b":status", b"200"), (b"name", b"v" * (3 * MIN_FRAME_BYTES))]

    async def story() -> None:
        async with serving(application) as (_, port), h2_client(port) as client:
            stream_id = client.ask()
            await until(lambda: application.opened)
            application.opened[0].send_headers(encode_headers(headers), is_end=True)
            assert (await client.expect(h2.events.ResponseReceived, stream_id)).headers == headers
            await client.expect(h2.events.StreamEnded, stream_id)

    run(story())


# Settings


def test_streams_that_there_are_get_the_room_of_a_larger_window() -> None:
    application = hanging()
    body = bytes(60_000)

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port, {Setting.INITIAL_WINDOW_SIZE: 10}) as peer:
            peer.send(request_frames(1))
            await until(lambda: application.opened)
            application.opened[0].send(body, is_end=True)
            await peer.answered()
            assert peer.data_bytes() == 10
            peer.send(settings_frame({Setting.INITIAL_WINDOW_SIZE: 1_000}))
            await peer.answered()
            assert peer.data_bytes() == 1_000
            peer.send(settings_frame({Setting.INITIAL_WINDOW_SIZE: len(body)}))
            await peer.answered()
            assert peer.data_bytes() == len(body)

    run(story())


def test_a_window_smaller_than_what_was_sent_is_to_be_made_good_first() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port, {Setting.INITIAL_WINDOW_SIZE: 1_000}) as peer:
            peer.send(request_frames(1))
            await until(lambda: application.opened)
            application.opened[0].send(bytes(2_000), is_end=True)
            await peer.answered()
            peer.send(settings_frame({Setting.INITIAL_WINDOW_SIZE: 100}), room_of(1, 900))
            await peer.answered()
            assert peer.data_bytes() == 1_000
            peer.send(room_of(1, 1))
            await peer.answered()
            assert peer.data_bytes() == 1_001
            peer.send(room_of(1, 999))
            assert (await peer.answered())[-1].is_last

    run(story())


def test_a_window_is_that_of_the_last_settings_for_streams_to_come() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(
                settings_frame({Setting.INITIAL_WINDOW_SIZE: 10}), settings_frame({Setting.INITIAL_WINDOW_SIZE: 20})
            )
            peer.send(request_frames(1, bytes(100)))
            await peer.answered()
            assert peer.data_bytes() == 20

    run(story())


@pytest.mark.parametrize("size", [0, 1, 2**14 - 1, 2**24])
def test_a_frame_size_that_is_none_is_an_error(size: int) -> None:
    assert cut_off_by(settings_frame({Setting.MAX_FRAME_SIZE: size})) == ErrorCode.PROTOCOL_ERROR


def test_a_window_that_is_too_large_is_an_error() -> None:
    assert cut_off_by(settings_frame({Setting.INITIAL_WINDOW_SIZE: 2**31})) == ErrorCode.FLOW_CONTROL_ERROR


def test_a_setting_that_makes_a_window_too_large_is_an_error() -> None:
    said = (head_of(1), room_of(1, MAX_WINDOW_BYTES - DEFAULT_WINDOW_BYTES))
    assert cut_off_by(*said, settings_frame({Setting.INITIAL_WINDOW_SIZE: 65_536})) == ErrorCode.FLOW_CONTROL_ERROR


def test_a_setting_that_nobody_knows_is_ignored() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(frame(SETTINGS, 0, 0, b"\xff\xff\xff\xff\xff\xff"), request_frames(1, b"body"))
            assert await peer.response(1) == b"body"

    run(story())


@pytest.mark.parametrize("size", [MIN_FRAME_BYTES, MIN_FRAME_BYTES + 1, 60_000, 2**24 - 1])
def test_no_frame_is_longer_than_the_peer_takes(size: int) -> None:
    application = hanging()
    body = bytes(1_000_000)
    settings = {Setting.MAX_FRAME_SIZE: size, Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW_BYTES}

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port, settings) as peer:
            peer.send(room_of(0, len(body)), request_frames(1))
            await until(lambda: application.opened)
            application.opened[0].send_headers(encode_headers([(b":status", b"200"), (b"name", b"v" * 60_000)]))
            application.opened[0].send(body, is_end=True)
            assert await peer.response(1) == body
            assert max(len(each.payload) for each in peer.seen) <= min(size, MAX_FRAME_BYTES)

    run(story())


@pytest.mark.parametrize("size", [0, 1, 100, 4_095])
def test_a_peer_with_a_smaller_table_is_told_that_it_is_empty(size: int) -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port, {Setting.HEADER_TABLE_SIZE: size}) as peer:
            decoder = hpack.Decoder()
            decoder.max_allowed_table_size = size
            peer.send(request_frames(1, b"body"), request_frames(3, b"body"))
            await peer.answered()
            blocks = [each.payload for each in peer.seen if each.kind == HEADERS]
            assert [block.startswith(TABLE_EMPTIED) for block in blocks] == [True, False, False, False]
            for block in blocks:
                decoder.decode(block)

    run(story())


def test_a_smaller_table_is_understood_by_another_implementation() -> None:
    async def story() -> None:
        settings = {h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0}
        async with serving(Application()) as (_, port), h2_client(port, settings) as client:
            await client.expect(h2.events.SettingsAcknowledged)
            assert await client.response(client.ask(body=b"body")) == b"body"
            client.http2.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 1_000})
            assert await client.response(client.ask(body=b"more")) == b"more"

    run(story())


# Windows, for what is sent


def test_nothing_is_sent_beyond_the_window_of_a_stream() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(room_of(0, 1_000_000), request_frames(1))
            await until(lambda: application.opened)
            application.opened[0].send(bytes(200_000), is_end=True)
            await peer.answered()
            assert peer.data_bytes() == DEFAULT_WINDOW_BYTES
            for count in range(1, 5):
                peer.send(room_of(1, 1))
                await peer.answered()
                assert peer.data_bytes() == DEFAULT_WINDOW_BYTES + count

    run(story())


def test_nothing_is_sent_beyond_the_window_of_the_connection() -> None:
    application = hanging()

    async def story() -> None:
        settings = {Setting.INITIAL_WINDOW_SIZE: 1_000_000}
        async with serving(application) as (_, port), peer_of(port, settings) as peer:
            peer.send(request_frames(1), request_frames(3))
            await until(lambda: len(application.opened) == 2)
            for stream in application.opened:
                stream.send(bytes(200_000), is_end=True)
            await peer.answered()
            assert peer.data_bytes() == DEFAULT_WINDOW_BYTES
            peer.send(room_of(0, 7))
            await peer.answered()
            assert peer.data_bytes() == DEFAULT_WINDOW_BYTES + 7

    run(story())


def test_a_peer_that_counts_windows_itself_finds_none_exceeded() -> None:
    application = hanging()
    bodies = {2 * number + 1: bytes([number]) * (50_000 * number) for number in range(8)}

    async def story() -> None:
        async with serving(application) as (_, port), h2_client(port) as client:
            for _ in bodies:
                client.ask()
            await until(lambda: len(application.opened) == len(bodies))
            for stream in application.opened:
                stream.send_headers(RESPONSE)
                stream.send(bodies[stream.id], is_end=True)
            # `h2` raises for data beyond its windows.
            for stream_id, body in bodies.items():
                assert await client.response(stream_id) == body

    run(story())


def test_streams_take_turns() -> None:
    application = hanging()
    settings = {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW_BYTES}
    streams = [1, 3, 5, 7]

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port, settings) as peer:
            peer.send(*map(request_frames, streams))
            await until(lambda: len(application.opened) == len(streams))
            for stream in application.opened:
                stream.send(bytes(1_000_000))
            await peer.answered()
            before = {stream_id: peer.data_bytes(stream_id) for stream_id in streams}
            peer.send(room_of(0, 20 * MIN_FRAME_BYTES))
            await peer.answered()
            shares = [peer.data_bytes(stream_id) - before[stream_id] for stream_id in streams]
            assert sum(shares) == 20 * MIN_FRAME_BYTES
            assert max(shares) - min(shares) <= MIN_FRAME_BYTES

    run(story())


def test_a_stream_without_room_holds_up_no_other() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port, {Setting.INITIAL_WINDOW_SIZE: 0}) as peer:
            peer.send(request_frames(1), request_frames(3))
            await until(lambda: len(application.opened) == 2)
            for stream in application.opened:
                stream.send(b"body", is_end=True)
            peer.send(room_of(3, 100))
            found = await peer.expect(DATA)
            assert (found.stream_id, found.payload) == (3, b"body")

    run(story())


def test_a_peer_that_does_not_read_gets_no_more_than_its_windows_and_the_buffers_hold() -> None:
    application = hanging()
    settings = {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW_BYTES}

    async def story() -> None:
        async with (
            serving(application, send_buffer_bytes=16 * SMALL_BUFFER_BYTES) as (endpoint, port),
            peer_of(port, settings, receive_buffer_bytes=16 * SMALL_BUFFER_BYTES) as peer,
        ):
            peer.send(room_of(0, MAX_WINDOW_BYTES - DEFAULT_WINDOW_BYTES), request_frames(1))
            await until(lambda: application.opened)
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            stream = application.opened[0]
            stream.send(bytes(4 << 20), is_end=True)
            (connection,) = endpoint.connections
            await until(lambda: connection._is_paused)
            assert stream.queue
            assert connection._transport.get_write_buffer_size() < 2 << 20
            peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await peer.response(1)) == 4 << 20

    run(story())


# Windows, for what is received


def test_a_peer_that_sends_beyond_the_window_of_a_stream_loses_that() -> None:
    pieces = [data_of(1, bytes(MAX_FRAME_BYTES))] * (STREAM_WINDOW_BYTES // MAX_FRAME_BYTES)
    assert reset_by(head_of(1), *pieces, data_of(1, b"x")) == ErrorCode.FLOW_CONTROL_ERROR


def test_a_peer_that_sends_beyond_the_window_of_the_connection_is_cut_off() -> None:
    application = hanging()
    pieces = STREAM_WINDOW_BYTES // MAX_FRAME_BYTES
    count = CONNECTION_WINDOW_BYTES // STREAM_WINDOW_BYTES

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            for number in range(count):
                peer.send(head_of(2 * number + 1), *[data_of(2 * number + 1, bytes(MAX_FRAME_BYTES))] * pieces)
            await peer.answered()
            peer.send(head_of(99), data_of(99, b"x"))
            assert await peer.cut_off() == ErrorCode.FLOW_CONTROL_ERROR

    run(story())


def test_padding_counts_against_the_window() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, b"\x0adata" + bytes(10), PADDED))
            await peer.answered()
            (connection,) = endpoint.connections
            assert connection._receive_window == CONNECTION_WINDOW_BYTES - 15
            assert application.opened[0].receive_window == STREAM_WINDOW_BYTES - 15

    run(story())


def test_a_sender_waits_for_a_receiver_that_does_not_read() -> None:
    application = hanging()
    body = bytes(3 * STREAM_WINDOW_BYTES)

    async def story() -> None:
        async with client_and_server(application) as (client, _):
            stream = client.request(REQUEST)
            stream.send(body, is_end=True)
            await until(lambda: application.opened and application.opened[0].receive_window == 0)
            assert stream.queue
            assert await body_of(application.opened[0].read) == body

    run(story())


def test_a_receiver_that_does_not_read_one_stream_still_receives_others() -> None:
    application = hanging()

    async def story() -> None:
        async with client_and_server(application) as (client, _):
            client.request(REQUEST).send(bytes(3 * STREAM_WINDOW_BYTES))
            await until(lambda: application.opened and application.opened[0].receive_window == 0)
            client.request(REQUEST).send(b"body", is_end=True)
            await until(lambda: len(application.opened) == 2)
            assert await body_of(application.opened[1].read) == b"body"

    run(story())


# Life signs


def test_a_ping_is_answered_with_what_it_said() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(frame(PING, 0, 0, b"12345678"))
            found = await peer.expect(PING)
            assert (found.flags, found.payload) == (ACK, b"12345678")

    run(story())


def test_an_answer_to_a_ping_is_not_answered() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            peer.send(frame(PING, ACK, 0, b"12345678"))
            assert PING not in [each.kind for each in await peer.answered()]

    run(story())


class Curt(Application):
    """Answers each request without a body with headers alone."""

    def _open(self, stream: ServerStream) -> None:
        stream.send_headers(RESPONSE, is_end=True)


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(lambda _: frame(PING, 0, 0, bytes(8)), id="pings"),
        pytest.param(lambda _: settings_frame({}), id="settings"),
        pytest.param(lambda number: head_of(2 * number + 1, b"\x82"), id="malformed requests"),
        pytest.param(lambda number: request_frames(2 * number + 1), id="requests that are answered with headers alone"),
    ],
)
def test_a_peer_that_asks_and_does_not_read_is_cut_off(flood: Callable[[int], bytes]) -> None:
    async def story() -> None:
        async with (
            serving(Curt(), send_buffer_bytes=SMALL_BUFFER_BYTES) as (endpoint, port),
            peer_of(port, receive_buffer_bytes=SMALL_BUFFER_BYTES) as peer,
        ):
            await peer.answered()
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            (connection,) = endpoint.connections
            number = most_bytes = 0
            while not connection.closed.done():
                assert number < 20 * MAX_CONTROL_FRAMES, "it was not cut off"
                peer.send(*[flood(each) for each in range(number, number + 1_000)])
                number += 1_000
                await asyncio.sleep(0)
                await until(lambda: not peer.writer.transport.get_write_buffer_size() or connection.closed.done())
                most_bytes = max(most_bytes, connection._transport.get_write_buffer_size())
            assert most_bytes < 4 << 20

    run(story())


def test_answers_to_pings_are_not_counted_while_they_are_read() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port), peer_of(port) as peer:
            for _ in range(3):
                peer.send(frame(PING, 0, 0, bytes(8)) * MAX_CONTROL_FRAMES)
                await peer.answered()
            assert [each.kind for each in peer.seen].count(PING) == 3 * (MAX_CONTROL_FRAMES + 1)

    run(story())


def test_answers_that_were_read_at_last_are_not_counted_again() -> None:
    application = hanging()
    settings = {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW_BYTES}
    body = bytes(2 << 20)

    async def story() -> None:
        async with (
            serving(application, send_buffer_bytes=16 * SMALL_BUFFER_BYTES) as (endpoint, port),
            peer_of(port, settings, receive_buffer_bytes=16 * SMALL_BUFFER_BYTES) as peer,
        ):
            peer.send(room_of(0, MAX_WINDOW_BYTES - DEFAULT_WINDOW_BYTES))
            await peer.answered()
            (connection,) = endpoint.connections
            for number in range(3):
                peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
                peer.send(request_frames(2 * number + 1))
                await until(lambda count=number + 1: len(application.opened) == count)  # type: ignore[misc]
                application.opened[-1].send(body, is_end=True)
                await until(lambda: connection._is_paused)
                peer.send(frame(PING, 0, 0, bytes(8)) * (MAX_CONTROL_FRAMES // 2))
                await until(lambda: connection._control_frames == MAX_CONTROL_FRAMES // 2)
                peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
                assert await peer.response(2 * number + 1) == body
                await peer.answered()

    run(story())


SOON_SECONDS = 0.02


def test_a_peer_that_is_silent_is_pinged() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            client.ping_after(SOON_SECONDS)
            assert not (await peer.expect(PING)).flags & ACK

    run(story())


def test_a_peer_that_answers_pings_is_alive() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            client.ping_after(SOON_SECONDS)
            for _ in range(5):
                found = await peer.expect(PING)
                peer.send(frame(PING, ACK, 0, found.payload))
            assert not client.is_closing

    run(story())


def test_a_peer_that_answers_no_ping_is_gone() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            client.ping_after(SOON_SECONDS)
            await peer.closed()
            await client.closed
            assert stream.ending is not None
            assert "nothing was heard" in str(stream.ending)

    run(story())


def test_a_peer_that_takes_nothing_and_says_nothing_is_gone() -> None:
    async def story() -> None:
        async with client_of_peer({Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW_BYTES}) as (client, peer):
            peer.send(room_of(0, MAX_WINDOW_BYTES - DEFAULT_WINDOW_BYTES))
            await peer.answered()
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.request(REQUEST).send(bytes(50 << 20))
            await until(lambda: client._is_paused)
            client.ping_after(SOON_SECONDS)
            await until(client.closed.done)

    run(story())


def test_a_connection_that_is_closed_is_not_looked_after() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, _):
            client.ping_after(SOON_SECONDS)
            client.close()
            await client.closed
            assert client._pinger is not None
            assert client._pinger.cancelled()

    run(story())


# Anything at all


def frames_in(data: bytes) -> list[Frame]:
    """All of them, and nothing else."""
    found, position = [], 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 3])
        end = position + 9 + length
        assert end <= len(data)
        head = data[position : position + 9]
        found.append(Frame(head[3], head[4], int.from_bytes(head[5:]), bytes(data[position + 9 : end])))
        position = end
    return found


stream_ids = st.sampled_from([0, 1, 1, 3, 3, 5, 7, 2, 4, 2**31 - 1])
flag_sets = st.sampled_from([0, 1, 4, 4, 5, 5, 8, 0x20, 0x0D, 0x2D, 0xFF])
malformed = encode_headers([*REQUEST, (b"Upper", b"case")])
indexing = REQUEST_BLOCK + b"\x40\x04name\x05value"
with_length = encode_headers([*REQUEST, (b"content-length", b"4")])
payloads = st.one_of(
    st.sampled_from([b"", bytes(4), bytes(8), b"\0\0\0\x01", b"\x7f\xff\xff\xff", bytes(1_000)]),
    st.sampled_from([REQUEST_BLOCK, REQUEST_BLOCK, malformed, indexing, with_length, TABLE_EMPTIED + REQUEST_BLOCK]),
    st.binary(max_size=30),
)
settings_frames = st.builds(
    lambda pairs: frame(SETTINGS, 0, 0, b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in pairs)),
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from([0, 1, 100, 16_384, 65_535, 2**31 - 1, 2**32 - 1])), max_size=3
    ),
)
any_frames = st.builds(frame, st.integers(0, 12), flag_sets, stream_ids, payloads)


@st.composite
def requests(draw: st.DrawFn) -> list[bytes]:
    """Frames of some requests, each after the other or all at once, as a client may send them."""
    by_stream = []
    for stream_id in range(1, 2 * draw(st.integers(1, 6)), 2):
        block = draw(st.sampled_from([REQUEST_BLOCK, REQUEST_BLOCK, malformed, indexing, with_length]))
        size = draw(st.sampled_from([len(block), 40]))
        bodies = draw(st.lists(st.binary(max_size=30), max_size=3))
        data = [data_of(stream_id, body) for body in bodies]
        end = draw(st.sampled_from([data_of(stream_id, b"", END_STREAM), reset_of(stream_id), room_of(stream_id, 9)]))
        by_stream.append([in_parts(block, stream_id, size), *data, end])
    if draw(st.booleans()):
        return [each for said in by_stream for each in said]
    heads = [said.pop(0) for said in by_stream]
    return heads + draw(st.permutations([each for said in by_stream for each in said]))


def _places_but_lengths(said: bytes) -> list[int]:
    """The places of all bytes of these frames that are not part of a length."""
    starts = [0]
    for each in frames_in(said):
        starts.append(starts[-1] + HEAD_BYTES + len(each.payload))
    lengths = {start + byte for start in starts for byte in range(3)}
    return [place for place in range(len(said)) if place not in lengths]


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Requests, and what is not quite as it should be."""
    said = draw(requests())
    for _ in range(draw(st.sampled_from([0, 1, 1, 2, 3]))):
        at = draw(st.integers(0, len(said) - 1))
        match draw(st.sampled_from(["any", "settings", "again", "lost", "bent"])):
            case "any":
                said.insert(at, draw(any_frames))
            case "settings":
                said.insert(at, draw(settings_frames))
            case "again":
                said.insert(at, draw(st.sampled_from(said)))
            case "lost":
                said[at] = frame(PING, 0, 0, bytes(8))
            case _:
                # Not in its length, or the rest would be no frames.
                place = draw(st.sampled_from(_places_but_lengths(said[at])))
                bent = bytearray(said[at])
                bent[place] ^= draw(st.integers(1, 255))
                said[at] = bytes(bent)
    return said


@settings(max_examples=300)
@given(conversations(), st.integers(1, 1_000), st.booleans())
def test_after_any_frames_a_server_answers_or_has_closed(said: list[bytes], size: int, takes_whole: bool) -> None:
    application = Application(takes_whole=takes_whole)

    async def story() -> None:
        connection, pipe = ServerConnection(Endpoint(application.route)), Pipe()
        connection.connection_made(pipe)
        data = b"".join((PREFACE, settings_frame({}), *said))
        for at in range(0, len(data), size):
            if pipe.is_closed:
                break
            connection.data_received(data[at : at + size])
            while application.opened:
                stream = application.opened.pop()
                stream.respond(RESPONSE, b"".join([stream.take() for _ in range(stream.has_received)]), TRAILERS)
            await asyncio.sleep(0)
        if not pipe.is_closed:
            # Room enough, whatever was said of it.
            connection.data_received(settings_frame({Setting.INITIAL_WINDOW_SIZE: 65_535}) + room_of(0, 100))
        if not pipe.is_closed:
            next_id = connection._last_id + 2
            if next_id > MAX_WINDOW_BYTES:
                connection.connection_lost(None)
                return
            connection.data_received(request_frames(next_id, b"the last"))
            for stream in application.opened:
                stream.respond(RESPONSE, stream.take(), TRAILERS)
            await asyncio.sleep(0)
            written = frames_in(pipe.written)
            body = b"".join(each.payload for each in written if each.stream_id == next_id and each.kind == DATA)
            assert pipe.is_closed or body == b"the last"
        frames_in(pipe.written)
        connection.connection_lost(None)
        assert not connection.streams

    asyncio.run(story())


@given(st.binary(max_size=400), st.booleans(), st.booleans())
def test_after_any_bytes_a_server_waits_for_more_or_has_closed(said: bytes, has_opened: bool, has_begun: bool) -> None:
    async def story() -> None:
        connection, pipe = ServerConnection(Endpoint(Application().route)), Pipe()
        connection.connection_made(pipe)
        connection.data_received((PREFACE + settings_frame({}) + head_of(1) * has_begun) * has_opened + said)
        # The rest of a frame that was begun, and then what is none.
        for _ in range(4):
            if not pipe.is_closed:
                connection.data_received(b"\xff" * MAX_FRAME_BYTES)
        assert pipe.is_closed
        connection.connection_lost(None)

    asyncio.run(story())
