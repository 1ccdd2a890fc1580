"""TLS on one connection: between the socket's transport, and a protocol that takes this for its transport.

Our own and not the event loop's, because that can't say why a handshake failed, sends no alert then, and has one set
of certificates for as long as it listens.

Rules:

- Nothing of the protocol inside exists before the handshake is done.
- Who fails is told by an alert, or, if he does not speak TLS, in the words that he speaks.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from meteora.tls.counters import Refusal
from meteora.tls.failure import TlsFailure, failure_of
from meteora.tls.peer_certificate import PeerCertificate, peer_certificate

HANDSHAKE_SECONDS: Final = 5.0
"""For a whole handshake: some round trips over a slow line."""

LAST_WORDS_SECONDS: Final = 1.0
"""For the other end to read why it was refused. Were the connection closed at once, what it has sent meanwhile would
make its system drop that unread."""

MAX_UNREAD_BYTES: Final = 16 << 10
"""Of what the other end makes TLS itself answer while it does not read: it is cut off then. An honest one makes 27
bytes of it, once in millions of records; and nobody else counts them."""

NO_TLS: Final = "this port speaks TLS only"

Inside = Callable[[], asyncio.BaseProtocol]
"""Makes what is inside a connection that is open."""

_PIECE_BYTES: Final = 16 << 10
"""What goes through OpenSSL's buffers at a time, as long as a record may be: they never shrink, and so each connection
keeps what it has once needed."""

_HANDSHAKE_RECORD: Final = 22


class Keeper(Protocol):
    """Who decides about connections: told of each when it begins, and when it is open or has failed, once."""

    @property
    def is_server(self) -> bool:
        """Which end this is."""

    def began(self, layer: "TlsLayer") -> None:
        """Its handshake begins."""

    def opened(self, layer: "TlsLayer") -> asyncio.BaseProtocol:
        """Its handshake is done: what is to be inside. Raises `TlsFailure` if it is not to be let in."""

    def failed(self, layer: "TlsLayer", failure: TlsFailure) -> None:
        """It has not come to that."""

    def gone(self, layer: "TlsLayer") -> None:
        """There is nothing left of it."""

    def farewell(self, said: bytes, reason: str) -> bytes:
        """What tells who has said this, in the protocol inside, why he is not let in."""


class TlsLayer(asyncio.Protocol):
    """One connection. To what is inside, a transport."""

    def __init__(self, context: ssl.SSLContext, keeper: Keeper, server_name: str | None = None) -> None:
        self._keeper = keeper
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=keeper.is_server, server_hostname=server_name
        )
        self._transport: asyncio.Transport
        self._inner: asyncio.Protocol | None = None
        self._is_begun = self._is_closing = self._is_settled = self._is_paused = False
        self._unread_bytes = 0
        """Of answers of TLS itself."""
        self._error: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.certificate: PeerCertificate | None = None
        """Of the other end, verified; None if it has shown none, or the handshake is not done."""

    @property
    def peer(self) -> Any:
        """The other end's address, as the socket has it."""
        return self._transport.get_extra_info("peername")

    # asyncio.Protocol, to the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HANDSHAKE_SECONDS, self.fail, Refusal.TIMEOUT, "the handshake took too long")
        self._keeper.began(self)
        if not self._keeper.is_server:
            self._shake_hands()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._is_closing:
            return
        if self._keeper.is_server and not self._is_begun and data[0] != _HANDSHAKE_RECORD:
            self._transport.write(self._keeper.farewell(data, NO_TLS))
            self.fail(Refusal.PLAINTEXT, "it does not speak TLS", is_heard=True)
            return
        self._is_begun = True
        opened: list[bytes] = []
        is_end = False
        for at in range(0, len(data), _PIECE_BYTES):
            self._incoming.write(data[at : at + _PIECE_BYTES])
            if self._inner is None:
                self._shake_hands()
            is_end = self.is_closing() or (self._inner is not None and self._decrypt(opened))
            if is_end:
                break
        if self._inner is not None:
            self._pass_on(self._inner, opened, is_end=is_end)

    def eof_received(self) -> None:
        """Called by asyncio, which then closes the connection."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio, once, last."""
        self._is_closing = True
        self._settle(TlsFailure(Refusal.DISCONNECTED, "it hung up during the handshake"))
        if self._timer is not None:
            self._timer.cancel()
        self._keeper.gone(self)
        if self._inner is not None:
            self._inner.connection_lost(self._error or exc)

    def pause_writing(self) -> None:
        """Called by asyncio."""
        self._is_paused = True
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._is_paused = False
        self._unread_bytes = 0
        if self._inner is not None:
            self._inner.resume_writing()

    # The handshake

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._reply()
            return
        except ssl.SSLError as error:
            self._reply()
            failure = failure_of(error)
            self.fail(failure.refusal, str(failure), is_heard=True)
            return
        self._reply()
        self._open()

    def _open(self) -> None:
        try:
            self.certificate = peer_certificate(self._tls)
            inner = self._keeper.opened(self)
        except TlsFailure as failure:
            self._send(self._keeper.farewell(b"", str(failure)))
            self.fail(failure.refusal, str(failure), is_heard=True)
            return
        self._settle()
        self._inner = cast(asyncio.Protocol, inner)
        self._inner.connection_made(cast(asyncio.Transport, self))

    def fail(self, refusal: Refusal, reason: str, *, is_heard: bool = False) -> None:
        """Gives the handshake up; `is_heard` leaves the other end a moment to read what was said before."""
        if self._is_closing:
            return
        self._is_closing = True
        self._settle(TlsFailure(refusal, reason))
        if is_heard and not self._transport.is_closing():
            self._transport.write_eof()
            self._timer = asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._transport.abort)
        else:
            self._transport.abort()

    def _settle(self, failure: TlsFailure | None = None) -> None:
        """It is known, once, what became of the handshake."""
        if self._is_settled:
            return
        self._is_settled = True
        if self._timer is not None:
            self._timer.cancel()
        if failure is not None:
            self._keeper.failed(self, failure)

    # Data

    def _decrypt(self, opened: list[bytes]) -> bool:
        """Adds what has come to `opened`; whether it was the last."""
        try:
            while part := self._tls.read(_PIECE_BYTES):
                opened.append(part)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            self._error = failure_of(error)
        return True

    def _pass_on(self, inner: asyncio.Protocol, opened: list[bytes], *, is_end: bool) -> None:
        if self._outgoing.pending:
            self._ensure_read(self._outgoing.pending)
            self._reply()
        if opened:
            inner.data_received(opened[0] if len(opened) == 1 else b"".join(opened))
        if is_end:
            self.close()

    def _ensure_read(self, count: int) -> None:
        """Cuts the other end off if it makes TLS itself answer, so many bytes more, and does not read that."""
        if self._is_paused:
            self._unread_bytes += count
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self.abort()

    def _send(self, data: bytes) -> None:
        """Encrypts it and sends it. Raises `ssl.SSLError`."""
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left[:_PIECE_BYTES]) :]
            self._reply()

    def _reply(self) -> None:
        """Sends what was encrypted, or what TLS itself has to say."""
        data = self._outgoing.read()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    # asyncio.Transport, to what is inside

    def write(self, data: bytes) -> None:
        """As asyncio's."""
        if self._is_closing:
            return
        try:
            self._send(data)
        except ssl.SSLError:
            # What came last was no TLS, and the answer to what came before it can't be sent any more.
            self.abort()

    def close(self) -> None:
        """As asyncio's."""
        if not self._is_closing:
            self._is_closing = True
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._reply()
            self._transport.close()

    def abort(self) -> None:
        """As asyncio's."""
        self._is_closing = True
        self._transport.abort()

    def can_write_eof(self) -> bool:
        """False: TLS is closed at both ends or at none."""
        return False

    def is_closing(self) -> bool:
        """As asyncio's."""
        return self._is_closing or self._transport.is_closing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As asyncio's."""
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """As asyncio's, encrypted."""
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As asyncio's; `certificate` is the other end's."""
        return self.certificate if name == "certificate" else self._transport.get_extra_info(name, default)
