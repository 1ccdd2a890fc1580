"""gRPC: framing, metadata, and the host with services of every shape."""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from meteora.http2 import Endpoint, encode_headers
from meteora.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    frame,
    rst_stream_frame,
    settings_frame,
)
from meteora.http2.server import ServerConnection
from meteora.rpc.application import Application
from meteora.rpc.deadline import parse_timeout_seconds
from meteora.rpc.framing import MessageReader, gunzip, whole_message
from meteora.rpc.metadata import decode_metadata, encode_metadata
from meteora.rpc.status import CallFailed
from tests.fuzz.choices import Choices
from tests.fuzz.wire import Wire, judge, run, turns

MAX_MESSAGE_BYTES = 4096


def zipped(data: bytes) -> bytes:
    """As gzip has it, the same each time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


BOMB = zipped(bytes(1 << 20))
"""A message of a kilobyte that is a megabyte when it is unpacked."""


def framing(data: bytes) -> None:
    """A body in pieces, with messages that may be compressed."""
    choices = Choices(data)
    encoding = choices.one_of((b"identity", b"gzip", b"deflate", b"\xff"))
    body = bytearray()
    while choices and len(body) < 1 << 18:
        match choices.byte() % 4:
            case 0:
                body += choices.chunk()
            case 1:
                part = choices.chunk()
                body += struct.pack(">BI", choices.byte() % 3, len(part)) + part
            case 2:
                part = BOMB if choices.flag() else zipped(choices.chunk())
                body += struct.pack(">BI", 1, len(part)) + part
            case _:
                body += struct.pack(">BI", choices.byte(), choices.small() & 0xFFFF_FFFF)
    step = choices.byte() + 1
    pieces = iter([bytes(body[at : at + step * 64]) for at in range(0, len(body), step * 64)])

    async def read() -> bytes | None:
        return next(pieces, None)

    async def story() -> None:
        reader = MessageReader(read, encoding, MAX_MESSAGE_BYTES)
        with suppress(CallFailed):
            while (message := await reader.read()) is not None:
                assert len(message) <= MAX_MESSAGE_BYTES
                assert len(reader._buffer) <= MAX_MESSAGE_BYTES + 5 + 256 * 64

    run(story())
    whole = whole_message(bytes(body), MAX_MESSAGE_BYTES)
    assert whole is None or (len(whole) <= MAX_MESSAGE_BYTES and len(whole) + 5 == len(body))
    with suppress(CallFailed):
        assert len(gunzip(data, MAX_MESSAGE_BYTES)) <= MAX_MESSAGE_BYTES


NAMES = (b"x", b"x-bin", b"grpc-timeout", b"content-type", b"grpc-status", b"te", b"a.b_c-d-bin", b"meteora-instance")


def metadata(data: bytes) -> None:
    """Headers of a request as metadata, and back."""
    choices = Choices(data)
    headers = [(choices.one_of(NAMES), choices.chunk()) for _ in range(choices.byte() % 8)]
    with suppress(CallFailed):
        received = decode_metadata(headers)
        with suppress(ValueError):
            again = decode_metadata(encode_metadata(received))
            assert again == received
    for _, value in headers:
        with suppress(CallFailed):
            assert 0 <= parse_timeout_seconds(value) < 1e12


async def _echo(request: bytes, context: Any) -> bytes:
    return request


async def _each(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request
        yield bytes(2000)


async def _last(requests: AsyncIterator[bytes], context: Any) -> bytes:
    last = b""
    async for request in requests:
        last = request
    return last


async def _never(request: bytes, context: Any) -> bytes:
    await asyncio.Event().wait()
    return b""


HANDLERS = {
    "Echo": grpc.unary_unary_rpc_method_handler(_echo),
    "Each": grpc.stream_stream_rpc_method_handler(_each),
    "Last": grpc.stream_unary_rpc_method_handler(_last),
    "Never": grpc.unary_unary_rpc_method_handler(_never),
}
PATHS = (
    b"/fuzz.Probe/Echo",
    b"/fuzz.Probe/Each",
    b"/fuzz.Probe/Last",
    b"/fuzz.Probe/Never",
    b"/grpc.health.v1.Health/Check",
    b"/grpc.health.v1.Health/Watch",
    b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    b"/fuzz.Probe/\xff",
    b"",
    b"/",
)


def application_of_all() -> Application:
    """Methods of every shape, and real services."""
    application = Application(MAX_MESSAGE_BYTES)
    application.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("fuzz.Probe", HANDLERS),))
    application.add_registered_method_handlers("fuzz.Probe", HANDLERS)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, application)  # type: ignore[no-untyped-call]
    names = (health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, application)  # type: ignore[arg-type]
    application.running.loop = asyncio.get_running_loop()
    return application


def _request_headers(choices: Choices) -> bytes:
    headers = [
        (b":method", b"POST" if choices.byte() < 240 else choices.one_of((b"GET", b"PRI", b"\xff"))),
        (b":scheme", b"http"),
        (b":path", choices.one_of(PATHS) if choices.byte() < 240 else choices.chunk()),
    ]
    if choices.byte() < 240:
        headers += [
            (b"te", b"trailers"),
            (b"content-type", choices.one_of((b"application/grpc", b"application/grpc+proto"))),
        ]
    else:
        headers.append((b"content-type", choices.one_of((b"text/html", b"application/grpcx", b"\xff", b""))))
    for _ in range(choices.byte() % 4):
        headers.append((choices.one_of((*NAMES, b"grpc-encoding")), choices.chunk() if choices.flag() else b"gzip"))
    if choices.byte() > 252:
        headers += [(b"x%d" % number, bytes(100)) for number in range(400)]
    return encode_headers(headers)


def body_of(choices: Choices) -> bytes:
    """A part of a body: a message, or less, or more."""
    match choices.byte() % 5:
        case 0:
            return choices.chunk()
        case 1:
            return struct.pack(">BI", 1, len(BOMB)) + BOMB
        case 2:
            return struct.pack(">BI", choices.byte() & 1, choices.small() & 0xFFFF_FFFF)
        case 3:
            return bytes(5) * (1 + choices.byte())
        case _:
            message = choices.chunk()
            return struct.pack(">BI", 0, len(message)) + message


async def _call(choices: Choices) -> None:
    application = application_of_all()
    endpoint = Endpoint(application.route)
    connection = ServerConnection(endpoint)
    wire = Wire(connection)
    connection.connection_made(wire)
    connection.data_received(PREFACE + settings_frame({}))
    next_id, open_ids = 1, [1]
    for _ in range(48):
        if not choices or wire.is_closing():
            break
        action = choices.byte() % 8
        stream_id = choices.one_of(open_ids)
        if action < 3:
            end = END_STREAM if choices.byte() > 200 else 0
            connection.data_received(frame(HEADERS, END_HEADERS | end, next_id, _request_headers(choices)))
            open_ids = [*open_ids[-3:], next_id]
            next_id += 2
        elif action < 6:
            connection.data_received(frame(DATA, choices.byte() & END_STREAM, stream_id, body_of(choices)))
        elif action == 6:
            connection.data_received(rst_stream_frame(stream_id, choices.byte()))
        else:
            connection.sweep(0.0)
            await turns()
        if choices.flag():
            await turns()
    connection.sweep(0.0)
    connection.sweep(0.0)
    await turns()
    wire.lose()
    await turns(20)
    await application.running.stop(0)
    await application.running.wait_for_end()
    assert not application.running.calls
    assert not application.running.outcomes
    judge(bytes(wire.written))


def rpc_host(data: bytes) -> None:
    """Calls of real services and of methods of every shape: wrong types, many headers, odd and slow bodies, resets."""
    run(_call(Choices(data)))
