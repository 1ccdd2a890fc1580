"""HTTP/1.1 through real sockets: what is answered, what is refused, who is cut off, and how it ends."""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meteora.http1 import Http1Gateway, connection
from meteora.http2 import Bounds, Endpoint
from meteora.http2 import server as server_module
from meteora.rpc import listener
from meteora.tls import Certificates, IncomingTls
from meteora.web import Http2Gateway, Request, Response, WebApplication, text_response
from meteora.web import application as web_application
from tests.certificates import Authority

PATIENCE_SECONDS = 20.0
MAX_BODY_BYTES = 100_000
LARGE_BYTES = 16 << 20
"""More than both ends' sockets hold."""
GET = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"


def run(story: Coroutine[Any, Any, None]) -> None:
    uvloop.run(asyncio.wait_for(story, PATIENCE_SECONDS))


@dataclass
class Served:
    """An application, where it listens, and what it was asked."""

    application: WebApplication
    gateway: Http1Gateway
    endpoint: Endpoint
    port: int
    requests: list[Request] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """`/held` is answered once it is set."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when `/held` has ended."""

    async def hello(self, request: Request) -> Response:
        self.requests.append(request)
        return text_response(200, request.target)

    async def echo(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(200, [], request.body)

    async def hold(self, request: Request) -> Response:
        self.requests.append(request)
        try:
            await self.held.wait()
        finally:
            self.ended.set()
        return text_response(200, "at last")

    async def fail(self, _: Request) -> Response:
        raise KeyError("secret")

    async def large(self, _: Request) -> Response:
        return Response(200, [], bytes(LARGE_BYTES))


@asynccontextmanager
async def serving(tls: IncomingTls | None = None, bounds: Bounds | None = None) -> AsyncIterator[Served]:
    application = WebApplication(MAX_BODY_BYTES)
    gateway = Http1Gateway(application)
    endpoint = Endpoint(Http2Gateway(application).route, tls, bounds)
    endpoint.open_other = gateway.open
    sock = listener.bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    listener.listen(sock, "127.0.0.1", port)
    await endpoint.start(sock)
    served = Served(application, gateway, endpoint, port)
    application.add("GET", "/", served.hello)
    application.add("POST", "/echo", served.echo)
    application.add("GET", "/held", served.hold)
    application.add("GET", "/fails", served.fail)
    application.add("GET", "/large", served.large)
    try:
        yield served
    finally:
        served.held.set()
        application.stop()
        await endpoint.stop(PATIENCE_SECONDS)
        await application.wait_for_end()
        assert (gateway.connections, application.bodies_bytes) == (set(), 0)


@asynccontextmanager
async def socket_to(
    port: int, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer_to(served: Served, *said: bytes) -> bytes:
    """All that comes back, until this end is closed by the other one."""
    async with socket_to(served.port) as (reader, writer):
        for part in said:
            writer.write(part)
        return await reader.read()


def status_of(answer: bytes) -> int:
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert match is not None, answer
    return int(match[1])


def closing(request: bytes) -> bytes:
    return request.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)


def post(body: bytes, *headers: bytes) -> bytes:
    head = b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: %d\r\n" % len(body)
    return head + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


# What is answered


def test_a_request_is_answered() -> None:
    async def story() -> None:
        async with serving() as served:
            answer = await answer_to(served, closing(b"GET /?a=1 HTTP/1.1\r\nhost: test\r\nX-Y: z\r\n\r\n"))
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"\r\n\r\n/?a=1\n")
            (request,) = served.requests
            assert (request.path, request.query, request.header(b"x-y")) == ("/", {"a": ["1"]}, b"z")

    run(story())


def test_a_connection_is_kept_for_the_next_request() -> None:
    async def story() -> None:
        async with serving() as served, socket_to(served.port) as (reader, writer):
            for _ in range(3):
                writer.write(GET)
                assert status_of(await reader.readuntil(b"\r\n\r\n")) == 200
                assert await reader.readexactly(2) == b"/\n"

    run(story())


def test_what_is_sent_ahead_is_answered_in_order() -> None:
    async def story() -> None:
        async with serving() as served:
            targets = [b"/?%d" % number for number in range(20)]
            requests = [b"GET %b HTTP/1.1\r\nhost: test\r\n\r\n" % target for target in targets]
            requests[-1] = closing(requests[-1])
            answer = await answer_to(served, b"".join(requests))
            assert re.findall(rb"\r\n\r\n(.*)\n", answer) == targets

    run(story())


def test_a_request_may_come_byte_by_byte() -> None:
    async def story() -> None:
        async with serving() as served, socket_to(served.port) as (reader, writer):
            for byte in closing(GET):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            assert status_of(await reader.read()) == 200

    run(story())


@pytest.mark.parametrize("size", [0, 1, MAX_BODY_BYTES])
def test_a_body_arrives(size: int) -> None:
    async def story() -> None:
        async with serving() as served:
            body = bytes(size)
            assert (await answer_to(served, post(body, b"connection: close"))).endswith(b"\r\n\r\n" + body)

    run(story())


def test_a_body_may_be_chunked() -> None:
    async def story() -> None:
        async with serving() as served:
            head = b"POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
            answer = await answer_to(served, head, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            assert answer.endswith(b"\r\n\r\nabcde")

    run(story())


def test_who_asks_first_is_told_to_go_on() -> None:
    async def story() -> None:
        async with serving() as served, socket_to(served.port) as (reader, writer):
            head, _, body = post(b"abc", b"expect: 100-continue", b"connection: close").partition(b"\r\n\r\n")
            writer.write(head + b"\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(body)
            assert (await reader.read()).endswith(b"\r\n\r\nabc")

    run(story())


def test_head_gets_what_get_would_but_for_the_body() -> None:
    async def story() -> None:
        async with serving() as served:
            answer = await answer_to(served, closing(GET.replace(b"GET", b"HEAD")))
            assert status_of(answer) == 200
            assert b"\r\ncontent-length: 2\r\n" in answer
            assert answer.endswith(b"\r\n\r\n")

    run(story())


def test_head_with_a_body_is_refused_without_one() -> None:
    async def story() -> None:
        raised: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
        async with serving() as served:
            answer = await answer_to(served, b"HEAD / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
            assert status_of(answer) == 413
            assert answer.endswith(b"\r\n\r\n")
        assert raised == []

    run(story())


@pytest.mark.parametrize(
    ("method", "path", "status"), [(b"GET", b"/no", 404), (b"PUT", b"/", 405), (b"GET", b"/fails", 500)]
)
def test_what_is_not_served_is_answered_so(method: bytes, path: bytes, status: int) -> None:
    async def story() -> None:
        async with serving() as served:
            answer = await answer_to(served, closing(b"%b %b HTTP/1.1\r\nhost: test\r\n\r\n" % (method, path)))
            assert status_of(answer) == status
            assert b"secret" not in answer

    run(story())


# What is refused


@pytest.mark.parametrize(
    "said",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: test\r\nx y: z\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: test\r\ncontent-length: -1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_request_is_refused(said: bytes) -> None:
    async def story() -> None:
        async with serving() as served:
            assert status_of(await answer_to(served, said)) == 400
            assert served.requests == []

    run(story())


def test_another_version_is_refused() -> None:
    async def story() -> None:
        async with serving() as served:
            assert status_of(await answer_to(served, b"GET / HTTP/2.0\r\nhost: test\r\n\r\n")) == 505

    run(story())


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["not whole", "whole"])
@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: test\r\nx: " + b"y" * connection.MAX_HEAD_BYTES,
        b"GET / HTTP/1.1\r\nhost: test" + b"\r\nx: y" * (connection.MAX_HEAD_BYTES // 6),
        b"GET /" + b"y" * connection.MAX_HEAD_BYTES + b" HTTP/1.1\r\nhost: test",
    ],
    ids=["a long header", "many headers", "a long first line"],
)
def test_a_head_that_is_too_long_is_refused(head: bytes, end: bytes) -> None:
    async def story() -> None:
        async with serving() as served:
            assert status_of(await answer_to(served, head + end)) == 431
            assert not served.requests

    run(story())


def test_a_head_may_be_as_long_as_the_bound() -> None:
    async def story() -> None:
        async with serving() as served:
            start, end = b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\nx: ", b"\r\n\r\n"
            filler = b"y" * (connection.MAX_HEAD_BYTES - len(start) - len(end))
            assert status_of(await answer_to(served, start + filler + end)) == 200

    run(story())


def test_a_body_that_is_said_to_be_too_long_is_refused_at_once() -> None:
    async def story() -> None:
        async with serving() as served:
            head = b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: %d\r\n" % (MAX_BODY_BYTES + 1)
            assert status_of(await answer_to(served, head + b"expect: 100-continue\r\n\r\n")) == 413

    run(story())


def test_a_body_that_becomes_too_long_is_refused() -> None:
    async def story() -> None:
        async with serving() as served:
            head = b"POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n"
            chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
            assert status_of(await answer_to(served, head, chunk, chunk)) == 413
            assert served.application.bodies_bytes == 0

    run(story())


def test_a_body_in_too_many_small_chunks_is_refused_before_it_is_whole() -> None:
    async def story() -> None:
        async with serving() as served:
            head = b"POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n"
            answer = await answer_to(served, head, b"1\r\nx\r\n" * (2 * connection.MAX_SMALL_CHUNKS))
            assert (status_of(answer), served.application.bodies_bytes) == (400, 0)

    run(story())


def test_a_long_body_may_come_in_many_chunks() -> None:
    async def story() -> None:
        async with serving() as served:
            head = b"POST /echo HTTP/1.1\r\nhost: test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            count = connection.MAX_SMALL_CHUNKS
            body = (b"1\r\nx\r\n" * count) + (b"100\r\n" + b"y" * 256 + b"\r\n") * 64 + b"0\r\n\r\n"
            answer = await answer_to(served, head, body)
            assert answer.endswith(b"\r\n\r\n" + b"x" * count + b"y" * 256 * 64)

    run(story())


def test_a_body_where_none_is_of_use_is_refused() -> None:
    async def story() -> None:
        async with serving() as served:
            said = GET.replace(b"\r\n\r\n", b"\r\ncontent-length: 1\r\n\r\nx")
            assert status_of(await answer_to(served, said)) == 413

    run(story())


def test_bodies_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_application, "MAX_BODIES_BYTES", 10)

    async def story() -> None:
        async with serving() as served, socket_to(served.port) as (_, writer):
            writer.write(post(bytes(20))[:-11])
            while not served.application.bodies_bytes:
                await asyncio.sleep(0.001)
            assert status_of(await answer_to(served, post(b"ab"))) == 503

    run(story())


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 1)

    async def story() -> None:
        async with serving() as served, socket_to(served.port) as (_, writer):
            writer.write(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n")
            while not served.requests:
                await asyncio.sleep(0.001)
            assert status_of(await answer_to(served, GET)) == 503

    run(story())


def test_who_has_kept_us_waiting_for_longest_makes_room_for_a_connection_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 3)
    half = b"GET / HTTP/1.1\r\n"

    async def story() -> None:
        async with (
            serving() as served,
            socket_to(served.port) as (slow, slow_writer),
            socket_to(served.port) as (idle, idle_writer),
            socket_to(served.port) as (_, busy_writer),
        ):
            busy_writer.write(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n")
            while not served.requests:
                await asyncio.sleep(0.001)
            idle_writer.write(GET)
            await idle.readuntil(b"/\n")
            loop = asyncio.get_running_loop()
            while not any(each._is_idle and each._waits_since < loop.time() for each in served.gateway.connections):
                await asyncio.sleep(0.001)
            slow_writer.write(half)
            while len(served.gateway.connections) < 3:
                await asyncio.sleep(0.001)
            async with socket_to(served.port) as (first, writer):
                writer.write(GET)
                await first.readuntil(b"/\n")
                assert await idle.read() == b""
                assert status_of(await answer_to(served, closing(GET))) == 200
                assert status_of(await slow.read()) == 408
                writer.write(GET)
                await first.readuntil(b"/\n")

    run(story())


def test_where_connections_are_turned_away_those_that_are_idle_are_ended() -> None:
    async def story() -> None:
        async with (
            serving(bounds=Bounds(max_connections=2)) as served,
            socket_to(served.port) as (idle, idles),
            socket_to(served.port) as (_, asks),
        ):
            loop = asyncio.get_running_loop()
            idles.write(GET)
            await idle.readuntil(b"/\n")
            asks.write(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n")
            while len(served.requests) < 2:
                await asyncio.sleep(0.001)
            served.endpoint._sweep(loop)
            async with socket_to(served.port) as (refused, _):
                assert await refused.read() == b""
            served.endpoint._sweep(loop)
            assert await idle.read() == b""
            assert status_of(await answer_to(served, closing(GET))) == 200
            assert not served.ended.is_set()

    run(story())


def test_who_sends_too_much_ahead_is_cut_off_behind_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_AHEAD_BYTES", 1000)

    async def story() -> None:
        async with serving() as served, socket_to(served.port) as (reader, writer):
            writer.write(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n")
            while not served.requests:
                await asyncio.sleep(0.001)
            writer.write(GET * 100)
            (each,) = served.gateway.connections
            while not each._is_flooded:
                await asyncio.sleep(0.001)
            served.held.set()
            answer = await reader.read()
            assert (answer.count(b"HTTP/1.1"), answer.endswith(b"at last\n")) == (1, True)

    run(story())


def test_what_came_before_a_request_was_whole_counts_as_sent_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_AHEAD_BYTES", 1000)
    held = b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n"

    async def story() -> None:
        async with serving() as served, socket_to(served.port) as (reader, writer):
            writer.write(held + held * (600 // len(held)))
            while not served.requests:
                await asyncio.sleep(0.001)
            writer.write(held * (600 // len(held)))
            (each,) = served.gateway.connections
            while not (each._is_flooded or each._ahead):
                await asyncio.sleep(0.001)
            assert each._is_flooded
            served.held.set()
            assert (await reader.read()).count(b"HTTP/1.1") == 1

    run(story())


# By TLS


def test_who_is_refused_by_tls_is_left_a_moment_to_send_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "SWEEP_SECONDS", 0.01)
    authority = Authority(tmp_path)
    tls = IncomingTls(Certificates(authority.files("server", asks=False)), service="test")
    context = ssl.create_default_context(cafile=authority.ca)
    errors: list[object] = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))
        async with serving(tls) as served, socket_to(served.port, context) as (reader, writer):
            writer.write(b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1))
            assert status_of(await reader.readuntil(b"bytes here\n")) == 413
            writer.write(bytes(MAX_BODY_BYTES + 1))
            await writer.drain()
            (lingering,) = served.gateway.connections
            lingering._give_up_at = 0.0
            with suppress(ConnectionResetError):  # If some of it was still on its way.
                assert await reader.read() == b""
            assert errors == []

    run(story())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_large_answer_by_tls_waits_for_who_reads_slowly(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority = Authority(tmp_path)
    tls = IncomingTls(Certificates(authority.files("server", asks=False)), service="test")
    context = ssl.create_default_context(cafile=authority.ca)
    context.minimum_version = context.maximum_version = version

    async def story() -> None:
        async with serving(tls) as served, socket_to(served.port, context) as (reader, writer):
            writer.write(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n")
            (each,) = await _connections(served)
            while each._room is None:
                await asyncio.sleep(0.001)
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(LARGE_BYTES) == bytes(LARGE_BYTES)

    run(story())


async def _connections(served: Served) -> list[connection.Http1Connection]:
    while not served.gateway.connections:
        await asyncio.sleep(0.001)
    return list(served.gateway.connections)


# Who is slow, and who goes


@pytest.mark.parametrize(
    ("name", "said", "status"),
    [
        ("HEAD_SECONDS", b"GET / HTTP/1.1\r\nhost:", 408),
        ("BODY_SECONDS", post(b"abc")[:-1], 408),
        ("IDLE_SECONDS", GET, 200),
    ],
)
def test_who_stands_still_is_cut_off(name: str, said: bytes, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, name, 0.0)
    monkeypatch.setattr(server_module, "SWEEP_SECONDS", 0.01)

    async def story() -> None:
        async with serving() as served:
            answer = await answer_to(served, said)
            assert (status_of(answer), answer.count(b"HTTP/1.1")) == (status, 1)

    run(story())


def test_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(connection, "WRITE_SECONDS", 0.01)

    async def story() -> None:
        async with serving() as served, socket_to(served.port) as (_, writer):
            writer.write(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n")
            await _connections(served)
            while served.gateway.connections:
                await asyncio.sleep(0.001)

    run(story())
    # It is no error of ours.
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_request_is_given_up_when_its_client_goes() -> None:
    async def story() -> None:
        async with serving() as served, socket_to(served.port) as (_, writer):
            # One that only says that it will send no more may still wait.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.write(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n")
            while not served.requests:
                await asyncio.sleep(0.001)
            writer.transport.abort()
            await served.ended.wait()

    run(story())


def test_who_has_said_all_may_still_wait_for_the_answer() -> None:
    async def story() -> None:
        async with serving() as served, socket_to(served.port) as (reader, writer):
            writer.write(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n")
            writer.write_eof()
            while not served.requests:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            served.held.set()
            assert (await reader.read()).endswith(b"at last\n")

    run(story())


def test_a_server_that_stops_answers_what_it_has_taken() -> None:
    async def story() -> None:
        async with serving() as served, socket_to(served.port) as (reader, writer), socket_to(served.port) as (_, idle):
            idle.write(GET)
            writer.write(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n")
            while len(served.requests) < 2:
                await asyncio.sleep(0.001)
            stopping = asyncio.create_task(served.endpoint.stop(PATIENCE_SECONDS))
            while len(served.gateway.connections) > 1:
                await asyncio.sleep(0.001)
            served.held.set()
            answer = await reader.read()
            assert b"connection: close" in answer
            assert answer.endswith(b"at last\n")
            await stopping

    run(story())


# Anything at all


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            GET,
            b"GET / HTTP/1.1\r\n",
            b"POST /echo HTTP/1.1\r\nhost: test\r\n",
            b"content-length: 3\r\n",
            b"transfer-encoding: chunked\r\n",
            b"expect: 100-continue\r\n",
            b"connection: close\r\n",
            b"upgrade: h2c\r\nconnection: upgrade\r\n",
            b"\r\n",
            b"3\r\nabc\r\n",
            b"0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
    ),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PIECES, max_size=8))
def test_whatever_is_said_the_next_one_is_served(pieces: list[bytes]) -> None:
    async def story() -> None:
        async with serving() as served:
            async with socket_to(served.port) as (reader, writer):
                for piece in pieces:
                    writer.write(piece)
                writer.write_eof()
                try:
                    answer = await reader.read()
                except ConnectionError:
                    answer = b""
                is_http2 = b"".join(pieces).startswith(b"PRI *")
                assert is_http2 or not answer or answer.startswith(b"HTTP/1.1 ")
            assert status_of(await answer_to(served, closing(GET))) == 200

    run(story())
