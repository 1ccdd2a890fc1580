"""All four kinds of methods, as grpcio's clients call them."""

import asyncio
from collections.abc import AsyncIterator

import grpc

from meteora.config import RpcServerKind
from tests.rpc.probe import (
    METHOD,
    NAME,
    SERVICE,
    Context,
    calling,
    channel_to,
    create_rpc_server,
    echo,
    failure_of,
    run,
    running,
    serving,
    stream_stream,
    stream_unary,
    unary_stream,
    unary_unary,
)

MANY_CALLS = 300


async def count(request: bytes, context: Context) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        yield b"%d" % number


async def write_count(request: bytes, context: Context) -> None:
    for number in range(int(request)):
        await context.write(b"%d" % number)


async def join(requests: AsyncIterator[bytes], context: Context) -> bytes:
    return b",".join([request async for request in requests])


async def read_and_join(requests: AsyncIterator[bytes], context: Context) -> bytes:
    parts = []
    while (request := await context.read()) is not grpc.aio.EOF:
        parts.append(request)
    return b",".join(parts)


async def echo_each(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def read_and_write_each(requests: AsyncIterator[bytes], context: Context) -> None:
    while (request := await context.read()) is not grpc.aio.EOF:
        await context.write(request)


def test_a_unary_call_is_answered(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, unary_unary(echo)) as channel:
            assert await channel.unary_unary(METHOD)(b"hello") == b"hello"

    run(story())


def test_an_empty_message_is_a_message(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, unary_unary(echo)) as channel:
            assert await channel.unary_unary(METHOD)(b"") == b""

    run(story())


def test_a_message_of_many_frames_comes_whole(kind: RpcServerKind) -> None:
    message = bytes(range(256)) * 4_000

    async def story() -> None:
        async with calling(kind, unary_unary(echo)) as channel:
            assert await channel.unary_unary(METHOD)(message) == message

    run(story())


def test_many_calls_on_one_connection_get_their_own_answers(kind: RpcServerKind) -> None:
    requests = [b"%d" % number for number in range(MANY_CALLS)]

    async def story() -> None:
        async with calling(kind, unary_unary(echo)) as channel:
            call = channel.unary_unary(METHOD)
            assert await asyncio.gather(*[call(request) for request in requests]) == requests

    run(story())


def test_a_blocking_client_is_answered(kind: RpcServerKind) -> None:
    def call(address: str) -> bytes:
        with grpc.insecure_channel(address) as channel:
            return channel.unary_unary(METHOD)(b"hello")

    async def story() -> None:
        async with serving(kind, unary_unary(echo)) as address:
            assert await asyncio.to_thread(call, address) == b"hello"

    run(story())


def test_a_handler_may_be_a_plain_function(kind: RpcServerKind) -> None:
    def shout(request: bytes, context: Context) -> bytes:
        return request.upper()

    async def story() -> None:
        async with calling(kind, unary_unary(shout)) as channel:
            assert await channel.unary_unary(METHOD)(b"hello") == b"HELLO"

    run(story())


def test_a_handler_may_be_generic(kind: RpcServerKind) -> None:
    async def story() -> None:
        server = create_rpc_server(kind, "127.0.0.1", 0, max_message_bytes=100)
        handler = grpc.method_handlers_generic_handler(SERVICE, {NAME: unary_unary(echo)})
        server.add_generic_rpc_handlers((handler,))
        async with running(server) as address, channel_to(address) as channel:
            assert await channel.unary_unary(METHOD)(b"hello") == b"hello"

    run(story())


def test_a_method_that_nobody_registered_is_unimplemented(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, unary_unary(echo)) as channel:
            error = await failure_of(channel.unary_unary(f"/{SERVICE}/Other")(b""))
            assert (error.code(), error.details()) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    run(story())


def test_responses_stream_in_order(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, unary_stream(count)) as channel:
            responses = [response async for response in channel.unary_stream(METHOD)(b"100")]
            assert responses == [b"%d" % number for number in range(100)]

    run(story())


def test_a_stream_may_have_no_responses(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, unary_stream(count)) as channel:
            call = channel.unary_stream(METHOD)(b"0")
            assert [response async for response in call] == []
            assert await call.code() is grpc.StatusCode.OK

    run(story())


def test_responses_may_be_written(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, unary_stream(write_count)) as channel:
            assert [response async for response in channel.unary_stream(METHOD)(b"3")] == [b"0", b"1", b"2"]

    run(story())


def test_requests_stream_in_order(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, stream_unary(join)) as channel:
            assert await channel.stream_unary(METHOD)(iter([b"a", b"", b"c"])) == b"a,,c"

    run(story())


def test_a_stream_may_have_no_requests(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, stream_unary(join)) as channel:
            assert await channel.stream_unary(METHOD)(iter([])) == b""

    run(story())


def test_requests_may_be_read(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, stream_unary(read_and_join)) as channel:
            assert await channel.stream_unary(METHOD)(iter([b"a", b"b"])) == b"a,b"

    run(story())


def test_both_directions_stream_at_once(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, stream_stream(echo_each)) as channel:
            call = channel.stream_stream(METHOD)()
            for message in (b"a", b"b"):
                await call.write(message)
                assert await call.read() == message
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF

    run(story())


def test_both_directions_may_be_read_and_written(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, stream_stream(read_and_write_each)) as channel:
            responses = [response async for response in channel.stream_stream(METHOD)(iter([b"a", b"b"]))]
            assert responses == [b"a", b"b"]

    run(story())


def test_a_handler_may_end_a_stream_that_the_client_has_not_ended(kind: RpcServerKind) -> None:
    async def echo_first(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        yield await anext(aiter(requests))

    async def story() -> None:
        async with calling(kind, stream_stream(echo_first)) as channel:
            call = channel.stream_stream(METHOD)()
            await call.write(b"first")
            assert await call.read() == b"first"
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK

    run(story())
