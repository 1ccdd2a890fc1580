"""A channel of our own, as the stubs of generated code use it, to servers of both kinds."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc

from meteora.config import RpcServerKind
from meteora.http2 import ClientConnection, connect
from meteora.rpc.channel import Http2Channel
from tests.rpc.probe import (
    MAX_MESSAGE_BYTES,
    METHOD,
    Context,
    Handler,
    Hanging,
    echo,
    failure_of,
    run,
    serving,
    stream_stream,
    unary_unary,
    until,
)

LARGE = bytes(MAX_MESSAGE_BYTES - 1000)


def as_it_is(message: bytes) -> bytes:
    return message


@asynccontextmanager
async def channel_to(kind: RpcServerKind, handler: Handler) -> AsyncIterator[Http2Channel]:
    async with serving(kind, handler) as address:
        host, _, port = address.rpartition(":")

        async def dial() -> ClientConnection:
            return await connect(host, int(port))

        async with Http2Channel(dial, address, max_message_bytes=MAX_MESSAGE_BYTES) as channel:
            yield channel


def unary(channel: Http2Channel, path: str = METHOD) -> Callable[..., Coroutine[Any, Any, bytes]]:
    return channel.unary_unary(path, as_it_is, as_it_is)


async def echo_each(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


# One message each way


def test_a_call_is_answered(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with channel_to(kind, unary_unary(echo)) as channel:
            assert [await unary(channel)(message, timeout=10) for message in (b"", b"one", LARGE)] == [
                b"",
                b"one",
                LARGE,
            ]

    run(story())


def test_calls_at_the_same_time_share_one_connection(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with channel_to(kind, unary_unary(echo)) as channel:
            requests = [b"%d" % each for each in range(20)]
            assert await asyncio.gather(*(unary(channel)(each) for each in requests)) == requests

    run(story())


def test_the_status_and_the_metadata_of_a_failure_are_the_servers(kind: RpcServerKind) -> None:
    async def refuse(request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now", (("reason", "busy"),))

    async def story() -> None:
        async with channel_to(kind, unary_unary(refuse)) as channel:
            failure = await failure_of(unary(channel)(b""))
            assert (failure.code(), failure.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not now")
            assert dict(failure.trailing_metadata())["reason"] == "busy"

    run(story())


def test_a_method_that_is_not_there_is_unimplemented(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with channel_to(kind, unary_unary(echo)) as channel:
            failure = await failure_of(unary(channel, "/test.Probe/Other")(b""))
            assert failure.code() is grpc.StatusCode.UNIMPLEMENTED

    run(story())


def test_the_metadata_and_the_deadline_of_a_call_reach_its_handler(kind: RpcServerKind) -> None:
    seen: list[object] = []

    async def look(request: bytes, context: Context) -> bytes:
        seen.append(dict(context.invocation_metadata() or ()).get("key"))
        seen.append(0 < (context.time_remaining() or 0) <= 100)
        return b""

    async def story() -> None:
        async with channel_to(kind, unary_unary(look)) as channel:
            await unary(channel)(b"", timeout=100, metadata=(("key", "value"),))
            assert seen == ["value", True]

    run(story())


def test_a_call_that_takes_too_long_ends_and_its_handler_with_it(kind: RpcServerKind) -> None:
    async def story() -> None:
        hanging = Hanging()
        async with channel_to(kind, unary_unary(hanging.handle)) as channel:
            failure = await failure_of(unary(channel)(b"", timeout=0.05))
            assert failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await until(lambda: hanging.cancelled == hanging.started)

    run(story())


def test_a_call_that_is_cancelled_cancels_its_handler(kind: RpcServerKind) -> None:
    async def story() -> None:
        hanging = Hanging()
        async with channel_to(kind, unary_unary(hanging.handle)) as channel:
            call = asyncio.create_task(unary(channel)(b""))
            await until(lambda: hanging.started)
            call.cancel()
            await until(lambda: hanging.cancelled)

    run(story())


def test_a_server_that_can_not_be_reached_is_unavailable_with_the_reason() -> None:
    async def story() -> None:
        async def dial() -> ClientConnection:
            raise ConnectionError("can't be connected to: nobody is there")

        async with Http2Channel(dial, "nobody:1", max_message_bytes=1) as channel:
            failure = await failure_of(unary(channel)(b""))
            assert failure.code() is grpc.StatusCode.UNAVAILABLE
            assert failure.details() == "can't be connected to: nobody is there"

    run(story())


def test_an_answer_that_is_too_long_is_not_taken(kind: RpcServerKind) -> None:
    async def answer(request: bytes, context: Context) -> bytes:
        return bytes(MAX_MESSAGE_BYTES + 1)

    async def story() -> None:
        async with channel_to(kind, unary_unary(answer)) as channel:
            assert (await failure_of(unary(channel)(b""))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    run(story())


def test_a_connection_that_is_cut_ends_the_call(kind: RpcServerKind) -> None:
    async def story() -> None:
        hanging = Hanging()
        async with channel_to(kind, unary_unary(hanging.handle)) as channel:
            call = asyncio.create_task(failure_of(unary(channel)(b"")))
            await until(lambda: hanging.started)
            (await channel.connected()).abort()
            assert (await call).code() is grpc.StatusCode.UNAVAILABLE

    run(story())


# Streams


def test_a_stream_carries_messages_both_ways(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with channel_to(kind, stream_stream(echo_each)) as channel:
            call = channel.stream_stream(METHOD, as_it_is, as_it_is)()
            for message in (b"one", LARGE, b"three"):
                await call.write(message)
                assert await call.read() == message
            call.cancel()

    run(story())


def test_the_good_end_of_a_stream_is_no_message(kind: RpcServerKind) -> None:
    async def only_one(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        yield await anext(requests)

    async def story() -> None:
        async with channel_to(kind, stream_stream(only_one)) as channel:
            call = channel.stream_stream(METHOD, as_it_is, as_it_is)()
            await call.write(b"one")
            assert [await call.read(), await call.read()] == [b"one", grpc.aio.EOF]

    run(story())


def test_the_bad_end_of_a_stream_is_raised_and_known_from_then_on(kind: RpcServerKind) -> None:
    async def refuse(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        await anext(requests)
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")
        yield b""

    async def story() -> None:
        async with channel_to(kind, stream_stream(refuse)) as channel:
            call = channel.stream_stream(METHOD, as_it_is, as_it_is)(metadata=(("key", "value"),))
            await call.write(b"one")
            assert (await failure_of(call.read())).details() == "not now"
            assert (await call.code(), await call.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not now")
            assert (await failure_of(call.write(b"two"))).details() == "not now"

    run(story())


def test_a_stream_to_nobody_says_so() -> None:
    async def story() -> None:
        async def dial() -> ClientConnection:
            raise ConnectionError("nobody is there")

        async with Http2Channel(dial, "nobody:1", max_message_bytes=1) as channel:
            call = channel.stream_stream(METHOD, as_it_is, as_it_is)()
            assert (await failure_of(call.write(b"one"))).details() == "nobody is there"
            assert await call.details() == "nobody is there"

    run(story())
