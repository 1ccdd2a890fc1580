import asyncio
import functools
from collections.abc import AsyncIterator

import grpc
import pytest

from meteora.pb import kv_pb2
from meteora.rpc.method import method_of, methods_of
from meteora.rpc.status import CallFailed


async def answer(request: bytes, context: object) -> bytes:
    return request


async def stream(request: bytes, context: object) -> AsyncIterator[bytes]:
    yield request


def test_methods_are_known_by_their_paths() -> None:
    methods = methods_of("package.Service", {"Method": grpc.unary_unary_rpc_method_handler(answer)})
    assert {path: method.path for path, method in methods.items()} == {
        "/package.Service/Method": "/package.Service/Method"
    }


@pytest.mark.parametrize(
    ("handler", "streams"),
    [
        (grpc.unary_unary_rpc_method_handler(answer), (False, False)),
        (grpc.unary_stream_rpc_method_handler(stream), (False, True)),
        (grpc.stream_unary_rpc_method_handler(answer), (True, False)),
        (grpc.stream_stream_rpc_method_handler(stream), (True, True)),
    ],
)
def test_a_method_knows_what_streams(handler: grpc.RpcMethodHandler, streams: tuple[bool, bool]) -> None:
    method = method_of("/path", handler)
    assert (method.request_streaming, method.response_streaming) == streams


def test_without_serializers_messages_are_bytes() -> None:
    method = method_of("/path", grpc.unary_unary_rpc_method_handler(answer))
    assert (method.parse(b"request"), method.serialize(b"response")) == (b"request", b"response")


def test_a_message_is_deserialized() -> None:
    handler = grpc.unary_unary_rpc_method_handler(answer, request_deserializer=kv_pb2.GetReq.FromString)
    assert method_of("/path", handler).parse(b"\x0a\x03key") == kv_pb2.GetReq(key=b"key")


def test_what_can_t_be_deserialized_ends_the_call() -> None:
    handler = grpc.unary_unary_rpc_method_handler(answer, request_deserializer=kv_pb2.GetReq.FromString)
    with pytest.raises(CallFailed, match="Exception deserializing request!") as caught:
        method_of("/path", handler).parse(b"\xff")
    assert caught.value.code is grpc.StatusCode.INTERNAL


def plain(request: bytes, context: object) -> bytes:
    return request


@pytest.mark.parametrize("behaviour", [plain, functools.partial(plain), functools.partial(answer)])
def test_whatever_the_behaviour_is_it_can_be_awaited(behaviour: object) -> None:
    method = method_of("/path", grpc.unary_unary_rpc_method_handler(behaviour))
    assert asyncio.run(method.behaviour(b"request", None)) == b"request"
