"""The same application over HTTP/2, with frames of a client's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from meteora.rpc import create_rpc_server
from meteora.web import Request, Response, WebApplication, application, over_http2, text_response
from tests.rpc.http2_client import Http2Client, http2_client
from tests.rpc.http2_client import Response as Answer
from tests.rpc.probe import run

MAX_BODY_BYTES = 40_000
LARGE_BYTES = 100_000
"""More than there is room for at first."""
PLAIN = {"content_type": "text/plain", "te": None}


class Served:
    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.ended = asyncio.Event()
        self.application = WebApplication(MAX_BODY_BYTES)
        self.application.add("GET", "/", self.hello)
        self.application.add("POST", "/echo", self.echo)
        self.application.add("GET", "/held", self.hold)
        self.application.add("GET", "/large", self.large)

    async def hello(self, request: Request) -> Response:
        self.requests.append(request)
        return text_response(200, "hello")

    async def echo(self, request: Request) -> Response:
        return Response(200, [], request.body)

    async def hold(self, request: Request) -> Response:
        self.requests.append(request)
        try:
            return await asyncio.Future()
        finally:
            self.ended.set()

    async def large(self, request: Request) -> Response:
        return Response(200, [], bytes(LARGE_BYTES))


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Served, str]]:
    served = Served()
    server = create_rpc_server("http2", "127.0.0.1", 0, max_message_bytes=1000)
    assert server.serve_web(served.application)
    try:
        await server.start()
        yield served, f"127.0.0.1:{server.port}"
    finally:
        await server.stop(0)


async def asked(client: Http2Client, method: str, path: str, body: bytes = b"") -> Answer:
    return await client.request(body, method=method, path=path, **PLAIN)


def test_a_request_is_answered_with_its_host_as_a_header() -> None:
    async def story() -> None:
        async with serving() as (served, address), http2_client(address) as client:
            response = await asked(client, "GET", "/?a=1")
            assert (response.status, response.body) == (200, b"hello\n")
            (request,) = served.requests
            assert (request.query, request.header(b"host")) == ({"a": ["1"]}, b"test")

    run(story())


@pytest.mark.parametrize("size", [0, MAX_BODY_BYTES])
def test_a_body_arrives(size: int) -> None:
    async def story() -> None:
        async with serving() as (_, address), http2_client(address) as client:
            assert (await asked(client, "POST", "/echo", bytes(size))).body == bytes(size)

    run(story())


@pytest.mark.parametrize(
    ("method", "path", "size", "status"),
    [
        ("POST", "/echo", MAX_BODY_BYTES + 1, 413),
        ("GET", "/no", 0, 404),
        ("POST", "/no", 10, 404),
        ("PUT", "/", 0, 405),
        ("HEAD", "/", 0, 200),
    ],
)
def test_what_is_not_served_is_answered_so(method: str, path: str, size: int, status: int) -> None:
    async def story() -> None:
        async with serving() as (_, address), http2_client(address) as client:
            response = await asked(client, method, path, bytes(size))
            assert response.status == status
            assert (response.body == b"") is (method == "HEAD")
            # The connection lives on.
            assert (await asked(client, "GET", "/")).status == 200

    run(story())


def test_a_body_that_does_not_come_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_http2, "BODY_SECONDS", 0.01)

    async def story() -> None:
        async with serving() as (_, address), http2_client(address) as client:
            response = await client.request(b"abc", method="POST", path="/echo", is_whole=False, **PLAIN)
            assert response.status == 408

    run(story())


def test_a_request_is_given_up_when_its_client_goes() -> None:
    async def story() -> None:
        async with serving() as (served, address):
            async with http2_client(address) as client:
                client.send(method="GET", path="/held", **PLAIN)
                while not served.requests:
                    await asyncio.sleep(0.001)
            await served.ended.wait()

    run(story())


def test_a_large_answer_comes_as_there_is_room_for_it() -> None:
    async def story() -> None:
        async with serving() as (_, address), http2_client(address) as client:
            assert (await asked(client, "GET", "/large")).body == bytes(LARGE_BYTES)

    run(story())


def test_an_answer_that_is_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_http2, "WRITE_SECONDS", 0.01)

    async def story() -> None:
        async with serving() as (_, address), http2_client(address) as client:
            stream = client.send(method="GET", path="/large", **PLAIN)
            monkeypatch.setattr(client._connection, "acknowledge_received_data", lambda *_: None)
            with pytest.raises(AssertionError, match="reset with"):
                await client._response(stream)

    run(story())


def test_bodies_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "MAX_BODIES_BYTES", 10)

    async def story() -> None:
        async with serving() as (served, address), http2_client(address) as client:
            assert (await asked(client, "POST", "/echo", bytes(11))).status == 503
            assert (await asked(client, "POST", "/echo", bytes(10))).status == 200
            assert served.application.bodies_bytes == 0

    run(story())
