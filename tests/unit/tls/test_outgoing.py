"""Whom a node trusts when it dials."""

import asyncio
import gc
import socket

import pytest

from meteora.http2 import ClientConnection, Endpoint, connect
from meteora.tls import Certificates, OutgoingTls, Refusal, TlsLayer, layer
from meteora.tls.layer import Inside
from tests.certificates import LONG_AGO, YESTERDAY, Authority
from tests.unit.http2.peers import HOST, PATIENCE_SECONDS, Application, run, until
from tests.unit.tls.ends import connected, echo, outgoing, refusal_of, serving


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
            assert "IP address mismatch, certificate is not valid for '127.0.0.1'; put that into its subj" in refusal

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


def test_who_gives_up_while_it_connects_is_not_told_later(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "HANDSHAKE_SECONDS", 0.05)
    errors: list[object] = []

    class Impatient(OutgoingTls):
        """Gives up as soon as there is a connection."""

        def new_layer(self, host: str, inside: Inside) -> tuple[TlsLayer, "asyncio.Future[None]"]:
            made, done = super().new_layer(host, inside)
            begin = made.connection_made

            def give_up(transport: asyncio.BaseTransport) -> None:
                begin(transport)
                connecting.cancel()

            made.connection_made = give_up  # type: ignore[method-assign]  # an instant that nothing else tells of
            return made, done

    async def story() -> None:
        nonlocal connecting
        asyncio.get_running_loop().set_exception_handler(lambda _, found: errors.append(found))
        async with serving(authority.files("server")) as server:
            connecting = asyncio.create_task(
                connect(HOST, server.port, Impatient(Certificates(authority.files("client"))))
            )
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await until(lambda: server.refused == {Refusal.DISCONNECTED: 1})
        loop = asyncio.get_running_loop()
        over = loop.time() + 2 * layer.HANDSHAKE_SECONDS
        await until(lambda: loop.time() > over)
        gc.collect()

    connecting: asyncio.Task[ClientConnection]
    run(story())
    assert errors == []
