"""What the tests of this folder share: one method of a test's own, served by either host, and who calls it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
import uvloop

from meteora.config import RpcServerKind
from meteora.rpc import RpcServer, create_rpc_server

KINDS: tuple[RpcServerKind, ...] = ("http2", "grpcio")

SERVICE, NAME = "test.Probe", "Call"
METHOD = f"/{SERVICE}/{NAME}"

MAX_MESSAGE_BYTES = 1 << 20

PATIENCE_SECONDS = 20.0
"""For what happens at once, on a machine that may be busy."""

Handler = grpc.RpcMethodHandler
Context = grpc.aio.ServicerContext

unary_unary = grpc.unary_unary_rpc_method_handler
unary_stream = grpc.unary_stream_rpc_method_handler
stream_unary = grpc.stream_unary_rpc_method_handler
stream_stream = grpc.stream_stream_rpc_method_handler
"""Without a serializer messages are bytes."""


def run(story: Coroutine[Any, Any, None]) -> None:
    """Runs a story to its end, on the event loop that nodes run on."""
    uvloop.run(asyncio.wait_for(story, 2 * PATIENCE_SECONDS))


async def echo(request: bytes, context: Context) -> bytes:
    """Answers what it was asked."""
    return request


def register(server: RpcServer, handler: Handler) -> None:
    """Registers one method, as generated code does."""
    handlers = {NAME: handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


@asynccontextmanager
async def running(server: RpcServer) -> AsyncIterator[str]:
    """The address of a server while it runs."""
    try:
        await server.start()
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.stop(0)


@asynccontextmanager
async def serving(
    kind: RpcServerKind, handler: Handler, max_message_bytes: int = MAX_MESSAGE_BYTES
) -> AsyncIterator[str]:
    """The address at which `METHOD` is served."""
    server = create_rpc_server(kind, "127.0.0.1", 0, max_message_bytes=max_message_bytes)
    register(server, handler)
    async with running(server) as address:
        yield address


@asynccontextmanager
async def calling(
    kind: RpcServerKind, handler: Handler, max_message_bytes: int = MAX_MESSAGE_BYTES
) -> AsyncIterator[grpc.aio.Channel]:
    """A grpcio client of a server on which `METHOD` is served."""
    async with serving(kind, handler, max_message_bytes) as address, channel_to(address) as channel:
        yield channel


def channel_to(address: str, *options: tuple[str, int]) -> grpc.aio.Channel:
    """A client with a connection of its own, which takes messages of any length."""
    own = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
    return grpc.aio.insecure_channel(address, options=(*own, *options))


async def failure_of(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    try:
        response = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"answered {response!r}")


async def until(condition: Callable[[], object]) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


class Hanging:
    """Never answers, and remembers what became of its calls."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0

    async def handle(self, request: object, context: Context) -> bytes:
        self.started += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return b""
