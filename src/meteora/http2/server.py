"""The serving end: takes requests, and hands each to where its headers lead.

A request whose headers were seen before on this connection is not looked at again: what they lead to is known by their
bytes. And a route that wants nothing but the whole body is given it in the call that took its last frame from the
socket, with no task and nothing to wait for.
"""

import asyncio
import socket
from collections.abc import Callable, Collection
from typing import Final, NamedTuple, Protocol, cast

from meteora.http2 import frames
from meteora.http2.bounds import Bounds, HeldBytes
from meteora.http2.connection import Connection, opening_frames
from meteora.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD,
    HEADERS,
    PREFACE,
    ConnectionFault,
    ErrorCode,
    Setting,
    StreamFault,
)
from meteora.http2.headers import Headers, check_request, check_trailers, content_length_of
from meteora.http2.stream import Stream, StreamEnded
from meteora.observability.logs import OnceLog, get_logger
from meteora.tls import IncomingTls, PeerCertificate

MAX_STREAMS: Final = 1024
"""Requests at a time on one connection. A client with more of them waits by itself."""

MAX_RESETS: Final = 4 * MAX_STREAMS
RESETS_SECONDS: Final = 10.0
"""Requests that a client may give up on one connection within these seconds, or make this end give up by what breaks a
rule; frames of data without any, that end nothing, count as well. One that does more makes work on purpose ("rapid
reset", CVE-2023-44487; "MadeYouReset", CVE-2025-8671; "empty frames", CVE-2019-9518), and is cut off."""

OPENING_SECONDS: Final = 10.0
"""For a client to say that it speaks HTTP/2, and how."""

WHOLE_BYTES: Final = 256 << 10
"""A body that is longer is not waited for as a whole."""

SWEEP_SECONDS: Final = 2.0
"""Between looks at who keeps us waiting: a body that is not whole by the second one is not waited for as a whole."""

RESERVED_REQUESTS: Final = 4096
"""Beyond those that an endpoint takes, on all connections, for what tells operators, probes and clients what is going
on: neither takes places from the other."""

IDLE_SHARE: Final = 8
"""Of the connections that there may be, no more than an eighth are ended at a time for being idle."""

TOLD_AGAIN_SECONDS: Final = 60.0
"""Between log lines about clients that are turned away."""

_KNOWN_BYTES: Final = 1024
_MAX_KNOWN: Final = 256
"""Blocks of headers that are remembered for a connection: how long each may be, and how many."""

MAX_KNOWN: Final = 65_536
"""The same, for all connections of an endpoint: some 3 KiB each at most. Others are decoded each time."""

_MAX_GIVEN_UP: Final = MAX_RESETS
"""Streams that were given up and are remembered: what a client may have on its way to so many was sent long ago."""

_NO_HTTP_2: Final = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n"
    b"This port speaks gRPC, which is HTTP/2.\n"
)

_BAD_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n"
)


_log = get_logger("http2")


class Route(NamedTuple):
    """Where a request's headers lead."""

    opened: Callable[["ServerStream"], None]
    """Called with the stream of a request, whose body may be yet to come."""
    whole: Callable[["ServerStream", bytes], bool] | None = None
    """Called with the stream and the whole body, if that is not long, and comes soon. False, before anything was done,
    if the request is to be `opened` after all."""
    refuse: Callable[["ServerStream", str], None] | None = None
    """Answers a request that there is no room for, with the reason, before anything was done. Without it the stream is
    reset."""
    is_reserved: bool = False
    """Whether it has places of its own, and is served although there are too many other requests."""


class Known(NamedTuple):
    """What the headers of a request come to."""

    route: Route
    content_length: int | None


class OtherConnection(Protocol):
    """A connection whose client speaks another protocol, and what it is told of the client."""

    def data_received(self, data: bytes) -> None:
        """As `asyncio.Protocol`."""

    def eof_received(self) -> bool | None:
        """As `asyncio.Protocol`."""

    def connection_lost(self) -> None:
        """The client is gone."""

    def pause_writing(self) -> None:
        """As `asyncio.Protocol`."""

    def resume_writing(self) -> None:
        """As `asyncio.Protocol`."""

    def sweep(self, now: float) -> None:
        """Called now and then: ends the patience with a client that stands still half-way."""

    def is_idle_again(self) -> bool:
        """To be called now and then: whether nothing was asked since the last call, and nothing is under way."""

    def leave(self) -> None:
        """Takes no more requests, and closes the transport when the last one is answered."""


OpenOther = Callable[[asyncio.Transport, tuple[str, int] | None, PeerCertificate | None], OtherConnection]
"""Takes a transport, host and port of the client, and the certificate that it has shown."""


class Taken(NamedTuple):
    """How far a client has got with what was written on its connection, in bytes."""

    before: int = 0
    """At the look before."""
    now: int = 0
    at_last: int = 0
    """Once it has all of it."""

    def goes_on_before(self, position: int) -> bool:
        """Whether it took more since the look before, and had not come to `position` then.

        What a slow line has yet to carry may be enough for longer than it is from one look to the next.
        """
        return self.before < min(self.now, position)


class ServerStream(Stream):
    """One request, and its response."""

    __slots__ = (
        "_has_begun",
        "_kept_bytes",
        "_queued_bytes",
        "_sent_until",
        "_swept",
        "body_bytes",
        "is_opened",
        "known",
    )

    connection: "ServerConnection"

    def __init__(self, connection: "ServerConnection", stream_id: int, send_window: int, known: Known) -> None:
        super().__init__(connection, stream_id, send_window)
        self.known = known
        self.is_opened = False
        self.body_bytes = 0
        """Received so far."""
        self._swept: tuple[int, int] | None = None
        """What was received at the last look, and what was still to be sent; None before the first."""
        self._sent_until = 0
        """Where, in all that was written on the connection, what was sent of this ends: no later than that."""
        self._has_begun = False
        """To do what is asked, or to answer."""
        self._kept_bytes = self._queued_bytes = 0
        """Held of what was read, and of what is to be sent."""

    @property
    def peer(self) -> tuple[str, int] | None:
        """Host and port of the client."""
        return self.connection.peer

    @property
    def certificate(self) -> PeerCertificate | None:
        """What the client has shown, and was verified."""
        return self.connection.certificate

    def respond(self, headers: bytes, body: bytes, trailers: bytes) -> None:
        """Sends a whole response, of encoded headers and trailers. Waits for nothing: what has no room is queued."""
        connection, size = self.connection, len(body)
        if (
            connection.is_clear
            and size <= connection.send_window
            and size <= self.send_window
            and size <= connection.max_send_bytes
            and self.ending is None
            and not self.is_local_done
        ):
            connection.send_window -= size
            pack, stream_id = HEAD.pack, self.id
            connection.respond(
                self,
                b"".join(
                    (
                        pack(0, len(headers), HEADERS, END_HEADERS, stream_id),
                        headers,
                        pack(size >> 16, size & 0xFFFF, DATA, 0, stream_id),
                        body,
                        pack(0, len(trailers), HEADERS, END_HEADERS | END_STREAM, stream_id),
                        trailers,
                    )
                ),
            )
        else:
            self.send_headers(headers)
            self.send(body)
            self.send_headers(trailers, is_end=True)

    # What is held for the client

    def feed(self, data: bytes) -> None:
        """As `Stream`."""
        if data:
            self._hold(len(data))
        super().feed(data)

    def take(self) -> bytes:
        """As `Stream`."""
        data = super().take()
        self._release(len(data))
        return data

    def keep(self, count: int) -> None:
        """So many bytes of those that were read are part of a message that is yet to become whole; 0: it is."""
        more, self._kept_bytes = count - self._kept_bytes, count
        if more > 0:
            self._hold(more)
        else:
            self._release(-more)
        if not count:
            # Who sends one after another is not who has kept us waiting since the first.
            self.connection.held.renew(self)

    def send_headers(self, block: bytes, *, is_end: bool = False) -> None:
        """As `Stream`."""
        self._has_begun = True
        super().send_headers(block, is_end=is_end)

    def send(self, data: bytes, *, is_end: bool = False) -> None:
        """As `Stream`."""
        super().send(data, is_end=is_end)
        # Who holds nothing has no room to make.
        if data and self.queue:
            self._queued_bytes += len(data)
            self._hold(len(data))

    def note_drained(self) -> None:
        """As `Stream`."""
        if self._queued_bytes:
            count, self._queued_bytes = self._queued_bytes, 0
            self._release(count)
        super().note_drained()

    def _hold(self, count: int) -> None:
        if self.connection.streams.get(self.id) is self:
            self.is_holding = True
            self.connection.held.hold(self, count)

    def _release(self, count: int) -> None:
        if self.is_holding:
            self.connection.held.release(self, count)

    @property
    def owner(self) -> "ServerConnection":
        """Whose bytes they are."""
        return self.connection

    def begin(self) -> None:
        """What is asked is being done from now on: it is not refused any more as if nothing had happened."""
        self._has_begun = True

    def let_go(
        self,
        reason: str = "this node keeps too much for its clients already: try again later",
        code: ErrorCode = ErrorCode.ENHANCE_YOUR_CALM,
    ) -> None:
        """Gives the request up, because others need the room: at once, whether or not the client reads why."""
        refuse = self.known.route.refuse
        if refuse is not None and not self._has_begun:
            refuse(self, reason)
        if self.is_local_done:
            self.end(StreamEnded(reason, code))
        else:
            self.reset(code, reason)

    def open(self) -> None:
        """Hands the request on, with what there is of its body."""
        self.is_opened = True
        self.known.route.opened(self)

    def collect(self) -> bool:
        """Hands the request on with its whole body, which is here. False if it is wanted otherwise."""
        assert self.known.route.whole is not None
        body = b"".join(self._received or ())
        if not self.known.route.whole(self, body):
            return False
        self.is_opened = True
        if not self._is_returned:
            self.connection.return_room(len(body))
        self._received = None
        self._release(len(body))
        return True

    def abandon(self) -> None:
        """Gives up a response that can't be brought to its end."""
        self.reset(ErrorCode.INTERNAL_ERROR, "the response can't be finished")

    def sweep(self, taken: Taken, *, is_crowded: bool) -> bool:
        """Called now and then: waits no longer for a body that does not become whole. Whether it had to let go.

        That it has if others were turned away, and the client has neither sent nor read anything since the last look.
        """
        before = self._swept
        received = self.body_bytes + self.connection.part_bytes(self.id)
        self._swept = received, sum(map(len, self.queue or ()))
        if before != self._swept:
            self._sent_until = taken.at_last
        elif is_crowded and self._is_waiting and not (self.queue and taken.goes_on_before(self._sent_until)):
            self.let_go("others were turned away, and nothing more came of this request: try again later")
            return True
        if before is not None and not self.is_opened and not self.is_remote_done:
            self.open()
        return False

    @property
    def _is_waiting(self) -> bool:
        """Whether it is the client that keeps it from coming to its end, and not whoever serves it."""
        return bool(self.queue) or not (self.is_remote_done or (self.is_opened and self.has_received))


class ServerConnection(Connection):
    """One client."""

    def __init__(self, endpoint: "Endpoint") -> None:
        super().__init__()
        self._endpoint = endpoint
        self._missing_preface = PREFACE
        self._last_id = 0
        """Of the streams that the client has opened."""
        self._last_taken_id = 0
        """The same, but for those that came after this end had said that it leaves."""
        self._given_up: dict[int, None] = {}
        """Streams of which trailers may be on their way that nobody wants: the latest, in order."""
        self._known: dict[bytes, Known] = {}
        self._is_lasting = False
        """Whether the block that was decoded last would mean the same again."""
        self._is_leaving = False
        self._is_swept = False
        """Whether it was closing already at the last look."""
        self._taken = Taken()
        self._swept_id = -1
        """The last stream that the client had opened then."""
        self._resets = 0
        self._resets_began = 0.0
        self._opening_ends = self.loop.time() + OPENING_SECONDS
        self.peer: tuple[str, int] | None = None
        """Host and port of the client."""
        self.certificate: PeerCertificate | None = None
        """What the client has shown, and was verified; None if there is no TLS, or it has shown none."""
        self.held = endpoint.held
        self._part_bytes = self._held_block_bytes = self._unread_bytes = 0
        """Held of a frame that is not whole, of headers that are not, and of what the client does not read."""
        self._other: OtherConnection | None = None
        """Set if the client speaks another protocol: who it is handed to."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self.peer = tuple(name[:2]) if isinstance(name, tuple) else None
        self.certificate = transport.get_extra_info("certificate")
        self._endpoint.connections.add(self)
        if self._endpoint.is_stopping:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._missing_preface:
            if self._other is not None:
                self._other.data_received(data)
                return
            expected = self._missing_preface[: len(data)]
            if not data.startswith(expected):
                self._hand_over(PREFACE[: -len(self._missing_preface)] + data)
                return
            self._missing_preface = self._missing_preface[len(expected) :]
            if self._missing_preface:
                return
            # No sooner, because who speaks another protocol is answered in that.
            self._write(opening_frames({Setting.MAX_CONCURRENT_STREAMS: MAX_STREAMS}))
            data = data[len(expected) :]
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio, once, last."""
        super().connection_lost(exc)
        self._endpoint.connections.discard(self)
        self._forget_known()
        self.held.drop(self)
        if self._other is not None:
            self._other.connection_lost()

    def eof_received(self) -> bool | None:
        """Called by asyncio, which then closes the connection, unless this is true."""
        return None if self._other is None else self._other.eof_received()

    def pause_writing(self) -> None:
        """Called by asyncio."""
        super().pause_writing()
        self._hold_unread(self._transport.get_write_buffer_size())
        if self._other is not None:
            self._other.pause_writing()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self.held.release(self, self._unread_bytes)
        self._unread_bytes = 0
        super().resume_writing()
        if self._other is not None:
            self._other.resume_writing()

    # What is held for the client

    def _hold_unread(self, count: int) -> None:
        self._unread_bytes += count
        self.held.hold(self, count)

    def _note_part(self, wanted_bytes: int) -> None:
        more, self._part_bytes = wanted_bytes - self._part_bytes, wanted_bytes
        if more > 0:
            self.held.hold(self, more)
        else:
            self.held.release(self, -more)

    def _note_block(self, count: int) -> None:
        if count:
            self._held_block_bytes += count
            self.held.hold(self, count)
        else:
            self.held.release(self, self._held_block_bytes)
            self._held_block_bytes = 0

    def _write_control(self, data: bytes) -> None:
        if self._is_paused:
            self._hold_unread(len(data))
        super()._write_control(data)

    @property
    def owner(self) -> "ServerConnection":
        """Whose bytes they are."""
        return self

    def let_go(self) -> None:
        """Gives the client up, because others need the room."""
        if self._is_paused:
            self.abort()  # It would not read why.
        else:
            self.fail(ErrorCode.ENHANCE_YOUR_CALM, "this node keeps too much for its clients already")

    def _hand_over(self, said: bytes) -> None:
        """The client speaks another protocol."""
        if self._is_closing:
            return
        if self._endpoint.open_other is None:
            self._write(_NO_HTTP_2)
            self.close()
            return
        self._other = self._endpoint.open_other(self._transport, self.peer, self.certificate)
        self._other.data_received(said)

    # The end

    def leave(self) -> None:
        """Takes no more requests, and ends the connection when the last one is answered."""
        if self._other is not None:
            self._other.leave()
        elif not self._is_closing and not self._is_leaving:
            self._is_leaving = True
            if self._missing_preface:
                self.close()  # It has not been told our settings, which come before everything else.
                return
            self._write(frames.goaway_frame(self._last_taken_id, ErrorCode.NO_ERROR))
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._is_leaving and not self.streams:
            self.close()

    def sweep(self, now: float) -> None:
        """Called now and then: ends the patience with a client that stands still half-way."""
        if self._other is not None:
            self._other.sweep(now)
            return
        if (self._is_closing and self._is_swept) or (not self._has_settings and now > self._opening_ends):
            # It was told, and does not read it.
            self.abort()
        self._is_swept = self._is_closing
        self._sweep_streams(is_crowded=self._endpoint.is_crowded)

    def _sweep_streams(self, *, is_crowded: bool) -> None:
        streams = list(self.streams.values())
        if any(stream.queue for stream in streams):
            self._taken = Taken(self._taken.now, *(self.bytes_taken() or (0, 0)))
        for stream in streams:
            assert isinstance(stream, ServerStream)
            self.held.let_go += stream.sweep(self._taken, is_crowded=is_crowded)

    def is_idle_again(self) -> bool:
        """To be called now and then: whether nothing was asked since the last call, and nothing is under way."""
        if self._other is not None:
            return self._other.is_idle_again()
        before, self._swept_id = self._swept_id, self._last_id
        return before == self._last_id and not self.streams

    def _forget(self, stream: Stream) -> None:
        if stream.id in self.streams:
            # All streams here are our own, which a cast would have to be called to say.
            self._endpoint.requests[stream.known.route.is_reserved] -= 1  # type: ignore[attr-defined]
        if stream.is_holding:
            self.held.drop(cast(ServerStream, stream))
        super()._forget(stream)
        if self._is_leaving:
            # Behind what is still to be said of this stream.
            self.loop.call_soon(self._end_if_idle)

    def _end_streams(self, ending: StreamEnded) -> None:
        for stream in cast(Collection[ServerStream], self.streams.values()):
            self._endpoint.requests[stream.known.route.is_reserved] -= 1
            self.held.drop(stream)
        super()._end_streams(ending)

    def _last_stream_id(self) -> int:
        return self._last_taken_id

    def _is_known(self, stream_id: int) -> bool:
        return 0 < stream_id <= self._last_id and stream_id % 2 == 1

    # Requests

    def _on_headers(self, stream_id: int, block: bytes, *, is_end: bool) -> None:
        known = self._known.get(block)
        headers = None if known is not None else self._decode(block)
        if stream_id % 2 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"a client opened stream {stream_id}")
        if stream_id <= self._last_id:
            self._take_trailers(stream_id, headers, is_end=is_end)
            return
        self._last_id = stream_id
        if self._is_leaving:
            return  # The client knows that it was not looked at.
        self._last_taken_id = stream_id
        if known is None:
            assert headers is not None
            known = self._know(block, headers)
        if len(self.streams) >= MAX_STREAMS:
            raise StreamFault(ErrorCode.REFUSED_STREAM, f"more than {MAX_STREAMS} requests at a time")
        endpoint, is_reserved = self._endpoint, known.route.is_reserved
        if endpoint.requests[is_reserved] >= endpoint.max_requests[is_reserved]:
            self._turn_away(ServerStream(self, stream_id, self._peer_stream_window, known))
            return
        self._open(ServerStream(self, stream_id, self._peer_stream_window, known), is_end=is_end)

    def _turn_away(self, stream: ServerStream) -> None:
        endpoint = self._endpoint
        endpoint.refused_requests += 1
        is_reserved = stream.known.route.is_reserved
        reason = f"more than {endpoint.max_requests[is_reserved]} requests at a time: try again later"
        endpoint.told.warning("requests are refused", "requests", reason=reason)
        self.streams[stream.id] = stream
        endpoint.requests[is_reserved] += 1
        stream.let_go(reason, ErrorCode.REFUSED_STREAM)

    def _open(self, stream: ServerStream, *, is_end: bool) -> None:
        self.streams[stream.id] = stream
        self._endpoint.requests[stream.known.route.is_reserved] += 1
        if is_end:
            if stream.known.content_length:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a body that is shorter than it was said to be")
            stream.is_remote_done = True
            stream.open()
        elif stream.known.route.whole is None:
            stream.open()

    def _decode(self, block: bytes) -> Headers:
        generation = self._decoder.generation
        headers = self._decoder.decode(block)
        self._is_lasting = self._decoder.generation == generation
        if not self._is_lasting:
            self._forget_known()
        return headers

    def _forget_known(self) -> None:
        self._endpoint.known -= len(self._known)
        self._known.clear()

    def _know(self, block: bytes, headers: Headers) -> Known:
        check_request(headers)
        known = Known(self._endpoint.route(headers), content_length_of(headers))
        if self._is_lasting and len(block) <= _KNOWN_BYTES:
            if len(self._known) >= _MAX_KNOWN:
                self._forget_known()
            if self._endpoint.known < MAX_KNOWN:
                self._endpoint.known += 1
                self._known[block] = known
        return known

    def _take_trailers(self, stream_id: int, headers: Headers | None, *, is_end: bool) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            if stream_id not in self._given_up and stream_id <= self._last_taken_id:
                raise ConnectionFault(
                    ErrorCode.STREAM_CLOSED, f"headers on stream {stream_id}, which is not to be used"
                )
            return  # Of a stream that this end has given up: they were on their way.
        if stream.is_remote_done or not is_end:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "headers in the middle of a stream")
        # Those that are known without being decoded are a request's.
        check_trailers(headers or [(b":path", b"")])
        self._on_data(stream, b"", is_end=True)

    def _on_data(self, stream: Stream, data: bytes, *, is_end: bool) -> None:
        assert isinstance(stream, ServerStream)
        stream.body_bytes += len(data)
        route, content_length = stream.known
        if content_length is not None and (
            stream.body_bytes > content_length or (is_end and stream.body_bytes != content_length)
        ):
            self.return_room(len(data))
            self._refuse(stream, ErrorCode.PROTOCOL_ERROR, "a body of another length than it was said to have")
            return
        if is_end:
            self.finish_remote(stream)
        if is_end and not stream.is_opened and not stream.has_received:
            # The usual case.
            assert route.whole is not None
            if route.whole(stream, data):
                stream.is_opened = True
                self.return_room(len(data))
                return
            stream.feed(data)
            if stream.ending is None:
                stream.open()
            return
        stream.feed(data)
        # It may have had to let go of what it was fed: then it was refused, and must not be served.
        is_due = stream.ending is None and (is_end or stream.body_bytes > WHOLE_BYTES)
        if is_due and not stream.is_opened and not (is_end and stream.collect()):
            stream.open()

    def _note_given_up(self, stream_id: int) -> None:
        self._given_up[stream_id] = None
        if len(self._given_up) > _MAX_GIVEN_UP:
            del self._given_up[next(iter(self._given_up))]

    def _on_reset(self) -> None:
        now = self.loop.time()
        if now - self._resets_began > RESETS_SECONDS:
            self._resets_began, self._resets = now, 0
        self._resets += 1
        if self._resets > MAX_RESETS:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"more than {MAX_RESETS} requests given up, or frames with nothing in them, in {RESETS_SECONDS:g} s",
            )

    # Responses

    def respond(self, stream: ServerStream, response: bytes) -> None:
        """Writes the frames of a whole response."""
        self._write(response)
        self.finish_local(stream)

    def finish_local(self, stream: Stream) -> None:
        """The response is sent. What is still to come of the request is not wanted any more."""
        if not stream.is_remote_done:
            self._write_control(frames.rst_stream_frame(stream.id, ErrorCode.NO_ERROR))
            self._note_given_up(stream.id)
            stream.is_remote_done = True
        super().finish_local(stream)


class Endpoint:
    """What listens on one address: all its connections. `route` says where the headers of a request lead.

    It may raise `StreamFault`, and what it answers is kept: headers that are the same lead to the same. With `tls`,
    clients are let in by that.
    """

    def __init__(
        self, route: Callable[[Headers], Route], tls: IncomingTls | None = None, bounds: Bounds | None = None
    ) -> None:
        self.route = route
        self._tls = tls
        self.bounds = bounds or Bounds()
        self.held = HeldBytes(self.bounds.max_held_bytes)
        self.requests = [0, 0]
        """Under way on all connections: others, and those of reserved routes."""
        self.max_requests = (self.bounds.max_requests, RESERVED_REQUESTS)
        self.is_crowded = False
        """Whether somebody was turned away between the last two sweeps."""
        self._refused = (0, 0)
        """Connections and requests, up to the last sweep."""
        self.known = 0
        """Blocks of headers that are remembered on all connections."""
        self.refused_connections = self.refused_requests = 0
        """Since it was made, because there were too many."""
        self.told = OnceLog(_log, again_after_seconds=TOLD_AGAIN_SECONDS)
        self.open_other: OpenOther | None = None
        """Takes over the connections of clients that speak another protocol. Without it they are told that nobody here
        does."""
        self.connections: set[ServerConnection] = set()
        self.is_stopping = False
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self, listener: socket.socket, *, backlog: int = 100) -> None:
        """Takes connections on a socket that listens, which is closed by `stop`; up to `backlog` wait to be taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=listener, backlog=backlog)
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep, loop)

    def _accept(self) -> asyncio.Protocol:
        reason = f"more than {self.bounds.max_connections} at a time"
        if not self._has_room(reason):
            self.refused_connections += 1
            self.told.warning("connections are refused", "connections", reason=reason)
            return _TurnedAway()
        if self._tls is None:
            return ServerConnection(self)
        return self._tls.new_layer(lambda: ServerConnection(self), _farewell)

    def _has_room(self, reason: str) -> bool:
        """Whether one more may come. Who has yet to prove who he is makes room for it."""
        room, tls = self.bounds.max_connections - len(self.connections), self._tls
        if tls is not None and room > 0 and tls.handshakes >= room:
            tls.make_room(reason)
        return room > (0 if tls is None else tls.handshakes)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep, loop)
        before, self._refused = self._refused, (self.refused_connections, self.refused_requests)
        self.is_crowded = self._refused != before
        to_end = self.bounds.max_connections // IDLE_SHARE + 1 if self._refused[0] > before[0] else 0
        for connection in tuple(self.connections):
            connection.sweep(loop.time())
            if connection.is_idle_again() and to_end:
                to_end -= 1
                connection.leave()

    async def stop(self, seconds: float) -> None:
        """Takes no more connections and requests; those that there are have so long to end before they are cut off."""
        self.is_stopping = True
        if self._server is not None:
            self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._tls is not None:
            self._tls.stop()
        for connection in tuple(self.connections):
            connection.leave()
        await self._wait_for_end(seconds)
        for connection in tuple(self.connections):
            connection.abort()
        await self._wait_for_end(seconds)
        if self._server is not None:
            await self._server.wait_closed()

    async def _wait_for_end(self, seconds: float) -> None:
        if self.connections:
            await asyncio.wait([connection.closed for connection in self.connections], timeout=seconds)


class _TurnedAway(asyncio.Protocol):
    """A connection that is closed as soon as it is made: what it speaks is not known yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        transport.close()


def _farewell(said: bytes, reason: str) -> bytes:
    """Tells a client why it is not let in: by GOAWAY, or in HTTP/1.1 if it has begun to speak that.

    There are no settings before that GOAWAY, or the client would take this for a good connection, and make the next one
    at once.
    """
    if said and not PREFACE.startswith(said[: len(PREFACE)]):
        return _BAD_REQUEST + reason.encode() + b"\n"
    return frames.goaway_frame(0, ErrorCode.INADEQUATE_SECURITY, reason)
