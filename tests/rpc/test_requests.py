"""Requests that no gRPC client would send."""

import asyncio

import grpc
import pytest

from meteora.http2 import Bounds
from meteora.rpc import create_rpc_server
from tests.rpc.http2_client import CHUNK_BYTES, Response, framed, http2_client
from tests.rpc.probe import (
    MAX_MESSAGE_BYTES,
    Context,
    Hanging,
    echo,
    register,
    run,
    running,
    serving,
    unary_unary,
    until,
)

MESSAGE = framed(b"message")


async def answer_to(**headers: str | None) -> Response:
    """How a request with these headers is answered. Fails if its connection doesn't serve the next one."""
    async with serving("http2", unary_unary(echo)) as address, http2_client(address) as client:
        response = await client.request(MESSAGE, **headers)
        assert (await client.request(MESSAGE)).body == MESSAGE
        return response


@pytest.mark.parametrize("content_type", [None, "application/json", "application/grpc-web", "application/grpcx"])
def test_another_content_type_is_answered_with_415(content_type: str | None) -> None:
    async def story() -> None:
        assert (await answer_to(content_type=content_type)).status == 415

    run(story())


@pytest.mark.parametrize(
    "content_type",
    ["application/grpc", "application/grpc+proto", "application/grpc+json", "application/grpc;x=y", "Application/GRPC"],
)
def test_any_form_of_the_content_type_is_grpc(content_type: str) -> None:
    async def story() -> None:
        assert (await answer_to(content_type=content_type)).body == MESSAGE

    run(story())


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
def test_another_method_is_answered_with_405(method: str) -> None:
    async def story() -> None:
        response = await answer_to(method=method)
        assert (response.status, response.headers["allow"]) == (405, "POST")

    run(story())


def test_a_client_that_takes_no_trailers_is_answered_with_400() -> None:
    async def story() -> None:
        assert (await answer_to(te=None)).status == 400

    run(story())


@pytest.mark.parametrize("timeout", ["", "1", "S", "1.5S", "-1S", "123456789S", "1s", "1 S"])
def test_a_time_out_that_is_none_is_an_error(timeout: str) -> None:
    async def story() -> None:
        response = await answer_to(grpc_timeout=timeout)
        assert response.grpc_status == grpc.StatusCode.INTERNAL.value[0]
        assert "grpc-timeout" in response.grpc_message

    run(story())


def test_base64_that_is_none_is_an_error_once_it_is_asked_for() -> None:
    async def look(request: bytes, context: Context) -> bytes:
        context.invocation_metadata()
        return b""

    async def story() -> None:
        async with serving("http2", unary_unary(look)) as address, http2_client(address) as client:
            response = await client.request(MESSAGE, key_bin="!")
            assert response.grpc_status == grpc.StatusCode.INTERNAL.value[0]
            assert "key-bin" in response.grpc_message

    run(story())


@pytest.mark.parametrize("path", ["/", "/test.Probe", "/test.Probe/", "/test.Probe/call", "/test.Probe/Call/"])
def test_another_path_is_unimplemented(path: str) -> None:
    async def story() -> None:
        async with serving("http2", unary_unary(echo)) as address, http2_client(address) as client:
            response = await client.request(MESSAGE, path=path)
            assert response.grpc_status == grpc.StatusCode.UNIMPLEMENTED.value[0]

    run(story())


async def http1(address: str, request: bytes) -> bytes:
    """What comes back for a request in HTTP/1.1 until the server closes the connection."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


def test_a_request_in_http_1_is_told_what_this_port_speaks() -> None:
    async def story() -> None:
        async with serving("http2", unary_unary(echo)) as address:
            answer = await http1(address, b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 505 ")
            assert b"gRPC" in answer

    run(story())


def test_a_request_that_is_being_served_is_not_refused_as_if_nothing_was_done() -> None:
    async def story() -> None:
        hanging = Hanging()
        server = create_rpc_server(
            "http2", "127.0.0.1", 0, max_message_bytes=MAX_MESSAGE_BYTES, bounds=Bounds(max_held_bytes=CHUNK_BYTES - 1)
        )
        register(server, unary_unary(hanging.handle))
        async with running(server) as address, http2_client(address) as client:
            stream = client.send(MESSAGE, is_whole=False)
            await until(lambda: hanging.started)
            client._connection.send_data(stream, bytes(CHUNK_BYTES))
            client._writer.write(client._connection.data_to_send())
            with pytest.raises(AssertionError, match="reset with"):
                await client._response(stream)
            await until(lambda: hanging.cancelled)

    run(story())
