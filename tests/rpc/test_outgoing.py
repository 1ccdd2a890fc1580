"""Calls from this end, to servers of both kinds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from meteora.config import RpcServerKind
from meteora.http2 import StreamEnded, connect
from meteora.rpc.outgoing import Ending, OutgoingCall
from tests.rpc.http2_client import framed
from tests.rpc.probe import (
    MAX_MESSAGE_BYTES,
    METHOD,
    Context,
    Handler,
    Hanging,
    run,
    serving,
    stream_stream,
    unary_unary,
    until,
)

LARGE = bytes(range(256)) * 4000
"""More than any window that a server opens at first."""


@asynccontextmanager
async def calling(
    kind: RpcServerKind, handler: Handler, path: str = METHOD, **metadata: str
) -> AsyncIterator[OutgoingCall]:
    async with serving(kind, handler) as address:
        host, _, port = address.rpartition(":")
        connection = await connect(host, int(port))
        try:
            yield OutgoingCall(connection, address, path, metadata.items(), max_message_bytes=MAX_MESSAGE_BYTES)
        finally:
            connection.abort()
            await connection.closed


async def echo_each(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def ended(call: OutgoingCall) -> Ending:
    while await call.read() is not None:
        pass
    return call.ending()


def test_messages_come_back_in_order_whatever_their_length(kind: RpcServerKind) -> None:
    async def story() -> None:
        sent = [b"", b"short", LARGE, b"short again", LARGE]
        async with calling(kind, stream_stream(echo_each)) as call:
            for message in sent:
                call.send(message)
            assert [await call.read() for _ in sent] == sent

    run(story())


def test_the_end_of_the_requests_ends_a_call_that_was_waiting_for_more(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, stream_stream(echo_each)) as call:
            call.send(b"one")
            call.stream.send(b"", is_end=True)
            assert await ended(call) == Ending(grpc.StatusCode.OK, "", ())
            assert call.is_over

    run(story())


def test_a_status_comes_with_its_details_and_metadata(kind: RpcServerKind) -> None:
    async def refuse(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "100 % zu spät", (("why", "because"),))
        yield b""

    async def story() -> None:
        async with calling(kind, stream_stream(refuse)) as call:
            ending = await ended(call)
            assert ending[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "100 % zu spät")
            assert ("why", "because") in ending.metadata

    run(story())


def test_the_metadata_of_a_call_arrives(kind: RpcServerKind) -> None:
    async def tell(request: bytes, context: Context) -> bytes:
        return str(dict(context.invocation_metadata())["who"]).encode()

    async def story() -> None:
        async with calling(kind, unary_unary(tell), who="n1") as call:
            call.stream.send(framed(b""), is_end=True)
            assert await call.read() == b"n1"

    run(story())


def test_a_method_that_is_not_there_is_unimplemented(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, unary_unary(Hanging().handle), path="/no.Such/Method") as call:
            call.stream.send(framed(b""), is_end=True)
            assert (await ended(call)).code is grpc.StatusCode.UNIMPLEMENTED

    run(story())


def test_a_connection_that_breaks_is_told_as_unavailable(kind: RpcServerKind) -> None:
    handler = Hanging()

    async def story() -> None:
        async with calling(kind, stream_stream(handler.handle)) as call:
            await until(lambda: handler.started)
            call.stream.connection.abort()
            with pytest.raises(StreamEnded):
                await call.read()
            assert call.ending().code is grpc.StatusCode.UNAVAILABLE

    run(story())


def test_an_answer_of_no_grpc_server_is_told_by_its_http_status() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        connection = await connect(host, port)
        call = OutgoingCall(connection, "test", METHOD, (), max_message_bytes=MAX_MESSAGE_BYTES)
        with pytest.raises(StreamEnded):
            await call.read()
        assert call.ending().code is grpc.StatusCode.UNAVAILABLE
        await connection.closed
        server.close()
        await server.wait_closed()

    run(story())
