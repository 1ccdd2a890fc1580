"""Our own server and client, by TLS, and others who connect to it."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from meteora.http2 import ClientConnection, ClientStream, Endpoint, connect
from meteora.http2.frames import GOAWAY, PREFACE, settings_frame
from meteora.tls import Certificates, IncomingTls, OutgoingTls, Refusal, TlsFailure, TlsFiles, incoming, layer
from meteora.tls.layer import NO_TLS
from tests.certificates import LONG_AGO, SOON, YESTERDAY, Authority
from tests.unit.http2.peers import HOST, PATIENCE_SECONDS, REQUEST, Application, Peer, body_of, run, until

LARGE = 250_000
"""About as long as the server takes as a whole."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "stranger")


class Server:
    """An endpoint, and what it asks of those who come."""

    def __init__(self, tls: IncomingTls, port: int, endpoint: Endpoint) -> None:
        self.tls = tls
        self.port = port
        self.endpoint = endpoint

    @property
    def refused(self) -> dict[Refusal, int]:
        return dict(self.tls.counters.refused)


@asynccontextmanager
async def serving(files: TlsFiles, *allowed_names: str) -> AsyncIterator[Server]:
    listener = socket.create_server((HOST, 0))
    tls = IncomingTls(Certificates(files), service="test", allowed_names=allowed_names)
    endpoint = Endpoint(Application().route, tls)
    await endpoint.start(listener)
    try:
        yield Server(tls, listener.getsockname()[1], endpoint)
    finally:
        await endpoint.stop(PATIENCE_SECONDS)


def outgoing(files: TlsFiles, *allowed_names: str) -> OutgoingTls:
    return OutgoingTls(Certificates(files, checks_address=not allowed_names), allowed_names=allowed_names)


@asynccontextmanager
async def connected(port: int, tls: OutgoingTls, host: str = HOST) -> AsyncIterator[ClientConnection]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        client = await connect(host, port, tls)
    try:
        yield client
    finally:
        client.abort()
        await client.closed


async def echo(client: ClientConnection, body: bytes) -> bytes:
    stream: ClientStream = client.request(REQUEST)
    stream.send(body, is_end=True)
    return await body_of(stream.read)


async def refusal_of(port: int, tls: OutgoingTls, host: str = HOST) -> str:
    """Why there is no connection: by this end, or, as TLS 1.3 has it, by the other end a moment later."""
    try:
        async with connected(port, tls, host) as client:
            stream = client.request(REQUEST)
            await until(lambda: stream.ending is not None)
            return str(stream.ending)
    except TlsFailure as failure:
        return str(failure)


# Those who are let in


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


def test_a_server_that_asks_for_no_certificate_knows_nobody(authority: Authority) -> None:
    async def story() -> None:
        async with (
            serving(authority.files("server", asks=False)) as server,
            connected(server.port, outgoing(authority.files("client"))) as client,
        ):
            assert await echo(client, b"hello") == b"hello"
            (known,) = server.endpoint.connections
            assert known.certificate is None

    run(story())


def test_who_has_shown_a_certificate_is_known(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            client_pair = authority.issue("client", "a.example", common_name="alice")
            files = TlsFiles(client_pair.cert, client_pair.key, authority.ca, "--")
            async with connected(server.port, outgoing(files)) as client:
                assert await echo(client, b"hello") == b"hello"
                (known,) = server.endpoint.connections
                assert known.certificate is not None
                assert known.certificate.names == ("alice", "a.example")

    run(story())


def test_a_name_on_the_list_is_let_in(authority: Authority) -> None:
    async def story() -> None:
        async with (
            serving(authority.files("server"), "node1", "node2") as server,
            connected(server.port, outgoing(authority.files("client", "node2", "localhost"))) as client,
        ):
            assert await echo(client, b"hello") == b"hello"

    run(story())


def test_who_dials_a_wildcard_asks_for_the_certificate_of_this_host(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server", "localhost")) as server:
            tls = outgoing(authority.files("client"))
            async with connected(server.port, tls, "0.0.0.0") as client:
                assert await echo(client, b"hello") == b"hello"
            assert "not valid for" in await refusal_of(server.port, tls, "127.0.0.1")

    run(story())


def test_with_a_list_the_address_does_not_matter(authority: Authority) -> None:
    async def story() -> None:
        async with (
            serving(authority.files("server", "node1")) as server,
            connected(server.port, outgoing(authority.files("client"), "node1")) as client,
        ):
            assert await echo(client, b"hello") == b"hello"

    run(story())


# Those who are not


@pytest.mark.parametrize(
    ("not_before", "not_after"), [(LONG_AGO, YESTERDAY), (SOON, None)], ids=["expired", "not yet valid"]
)
def test_a_client_whose_certificate_is_not_valid_now_is_refused(
    authority: Authority, not_before: datetime, not_after: datetime | None
) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            tls = outgoing(authority.files("client", not_before=not_before, not_after=not_after))
            assert await refusal_of(server.port, tls) == (
                "it refused the certificate of this end: certificate expired"
                if not_after
                else "it refused the certificate of this end: bad certificate"
            )
            assert server.refused == {Refusal.EXPIRED_CERTIFICATE: 1}
            assert not server.endpoint.connections

    run(story())


def test_a_client_of_another_authority_is_refused(authority: Authority, stranger: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            tls = outgoing(stranger.files("client")._replace(ca=authority.ca))
            assert await refusal_of(server.port, tls) == "it refused the certificate of this end: unknown ca"
            assert server.refused == {Refusal.UNTRUSTED_CERTIFICATE: 1}

    run(story())


def test_a_client_whose_name_is_not_on_the_list_is_refused_and_told(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server"), "node1") as server:
            tls = OutgoingTls(Certificates(authority.files("client", "node9"), checks_address=False))
            assert await refusal_of(server.port, tls) == "the names in this certificate are not allowed here: node9"
            assert server.refused == {Refusal.NAME_NOT_ALLOWED: 1}
            assert not server.endpoint.connections

    run(story())


def test_a_server_of_another_authority_is_not_trusted(authority: Authority, stranger: Authority) -> None:
    async def story() -> None:
        async with serving(stranger.files("server")) as server:
            refusal = await refusal_of(server.port, outgoing(authority.files("client")))
            assert refusal.startswith("its certificate is not accepted: ")
            await until(lambda: server.refused == {Refusal.REFUSED_BY_CLIENT: 1})

    run(story())


def test_a_server_whose_certificate_has_expired_is_not_trusted(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server", not_before=LONG_AGO, not_after=YESTERDAY)) as server:
            refusal = await refusal_of(server.port, outgoing(authority.files("client")))
            assert refusal == "its certificate is not accepted: certificate has expired"

    run(story())


def test_a_server_with_the_certificate_of_another_host_is_not_trusted(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server", "other.example")) as server:
            refusal = await refusal_of(server.port, outgoing(authority.files("client")))
            assert "IP address mismatch, certificate is not valid for '127.0.0.1'" in refusal

    run(story())


def test_a_server_that_is_not_on_the_list_is_not_trusted_whatever_its_address(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server", "127.0.0.1", "node9")) as server:
            refusal = await refusal_of(server.port, outgoing(authority.files("client"), "node1", "node2"))
            assert refusal == "the names in its certificate are not among --peer-allowed-names: 127.0.0.1, node9"

    run(story())


def test_a_server_that_speaks_no_tls_is_called_so(authority: Authority) -> None:
    async def story() -> None:
        listener = socket.create_server((HOST, 0))
        endpoint = Endpoint(Application().route)
        await endpoint.start(listener)
        try:
            refusal = await refusal_of(listener.getsockname()[1], outgoing(authority.files("client")))
            assert refusal == "it does not speak TLS there"
        finally:
            await endpoint.stop(PATIENCE_SECONDS)

    run(story())


# Others who connect


def handshake(port: int, context: ssl.SSLContext) -> str | None:
    """What a client of the standard library is told: why there is no connection, or None; blocks."""
    with socket.create_connection((HOST, port), PATIENCE_SECONDS) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                secure.recv(1)
        except ssl.SSLError as error:
            return error.reason
    return None


def trusting(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.ca)
    return context


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


def test_no_session_is_resumed(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server", asks=False)) as server:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = trusting(authority)
                context.maximum_version = version
                peer = await opened(server.port, context)
                peer.send(PREFACE, settings_frame({}))
                await peer.answered()
                session = peer.writer.get_extra_info("ssl_object").session
                assert session is None or not session.has_ticket
                await peer.close()

    run(story())


async def said_in_the_clear(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(data)
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await reader.read()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return answer


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


# Handshakes that don't end


def hello_of(context: ssl.SSLContext) -> bytes:
    """The first flight of a client."""
    incoming_bio, outgoing_bio = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming_bio, outgoing_bio, server_hostname="localhost").do_handshake()
    return outgoing_bio.read()


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


def test_one_too_many_cuts_off_who_has_taken_longest(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_HANDSHAKES", 3)

    async def story() -> None:
        async with serving(authority.files("server")) as server:
            slow = [await asyncio.open_connection(HOST, server.port) for _ in range(3)]
            await until(lambda: len(server.tls._under_way) == 3)
            async with connected(server.port, outgoing(authority.files("client"))) as client:
                assert await echo(client, b"hello") == b"hello"
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await slow[0][0].read() == b""
            assert server.refused == {Refusal.CROWDED_OUT: 1}
            for _, writer in slow:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
            await until(lambda: server.refused.get(Refusal.DISCONNECTED) == 2)

    run(story())


def test_a_probe_of_the_port_is_counted_and_not_told(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            with socket.create_connection((HOST, server.port)):
                pass
            await until(lambda: server.refused == {Refusal.DISCONNECTED: 1})

    run(story())
    assert not caplog.records


def test_handshakes_under_way_end_with_the_server(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            reader, writer = await asyncio.open_connection(HOST, server.port)
            await until(lambda: server.tls._under_way)
            await server.endpoint.stop(PATIENCE_SECONDS)
            async with asyncio.timeout(PATIENCE_SECONDS):
                with suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    run(story())


def test_who_is_refused_again_and_again_is_told_of_once_without_secrets(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            for _ in range(3):
                await asyncio.to_thread(handshake, server.port, trusting(authority))
            assert server.refused == {Refusal.NO_CERTIFICATE: 3}

    run(story())
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        'TLS connection refused service=test host=127.0.0.1 reason=no-certificate detail="it has shown no certificate"'
    )


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
