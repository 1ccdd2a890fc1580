"""Streams that are long, large or slow: limits of plain requests don't apply to them, and what they hold is bounded."""

import asyncio
from collections.abc import AsyncIterator

import grpc

from meteora.config import RpcServerKind
from meteora.http2.connection import CONNECTION_WINDOW_BYTES
from tests.rpc.probe import (
    MAX_MESSAGE_BYTES,
    METHOD,
    Context,
    calling,
    channel_to,
    run,
    serving,
    stream_stream,
    stream_unary,
    unary_stream,
    until,
)

TINY_SECONDS = 0.1
TINY_BYTES = 1_000

LARGE_BYTES = 100_000
MANY = 1_000
"""As many large messages make a hundred megabytes."""

MOST_HELD_BYTES = 4 * CONNECTION_WINDOW_BYTES
"""What both ends and the kernel may hold of a stream that nobody reads."""

SETTLED_SECONDS = 0.3
"""A sender that didn't come any further for this long is waiting."""


async def echo_each(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def settled(progress: list[int]) -> int:
    """How far a sender came before it had to wait. Its progress is the length of the list."""
    seen = -1
    while seen != len(progress):
        seen = len(progress)
        await asyncio.sleep(SETTLED_SECONDS)
    return seen


def test_a_stream_may_carry_more_than_a_gigabyte() -> None:
    pieces = (1 << 30) // MAX_MESSAGE_BYTES + 1

    async def measure(requests: AsyncIterator[bytes], context: Context) -> bytes:
        return b"%d" % sum([len(request) async for request in requests])

    async def story() -> None:
        async with calling("http2", stream_unary(measure)) as channel:
            piece = bytes(MAX_MESSAGE_BYTES)
            assert int(await channel.stream_unary(METHOD)(piece for _ in range(pieces))) == pieces * MAX_MESSAGE_BYTES

    run(story())


def test_a_client_may_ping_as_often_as_it_likes(kind: RpcServerKind) -> None:
    milliseconds = {"grpc.keepalive_time_ms": 20, "grpc.keepalive_timeout_ms": 10_000}
    options = (*milliseconds.items(), ("grpc.http2.max_pings_without_data", 0))

    async def story() -> None:
        async with (
            serving(kind, stream_stream(echo_each)) as address,
            channel_to(address, *options) as channel,
        ):
            call = channel.stream_stream(METHOD)()
            for _ in range(2):
                await call.write(b"still there?")
                assert await call.read() == b"still there?"
                await asyncio.sleep(SETTLED_SECONDS)

    run(story())


def test_a_handler_waits_for_a_client_that_doesn_t_read(kind: RpcServerKind) -> None:
    sent: list[int] = []

    async def flood(request: bytes, context: Context) -> AsyncIterator[bytes]:
        for number in range(MANY):
            sent.append(number)
            yield bytes(LARGE_BYTES)

    async def story() -> None:
        async with calling(kind, unary_stream(flood)) as channel:
            call = channel.unary_stream(METHOD)(b"")
            await call.read()
            assert await settled(sent) * LARGE_BYTES < MOST_HELD_BYTES
            for _ in range(MANY - 1):
                assert await call.read() == bytes(LARGE_BYTES)
            assert await call.read() is grpc.aio.EOF

    run(story())


def test_a_client_waits_for_a_handler_that_doesn_t_read(kind: RpcServerKind) -> None:
    sent: list[int] = []
    may_read = asyncio.Event()

    async def count(requests: AsyncIterator[bytes], context: Context) -> bytes:
        await may_read.wait()
        return b"%d" % sum([1 async for _ in requests])

    async def send_all(call: grpc.aio.StreamUnaryCall) -> None:
        for number in range(MANY):
            sent.append(number)
            await call.write(bytes(LARGE_BYTES))
        await call.done_writing()

    async def story() -> None:
        async with calling(kind, stream_unary(count)) as channel:
            call = channel.stream_unary(METHOD)()
            sending = asyncio.create_task(send_all(call))
            assert await settled(sent) * LARGE_BYTES < MOST_HELD_BYTES
            may_read.set()
            await sending
            assert int(await call) == MANY

    run(story())


def test_a_stream_that_nobody_reads_leaves_its_connection_to_others() -> None:
    may_read = asyncio.Event()
    received: list[bytes] = []

    async def wait_or_echo(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for request in requests:
            received.append(request)
            if request == b"wait":
                await may_read.wait()
            yield request

    async def flood(call: grpc.aio.StreamStreamCall) -> None:
        await call.write(b"wait")
        for _ in range(MANY):
            await call.write(bytes(LARGE_BYTES))

    async def story() -> None:
        async with calling("http2", stream_stream(wait_or_echo)) as channel:
            stuck = channel.stream_stream(METHOD)()
            flooding = asyncio.create_task(flood(stuck))
            await until(lambda: received)
            other = channel.stream_stream(METHOD)()
            for _ in range(10):
                await other.write(bytes(LARGE_BYTES))
                assert await other.read() == bytes(LARGE_BYTES)
            stuck.cancel()
            await asyncio.wait([flooding])

    run(story())
