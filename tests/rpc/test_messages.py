"""What is taken as a message, and what is not."""

import gzip
from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from meteora.config import RpcServerKind
from meteora.pb import kv_pb2
from tests.rpc.http2_client import Response, framed, http2_client
from tests.rpc.probe import (
    MAX_MESSAGE_BYTES,
    METHOD,
    Context,
    calling,
    channel_to,
    echo,
    failure_of,
    run,
    serving,
    stream_stream,
    unary_unary,
)

PARSED = unary_unary(
    echo, request_deserializer=kv_pb2.PutReq.FromString, response_serializer=kv_pb2.PutReq.SerializeToString
)
NO_PROTOBUF = b"\xff\xff\xff"


async def echo_each(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def answer_to(kind: RpcServerKind, body: bytes, **headers: str | None) -> Response:
    """How a server answers one request. Fails if its connection doesn't serve the next one."""
    async with serving(kind, unary_unary(echo)) as address, http2_client(address) as client:
        response = await client.request(body, **headers)
        assert (await client.request(framed(b"next"))).body == framed(b"next")
        return response


def test_a_message_of_the_greatest_length_is_taken(kind: RpcServerKind) -> None:
    message = bytes(MAX_MESSAGE_BYTES)

    async def story() -> None:
        async with calling(kind, unary_unary(echo)) as channel:
            assert await channel.unary_unary(METHOD)(message) == message

    run(story())


def test_a_longer_message_is_refused_with_its_length_and_the_limit(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, unary_unary(echo)) as channel:
            error = await failure_of(channel.unary_unary(METHOD)(bytes(MAX_MESSAGE_BYTES + 1)))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert f"({MAX_MESSAGE_BYTES + 1} vs. {MAX_MESSAGE_BYTES})" in str(error.details())

    run(story())


def test_messages_that_are_too_long_don_t_use_the_connection_up() -> None:
    async def story() -> None:
        async with calling("http2", unary_unary(echo)) as channel:
            call = channel.unary_unary(METHOD)
            for _ in range(20):
                await failure_of(call(bytes(4 * MAX_MESSAGE_BYTES)))
            assert await call(bytes(MAX_MESSAGE_BYTES)) == bytes(MAX_MESSAGE_BYTES)

    run(story())


def test_a_longer_message_in_a_stream_ends_the_stream(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, stream_stream(echo_each)) as channel:
            call = channel.stream_stream(METHOD)(iter([b"good", bytes(MAX_MESSAGE_BYTES + 1)]))
            assert await call.read() == b"good"
            assert (await failure_of(call.read())).code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    run(story())


def test_a_response_may_be_longer_than_any_request(kind: RpcServerKind) -> None:
    response = bytes(10 * MAX_MESSAGE_BYTES)

    async def answer(request: bytes, context: Context) -> bytes:
        return response

    async def story() -> None:
        async with calling(kind, unary_unary(answer)) as channel:
            assert await channel.unary_unary(METHOD)(b"") == response

    run(story())


def test_what_the_deserializer_does_not_take_is_an_error(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, PARSED) as channel:
            error = await failure_of(channel.unary_unary(METHOD)(NO_PROTOBUF))
            assert error.code() is grpc.StatusCode.INTERNAL
            assert str(error.details()).startswith("Exception deserializing request! ")
            assert "meteora.kv.PutReq" in str(error.details())

    run(story())


async def read_each(_: object, context: Context) -> None:
    while (request := await context.read()) is not grpc.aio.EOF:
        await context.write(request)


@pytest.mark.parametrize("handle", [echo_each, read_each])
def test_a_stream_ends_at_what_the_deserializer_does_not_take(
    kind: RpcServerKind, handle: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    good = kv_pb2.PutReq(key=b"key").SerializeToString()
    handler = stream_stream(
        handle, request_deserializer=kv_pb2.PutReq.FromString, response_serializer=kv_pb2.PutReq.SerializeToString
    )

    async def story() -> None:
        async with calling(kind, handler) as channel:
            call = channel.stream_stream(METHOD)(iter([good, NO_PROTOBUF, good]))
            assert await call.read() == good
            assert (await failure_of(call.read())).code() is grpc.StatusCode.INTERNAL

    run(story())
    assert caplog.records == []


def test_the_connection_lives_on_after_what_the_deserializer_does_not_take(kind: RpcServerKind) -> None:
    good = kv_pb2.PutReq(key=b"key").SerializeToString()

    async def story() -> None:
        async with serving(kind, PARSED) as address, http2_client(address) as client:
            await client.request(framed(NO_PROTOBUF))
            assert (await client.request(framed(good))).body == framed(good)

    run(story())


def test_a_malformed_message_is_not_logged(kind: RpcServerKind, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with calling(kind, PARSED) as channel:
            await failure_of(channel.unary_unary(METHOD)(NO_PROTOBUF))

    run(story())
    assert caplog.records == []


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
def test_a_compressed_message_is_taken(kind: RpcServerKind, compression: grpc.Compression) -> None:
    message = bytes(100_000)

    async def story() -> None:
        async with calling(kind, unary_unary(echo)) as channel:
            assert await channel.unary_unary(METHOD)(message, compression=compression) == message

    run(story())


def test_compressed_messages_stream(kind: RpcServerKind) -> None:
    messages = [bytes(1_000), b"short", bytes(2_000)]

    async def story() -> None:
        async with calling(kind, stream_stream(echo_each)) as channel:
            call = channel.stream_stream(METHOD)(iter(messages), compression=grpc.Compression.Gzip)
            assert [response async for response in call] == messages

    run(story())


def test_a_compressed_message_is_measured_unpacked(kind: RpcServerKind) -> None:
    bomb = framed(gzip.compress(bytes(20 * MAX_MESSAGE_BYTES)), flag=1)
    response = None

    async def story() -> None:
        nonlocal response
        response = await answer_to(kind, bomb, grpc_encoding="gzip")

    run(story())
    assert response is not None
    assert response.grpc_status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


def test_a_handler_may_ask_for_compressed_responses(kind: RpcServerKind) -> None:
    async def compress(request: bytes, context: Context) -> bytes:
        context.set_compression(grpc.Compression.Gzip)
        context.disable_next_message_compression()
        return request

    async def story() -> None:
        async with calling(kind, unary_unary(compress)) as channel:
            assert await channel.unary_unary(METHOD)(b"message") == b"message"

    run(story())


INTERNAL = grpc.StatusCode.INTERNAL
COMPRESSED = gzip.compress(b"message", mtime=0)


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        pytest.param(b"", {}, INTERNAL, id="no message"),
        pytest.param(b"\0\0\0", {}, INTERNAL, id="ends in the prefix"),
        pytest.param(framed(b"message")[:-1], {}, INTERNAL, id="ends in the message"),
        pytest.param(framed(b"short", length=1_000), {}, INTERNAL, id="announces more than it has"),
        pytest.param(framed(b"x", length=2**32 - 1), {}, grpc.StatusCode.RESOURCE_EXHAUSTED, id="announces 4 GiB"),
        pytest.param(framed(b"message", flag=2), {}, INTERNAL, id="unknown flag"),
        pytest.param(framed(COMPRESSED, flag=1), {}, INTERNAL, id="compressed without saying how"),
        pytest.param(framed(b"message", flag=1), {"grpc_encoding": "gzip"}, INTERNAL, id="not compressed as said"),
        pytest.param(framed(COMPRESSED[:-4], flag=1), {"grpc_encoding": "gzip"}, INTERNAL, id="compressed in part"),
        pytest.param(framed(COMPRESSED * 2, flag=1), {"grpc_encoding": "gzip"}, INTERNAL, id="compressed twice"),
    ],
)
def test_a_broken_message_is_refused(body: bytes, headers: dict[str, str], code: grpc.StatusCode) -> None:
    async def story() -> None:
        assert (await answer_to("http2", body, **headers)).grpc_status == code.value[0]

    run(story())


def test_an_unknown_compression_is_answered_with_the_known_ones() -> None:
    async def story() -> None:
        response = await answer_to("http2", framed(b"message", flag=1), grpc_encoding="snappy")
        assert response.grpc_status == grpc.StatusCode.UNIMPLEMENTED.value[0]
        assert response.headers["grpc-accept-encoding"] == "identity, gzip"

    run(story())


def test_a_message_that_is_not_compressed_may_come_under_any_encoding() -> None:
    async def story() -> None:
        response = await answer_to("http2", framed(b"message"), grpc_encoding="snappy")
        assert response.body == framed(b"message")

    run(story())


def test_a_length_is_refused_before_what_it_announces_has_come(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with serving(kind, unary_unary(echo)) as address, http2_client(address) as client:
            response = await client.request(framed(b"x", length=2**31), is_whole=False)
            assert response.grpc_status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]

    run(story())


def test_a_unary_request_is_served_before_the_client_ends_it(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with serving(kind, unary_unary(echo)) as address, http2_client(address) as client:
            assert (await client.request(framed(b"message"), is_whole=False)).body == framed(b"message")

    run(story())


def test_clients_with_a_broken_request_don_t_disturb_others() -> None:
    async def story() -> None:
        async with serving("http2", unary_unary(echo)) as address, http2_client(address) as broken:
            broken.send(framed(b"message")[:-1], is_whole=False)
            async with channel_to(address) as channel:
                assert await channel.unary_unary(METHOD)(b"message") == b"message"

    run(story())
