"""TLS: hostile clients and hostile servers, before, in, and behind a handshake with OpenSSL itself.

What goes from one end to the other is changed on its way as the bytes of a case choose. Whatever that is, nobody is let
in who has not shown the right certificate, and nothing is taken for what was sent that was not.
"""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from meteora.tls import Certificates, IncomingTls, OutgoingTls, TlsFailure, TlsLayer
from tests.certificates import LONG_AGO, YESTERDAY, Authority, Pair
from tests.fuzz.choices import Choices
from tests.fuzz.wire import Wire, run, turns

HOST = "localhost"
ALLOWED = "node1"

RECORDS = (
    b"",
    bytes.fromhex("15030300020100"),
    bytes.fromhex("15030300020228"),
    bytes.fromhex("1503030002015a"),
    bytes.fromhex("140303000101"),
    bytes.fromhex("1703030000"),
    bytes.fromhex("16030300040e000000"),
    bytes.fromhex("1603030004000000001603030004000000"),
    bytes.fromhex("1703034100"),
    bytes.fromhex("8000"),
)
"""In the clear: alerts, a change of ciphers, nothing, parts of handshakes, one that is too long, and SSL 2."""


RIGHT = "right"
WHO = (*[RIGHT] * 5, "not listed", "of a stranger", "expired", "nobody")
"""Whose certificate the other end shows: mostly the right one, because with the others it ends with the handshake."""

VERSIONS = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2)

FAREWELL = b"no"


class _Sides(NamedTuple):
    """What both ends have."""

    ours: Certificates
    theirs: dict[tuple[str, ssl.TLSVersion, bool], ssl.SSLContext]
    """By who it is, what it speaks, and whether it is the server."""


@cache
def _sides() -> _Sides:
    with TemporaryDirectory() as folder:
        ours, stranger = Authority(Path(folder) / "ours"), Authority(Path(folder) / "theirs")
        pairs = {
            RIGHT: ours.issue("right", ALLOWED),
            "not listed": ours.issue("other", "node9"),
            "of a stranger": stranger.issue("stranger", ALLOWED),
            "expired": ours.issue("expired", ALLOWED, not_before=LONG_AGO, not_after=YESTERDAY),
            "nobody": None,
        }
        theirs = {
            (who, version, is_server): _context(pair, version, ours.ca, is_server=is_server)
            for who, pair in pairs.items()
            for version in VERSIONS
            for is_server in (False, True)
        }
        return _Sides(Certificates(ours.files("own", HOST), checks_address=False), theirs)


def _context(pair: Pair | None, version: ssl.TLSVersion, ca: Path, *, is_server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


class _Inside(asyncio.Protocol):
    """Answers what it is sent with the same, and keeps both."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.transport: asyncio.Transport | None = None
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert self.transport is None
        self.transport = transport  # type: ignore[assignment]  # our layer is none by inheritance

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        assert not self.is_lost
        assert data
        self.received += data
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self.transport is not None
        assert not self.is_lost
        self.is_lost = True


class _Socket(Wire):
    """A wire that says how much is not sent yet: nothing."""

    def get_write_buffer_size(self) -> int:
        return 0


class _OtherEnd:
    """OpenSSL, driven by hand."""

    def __init__(self, context: ssl.SSLContext, *, is_server: bool) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if is_server else HOST
        self._tls = context.wrap_bio(self._in, self._out, server_side=is_server, server_hostname=name)
        self.is_done = self.has_failed = False
        self.sent = bytearray()
        self.received = bytearray()

    def take(self, data: bytes) -> bytes:
        """What it says when it hears this."""
        self._in.write(data)
        try:
            if not self.is_done:
                self._tls.do_handshake()
                self.is_done = True
            while part := self._tls.read(1 << 16):
                self.received += part
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.has_failed = True
        return self._out.read()

    def say(self, data: bytes) -> bytes:
        """This, encrypted."""
        if not self.is_done or self.has_failed:
            return b""
        with suppress(ssl.SSLError):
            self._tls.write(data)
            self.sent += data
        return self._out.read()

    def say_goodbye(self) -> bytes:
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._out.read()


def _changed(choices: Choices, data: bytes) -> bytes:
    """What arrives of what was sent: mostly all of it."""
    match choices.byte() % 32:
        case 1 if data:
            at = choices.byte() % len(data)
            return data[:at] + bytes((data[at] ^ (1 << choices.byte() % 8),)) + data[at + 1 :]
        case 2:
            return data[: choices.byte()]
        case 3:
            return choices.chunk() + data
        case 4:
            return data + choices.one_of(RECORDS)
        case 5:
            return choices.one_of(RECORDS) + data
        case 6:
            return data + data
        case 7:
            return choices.chunk()
        case _:
            return data


def _pieces(choices: Choices, data: bytes) -> Iterator[bytes]:
    cut = choices.byte()
    return filter(None, (data[:cut], data[cut:]))


async def _talk(choices: Choices, layer: TlsLayer, other: _OtherEnd) -> None:
    """All that is said, and the end."""
    wire = _Socket(layer)
    layer.connection_made(wire)
    heard = 0
    flights = 0
    said = other.take(b"")
    while not wire.is_closing() and (choices or said):
        for piece in _pieces(choices, _changed(choices, said)):
            if not wire.is_closing():
                layer.data_received(piece)
        await turns()
        said, heard = other.take(bytes(wire.written[heard:])), len(wire.written)
        flights += 1
        if flights > 64:
            break
        if not said and choices:
            said = other.say_goodbye() if choices.byte() == 255 else _flight(choices, other)
    if not wire.is_closing():
        layer.eof_received()
    other.take(bytes(wire.written[heard:]))
    wire.lose()
    await turns()


def _flight(choices: Choices, other: _OtherEnd) -> bytes:
    """A few records."""
    return b"".join(other.say(choices.chunk()) for _ in range(1 + choices.byte() % 4))


def _ensure_honest(inside: _Inside, other: _OtherEnd, who: str) -> None:
    """Nobody was let in who should not be, and nothing was changed on the way."""
    if inside.transport is None:
        assert FAREWELL.startswith(other.received)
        return
    assert who == RIGHT, "somebody was let in without the right certificate"
    assert inside.is_lost
    assert other.sent.startswith(inside.received)
    assert inside.received.startswith(other.received)


async def _serve(choices: Choices, who: str, version: ssl.TLSVersion) -> None:
    tls = IncomingTls(_sides().ours, service="fuzz", allowed_names=(ALLOWED,))
    counters = tls.counters
    before = counters.handshakes + counters.refused.total()
    inside = _Inside()
    layer = tls.new_layer(lambda: inside, lambda said, reason: FAREWELL)
    other = _OtherEnd(_sides().theirs[who, version, False], is_server=False)
    await _talk(choices, layer, other)
    assert tls.handshakes == 0
    assert counters.handshakes + counters.refused.total() == before + 1
    _ensure_honest(inside, other, who)


def tls_server(data: bytes) -> None:
    """A client."""
    choices = Choices(data)
    run(_serve(choices, choices.one_of(WHO), choices.one_of(VERSIONS)))


async def _dial(choices: Choices, who: str, version: ssl.TLSVersion) -> None:
    inside = _Inside()
    layer, done = OutgoingTls(_sides().ours, allowed_names=(ALLOWED,)).new_layer(HOST, lambda: inside)
    other = _OtherEnd(_sides().theirs[who, version, True], is_server=True)
    await _talk(choices, layer, other)
    assert isinstance(done.exception(), TlsFailure) is (inside.transport is None)
    _ensure_honest(inside, other, who)


def tls_client(data: bytes) -> None:
    """A server."""
    choices = Choices(data)
    run(_dial(choices, choices.one_of(WHO), choices.one_of(VERSIONS)))
