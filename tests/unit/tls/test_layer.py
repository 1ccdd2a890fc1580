"""One connection by TLS: the handshake, those who don't speak it, and what is sent."""

import asyncio
import socket
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meteora.http2.frames import GOAWAY, PREFACE, settings_frame
from meteora.tls import Certificates, IncomingTls, Refusal, layer, peer_certificate
from meteora.tls.layer import NO_TLS
from tests.certificates import Authority
from tests.unit.http2.peers import HOST, PATIENCE_SECONDS, Peer, request_frames, run, until
from tests.unit.tls.ends import (
    connected,
    echo,
    handshake,
    hello_of,
    outgoing,
    refusal_of,
    said_in_the_clear,
    serving,
    trusting,
)

# Those who are let in


LARGE = 250_000
"""About as long as the server takes as a whole."""


@pytest.mark.parametrize("size", [0, 1, 20_000, LARGE])
def test_what_is_asked_by_tls_is_answered(authority: Authority, size: int) -> None:
    async def story() -> None:
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        async with serving(authority.files("server")) as server:
            async with connected(server.port, outgoing(authority.files("client"))) as client:
                assert await echo(client, body) == body
            assert (server.tls.counters.handshakes, server.refused) == (1, {})

    run(story())


def test_more_than_fits_the_sockets_gets_through_both_ways(authority: Authority) -> None:
    async def story() -> None:
        bodies = [bytes([each]) * LARGE for each in range(60)]
        async with (
            serving(authority.files("server")) as server,
            connected(server.port, outgoing(authority.files("client"))) as client,
        ):
            assert await asyncio.gather(*(echo(client, body) for body in bodies)) == bodies

    run(story())


def memory_bytes() -> int:
    """What this process has in memory now."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="memory is looked up in /proc")
def test_a_connection_keeps_no_room_for_what_was_once_long(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server, AsyncExitStack() as stack:
            tls = outgoing(authority.files("client"))
            clients = [await stack.enter_async_context(connected(server.port, tls)) for _ in range(40)]
            for client in clients:
                await echo(client, b"hello")
            await echo(clients[0], bytes(LARGE))
            before = memory_bytes()
            for client in clients[1:]:
                assert len(await echo(client, bytes(LARGE))) == LARGE
                server.application.bodies.clear()
            # Of both ends, and of encrypting and decrypting at each.
            assert (memory_bytes() - before) / len(clients) < LARGE

    run(story())


# Others who connect


def test_who_shows_no_certificate_is_refused(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            reason = await asyncio.to_thread(handshake, server.port, trusting(authority))
            assert reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
            assert server.refused == {Refusal.NO_CERTIFICATE: 1}

    run(story())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_who_speaks_tls_1_1_is_refused(authority: Authority) -> None:
    async def story() -> None:
        context = trusting(authority)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        async with serving(authority.files("server", asks=False)) as server:
            assert await asyncio.to_thread(handshake, server.port, context) == "TLSV1_ALERT_PROTOCOL_VERSION"
            assert server.refused == {Refusal.VERSION: 1}

    run(story())


def test_who_knows_only_weak_ciphers_is_refused(authority: Authority) -> None:
    async def story() -> None:
        context = trusting(authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-AES128-SHA256:AES128-SHA")
        async with serving(authority.files("server", asks=False)) as server:
            assert await asyncio.to_thread(handshake, server.port, context) == "SSLV3_ALERT_HANDSHAKE_FAILURE"
            assert server.refused == {Refusal.CIPHER: 1}

    run(story())


async def opened(port: int, context: ssl.SSLContext) -> Peer:
    return Peer(*await asyncio.open_connection(HOST, port, ssl=context, server_hostname="localhost"))


@pytest.mark.parametrize(
    ("version", "offered", "chosen"),
    [
        (ssl.TLSVersion.TLSv1_2, ["h2"], "h2"),
        (ssl.TLSVersion.TLSv1_3, ["h2"], "h2"),
        (ssl.TLSVersion.TLSv1_3, ["spdy/1", "h2"], "h2"),
        (ssl.TLSVersion.TLSv1_3, ["spdy/1"], None),
        (ssl.TLSVersion.TLSv1_3, [], None),
    ],
)
def test_http_2_is_spoken_whether_or_not_it_was_agreed_upon(
    authority: Authority, version: ssl.TLSVersion, offered: list[str], chosen: str | None
) -> None:
    async def story() -> None:
        context = trusting(authority)
        context.minimum_version = context.maximum_version = version
        if offered:
            context.set_alpn_protocols(offered)
        async with serving(authority.files("server", asks=False)) as server:
            peer = await opened(server.port, context)
            assert peer.writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
            peer.send(PREFACE, settings_frame({}))
            await peer.answered()
            await peer.close()

    run(story())


def reused(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
    """Whether a session was resumed, and the one that there is now; blocks. Raises `ConnectionError`."""
    with (
        socket.create_connection((HOST, port), PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as secure,
    ):
        secure.sendall(PREFACE + settings_frame({}))
        if secure.recv(9)[3] == GOAWAY:
            raise ConnectionError
        return bool(secure.session_reused), secure.session


def showing(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client with a certificate."""
    context = trusting(authority)
    context.maximum_version = version
    pair = authority.issue("client")
    context.load_cert_chain(pair.cert, pair.key)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_outlives_the_certificates_that_it_began_with(authority: Authority, version: ssl.TLSVersion) -> None:
    async def story() -> None:
        context = showing(authority, version)
        async with serving(authority.files("server")) as server:
            _, session = await asyncio.to_thread(reused, server.port, context, None)
            server.tls.certificates.current = Certificates(authority.files("server")).current
            was_reused, _ = await asyncio.to_thread(reused, server.port, context, session)
            assert not was_reused

    run(story())


def test_a_session_does_not_outlive_the_certificate_of_its_client(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        context = showing(authority, ssl.TLSVersion.TLSv1_2)
        async with serving(authority.files("server")) as server:
            _, session = await asyncio.to_thread(reused, server.port, context, None)
            monkeypatch.setattr(peer_certificate, "time", Later())
            with pytest.raises(ConnectionError):
                await asyncio.to_thread(reused, server.port, context, session)
            assert server.refused == {Refusal.EXPIRED_CERTIFICATE: 1}

    run(story())


class Later:
    """A clock of a thousand years later."""

    def time(self) -> float:
        return time.time() + 1000 * 365 * 86_400


@pytest.mark.parametrize("request_bytes", [b"GET / HTTP/1.1\r\n\r\n", b"P", b"nonsense"])
def test_who_does_not_speak_tls_is_told_so_in_the_words_of_http(authority: Authority, request_bytes: bytes) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            answer = await said_in_the_clear(server.port, request_bytes)
            assert NO_TLS.encode() in answer
            assert answer.startswith(b"HTTP/1.1 400 ") is (request_bytes != b"P")
            assert server.refused == {Refusal.PLAINTEXT: 1}

    run(story())


def test_who_speaks_http_2_in_the_clear_is_told_so_in_that(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            reader, writer = await asyncio.open_connection(HOST, server.port)
            peer = Peer(reader, writer)
            peer.send(PREFACE, settings_frame({}))
            assert NO_TLS.encode() in (await peer.expect(GOAWAY)).payload
            await peer.close()

    run(story())


@pytest.mark.parametrize("said", [lambda hello: b"", lambda hello: hello[:20], lambda hello: hello])
def test_who_takes_too_long_is_cut_off(
    authority: Authority, said: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "HANDSHAKE_SECONDS", 0.05)

    async def story() -> None:
        async with serving(authority.files("server")) as server:
            await said_in_the_clear(server.port, said(hello_of(trusting(authority))))
            assert server.refused == {Refusal.TIMEOUT: 1}

    run(story())


# On a connection that is open


def test_what_is_no_tls_on_an_open_connection_ends_it(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            async with connected(server.port, outgoing(authority.files("client"))) as client:
                assert await echo(client, b"hello") == b"hello"
                under: Any = client._transport
                under._transport.write(b"\x17\x03\x03\x00\x20" + bytes(32))
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await client.closed
            await until(lambda: not server.endpoint.connections)

    run(story())


def test_what_is_no_tls_right_behind_a_request_ends_the_connection_and_is_no_error(authority: Authority) -> None:
    async def story() -> None:
        async with (
            serving(authority.files("server")) as server,
            connected(server.port, outgoing(authority.files("client"))) as client,
        ):
            # Twice, so that nothing is on its way any more.
            assert [await echo(client, b"hello") for _ in range(2)] == [b"hello"] * 2
            ours: Any = client._transport
            ours._tls.write(request_frames(5, b"hello"))
            (served,) = server.endpoint.connections
            theirs: Any = served._transport
            theirs.data_received(ours._outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await client.closed

    run(story())


class Deaf(asyncio.Transport):
    """Leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (HOST, 1) if name == "peername" else default


@pytest.mark.parametrize("reads", [True, False])
def test_who_makes_tls_answer_and_does_not_read_that_is_cut_off(authority: Authority, *, reads: bool) -> None:
    async def story() -> None:
        tls = IncomingTls(Certificates(authority.files("server", asks=False)), service="test")
        served, transport = tls.new_layer(asyncio.Protocol, lambda said, reason: b""), Deaf()
        served.connection_made(transport)
        heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting(authority).wrap_bio(heard, said, server_hostname="localhost")
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        served.data_received(said.read())
        heard.write(transport.written)
        client.do_handshake()
        served.data_received(said.read())
        if not reads:
            served.pause_writing()
        for _ in range(2 * layer.MAX_UNREAD_BYTES // len(KEY_UPDATE)):
            # Updates of keys, as an answer to such: which Python's own client can't ask for.
            served._outgoing.write(KEY_UPDATE)
            client.write(b"x")
            served.data_received(said.read())
        assert transport.is_aborted is not reads
        served.connection_lost(None)

    run(story())


KEY_UPDATE = bytes(27)


def test_new_certificates_are_for_new_connections(authority: Authority, stranger: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            tls = outgoing(authority.files("client"))
            async with connected(server.port, tls) as before:
                assert await echo(before, b"before") == b"before"
                server.tls.certificates.current = Certificates(stranger.files("server")).current
                assert "not accepted" in await refusal_of(server.port, tls)
                async with connected(server.port, outgoing(stranger.files("client"))) as after:
                    assert await echo(after, b"after") == b"after"
                assert await echo(before, b"still there") == b"still there"

    run(story())


# Nonsense


def in_records(data: bytes) -> bytes:
    """As if it were a handshake."""
    return b"\x16\x03\x01" + len(data).to_bytes(2) + data


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(in_records)))
def test_whatever_is_said_instead_of_a_handshake_is_refused_and_nothing_fails(
    authority: Authority, data: bytes
) -> None:
    errors: list[object] = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, found: errors.append(found))
        async with serving(authority.files("server")) as server:
            _, writer = await asyncio.open_connection(HOST, server.port)
            writer.write(data)
            writer.write_eof()
            await until(lambda: sum(server.refused.values()) == 1)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    run(story())
    assert errors == []
