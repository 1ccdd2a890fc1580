"""Who is let in at a port, and what is counted and told of the others."""

import asyncio
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from meteora.http2 import Bounds
from meteora.tls import Certificates, OutgoingTls, Refusal, TlsFiles, incoming, layer
from tests.certificates import LONG_AGO, SOON, UNREADABLE_NAMES, YESTERDAY, Authority, self_signed
from tests.unit.http2.peers import HOST, PATIENCE_SECONDS, run, until
from tests.unit.tls.ends import (
    connected,
    echo,
    handshake,
    hello_of,
    outgoing,
    refusal_of,
    serving,
    trusting,
)

CLOSE_NOTIFY = bytes.fromhex("15030300020100")
"""The alert, in the clear."""


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
            client_pair = authority.issue("client", "a.example", "10.0.0.1", "fd00::1", common_name="alice")
            files = TlsFiles(client_pair.cert, client_pair.key, authority.ca, "--")
            async with connected(server.port, outgoing(files)) as client:
                assert await echo(client, b"hello") == b"hello"
                (known,) = server.endpoint.connections
                assert known.certificate is not None
                assert known.certificate.names == ("alice", "a.example", "10.0.0.1", "fd00::1")

    run(story())


def test_a_name_on_the_list_is_let_in(authority: Authority) -> None:
    async def story() -> None:
        async with (
            serving(authority.files("server"), "node1", "node2") as server,
            connected(server.port, outgoing(authority.files("client", "node2", "localhost"))) as client,
        ):
            assert await echo(client, b"hello") == b"hello"

    run(story())


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


def test_an_authority_is_replaced_by_way_of_both(authority: Authority, stranger: Authority) -> None:
    async def story() -> None:
        files = authority.files("server")
        old_client = outgoing(authority.files("client"))
        new_client = outgoing(stranger.files("client")._replace(ca=authority.ca))
        old, new = authority.ca.read_bytes(), stranger.ca.read_bytes()
        async with serving(files) as server:
            authority.ca.write_bytes(old + new)
            server.tls.certificates.current = Certificates(files).current
            for tls in (old_client, new_client):
                async with connected(server.port, tls) as client:
                    assert await echo(client, b"hello") == b"hello"
            authority.ca.write_bytes(new)
            server.tls.certificates.current = Certificates(files).current
            assert await refusal_of(server.port, old_client) == "it refused the certificate of this end: unknown ca"
            async with connected(server.port, new_client) as client:
                assert await echo(client, b"hello") == b"hello"

    run(story())


def test_a_client_whose_name_is_not_on_the_list_is_refused_and_told(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server"), "node1") as server:
            tls = OutgoingTls(Certificates(authority.files("client", "node9"), checks_address=False))
            assert await refusal_of(server.port, tls) == "the names in this certificate are not allowed here: node9"
            assert server.refused == {Refusal.NAME_NOT_ALLOWED: 1}
            assert not server.endpoint.connections

    run(story())


DIRECTORY_NAME = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node1")]))


@pytest.mark.parametrize(
    ("alternative_names", "refusal", "words"),
    [
        (
            x509.SubjectAlternativeName([DIRECTORY_NAME]).public_bytes(),
            Refusal.NAME_NOT_ALLOWED,
            "the names in this certificate are not allowed here: node9",
        ),
        (UNREADABLE_NAMES, Refusal.UNTRUSTED_CERTIFICATE, "the names in this certificate can't be read"),
    ],
    ids=["a name that is no text", "text that can't be read"],
)
def test_a_client_whose_names_are_odd_is_refused_and_told(
    authority: Authority, tmp_path: Path, alternative_names: bytes, refusal: Refusal, words: str
) -> None:
    async def story() -> None:
        pair = self_signed(tmp_path, alternative_names)
        async with serving(authority.files("server")._replace(ca=pair.cert), "node1") as server:
            tls = OutgoingTls(Certificates(TlsFiles(*pair, authority.ca, "--"), checks_address=False))
            assert await refusal_of(server.port, tls) == words
            assert server.refused == {refusal: 1}

    run(story())


# Handshakes that don't end


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


def test_who_has_proven_nothing_keeps_nobody_out_who_would(authority: Authority) -> None:
    async def story() -> None:
        async with serving(authority.files("server"), bounds=Bounds(max_connections=3)) as server:
            slow = [await asyncio.open_connection(HOST, server.port) for _ in range(3)]
            await until(lambda: server.tls.handshakes == 3)
            tls = outgoing(authority.files("client"))
            async with connected(server.port, tls) as one, connected(server.port, tls) as other:
                assert [await echo(each, b"hello") for each in (one, other)] == [b"hello"] * 2
                assert server.refused == {Refusal.CROWDED_OUT: 2}
                async with connected(server.port, tls) as third:
                    assert await echo(third, b"hello") == b"hello"
                    with pytest.raises(ConnectionError):
                        async with connected(server.port, tls):
                            pass
            assert server.endpoint.refused_connections == 1
            for _, writer in slow:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    run(story())


def test_those_who_were_refused_and_stay_count_until_they_have_gone(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "MAX_HANDSHAKES", 1)
    monkeypatch.setattr(layer, "LAST_WORDS_SECONDS", 2 * PATIENCE_SECONDS)

    async def story() -> None:
        async with serving(authority.files("server")) as server:
            reader, writer = await asyncio.open_connection(HOST, server.port)
            writer.write(b"nonsense")
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            assert len(server.tls._under_way) == 1
            async with connected(server.port, outgoing(authority.files("client"))) as client:
                assert await echo(client, b"hello") == b"hello"
            assert server.refused == {Refusal.PLAINTEXT: 1}
            assert not server.tls._under_way
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    run(story())


def test_a_probe_of_the_port_is_counted_and_not_told(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            with socket.create_connection((HOST, server.port)):
                pass
            await until(lambda: server.refused == {Refusal.DISCONNECTED: 1})

    run(story())
    assert not caplog.records


def test_who_says_good_bye_during_the_handshake_is_counted_and_not_told(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with serving(authority.files("server")) as server:
            reader, writer = await asyncio.open_connection(HOST, server.port)
            writer.write(hello_of(trusting(authority)))
            await reader.readexactly(1)
            writer.write(CLOSE_NOTIFY)
            await until(lambda: server.refused == {Refusal.DISCONNECTED: 1})
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

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
