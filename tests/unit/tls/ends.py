"""What the tests of this room share: our own server and client, by TLS."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from meteora.http2 import Bounds, ClientConnection, ClientStream, Endpoint, connect
from meteora.tls import Certificates, IncomingTls, OutgoingTls, Refusal, TlsFailure, TlsFiles
from tests.certificates import Authority
from tests.unit.http2.peers import HOST, PATIENCE_SECONDS, REQUEST, Application, body_of, until


class Server:
    """An endpoint, and what it asks of those who come."""

    def __init__(self, tls: IncomingTls, port: int, endpoint: Endpoint, application: Application) -> None:
        self.tls = tls
        self.port = port
        self.endpoint = endpoint
        self.application = application

    @property
    def refused(self) -> dict[Refusal, int]:
        return dict(self.tls.counters.refused)


@asynccontextmanager
async def serving(files: TlsFiles, *allowed_names: str, bounds: Bounds | None = None) -> AsyncIterator[Server]:
    listener = socket.create_server((HOST, 0))
    tls = IncomingTls(Certificates(files), service="test", allowed_names=allowed_names)
    application = Application()
    endpoint = Endpoint(application.route, tls, bounds)
    await endpoint.start(listener)
    try:
        yield Server(tls, listener.getsockname()[1], endpoint, application)
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


def hello_of(context: ssl.SSLContext) -> bytes:
    """The first flight of a client."""
    incoming_bio, outgoing_bio = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming_bio, outgoing_bio, server_hostname="localhost").do_handshake()
    return outgoing_bio.read()


async def said_in_the_clear(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(data)
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await reader.read()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return answer
