"""HTTP/1.1 on the KV port: what speaks it badly, and calls in JSON and in protobuf's own form."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

from meteora.http1 import Http1Gateway
from meteora.http2 import Endpoint
from meteora.http2.server import ServerConnection
from meteora.rpc.connect import add_connect_methods
from meteora.web import Request, Response, WebApplication
from tests.fuzz.choices import Choices
from tests.fuzz.rpc_targets import BOMB, MAX_MESSAGE_BYTES, application_of_all, zipped
from tests.fuzz.wire import Wire, run, turns

METHODS = (b"POST", b"GET", b"HEAD", b"PUT", b"OPTIONS", b"PR\x00", b"")
PATHS = (b"/grpc.health.v1.Health/Check", b"/fuzz.Probe/Echo", b"/fuzz.Probe/Each", b"/page", b"*", b"http://x/", b"")
VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 ", b"")
NAMES = (
    b"content-length",
    b"transfer-encoding",
    b"content-type",
    b"content-encoding",
    b"connect-timeout-ms",
    b"connect-protocol-version",
    b"connection",
    b"expect",
    b"origin",
    b"host",
    b"x-bin",
    b"bad name",
)
VALUES = (
    b"0",
    b"2",
    b"99999999999",
    b"-1",
    b"chunked",
    b"chunked, chunked",
    b"application/json",
    b"application/proto",
    b"text/plain",
    b"gzip",
    b"identity",
    b"100-continue",
    b"close",
    b"keep-alive",
    b"x",
    b"\xff",
)
BODIES = (b"{}", b'{"service": ""}', b"[" * 300, b'{"service": "' + b"x" * 300 + b'"}', b"\xff\xfe", BOMB, b"")

_STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d) ")


async def _page(request: Request) -> Response:
    return Response(200, [(b"content-type", b"text/plain")], request.path.encode())


def _request(choices: Choices) -> bytes:
    if choices.byte() > 230:
        return choices.chunk()
    body = choices.chunk() if choices.flag() else choices.one_of(BODIES)
    body = zipped(body) if choices.byte() > 200 else body
    headers = [(b"host", b"x"), (b"content-type", b"application/json")] if choices.byte() < 200 else []
    headers += [(choices.one_of(NAMES), choices.one_of(VALUES)) for _ in range(choices.byte() % 4)]
    if choices.byte() < 200:
        headers.append((b"content-length", b"%d" % len(body)))
    first = b" ".join((choices.one_of(METHODS), choices.one_of(PATHS), choices.one_of(VERSIONS)))
    return b"\r\n".join([first, *(name + b": " + value for name, value in headers), b"", body])


async def _talk(choices: Choices) -> None:
    application = application_of_all()
    web = WebApplication(MAX_MESSAGE_BYTES)
    web.add("GET", "/page", _page)
    thread = ThreadPoolExecutor(1)
    add_connect_methods(web, application.methods, application.running, thread)
    endpoint = Endpoint(application.route)
    endpoint.open_other = Http1Gateway(web).open
    connection = ServerConnection(endpoint)
    wire = Wire(connection)
    connection.connection_made(wire)
    for _ in range(8):
        if not choices or wire.is_closing():
            break
        said = _request(choices)
        step = 1 + choices.byte() * 4
        for at in range(0, len(said), step):
            if not wire.is_closing():
                connection.data_received(said[at : at + step])
            if choices.flag():
                await turns()
    if choices.flag() and not wire.is_closing():
        connection.eof_received()
    await turns(20)
    wire.lose()
    await turns(20)
    await application.running.stop(0)
    web.stop()
    await web.wait_for_end()
    await application.running.wait_for_end()
    await asyncio.to_thread(thread.shutdown)
    for status in _STATUS.findall(bytes(wire.written)):
        assert status != b"500", bytes(wire.written)


def http1(data: bytes) -> None:
    """Requests that are nearly right, in pieces, one after another on a connection."""
    run(_talk(Choices(data)))
