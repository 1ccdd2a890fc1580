"""The asking end: requests, what comes back, and a server that goes."""

import asyncio
import socket

import h2.events
import pytest

from meteora.http2 import ClientStream, Headers, StreamEnded, connect, encode_headers
from meteora.http2.client import _MAX_STREAM_ID
from meteora.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    ErrorCode,
    Setting,
    frame,
    settings_frame,
)
from meteora.http2.headers import TABLE_EMPTIED
from tests.unit.http2.peers import (
    HOST,
    REQUEST,
    REQUEST_BLOCK,
    RESPONSE,
    TRAILERS,
    Application,
    H2Peer,
    Peer,
    body_of,
    client_and_server,
    client_of_h2,
    client_of_peer,
    data_of,
    hanging,
    head_of,
    reset_of,
    run,
    serving,
    until,
)

SOON_SECONDS = 0.02


def going(last_id: int, code: int = ErrorCode.NO_ERROR, reason: bytes = b"") -> bytes:
    """The news that a server goes."""
    return frame(GOAWAY, 0, 0, last_id.to_bytes(4) + code.to_bytes(4) + reason)


def end_of(stream_id: int, block: bytes = TRAILERS) -> bytes:
    """Trailers."""
    return frame(HEADERS, END_HEADERS | END_STREAM, stream_id, block)


async def ending_of(stream: ClientStream) -> StreamEnded:
    """How a stream ends before its time."""
    await until(lambda: stream.ending is not None)
    assert stream.ending is not None
    return stream.ending


async def answer(server: H2Peer, stream_id: int, body: bytes) -> None:
    """A whole response."""
    server.http2.send_headers(stream_id, [(b":status", b"200")])
    server.flush()
    await server.send_all(stream_id, body)


# Requests


def test_a_client_says_first_who_it_is() -> None:
    async def story() -> None:
        received = asyncio.Queue[bytes]()

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.put_nowait(await reader.readexactly(len(PREFACE) + 9))
            writer.close()

        async with await asyncio.start_server(greet, HOST, 0) as server:
            client = await connect(HOST, server.sockets[0].getsockname()[1])
            first = await received.get()
            assert (first[: len(PREFACE)], first[len(PREFACE) + 3]) == (PREFACE, SETTINGS)
            await client.closed

    run(story())


def test_a_request_is_understood_by_another_implementation() -> None:
    async def story() -> None:
        async with client_of_h2() as (client, server):
            stream = client.request(REQUEST)
            stream.send(b"body", is_end=True)
            assert await server.response(stream.id) == b"body"
            assert server.of(h2.events.RequestReceived, stream.id)[0].headers == REQUEST

    run(story())


def test_a_request_may_end_with_trailers() -> None:
    async def story() -> None:
        async with client_of_h2() as (client, server):
            stream = client.request(REQUEST)
            stream.send(b"body")
            stream.send_headers(TRAILERS, is_end=True)
            assert await server.response(stream.id) == b"body"
            assert server.of(h2.events.TrailersReceived, stream.id)[0].headers == [(b"outcome", b"fine")]

    run(story())


def test_a_long_body_is_sent_as_the_server_makes_room() -> None:
    body = bytes(1_000_000)

    async def story() -> None:
        async with client_of_h2() as (client, server):
            stream = client.request(REQUEST)
            stream.send(body, is_end=True)
            # `h2` raises for data beyond its windows.
            assert await server.response(stream.id) == body

    run(story())


def test_requests_have_odd_streams_one_after_another() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, _):
            assert [client.request(REQUEST).id for _ in range(3)] == [1, 3, 5]

    run(story())


def test_a_server_with_a_smaller_table_is_told_that_it_is_empty() -> None:
    async def story() -> None:
        async with client_of_peer({Setting.HEADER_TABLE_SIZE: 0}) as (client, peer):
            client.request(REQUEST)
            client.request(REQUEST)
            blocks = [each.payload for each in await peer.answered() if each.kind == HEADERS]
            assert blocks == [TABLE_EMPTIED + REQUEST_BLOCK, REQUEST_BLOCK]

    run(story())


def test_no_more_requests_are_made_than_the_server_takes() -> None:
    async def story() -> None:
        async with client_of_peer({Setting.MAX_CONCURRENT_STREAMS: 2}) as (client, peer):
            client.request(REQUEST)
            assert client.has_room
            client.request(REQUEST)
            assert not client.has_room
            with pytest.raises(StreamEnded) as caught:
                client.request(REQUEST)
            assert caught.value.code == ErrorCode.REFUSED_STREAM
            peer.send(reset_of(1))
            await peer.answered()
            assert client.has_room

    run(story())


def test_a_connection_whose_streams_are_used_up_takes_no_request() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, _):
            client._next_id = _MAX_STREAM_ID
            client.request(REQUEST)
            with pytest.raises(StreamEnded):
                client.request(REQUEST)

    run(story())


def test_a_connection_that_is_closed_takes_no_request() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, _):
            client.close()
            with pytest.raises(StreamEnded):
                client.request(REQUEST)

    run(story())


def test_a_request_that_is_given_up_ends_at_the_server() -> None:
    application = hanging()

    async def story() -> None:
        async with client_and_server(application) as (client, _):
            stream = client.request(REQUEST)
            await until(lambda: application.opened)
            stream.reset(ErrorCode.CANCEL, "not wanted any more")
            assert str(await ending_of(stream)) == "not wanted any more"
            await until(lambda: application.ended == [stream.id])
            assert not client.streams

    run(story())


# Responses


def test_a_response_has_headers_a_body_and_trailers() -> None:
    async def story() -> None:
        async with client_of_h2() as (client, server):
            stream = client.request(REQUEST)
            stream.send(b"", is_end=True)
            await server.expect(h2.events.StreamEnded, stream.id)
            server.http2.send_headers(stream.id, [(b":status", b"200")])
            server.http2.send_data(stream.id, b"body")
            server.http2.send_headers(stream.id, [(b"outcome", b"fine")], end_stream=True)
            server.flush()
            assert await body_of(stream.read) == b"body"
            assert (stream.headers, stream.trailers) == ([(b":status", b"200")], [(b"outcome", b"fine")])
            assert not client.streams

    run(story())


def test_a_response_may_be_headers_alone() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(end_of(1, RESPONSE))
            assert await stream.read() is None
            assert (stream.headers, stream.trailers) == ([(b":status", b"200")], None)

    run(story())


def test_headers_are_decoded_with_the_servers_table() -> None:
    async def story() -> None:
        async with client_of_h2() as (client, server):
            for number in range(5):
                stream = client.request(REQUEST)
                stream.send(b"", is_end=True)
                await server.expect(h2.events.StreamEnded, stream.id)
                # Of which `h2` puts into the table what it can.
                headers = [(b":status", b"200"), (b"name", b"%d" % (number // 2)), (b"other", b"value")]
                server.http2.send_headers(stream.id, headers, end_stream=True)
                server.flush()
                assert await stream.read() is None
                assert stream.headers == headers

    run(story())


def test_interim_responses_are_passed_over() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            for status in (b"100", b"103"):
                peer.send(head_of(1, encode_headers([(b":status", status)])))
            await peer.answered()
            assert stream.headers is None
            peer.send(head_of(1, RESPONSE), data_of(1, b"body", END_STREAM))
            assert await body_of(stream.read) == b"body"
            assert stream.headers == [(b":status", b"200")]

    run(story())


def test_responses_may_come_in_any_order() -> None:
    async def story() -> None:
        async with client_of_h2() as (client, server):
            streams = [client.request(REQUEST) for _ in range(5)]
            for stream in streams:
                stream.send(b"", is_end=True)
            for stream in reversed(streams):
                await server.expect(h2.events.StreamEnded, stream.id)
                await answer(server, stream.id, b"%d" % stream.id)
            for stream in streams:
                assert await body_of(stream.read) == b"%d" % stream.id

    run(story())


def test_a_server_that_answers_early_may_ask_for_no_more_of_the_request() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            stream.send(bytes(100_000))
            peer.send(head_of(1, RESPONSE), data_of(1, b"enough"), end_of(1), reset_of(1, ErrorCode.NO_ERROR))
            await peer.answered()
            assert await body_of(stream.read) == b"enough"
            assert not stream.queue
            assert not client.streams

    run(story())


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param(data_of(1, b"body"), ErrorCode.PROTOCOL_ERROR, id="data before headers"),
        pytest.param(head_of(1, RESPONSE) * 2, ErrorCode.PROTOCOL_ERROR, id="headers in the middle"),
        pytest.param(end_of(1, RESPONSE) + data_of(1, b"x"), ErrorCode.STREAM_CLOSED, id="data behind the end"),
        pytest.param(end_of(1, RESPONSE) + end_of(1), ErrorCode.STREAM_CLOSED, id="headers behind the end"),
    ],
)
def test_a_response_that_breaks_a_rule_ends_alone(said: bytes, code: ErrorCode) -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(said)
            assert (await peer.expect(RST_STREAM, 1)).code == code
            assert (await ending_of(stream)).code == code
            other = client.request(REQUEST)
            peer.send(head_of(3, RESPONSE), data_of(3, b"body", END_STREAM))
            assert await body_of(other.read) == b"body"

    run(story())


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param(head_of(2, RESPONSE), 1, id="headers on an even stream"),
        pytest.param(head_of(3, RESPONSE), 1, id="headers on a stream that is none"),
        pytest.param(data_of(3, b"x"), 1, id="data on a stream that is none"),
        pytest.param(frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4)), 1, id="a push"),
        pytest.param(settings_frame({Setting.ENABLE_PUSH: 1}), 1, id="pushes"),
        pytest.param(head_of(1, b"\x80"), 9, id="headers that can not be read"),
    ],
)
def test_a_server_that_breaks_a_rule_of_the_connection_is_cut_off(said: bytes, code: int) -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(said)
            assert await peer.cut_off() == code
            assert (await ending_of(stream)).code == code
            await client.closed

    run(story())


def test_a_server_of_another_protocol_is_cut_off() -> None:
    async def story() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            peer = Peer(reader, writer)
            await reader.readexactly(len(PREFACE))
            await peer.cut_off()
            await peer.close()
            gone.set()

        gone = asyncio.Event()
        async with await asyncio.start_server(serve, HOST, 0) as server:
            client = await connect(HOST, server.sockets[0].getsockname()[1])
            stream = client.request(REQUEST)
            await ending_of(stream)
            await client.closed
            await gone.wait()

    run(story())


def test_what_was_on_its_way_to_a_request_that_was_given_up_is_ignored() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            client.request(REQUEST).reset(ErrorCode.CANCEL, "not wanted any more")
            peer.send(head_of(1, RESPONSE), data_of(1, b"body"), end_of(1), reset_of(1))
            assert GOAWAY not in [each.kind for each in await peer.answered()]

    run(story())


# A server that goes


def test_requests_that_a_server_that_goes_has_not_looked_at_end() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            first, second, third = [client.request(REQUEST) for _ in range(3)]
            peer.send(going(3, reason=b"going home"))
            await peer.answered()
            assert (first.ending, second.ending) == (None, None)
            assert str(third.ending) == "going home"

    run(story())


def test_requests_that_a_server_that_goes_has_looked_at_are_answered() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(going(1), head_of(1, RESPONSE), data_of(1, b"body", END_STREAM))
            assert await body_of(stream.read) == b"body"

    run(story())


def test_a_server_that_goes_gets_no_more_requests() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            peer.send(going(2**31 - 1))
            await peer.answered()
            assert not client.has_room
            with pytest.raises(StreamEnded):
                client.request(REQUEST)

    run(story())


def test_requests_that_end_know_the_servers_code() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(going(0, ErrorCode.ENHANCE_YOUR_CALM, b"\xff\xfe"))
            assert (await ending_of(stream)).code == ErrorCode.ENHANCE_YOUR_CALM

    run(story())


def test_requests_end_when_the_connection_is_lost() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            await peer.close()
            assert (await ending_of(stream)).code == ErrorCode.CONNECT_ERROR
            await client.closed
            assert not client.streams

    run(story())


def test_a_server_that_stops_is_understood_by_a_client() -> None:
    application = hanging()

    async def story() -> None:
        async with client_and_server(application) as (client, served):
            stream = client.request(REQUEST)
            await until(lambda: application.opened)
            stopping = asyncio.create_task(served.endpoint.stop(60.0))
            await until(lambda: not client.has_room)
            stream.send(b"", is_end=True)
            application.opened[0].respond(RESPONSE, b"body", TRAILERS)
            assert await body_of(stream.read) == b"body"
            await stopping
            await client.closed

    run(story())


def test_a_server_that_is_dead_is_noticed() -> None:
    async def story() -> None:
        # Who is connected to, but never says a word.
        with socket.create_server((HOST, 0)) as listener:
            client = await connect(HOST, listener.getsockname()[1])
            stream = client.request(REQUEST)
            client.ping_after(SOON_SECONDS)
            await ending_of(stream)
            await client.closed

    run(story())


def test_a_server_that_answers_pings_is_not_dead() -> None:
    async def story() -> None:
        async with client_and_server(Application()) as (client, _):
            client.ping_after(SOON_SECONDS)
            for _ in range(3):
                await until(lambda: client._is_pinged)
                await until(lambda: not client._is_pinged)
            assert not client.is_closing

    run(story())


def test_nobody_to_connect_to_is_an_error_of_the_system() -> None:
    async def story() -> None:
        async with serving(Application()) as (_, port):
            pass
        with pytest.raises(ConnectionRefusedError):
            await connect(HOST, port)

    run(story())


def test_nothing_of_a_client_stays(no_leaks: None) -> None:
    async def story() -> None:
        async with client_and_server(hanging()) as (client, _):
            client.ping_after(60.0)
            client.request(REQUEST).send(bytes(1_000_000))
            client.close()
            await client.closed

    run(story())


def test_data_are_sent_with_the_call_order_kept() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            first, second = client.request(REQUEST), client.request(REQUEST)
            second.send(b"second")
            first.send(b"first")
            data = [(each.stream_id, each.payload) for each in await peer.answered() if each.kind == DATA]
            assert data == [(3, b"second"), (1, b"first")]

    run(story())


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b":status", b"fine")],
        [(b":status", b"200"), (b":status", b"200")],
        [(b":status", b"200"), (b":path", b"/")],
        [(b":status", b"200"), (b"Capital", b"x")],
    ],
    ids=["no status", "no number", "two of them", "a path", "a capital letter"],
)
def test_what_is_no_response_ends_its_stream(headers: Headers) -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(head_of(stream.id, encode_headers(headers)))
            assert (await ending_of(stream)).code == ErrorCode.PROTOCOL_ERROR
            assert stream.headers is None

    run(story())


def test_trailers_with_a_pseudo_header_end_their_stream() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(head_of(stream.id, RESPONSE), end_of(stream.id, RESPONSE))
            assert (await ending_of(stream)).code == ErrorCode.PROTOCOL_ERROR
            assert stream.trailers is None

    run(story())
