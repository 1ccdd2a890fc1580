import asyncio
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest

from meteora.pb import common_pb2, raft_pb2
from meteora.pb.raft_pb2_grpc import RaftServiceServicer, RaftServiceStub, add_RaftServiceServicer_to_server
from meteora.tls import Certificates, OutgoingTls
from meteora.transport import dialler
from meteora.transport.dialler import Dialler
from tests.certificates import Authority
from tests.unit.transport.peers import black_hole, unused_address

HOST = "127.0.0.1"


class Service(RaftServiceServicer):
    """Says OK."""

    async def Status(self, request: common_pb2.Null, context: object) -> raft_pb2.StatusReply:
        return raft_pb2.StatusReply(state=common_pb2.OK)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


async def status(dialler: Dialler, address: str) -> common_pb2.State:
    async with dialler.open_channel(address) as channel:
        reply = await RaftServiceStub(channel).Status(common_pb2.Null(), timeout=10)
    return reply.state


async def why_not(dialler: Dialler, address: str) -> str:
    with pytest.raises(ConnectionError) as failed:
        await dialler.connect(address)
    return str(failed.value)


@pytest.mark.parametrize("is_secure", [False, True])
def test_stubs_call_by_it_in_the_clear_and_by_tls(is_secure: bool, tmp_path: Path) -> None:
    async def story() -> None:
        authority = Authority(tmp_path)
        server = grpc.aio.server()
        add_RaftServiceServicer_to_server(Service(), server)
        pair = authority.issue("server")
        credentials = grpc.ssl_server_credentials(
            [(pair.key.read_bytes(), pair.cert.read_bytes())], authority.ca.read_bytes(), require_client_auth=True
        )
        address = f"{HOST}:0"
        port = server.add_secure_port(address, credentials) if is_secure else server.add_insecure_port(address)
        await server.start()
        try:
            tls = OutgoingTls(Certificates(authority.files("client"))) if is_secure else None
            assert await status(Dialler(tls), f"{HOST}:{port}") == common_pb2.OK
        finally:
            await server.stop(0)

    run(story())


def test_a_proxy_for_the_rest_of_the_world_is_not_for_other_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def story() -> None:
        with socket.create_server((HOST, 0)) as listener:
            connection = await Dialler().connect(f"{HOST}:{listener.getsockname()[1]}")
            connection.abort()
            await connection.closed

    run(story())


@pytest.mark.parametrize("address", ["", "host", "host:0", f"{'h' * 254}:1"])
def test_what_is_no_address_is_where_nobody_can_be_reached(address: str) -> None:
    # Another node may have said that it is there.
    async def story() -> None:
        assert "is not an address" in await why_not(Dialler(), address)

    run(story())


def test_where_nobody_listens_is_said_in_plain_words() -> None:
    async def story() -> None:
        assert await why_not(Dialler(), unused_address()) == "can't be connected to: Connection refused"

    run(story())


@pytest.mark.parametrize("host", ["no-such-host.invalid", "no\x00host"])
def test_a_name_that_leads_nowhere_is_said_in_plain_words(host: str) -> None:
    async def story() -> None:
        why = await why_not(Dialler(), f"{host}:1")
        assert why.startswith(("its name can't be looked up: ", "can't be connected to: "))

    run(story())


@pytest.mark.parametrize("host", [".dot", "x" * 253, "a..b"])
def test_a_name_that_no_certificate_can_bear_is_said_in_plain_words(host: str, tmp_path: Path) -> None:
    async def story() -> None:
        tls = OutgoingTls(Certificates(Authority(tmp_path).files("client")))
        why = await why_not(Dialler(tls), f"{host}:1")
        assert why.startswith(("its name can't be looked up: ", "can't be connected to: "))

    run(story())


def test_who_does_not_answer_the_handshake_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialler, "CONNECT_SECONDS", 0.1)

    async def story() -> None:
        tls = OutgoingTls(Certificates(Authority(tmp_path).files("client")))
        with black_hole() as address:
            assert await why_not(Dialler(tls), address) == "can't be connected to: no answer within 0.1 s"

    run(story())


def test_a_peer_that_speaks_no_tls_is_called_so(tmp_path: Path) -> None:
    async def story() -> None:
        tls = OutgoingTls(Certificates(Authority(tmp_path).files("client")))

        def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 505 HTTP Version Not Supported\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, HOST, 0)
        async with server:
            address = f"{HOST}:{server.sockets[0].getsockname()[1]}"
            assert await why_not(Dialler(tls), address) == "can't be connected to: it does not speak TLS there"

    run(story())
