"""One connection that speaks HTTP/1.1, and all of them.

A request is taken whole, answered by a task of its own, and only then the next one is looked at: what a client sends
ahead waits, up to a bound.
"""

import asyncio
from http import HTTPStatus
from typing import Final

import h11

from meteora.tls import PeerCertificate
from meteora.web import Request, Response, WebApplication, text_response
from meteora.web.application import crowded
from meteora.web.messages import BODY_SECONDS, WRITE_SECONDS

MAX_CONNECTIONS: Final = 1024
"""At a time, on one port. For one more, the one makes room that has kept us waiting for longest; if all wait for us, it
is told so, and closed."""

MAX_HEAD_BYTES: Final = 32 * 1024
"""The first line and the headers of a request."""

MAX_AHEAD_BYTES: Final = 256 * 1024
"""What a client may send ahead while a request of it is answered. One that sends more is cut off behind that answer."""

MAX_SMALL_CHUNKS: Final = 1024
SMALL_CHUNK_BYTES: Final = 256
"""In one body, and what they are. Each chunk takes the loop some 10 us however short it is, and a client that sends a
byte in each would have it do nothing else."""

HEAD_SECONDS: Final = 10.0
"""For a request's first line and headers to come."""

IDLE_SECONDS: Final = 75.0
"""Between requests; longer than what most proxies wait, so that they close first and lose nothing."""

LINGER_SECONDS: Final = 2.0
"""After a refusal, so that a client that is still sending comes to read it."""


class _Unread(Exception):
    """The client does not read what it is sent."""


class Http1Gateway:
    """Leads connections that speak HTTP/1.1 to a web application."""

    def __init__(self, application: WebApplication) -> None:
        self.application = application
        self.connections: set[Http1Connection] = set()

    def open(
        self, transport: asyncio.Transport, peer: tuple[str, int] | None, certificate: PeerCertificate | None
    ) -> "Http1Connection":
        """A connection that was found to speak HTTP/1.1, or at least not HTTP/2."""
        connection = Http1Connection(self, transport, peer, certificate)
        if len(self.connections) >= MAX_CONNECTIONS and not self._make_room():
            connection.refuse(503, f"more than {MAX_CONNECTIONS} connections: try again later")
        else:
            self.connections.add(connection)
        return connection

    def _make_room(self) -> bool:
        """Whether there was a client to be given up: one that has sent nothing, or half a request."""
        longest = min(filter(Http1Connection.waits, self.connections), key=Http1Connection.waits_since, default=None)
        if longest is not None:
            longest.give_up()
        return longest is not None


class Http1Connection:
    """One client. An `OtherConnection` of `meteora.http2`."""

    def __init__(
        self,
        gateway: Http1Gateway,
        transport: asyncio.Transport,
        peer: tuple[str, int] | None,
        certificate: PeerCertificate | None,
    ) -> None:
        self._gateway = gateway
        self._application = gateway.application
        self._transport = transport
        self._peer = peer
        self._certificate = certificate
        self._loop = asyncio.get_running_loop()
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._head: h11.Request | None = None
        """Of the request whose body is awaited."""
        self._body = bytearray()
        self._chunks = 0
        """Of that body."""
        self._max_body_bytes = 0
        self._task: asyncio.Task[None] | None = None
        """Answers a request."""
        self._ahead = bytearray()
        """What came while one was answered."""
        self._unread_bytes = 0
        """The same, of what came before that one was whole."""
        self._give_up_at: float | None = None
        """When the patience with the client ends, in the loop's time; None while it waits for us."""
        self._waits_since = 0.0
        self._is_idle = False
        """Whether nothing of a request has come yet."""
        self._swept_since: float | None = None
        """Since when it was idle at the last look; None if it was not."""
        self._is_closing = self._is_leaving = self._is_flooded = False
        self._room: asyncio.Future[None] | None = None
        """Done when the client has read enough; None if it has."""
        self._wait(HEAD_SECONDS)

    # What the transport tells

    def data_received(self, data: bytes) -> None:
        """As `asyncio.Protocol`."""
        if self._is_closing:
            return
        if self._task is not None:
            self._keep(data)
            return
        if self._is_idle:
            self._is_idle = False
            self._wait(HEAD_SECONDS)
        self._h11.receive_data(data)
        self._advance()

    def _keep(self, data: bytes) -> None:
        if self._unread_bytes + len(self._ahead) + len(data) > MAX_AHEAD_BYTES:
            self._is_flooded = True
            self._ahead.clear()
        if not self._is_flooded:
            self._ahead += data

    def eof_received(self) -> bool | None:
        """As `asyncio.Protocol`: who will send no more may still wait for an answer."""
        if self._task is None:
            return None
        self._is_leaving = True
        return True

    def connection_lost(self) -> None:
        """The client is gone."""
        self._is_closing = True
        self._gateway.connections.discard(self)
        self._drop_body()
        if self._task is not None:
            self._task.cancel()
        self.resume_writing()

    def pause_writing(self) -> None:
        """As `asyncio.Protocol`."""
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """As `asyncio.Protocol`."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def sweep(self, now: float) -> None:
        """Ends the patience with a client that stands still half-way."""
        if self._give_up_at is None or now < self._give_up_at:
            return
        if self._is_closing:
            self._transport.abort()
        else:
            self.give_up()

    def waits(self) -> bool:
        """Whether it is the client's turn."""
        return self._give_up_at is not None and not self._is_closing

    def waits_since(self) -> float:
        """In the loop's time."""
        return self._waits_since

    def is_idle_again(self) -> bool:
        """To be called now and then: whether nothing was asked since the last call, and nothing is under way."""
        before, self._swept_since = self._swept_since, self._waits_since if self._is_idle else None
        return before is not None and before == self._swept_since

    def give_up(self) -> None:
        """Waits for the client no longer."""
        if self._is_idle:
            self._close()
        else:
            self.refuse(408, "the request did not come in time")

    def _wait(self, seconds: float) -> None:
        self._waits_since = self._loop.time()
        self._give_up_at = self._waits_since + seconds

    def leave(self) -> None:
        """Takes no more requests, and closes the connection when the last one is answered."""
        self._is_leaving = True
        if self._task is None and not self._is_closing:
            self._close()

    # Requests

    def _advance(self) -> None:
        try:
            while self._task is None and not self._is_closing:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    self._invite_body()
                    return
                self._take(event)
        except h11.RemoteProtocolError as error:
            self.refuse(error.error_status_hint, str(error))

    def _take(self, event: object) -> None:
        match event:
            case h11.Request():
                self._begin(event)
            case h11.Data():
                self._chunks += event.chunk_start
                self._add(event.data)
            case h11.EndOfMessage():
                self._serve()
            case h11.ConnectionClosed():
                self._close()

    def _begin(self, head: h11.Request) -> None:
        self._head = head
        self._chunks = 0
        self._max_body_bytes = self._application.body_bytes(*_asked(head))
        self._wait(BODY_SECONDS)
        stated = dict(head.headers).get(b"content-length", b"0")
        if head.http_version not in {b"1.0", b"1.1"}:
            self.refuse(505, "this is HTTP/1.1; HTTP/2 begins with its preface")
        elif _size_of(head) > MAX_HEAD_BYTES:
            # One that came in one piece: h11 looks only at how long those are that are not whole yet.
            self.refuse(431, f"the first line and the headers have at most {MAX_HEAD_BYTES} bytes")
        elif int(stated) > self._max_body_bytes:
            self._refuse_body()

    def _invite_body(self) -> None:
        if self._head is not None and self._h11.they_are_waiting_for_100_continue:
            self._write(h11.InformationalResponse(status_code=100, headers=[]))

    def _add(self, data: bytes) -> None:
        if len(self._body) + len(data) > self._max_body_bytes:
            self._refuse_body()
        elif self._chunks > MAX_SMALL_CHUNKS + len(self._body) // SMALL_CHUNK_BYTES:
            self.refuse(400, f"more than {MAX_SMALL_CHUNKS} chunks of less than {SMALL_CHUNK_BYTES} bytes in a body")
        elif self._application.take_in(len(data)):
            self._body += data
        else:
            self._refuse(crowded())

    def _refuse_body(self) -> None:
        assert self._head is not None
        self._refuse(self._application.too_long(*_asked(self._head)))

    def _drop_body(self) -> bytes:
        body = bytes(self._body)
        self._application.let_go(len(body))
        self._body.clear()
        self._head = None
        return body

    def _serve(self) -> None:
        head = self._head
        assert head is not None
        method, target = _asked(head)
        request = Request(
            method=method,
            target=target,
            headers=list(head.headers),
            body=self._drop_body(),
            peer=self._peer,
            certificate=self._certificate,
        )
        self._give_up_at = None
        self._unread_bytes = len(self._h11.trailing_data[0])
        self._task = self._application.run(self._answer(request))
        self._task.add_done_callback(self._answered)

    # Responses

    async def _answer(self, request: Request) -> None:
        response = await self._application.respond(request)
        if not self._is_closing:
            try:
                await self._send(response, is_head=request.method == "HEAD")
            except _Unread:
                self._abort()

    async def _send(self, response: Response, *, is_head: bool) -> None:
        self._write_head(response)
        if response.body and not is_head:
            self._write(h11.Data(data=response.body))
        self._write(h11.EndOfMessage())
        await self._wait_for_room()

    def _write_head(self, response: Response) -> None:
        headers = response.head()
        if self._is_leaving or self._is_flooded:
            headers.append((b"connection", b"close"))
        self._write(h11.Response(status_code=response.status, reason=_reason(response.status), headers=headers))

    def _write(self, event: h11.Event) -> None:
        data = self._h11.send(event)
        if data and not self._transport.is_closing():
            self._transport.write(data)

    async def _wait_for_room(self) -> None:
        """Raises `_Unread` if the client reads too slowly."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                while self._room is not None:
                    await asyncio.shield(self._room)
        except TimeoutError:
            raise _Unread from None

    def _answered(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        if self._is_closing:
            return
        if task.cancelled() or task.exception() is not None:
            # What was begun can't be brought to its end.
            self._abort()
        elif self._is_leaving or self._is_flooded or self._h11.our_state is not h11.DONE:
            self._close()
        else:
            self._next()

    def _next(self) -> None:
        self._h11.start_next_cycle()
        self._is_idle = not self._ahead and not self._unread_bytes
        self._wait(IDLE_SECONDS if self._is_idle else HEAD_SECONDS)
        ahead = bytes(self._ahead)
        self._ahead.clear()
        if ahead:
            self._h11.receive_data(ahead)
        self._advance()

    # The end

    def refuse(self, status: int, reason: str) -> None:
        """Answers what is no request, or is not taken, and ends the connection."""
        self._refuse(text_response(status, reason))

    def _refuse(self, response: Response) -> None:
        is_head = self._head is not None and self._head.method == b"HEAD"
        self._drop_body()
        if self._h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._is_leaving = True
            self._write_head(response)
            if not is_head:
                self._write(h11.Data(data=response.body))
            self._write(h11.EndOfMessage())
        self._is_closing = True
        self._give_up_at = self._loop.time() + LINGER_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _abort(self) -> None:
        self._is_closing = True
        self._transport.abort()

    def _close(self) -> None:
        self._is_closing = True
        self._give_up_at = self._loop.time() + WRITE_SECONDS
        self._transport.close()


def _asked(head: h11.Request) -> tuple[str, str]:
    """Method and target."""
    return head.method.decode("latin-1"), head.target.decode("latin-1")


def _size_of(head: h11.Request) -> int:
    """The bytes of the first line and of the headers, written as usual."""
    fields = sum(len(name) + len(value) + len(b": \r\n") for name, value in head.headers)
    return len(head.method) + len(head.target) + len(b"  HTTP/1.1\r\n\r\n") + fields


def _reason(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode("ascii")
