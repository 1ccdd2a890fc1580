"""One request and its response, as they are sent and read at either end."""

import asyncio
from collections import deque
from contextlib import suppress

import h2.events
import pytest

from meteora.http2 import StreamEnded, encode_headers
from meteora.http2.connection import CONNECTION_WINDOW_BYTES
from meteora.http2.frames import (
    DATA,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    WINDOW_UPDATE,
    ErrorCode,
    Setting,
    settings_frame,
)
from meteora.http2.stream import SHORT_BYTES, STREAM_WINDOW_BYTES, add_piece
from tests.unit.http2.peers import (
    PATIENCE_SECONDS,
    REQUEST,
    RESPONSE,
    TRAILERS,
    Peer,
    body_of,
    client_and_server,
    client_of_h2,
    client_of_peer,
    data_of,
    h2_client,
    hanging,
    head_of,
    peer_of,
    reset_of,
    room_of,
    run,
    serving,
    until,
)

PIECE_BYTES = 16_384


# Sending


def test_what_is_sent_arrives_in_order() -> None:
    application = hanging()
    pieces = [bytes([number]) * number * 100 for number in range(100)]

    async def story() -> None:
        async with client_and_server(application) as (client, _):
            stream = client.request(REQUEST)
            for piece in pieces:
                stream.send(piece)
            stream.send(b"", is_end=True)
            await until(lambda: application.opened)
            assert await body_of(application.opened[0].read) == b"".join(pieces)

    run(story())


def test_trailers_come_behind_data_that_are_queued() -> None:
    application = hanging()
    body = bytes(3 * STREAM_WINDOW_BYTES)

    async def story() -> None:
        async with client_and_server(application) as (client, _):
            stream = client.request(REQUEST)
            await until(lambda: application.opened)
            answer = application.opened[0]
            answer.send_headers(RESPONSE)
            answer.send(body)
            answer.send_headers(TRAILERS, is_end=True)
            assert answer.queue
            assert await body_of(stream.read) == body
            assert stream.trailers == [(b"outcome", b"fine")]

    run(story())


def test_who_sends_much_waits_until_it_is_sent() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1))
            await until(lambda: application.opened)
            stream = application.opened[0]
            stream.send(bytes(100_000))
            waiter = asyncio.create_task(stream.drained())
            await peer.answered()
            assert not waiter.done()
            peer.send(room_of(0, 100_000), room_of(1, 100_000))
            await asyncio.wait_for(waiter, PATIENCE_SECONDS)
            assert not stream.queue

    run(story())


def test_who_has_nothing_queued_need_not_wait() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, _):
            await client.request(REQUEST).drained()

    run(story())


def test_waiting_for_what_is_sent_can_be_given_up_and_taken_up_again() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            stream.send(bytes(100_000))
            given_up = asyncio.create_task(stream.drained())
            await peer.answered()
            given_up.cancel()
            with suppress(asyncio.CancelledError):
                await given_up
            waiter = asyncio.create_task(stream.drained())
            await peer.answered()
            peer.send(room_of(0, 100_000), room_of(1, 100_000))
            await asyncio.wait([waiter], timeout=PATIENCE_SECONDS)
            assert waiter.done()
            assert not waiter.cancelled()

    run(story())


def test_all_who_wait_go_on_when_it_is_sent() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            stream.send(bytes(100_000))
            waiters = [asyncio.create_task(stream.drained()) for _ in range(3)]
            await peer.answered()
            peer.send(room_of(0, 100_000), room_of(1, 100_000))
            await asyncio.wait_for(asyncio.gather(*waiters), PATIENCE_SECONDS)

    run(story())


def test_who_waits_is_told_that_the_stream_has_ended() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            stream.send(bytes(100_000))
            waiter = asyncio.create_task(stream.drained())
            await peer.answered()
            peer.send(reset_of(1, ErrorCode.INTERNAL_ERROR))
            with pytest.raises(StreamEnded) as caught:
                await asyncio.wait_for(waiter, PATIENCE_SECONDS)
            assert caught.value.code == ErrorCode.INTERNAL_ERROR

    run(story())


def test_a_callback_is_told_once_when_all_is_sent() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream, calls = client.request(REQUEST), []
            stream.on_drained = lambda: calls.append(len(stream.queue or ()))
            stream.send(bytes(100_000))
            await peer.answered()
            assert not calls
            peer.send(room_of(0, 100_000), room_of(1, 100_000))
            await until(lambda: calls)
            stream.send(b"more")
            await peer.answered()
            assert calls == [0]

    run(story())


def test_nothing_is_sent_on_a_stream_that_has_ended() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            stream.reset(ErrorCode.CANCEL, "not wanted any more")
            stream.send(b"more")
            stream.send_headers(TRAILERS, is_end=True)
            kinds = [each.kind for each in await peer.answered() if each.stream_id == 1]
            assert kinds == [HEADERS, RST_STREAM]

    run(story())


def test_nothing_is_sent_behind_the_end() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            stream.send(b"body", is_end=True)
            stream.send(b"more", is_end=True)
            stream.send_headers(TRAILERS, is_end=True)
            kinds = [each.kind for each in await peer.answered() if each.stream_id == 1]
            assert kinds == [HEADERS, DATA]

    run(story())


def test_what_is_queued_is_dropped_when_the_stream_ends() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            stream.send(bytes(1_000_000))
            await peer.answered()
            stream.reset(ErrorCode.CANCEL, "not wanted any more")
            await peer.answered()
            sent = peer.data_bytes(1)
            peer.send(room_of(0, 1_000_000), room_of(1, 1_000_000))
            await peer.answered()
            assert peer.data_bytes(1) == sent

    run(story())


def test_a_stream_can_end_while_its_window_is_negative() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            stream.send(bytes(1_000))
            await peer.answered()
            peer.send(settings_frame({Setting.INITIAL_WINDOW_SIZE: 10}))
            await peer.answered()
            assert stream.send_window < 0
            stream.send(b"", is_end=True)
            last = [each for each in await peer.answered() if each.stream_id == 1][-1]
            assert (last.kind, last.flags, last.payload) == (DATA, END_STREAM, b"")

    run(story())


# Receiving


def test_what_was_received_is_read_in_order_and_then_its_end() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(head_of(1, RESPONSE), data_of(1, b"one"), data_of(1, b"two", END_STREAM))
            await until(lambda: stream.is_remote_done)
            assert [await stream.read(), await stream.read()] == [b"onetwo", None]

    run(story())


def test_short_pieces_are_put_together_and_long_ones_are_not_copied() -> None:
    pieces: deque[bytes | bytearray] = deque()
    for data in (b"a", b"b", bytes(SHORT_BYTES), b"c", b"d", bytes(3 * SHORT_BYTES)):
        add_piece(pieces, data)
    assert [len(piece) for piece in pieces] == [SHORT_BYTES + 2, 3 * SHORT_BYTES + 2]
    assert pieces[0][:2] == b"ab"
    add_piece(pieces, long := bytes(SHORT_BYTES))
    assert pieces[-1] is long


def test_empty_data_are_nothing_to_read() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(head_of(1, RESPONSE), data_of(1, b""), data_of(1, b"body"))
            assert await stream.read() == b"body"

    run(story())


def test_the_end_is_read_as_often_as_asked() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(head_of(1, RESPONSE), data_of(1, b"", END_STREAM))
            assert [await stream.read(), await stream.read()] == [None, None]

    run(story())


def test_reading_can_be_given_up_and_taken_up_again() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            given_up = asyncio.create_task(stream.read())
            await peer.answered()
            given_up.cancel()
            with suppress(asyncio.CancelledError):
                await given_up
            peer.send(head_of(1, RESPONSE), data_of(1, b"body"))
            assert await stream.read() == b"body"

    run(story())


def test_who_reads_is_told_that_the_stream_has_ended() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(reset_of(1, ErrorCode.REFUSED_STREAM))
            with pytest.raises(StreamEnded, match="the peer gave it up") as caught:
                await stream.read()
            assert caught.value.code == ErrorCode.REFUSED_STREAM

    run(story())


def test_a_code_that_nobody_knows_is_handed_on() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(reset_of(1, 0xFFFF_FFFF))
            with pytest.raises(StreamEnded) as caught:
                await stream.read()
            assert caught.value.code == 0xFFFF_FFFF

    run(story())


def test_what_came_before_a_reset_can_still_be_read() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream = client.request(REQUEST)
            peer.send(head_of(1, RESPONSE), data_of(1, b"body"), reset_of(1))
            await peer.answered()
            assert await stream.read() == b"body"
            with pytest.raises(StreamEnded):
                await stream.read()

    run(story())


def test_a_callback_is_told_of_data_and_of_the_end() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream, calls = client.request(REQUEST), []
            peer.send(head_of(1, RESPONSE))
            await peer.answered()
            stream.on_received = lambda: calls.append((stream.has_received, stream.is_remote_done))
            peer.send(data_of(1, b"body"))
            await peer.answered()
            peer.send(data_of(1, b"", END_STREAM))
            await peer.answered()
            assert calls == [(True, False), (True, True)]

    run(story())


def test_the_last_data_come_together_with_the_news_of_the_end() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream, calls = client.request(REQUEST), []
            peer.send(head_of(1, RESPONSE))
            await peer.answered()
            stream.on_received = lambda: calls.append((stream.has_received, stream.is_remote_done))
            peer.send(data_of(1, b"body", END_STREAM))
            await peer.answered()
            assert calls == [(True, True)]

    run(story())


def test_a_callback_is_told_of_the_end_before_its_time_once() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream, calls = client.request(REQUEST), []
            stream.on_ended = lambda: calls.append(stream.ending and stream.ending.code)
            peer.send(reset_of(1), reset_of(1))
            await peer.answered()
            client.abort()
            await client.closed
            assert calls == [ErrorCode.CANCEL]

    run(story())


def test_a_callback_is_not_told_of_an_end_in_time() -> None:
    async def story() -> None:
        async with client_of_peer() as (client, peer):
            stream, calls = client.request(REQUEST), []
            stream.on_ended = lambda: calls.append(None)
            stream.send(b"", is_end=True)
            peer.send(head_of(1, RESPONSE), data_of(1, b"", END_STREAM))
            await peer.answered()
            client.abort()
            await client.closed
            assert not calls

    run(story())


# Room


async def granted(peer: Peer, stream_id: int) -> int:
    """How much room was given on a stream, by now."""
    await peer.answered()
    return sum(
        int.from_bytes(each.payload) for each in peer.seen if each.kind == WINDOW_UPDATE and each.stream_id == stream_id
    )


def test_who_does_not_read_gives_no_room_back() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), *[data_of(1, bytes(PIECE_BYTES))] * (STREAM_WINDOW_BYTES // PIECE_BYTES))
            assert await granted(peer, 1) == 0

    run(story())


def test_what_is_read_makes_room_for_as_much() -> None:
    application = hanging()
    pieces = STREAM_WINDOW_BYTES // PIECE_BYTES

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), *[data_of(1, bytes(PIECE_BYTES))] * pieces)
            await until(lambda: application.opened)
            for _ in range(pieces):
                await application.opened[0].read()
            assert await granted(peer, 1) == STREAM_WINDOW_BYTES

    run(story())


def test_room_is_given_back_in_a_few_large_pieces() -> None:
    application = hanging()
    pieces = STREAM_WINDOW_BYTES // PIECE_BYTES

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), *[data_of(1, bytes(PIECE_BYTES))] * pieces)
            await until(lambda: application.opened)
            for _ in range(pieces):
                await application.opened[0].read()
            await peer.answered()
            updates = [each for each in peer.seen if each.kind == WINDOW_UPDATE and each.stream_id == 1]
            assert len(updates) <= 4

    run(story())


def test_padding_makes_room_for_as_much() -> None:
    application = hanging()
    padded = b"\xff" + bytes(255)

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), *[data_of(1, padded, 0x8)] * (STREAM_WINDOW_BYTES // len(padded)))
            assert await granted(peer, 1) >= STREAM_WINDOW_BYTES // 2

    run(story())


@pytest.mark.parametrize("is_read", [True, False], ids=["read", "not read"])
def test_streams_that_were_reset_leave_the_whole_window_to_others(is_read: bool) -> None:
    application = hanging()
    body = bytes(STREAM_WINDOW_BYTES)
    rounds = 3 * CONNECTION_WINDOW_BYTES // STREAM_WINDOW_BYTES

    async def story() -> None:
        async with serving(application) as (_, port), h2_client(port) as client:
            for number in range(rounds):
                stream_id = client.ask(body=None)
                await client.send_all(stream_id, body[1:])
                await until(lambda count=number + 1: len(application.opened) == count)  # type: ignore[misc]
                stream = application.opened[-1]
                client.http2.reset_stream(stream_id, ErrorCode.CANCEL)
                client.flush()
                await until(lambda stream=stream: stream.ending is not None)  # type: ignore[misc]
                while is_read and stream.has_received:
                    stream.take()
            stream_id = client.ask(body=None)
            await client.send_all(stream_id, body)
            await until(lambda: len(application.opened) > rounds)
            assert await body_of(application.opened[-1].read) == body

    run(story())


def test_streams_that_this_end_gives_up_leave_the_whole_window_to_others() -> None:
    application = hanging()
    body = bytes(STREAM_WINDOW_BYTES - 1)
    rounds = 3 * CONNECTION_WINDOW_BYTES // STREAM_WINDOW_BYTES

    async def story() -> None:
        async with serving(application) as (_, port), peer_of(port) as peer:
            for number in range(rounds):
                stream_id = 2 * number + 1
                peer.send(head_of(stream_id))
                await until(lambda count=number + 1: len(application.opened) == count)  # type: ignore[misc]
                application.opened[-1].reset(ErrorCode.CANCEL, "not wanted")
                peer.send(*[data_of(stream_id, body[at : at + PIECE_BYTES]) for at in range(0, len(body), PIECE_BYTES)])
                await peer.answered()
            assert await granted(peer, 0) >= rounds * len(body) - CONNECTION_WINDOW_BYTES // 4

    run(story())


@pytest.mark.parametrize("is_read_late", [True, False], ids=["read late", "read as it comes"])
def test_responses_that_end_with_data_leave_the_whole_window_to_others(is_read_late: bool) -> None:
    body = bytes(STREAM_WINDOW_BYTES // 4)
    rounds = 3 * CONNECTION_WINDOW_BYTES // len(body)

    async def story() -> None:
        async with client_of_h2() as (client, server):
            for number in range(rounds):
                stream = client.request(REQUEST)
                stream.send(b"", is_end=True)
                await server.expect(h2.events.StreamEnded, stream.id)
                server.http2.send_headers(stream.id, [(b":status", b"200")])
                reading = None if is_read_late else asyncio.create_task(body_of(stream.read))
                await server.send_all(stream.id, body)
                assert len(await (reading or body_of(stream.read))) == len(body), number

    run(story())


def test_headers_of_any_size_arrive_whole() -> None:
    application = hanging()
    headers = [*REQUEST, (b"name", b"v" * 60_000)]

    async def story() -> None:
        async with client_and_server(application) as (client, _):
            stream = client.request(headers)
            await until(lambda: application.opened)
            answer = [(b":status", b"200"), *headers[4:]]
            application.opened[0].send_headers(encode_headers(answer), is_end=True)
            assert await stream.read() is None
            assert stream.headers == answer

    run(story())
