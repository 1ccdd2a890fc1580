"""What all clients together may have: connections, requests, and bytes that are held for them."""

import asyncio
import struct
import sys
from contextlib import AsyncExitStack
from typing import Any

import pytest

from meteora.http2 import Bounds, Endpoint, Route, ServerStream, StreamEnded, bounds, encode_headers
from meteora.http2 import server as server_module
from meteora.http2.bounds import STALE_SECONDS, HeldBytes
from meteora.http2.connection import MAX_FRAME_BYTES, Connection
from meteora.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    HEADERS,
    RST_STREAM,
    ErrorCode,
    Setting,
    frame,
    settings_frame,
)
from meteora.http2.server import MAX_RESETS, WHOLE_BYTES
from meteora.http2.stream import STREAM_WINDOW_BYTES
from meteora.rpc.framing import MessageReader
from tests.unit.http2.peers import (
    REQUEST_BLOCK,
    RESPONSE,
    TRAILERS,
    Application,
    Peer,
    data_of,
    hanging,
    head_of,
    peer_of,
    request_frames,
    room_of,
    run,
    serving,
    socket_to,
    until,
)

PIECE_BYTES = 10_000

# The bytes that are held


class Client:
    """Somebody that bytes are held for."""

    def __init__(self, owner: object = None) -> None:
        self.owner = owner or self
        self.has_let_go = False

    def let_go(self) -> None:
        self.has_let_go = True


class Held:
    """Bytes that are held, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.held = HeldBytes(MAX_BYTES, lambda: self.now)
        self.old, self.young = Client(), Client()

    @property
    def have_let_go(self) -> tuple[bool, bool]:
        return self.old.has_let_go, self.young.has_let_go


MAX_BYTES = 80
ENOUGH_BYTES = 70
"""What may stay once the bound was reached."""


def test_up_to_the_bound_nobody_lets_go() -> None:
    story = Held()
    story.held.hold(story.old, 60)
    story.now = 1000.0
    story.held.hold(story.young, MAX_BYTES - 60)
    assert (story.held.total, story.held.let_go, story.have_let_go) == (MAX_BYTES, 0, (False, False))


def test_who_has_been_held_for_long_makes_room_although_others_have_more() -> None:
    story = Held()
    story.held.hold(story.old, 20)
    story.now = STALE_SECONDS + 1
    story.held.hold(story.young, 61)
    assert story.have_let_go == (True, False)
    assert (story.held.total, story.held.let_go) == (61, 1)


def test_if_nobody_has_been_held_for_long_the_one_with_most_makes_room() -> None:
    story = Held()
    story.held.hold(story.old, 60)
    story.now = STALE_SECONDS - 1
    story.held.hold(story.young, 21)
    assert story.have_let_go == (True, False)
    assert (story.held.total, story.held.let_go) == (21, 1)


def test_who_wants_most_of_all_gets_nothing_and_costs_others_nothing() -> None:
    story = Held()
    story.held.hold(story.old, 60)
    story.held.hold(story.young, 1000)
    assert (story.have_let_go, story.held.total) == ((False, True), 60)


def test_what_a_client_has_in_many_places_counts_together_and_the_latest_goes_first() -> None:
    story, greedy = Held(), object()
    parts = [Client(greedy) for _ in range(5)]
    for each in parts:
        story.held.hold(each, 10)
    story.held.hold(story.young, 31)
    assert [each.has_let_go for each in parts] == [False, False, False, True, True]
    assert not story.young.has_let_go


def test_who_was_held_and_came_back_is_not_held_for_long() -> None:
    story = Held()
    story.held.hold(story.old, 20)
    story.held.release(story.old, 20)
    story.now = STALE_SECONDS + 1
    story.held.hold(story.old, 20)
    story.held.hold(story.young, 61)
    assert story.have_let_go == (False, True)


def test_who_keeps_a_byte_is_held_since_the_first() -> None:
    story = Held()
    story.held.hold(story.old, 20)
    story.held.release(story.old, 19)
    story.now = STALE_SECONDS + 1
    story.held.hold(story.old, 19)
    story.held.hold(story.young, 61)
    assert story.have_let_go == (True, False)


def test_who_has_sent_what_was_waited_for_is_not_held_for_long() -> None:
    story = Held()
    story.held.hold(story.old, 20)
    story.now = STALE_SECONDS + 1
    story.held.renew(story.old)
    story.held.hold(story.young, 61)
    assert story.have_let_go == (False, True)


def test_as_many_let_go_as_it_takes_to_have_some_room_again() -> None:
    story, others = Held(), [Client() for _ in range(8)]
    for each in others:
        story.held.hold(each, 10)
    story.now = STALE_SECONDS + 1
    story.held.hold(story.young, 15)
    assert [each.has_let_go for each in others] == [True] * 3 + [False] * 5
    assert story.held.total == 65 <= ENOUGH_BYTES


def test_who_takes_others_along_makes_room_with_them() -> None:
    story = Held()

    class Connection(Client):
        def let_go(self) -> None:
            super().let_go()
            story.held.drop(stream)

    connection = Connection()
    stream = Client(connection)
    story.held.hold(stream, 30)
    story.held.hold(connection, 30)
    story.held.hold(story.young, 25)
    assert (connection.has_let_go, stream.has_let_go) == (True, False)
    assert (story.held.total, story.held.let_go) == (25, 1)


def test_who_says_why_it_lets_go_does_not_make_others_let_go_within_that() -> None:
    story = Held()
    depth = deepest = 0

    class Talkative(Client):
        def let_go(self) -> None:
            nonlocal depth, deepest
            super().let_go()
            depth += 1
            deepest = max(deepest, depth)
            story.held.hold(self, 2)
            depth -= 1

    for _ in range(MAX_BYTES):
        story.held.hold(Talkative(), 1)
    story.held.hold(Talkative(), 1)
    assert deepest == 1


def test_what_was_let_go_may_be_released_again() -> None:
    story = Held()
    story.held.hold(story.young, MAX_BYTES + 1)
    story.held.release(story.young, MAX_BYTES + 1)
    story.held.drop(story.young)
    assert story.held.total == 0


# Connections


def test_one_connection_too_many_is_closed_and_the_others_stay() -> None:
    async def story() -> None:
        async with serving(Application(), bounds=Bounds(max_connections=2)) as (endpoint, port):
            async with peer_of(port) as first, peer_of(port) as second:
                async with socket_to(port) as third:
                    assert await third.reader.read() == b""
                assert endpoint.refused_connections == 1
                for peer in (first, second):
                    peer.send(request_frames(1, b"body"))
                    assert await peer.response(1) == b"body"
            await until(lambda: not endpoint.connections)
            async with peer_of(port) as again:
                await again.answered()

    run(story())


# Requests


class Refusing(Application):
    """Refuses in its own words; what is asked at /reserved is served beyond the bound."""

    def __init__(self, *, takes_whole: bool = True, is_wordy: bool = False) -> None:
        super().__init__(takes_whole=takes_whole)
        self.refused: list[str] = []
        self._is_wordy = is_wordy

    def route(self, headers: Any) -> Route:
        is_reserved = (b":path", b"/reserved") in headers
        return super().route(headers)._replace(refuse=self._refuse, is_reserved=is_reserved)

    def _refuse(self, stream: ServerStream, reason: str) -> None:
        self.refused.append(reason)
        stream.send_headers(REFUSED, is_end=not self._is_wordy)
        if self._is_wordy:
            stream.send(reason.encode(), is_end=True)


REFUSED = encode_headers([(b":status", b"503")])
RESERVED_BLOCK = encode_headers([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/reserved")])


def refusing_and_hanging() -> Refusing:
    return Refusing(takes_whole=False)


async def finish(application: Application) -> None:
    """Answers all that is opened."""
    for stream in application.opened:
        stream.respond(RESPONSE, b"late", TRAILERS)


def test_one_request_too_many_is_refused_at_once_and_taken_when_there_is_room() -> None:
    application = refusing_and_hanging()

    async def story() -> None:
        async with (
            serving(application, bounds=Bounds(max_requests=3)) as (endpoint, port),
            peer_of(port) as first,
            peer_of(port) as second,
        ):
            first.send(request_frames(1), request_frames(3))
            await first.answered()
            second.send(head_of(1), head_of(3))
            refusal = await second.expect(HEADERS, 3)
            assert (refusal.payload, refusal.is_last) == (REFUSED, True)
            assert (endpoint.requests, endpoint.refused_requests) == ([3, 0], 1)
            # What it has yet to send is not wanted any more, and is no mistake.
            assert (await second.expect(RST_STREAM, 3)).code == ErrorCode.NO_ERROR
            second.send(data_of(3, b"body", END_STREAM))
            await second.answered()
            await finish(application)
            second.send(request_frames(5))
            await until(lambda: len(application.opened) == 4)
            assert application.refused == ["more than 3 requests at a time: try again later"]

    run(story())


def test_a_request_too_many_whose_route_has_no_words_for_it_is_reset() -> None:
    async def story() -> None:
        async with serving(hanging(), bounds=Bounds(max_requests=1)) as (_, port), peer_of(port) as peer:
            peer.send(request_frames(1), request_frames(3))
            assert (await peer.expect(RST_STREAM, 3)).code == ErrorCode.REFUSED_STREAM

    run(story())


def test_who_has_no_room_for_the_refusal_of_a_request_takes_no_place_with_it() -> None:
    application = Refusing(is_wordy=True)

    async def story() -> None:
        async with (
            serving(application, bounds=Bounds(max_requests=1)) as (endpoint, port),
            peer_of(port, {Setting.INITIAL_WINDOW_SIZE: 0}) as peer,
        ):
            peer.send(head_of(1), head_of(3))
            assert (await peer.expect(RST_STREAM, 3)).code == ErrorCode.REFUSED_STREAM
            assert (endpoint.requests, endpoint.held.total) == ([1, 0], 0)

    run(story())


def test_what_is_reserved_has_places_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "RESERVED_REQUESTS", 2)
    application = refusing_and_hanging()

    async def story() -> None:
        async with serving(application, bounds=Bounds(max_requests=1)) as (endpoint, port), peer_of(port) as peer:
            peer.send(*[request_frames(each, block=RESERVED_BLOCK) for each in (1, 3, 5)], request_frames(7))
            await until(lambda: len(application.opened) == 3)
            assert [stream.id for stream in application.opened] == [1, 3, 7]
            assert endpoint.requests == [1, 2]
            assert application.refused == ["more than 2 requests at a time: try again later"]

    run(story())


def test_where_others_are_turned_away_a_request_that_comes_no_further_is_refused() -> None:
    application = Refusing()

    async def story() -> None:
        async with (
            serving(application, bounds=Bounds(max_requests=2)) as (endpoint, port),
            peer_of(port) as slow,
            peer_of(port) as honest,
        ):
            loop = asyncio.get_running_loop()
            slow.send(head_of(1), head_of(3), data_of(3, b"a"))
            await slow.answered()
            endpoint._sweep(loop)
            slow.send(data_of(3, b"b"))
            await slow.answered()
            honest.send(request_frames(1, b"body"))
            assert (await honest.expect(HEADERS, 1)).payload == REFUSED
            endpoint._sweep(loop)
            assert (await slow.expect(HEADERS, 1)).payload == REFUSED
            assert (endpoint.requests, endpoint.held.let_go) == ([1, 0], 1)
            honest.send(request_frames(3, b"body"))
            assert await honest.response(3) == b"body"

    run(story())


def test_where_others_are_turned_away_a_request_is_waited_for_whose_long_frame_comes_slowly() -> None:
    application = Refusing()
    data = data_of(3, bytes(100_000))

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as slow:
            slow.send(head_of(1), head_of(3))
            await slow.answered()
            (connection,) = endpoint.connections
            for position in range(0, 90_000, 30_000):
                slow.send(data[position : position + 30_000])
                await until(lambda: connection.part_bytes(3) == position + 30_000)  # noqa: B023  it is awaited here
                endpoint.refused_requests += 1
                endpoint._sweep(asyncio.get_running_loop())
            assert list(connection.streams) == [3]
            endpoint.refused_requests += 1
            endpoint._sweep(asyncio.get_running_loop())
            assert not connection.streams

    run(story())


def test_where_others_are_turned_away_an_answer_that_is_not_read_is_given_up() -> None:
    application = Refusing()

    async def story() -> None:
        async with (
            serving(application, bounds=Bounds(max_requests=2)) as (endpoint, port),
            peer_of(port, {Setting.INITIAL_WINDOW_SIZE: 0}) as deaf,
            peer_of(port) as honest,
        ):
            loop = asyncio.get_running_loop()
            deaf.send(request_frames(1, b"unread"), request_frames(3, b"slowly"))
            await deaf.answered()
            await until(lambda: all_is_taken(endpoint))
            endpoint._sweep(loop)
            deaf.send(room_of(3, 1))
            await deaf.answered()
            honest.send(request_frames(1, b"body"))
            assert (await honest.expect(HEADERS, 1)).payload == REFUSED
            endpoint._sweep(loop)
            assert (await deaf.expect(RST_STREAM, 1)).code == ErrorCode.ENHANCE_YOUR_CALM
            assert (endpoint.requests, endpoint.held.let_go) == ([1, 0], 1)
            honest.send(request_frames(3, b"body"))
            assert await honest.response(3) == b"body"

    run(story())


def all_is_taken(endpoint: Endpoint) -> bool:
    """Whether nothing that was written is still on its way to anybody, as far as the system tells."""
    states = [connection.bytes_taken() for connection in endpoint.connections]
    return all(state is None or state[0] == state[1] for state in states)


def taken_of(connection: Connection) -> tuple[int, int]:
    taken = connection.bytes_taken()
    assert taken is not None
    return taken


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't tell how far a client has got")
def test_where_others_are_turned_away_what_a_slow_line_has_yet_to_carry_is_waited_for_until_it_stands_still() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            await fill_socket(peer, application, endpoint)
            stream = application.opened[0]
            stream.send(bytes(3_000_000))
            endpoint._sweep(asyncio.get_running_loop())
            queued, (before, _) = sum(map(len, stream.queue or ())), taken_of(stream.connection)
            while taken_of(stream.connection)[0] == before:
                await peer.next()
            assert sum(map(len, stream.queue or ())) == queued

            def ends() -> bool:
                endpoint.refused_requests += 1
                endpoint._sweep(asyncio.get_running_loop())
                return stream.ending is not None

            assert not ends()
            await until(ends)

    run(story())


def test_where_others_are_turned_away_an_answer_that_is_not_read_is_given_up_although_others_are_read() -> None:
    application = hanging()

    async def story() -> None:
        async with (
            serving(application) as (endpoint, port),
            peer_of(port, {Setting.INITIAL_WINDOW_SIZE: 0}) as peer,
        ):
            peer.send(request_frames(1), request_frames(3))
            await until(lambda: len(application.opened) == 2)
            unread, is_read = application.opened
            unread.respond(RESPONSE, bytes(1000), TRAILERS)
            is_read.respond(RESPONSE, bytes(1000), TRAILERS)
            await peer.answered()
            for _ in range(3):
                await until(lambda: all_is_taken(endpoint))
                endpoint.refused_requests += 1
                endpoint._sweep(asyncio.get_running_loop())
                peer.send(room_of(3, 1))
                await peer.answered()
            assert (unread.ending is not None, is_read.ending) == (True, None)

    run(story())


def test_where_others_are_turned_away_what_is_being_served_is_not_given_up() -> None:
    application = refusing_and_hanging()

    async def story() -> None:
        async with serving(application, bounds=Bounds(max_requests=2)) as (endpoint, port), peer_of(port) as peer:
            peer.send(request_frames(1), head_of(3), data_of(3, b"not read yet"), head_of(5))
            assert (await peer.expect(HEADERS, 5)).payload == REFUSED
            for _ in range(3):
                endpoint.refused_requests += 1
                endpoint._sweep(asyncio.get_running_loop())
            assert (endpoint.requests, endpoint.held.let_go) == ([2, 0], 0)

    run(story())


def test_where_nobody_is_turned_away_a_slow_request_is_waited_for() -> None:
    async def story() -> None:
        async with serving(Application()) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1))
            await peer.answered()
            for _ in range(3):
                endpoint._sweep(asyncio.get_running_loop())
            assert endpoint.requests == [1, 0]

    run(story())


def test_where_others_are_turned_away_connections_that_are_idle_are_ended() -> None:
    application = hanging()

    async def story() -> None:
        async with (
            serving(application, bounds=Bounds(max_connections=2)) as (endpoint, port),
            peer_of(port) as idle,
            peer_of(port) as busy,
        ):
            loop = asyncio.get_running_loop()
            busy.send(request_frames(1))
            await until(lambda: application.opened)
            endpoint._sweep(loop)
            async with socket_to(port) as late:
                assert await late.reader.read() == b""
            endpoint._sweep(loop)
            assert await idle.cut_off() == ErrorCode.NO_ERROR
            await until(lambda: len(endpoint.connections) == 1)
            async with peer_of(port) as again:
                await again.answered()
            endpoint._sweep(loop)
            assert endpoint.requests == [1, 0]

    run(story())


def test_requests_of_clients_that_have_gone_count_no_more() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port):
            async with peer_of(port) as peer:
                peer.send(request_frames(1), head_of(3))
                await until(lambda: endpoint.requests == [2, 0])
            await until(lambda: endpoint.requests == [0, 0])

    run(story())


# Half a body


def pieces_of(stream_id: int, count: int) -> bytes:
    """The beginning of a request, and so many bytes of its body, in short frames."""
    return head_of(stream_id) + data_of(stream_id, bytes(PIECE_BYTES)) * (count // PIECE_BYTES)


def test_a_body_that_is_not_whole_is_held_and_no_more_once_it_is() -> None:
    async def story() -> None:
        async with serving(Application()) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, bytes(1000)), data_of(1, bytes(500)))
            await until(lambda: endpoint.held.total == 1500)
            peer.send(data_of(1, bytes(100), END_STREAM))
            assert len(await peer.response(1)) == 1600
            assert endpoint.held.total == 0

    run(story())


def test_a_body_that_is_read_is_held_no_more() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, bytes(1000)))
            await until(lambda: endpoint.held.total == 1000)
            application.opened[0].take()
            assert endpoint.held.total == 0

    run(story())


def test_what_was_read_for_a_message_that_is_not_whole_is_held() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, bytes(1000)))
            await until(lambda: endpoint.held.total == 1000)
            stream = application.opened[0]
            stream.take()
            stream.keep(1000)
            assert endpoint.held.total == 1000
            stream.keep(300)
            assert endpoint.held.total == 300
            stream.keep(0)
            assert endpoint.held.total == 0

    run(story())


def test_who_sends_one_message_after_another_is_not_held_since_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    application = hanging()
    prefix = struct.pack(">BI", 0, 50_000)

    async def story() -> None:
        async with (
            serving(application, bounds=Bounds(max_held_bytes=200_000)) as (endpoint, port),
            peer_of(port) as steady,
            peer_of(port) as slow,
        ):
            held, reads = endpoint.held, []
            for peer in (steady, slow):
                peer.send(head_of(1), data_of(1, prefix + bytes(45_000)))
                await peer.answered()
                stream = application.opened[-1]
                reads.append(asyncio.create_task(MessageReader(stream.read, b"identity", 1 << 20, stream.keep).read()))
            await until(lambda: not any(stream.has_received for stream in application.opened))
            now = held._clock()
            monkeypatch.setattr(held, "_clock", lambda: now + STALE_SECONDS + 1)
            steady.send(data_of(1, bytes(5_000) + prefix + bytes(45_000)))
            assert len(await reads[0] or b"") == 50_000
            steady.send(pieces_of(3, 120_000))
            await steady.answered()
            assert application.ended == [1]
            assert [stream.ending is None for stream in application.opened] == [True, False, True]
            await asyncio.wait(reads)
            assert isinstance(reads[1].exception(), StreamEnded)

    run(story())


def test_what_was_read_of_a_stream_that_is_over_is_not_held() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, bytes(1000)))
            await until(lambda: endpoint.held.total == 1000)
            stream = application.opened[0]
            stream.take()
            stream.reset(ErrorCode.CANCEL, "enough")
            stream.keep(1000)
            assert endpoint.held.total == 0

    run(story())


def test_a_client_with_too_much_of_half_bodies_is_refused_and_others_are_served() -> None:
    application = Refusing()

    async def story() -> None:
        async with (
            serving(application, bounds=Bounds(max_held_bytes=250_000)) as (endpoint, port),
            peer_of(port) as greedy,
            peer_of(port) as honest,
        ):
            greedy.send(*[pieces_of(each, 100_000) for each in (1, 3, 5)])
            assert (await greedy.expect(HEADERS, 5)).payload == REFUSED
            assert endpoint.held.total == 200_000
            honest.send(request_frames(1, b"body"))
            assert await honest.response(1) == b"body"
            assert application.refused == ["this node keeps too much for its clients already: try again later"]
            assert endpoint.held.let_go == 1

    run(story())


def test_a_request_that_is_refused_with_its_last_bytes_is_not_served() -> None:
    application = Refusing()

    async def story() -> None:
        async with (
            serving(application, bounds=Bounds(max_held_bytes=PIECE_BYTES)) as (_, port),
            peer_of(port) as peer,
        ):
            peer.send(pieces_of(1, PIECE_BYTES), data_of(1, b"end", END_STREAM))
            assert (await peer.expect(HEADERS, 1)).payload == REFUSED
            assert (application.bodies, application.opened) == ([], [])

    run(story())


def test_a_request_that_is_declined_as_a_whole_and_refused_is_not_served() -> None:
    class Declining(Refusing):
        def route(self, headers: Any) -> Route:
            return super().route(headers)._replace(whole=lambda stream, body: False)

    application = Declining()

    async def story() -> None:
        async with (
            serving(application, bounds=Bounds(max_held_bytes=PIECE_BYTES)) as (_, port),
            peer_of(port) as peer,
        ):
            peer.send(request_frames(1, bytes(PIECE_BYTES + 1)))
            assert (await peer.expect(HEADERS, 1)).payload == REFUSED
            assert application.opened == []

    run(story())


def test_half_a_body_of_long_ago_makes_room_for_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "STALE_SECONDS", -1.0)
    application = Refusing()

    async def story() -> None:
        async with (
            serving(application, bounds=Bounds(max_held_bytes=250_000)) as (_, port),
            peer_of(port) as slow,
            peer_of(port) as honest,
        ):
            slow.send(pieces_of(1, 220_000))
            await slow.answered()
            honest.send(pieces_of(1, 40_000), data_of(1, b"end", END_STREAM))
            assert len(await honest.response(1)) == 40_003
            assert (await slow.expect(HEADERS, 1)).payload == REFUSED

    run(story())


def test_who_has_begun_to_be_answered_is_reset() -> None:
    application = refusing_and_hanging()

    async def story() -> None:
        async with serving(application, bounds=Bounds(max_held_bytes=250_000)) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), data_of(1, b"first"))
            await until(lambda: application.opened)
            application.opened[0].send_headers(RESPONSE)
            peer.send(data_of(1, bytes(PIECE_BYTES)) * 26)
            assert (await peer.expect(RST_STREAM, 1)).code == ErrorCode.ENHANCE_YOUR_CALM
            assert application.ended == [1]

    run(story())


def test_frames_that_are_not_whole_count() -> None:
    async def story() -> None:
        async with (
            serving(Application(), bounds=Bounds(max_held_bytes=3 * MAX_FRAME_BYTES)) as (endpoint, port),
            AsyncExitStack() as stack,
        ):
            peers = [await stack.enter_async_context(peer_of(port)) for _ in range(4)]
            for peer in peers:
                peer.send(head_of(1), frame(DATA, 0, 1, bytes(WHOLE_BYTES))[:-1])
            await until(lambda: endpoint.held.let_go == 2)
            assert endpoint.held.total <= 3 * MAX_FRAME_BYTES

    run(story())


def test_a_frame_that_became_whole_counts_no_more_as_a_part() -> None:
    whole = frame(DATA, END_STREAM, 1, bytes(50_000))

    async def story() -> None:
        async with serving(Application()) as (endpoint, port), peer_of(port) as peer:
            peer.send(head_of(1), whole[:25_000])
            await until(lambda: endpoint.held.total == len(whole))
            peer.send(whole[25_000:])
            assert len(await peer.response(1)) == 50_000
            assert endpoint.held.total == 0

    run(story())


def test_headers_that_are_not_whole_count() -> None:
    async def story() -> None:
        async with serving(Application()) as (endpoint, port), peer_of(port) as peer:
            peer.send(frame(HEADERS, 0, 1, REQUEST_BLOCK), frame(CONTINUATION, 0, 1, b""))
            await until(lambda: endpoint.held.total == len(REQUEST_BLOCK) + 2 * HEAD_BYTES)
            peer.send(frame(CONTINUATION, END_HEADERS, 1, b""), data_of(1, b"body", END_STREAM))
            assert await peer.response(1) == b"body"
            assert endpoint.held.total == 0

    run(story())


# What is not read


def test_answers_that_a_client_has_no_room_for_are_held_until_it_has() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            peer.send(request_frames(1))
            await until(lambda: application.opened)
            application.opened[0].respond(RESPONSE, bytes(200_000), TRAILERS)
            assert endpoint.held.total == 200_000
            peer.send(room_of(0, 300_000), room_of(1, 300_000))
            assert len(await peer.response(1)) == 200_000
            assert endpoint.held.total == 0

    run(story())


def test_a_client_that_reads_no_answers_is_given_up_at_the_bound_and_others_are_served() -> None:
    application = refusing_and_hanging()

    async def story() -> None:
        async with (
            serving(application, bounds=Bounds(max_held_bytes=500_000)) as (endpoint, port),
            peer_of(port) as deaf,
            peer_of(port) as honest,
        ):
            deaf.send(*[request_frames(each) for each in (1, 3, 5)])
            await until(lambda: len(application.opened) == 3)
            for stream in application.opened:
                stream.respond(RESPONSE, bytes(200_000), TRAILERS)
            assert (await deaf.expect(RST_STREAM, 5)).code == ErrorCode.ENHANCE_YOUR_CALM
            assert endpoint.held.total == 400_000
            honest.send(request_frames(1))
            await until(lambda: len(application.opened) == 4)
            application.opened[3].respond(RESPONSE, b"body", TRAILERS)
            assert await honest.response(1) == b"body"

    run(story())


async def fill_socket(peer: Peer, application: Application, endpoint: Any) -> None:
    """Lets a client that does not read have so many answers that the socket takes no more."""
    peer.send(room_of(0, 1 << 30), settings_frame({Setting.INITIAL_WINDOW_SIZE: 1 << 30}), request_frames(1))
    await until(lambda: application.opened)
    stream = application.opened[0]
    stream.send_headers(RESPONSE)
    while stream.ending is None and not endpoint.held.total:
        stream.send(bytes(100_000))
        await asyncio.sleep(0)


def test_what_waits_in_the_socket_s_buffer_is_held() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application, send_buffer_bytes=4096) as (endpoint, port):
            async with peer_of(port) as peer:
                await fill_socket(peer, application, endpoint)
                assert endpoint.held.total > 0
            await until(lambda: endpoint.held.total == 0)

    run(story())


def test_nothing_is_held_of_an_answer_of_which_only_the_end_is_to_be_sent() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application, send_buffer_bytes=4096) as (endpoint, port), peer_of(port) as peer:
            await fill_socket(peer, application, endpoint)
            peer.send(request_frames(3))
            await until(lambda: len(application.opened) == 2)
            full, ends = application.opened
            # More than both sockets take.
            full.send(bytes(3_000_000))
            ends.send(b"", is_end=True)
            assert ends not in endpoint.held._shares

    run(story())


def test_what_one_client_does_not_read_is_held_although_it_is_little() -> None:
    application = hanging()

    async def story() -> None:
        async with (
            serving(application, send_buffer_bytes=4096) as (endpoint, port),
            peer_of(port, {Setting.INITIAL_WINDOW_SIZE: 1 << 30}, receive_buffer_bytes=4096) as peer,
        ):
            peer.send(room_of(0, 1 << 30), request_frames(1))
            await until(lambda: application.opened)
            # The other end keeps less than half of it: its reader and the sockets have bounds.
            application.opened[0].respond(RESPONSE, bytes(400_000), TRAILERS)
            await until(lambda: endpoint.held.total)
            assert endpoint.held.total < 400_000

    run(story())


def test_a_client_that_reads_again_is_held_no_more() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application, send_buffer_bytes=4096) as (endpoint, port), peer_of(port) as peer:
            await fill_socket(peer, application, endpoint)
            application.opened[0].send(b"", is_end=True)
            await peer.response(1)
            assert endpoint.held.total == 0

    run(story())


# Work on purpose


def test_frames_with_nothing_in_them_cut_a_client_off_that_sends_too_many() -> None:
    async def story() -> None:
        async with serving(hanging()) as (_, port), peer_of(port) as peer:
            peer.send(head_of(1), *[data_of(1, b"")] * (MAX_RESETS + 1))
            assert await peer.cut_off() == ErrorCode.ENHANCE_YOUR_CALM

    run(story())


def test_many_short_frames_are_kept_in_few_pieces() -> None:
    application = hanging()

    async def story() -> None:
        async with serving(application) as (endpoint, port), peer_of(port) as peer:
            count = 50_000
            assert 2 * count < STREAM_WINDOW_BYTES
            peer.send(head_of(1), *[data_of(1, b"ab")] * count)
            await until(lambda: endpoint.held.total == 2 * count)
            assert len(application.opened[0].take()) > 4_000

    run(story())


def test_blocks_of_headers_are_remembered_up_to_a_bound_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_KNOWN", 2)

    async def story() -> None:
        async with serving(Application()) as (endpoint, port), peer_of(port) as peer:
            for number in range(5):
                block = encode_headers([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/%d" % number)])
                peer.send(request_frames(2 * number + 1, b"body", block))
                assert await peer.response(2 * number + 1) == b"body"
            assert endpoint.known == 2

    run(story())
