"""Servers start, or say why not; they stop, and nothing of them stays."""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import grpc
import pytest

from meteora.config import RpcServerKind
from meteora.errors import AddressInUse
from meteora.rpc import RpcServer, create_rpc_server
from tests.rpc.probe import (
    KINDS,
    METHOD,
    Context,
    Handler,
    Hanging,
    channel_to,
    echo,
    failure_of,
    register,
    run,
    running,
    serving,
    stream_stream,
    unary_unary,
    until,
)

NoLeakedTasks = Callable[[], AbstractAsyncContextManager[None]]

HOST = "127.0.0.1"
LONG_SECONDS = 60.0
SHORT_SECONDS = 0.1


ECHO = unary_unary(echo)


def server_of(kind: RpcServerKind, handler: Handler = ECHO, port: int = 0) -> RpcServer:
    server = create_rpc_server(kind, HOST, port, max_message_bytes=1_000)
    register(server, handler)
    return server


def native_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


# Start


def test_a_server_knows_its_real_port(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with running(server_of(kind)) as address, channel_to(address) as channel:
            assert not address.endswith(":0")
            assert await channel.unary_unary(METHOD)(b"hello") == b"hello"

    run(story())


def test_a_server_listens_on_the_port_that_was_asked_for(kind: RpcServerKind, free_port: Callable[[], int]) -> None:
    port = free_port()

    async def story() -> None:
        async with running(server_of(kind, port=port)), channel_to(f"{HOST}:{port}") as channel:
            assert await channel.unary_unary(METHOD)(b"hello") == b"hello"

    run(story())


def test_a_bound_port_stays_the_same_from_then_on(kind: RpcServerKind) -> None:
    async def story() -> None:
        server = server_of(kind)
        server.bind()
        port = server.port
        async with running(server) as address:
            assert address == f"{HOST}:{port}"

    run(story())


def test_nobody_can_connect_to_a_port_that_is_only_bound(kind: RpcServerKind) -> None:
    async def story() -> None:
        server = server_of(kind)
        server.bind()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, server.port)
        await server.stop(0)

    run(story())


def test_two_servers_run_in_one_event_loop(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with (
            running(server_of(kind)) as one,
            running(server_of(kind)) as other,
            channel_to(one) as first,
            channel_to(other) as second,
        ):
            assert await first.unary_unary(METHOD)(b"1") == b"1"
            assert await second.unary_unary(METHOD)(b"2") == b"2"

    run(story())


def test_a_server_listens_on_an_ipv6_address(kind: RpcServerKind) -> None:
    async def whoami(request: bytes, context: Context) -> bytes:
        return context.peer().encode()

    async def story() -> None:
        server = create_rpc_server(kind, "::1", 0, max_message_bytes=1_000)
        register(server, unary_unary(whoami))
        async with running(server), channel_to(f"[::1]:{server.port}") as channel:
            assert (await channel.unary_unary(METHOD)(b"")).startswith(b"ipv6:%5B::1%5D:")

    run(story())


def test_a_server_leaves_signals_alone(kind: RpcServerKind) -> None:
    async def story() -> None:
        before = {number: signal.getsignal(number) for number in signal.valid_signals()}
        async with running(server_of(kind)):
            assert {number: signal.getsignal(number) for number in before} == before

    run(story())


def test_a_server_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        async with running(server_of("http2")) as address, channel_to(address) as channel:
            await channel.unary_unary(METHOD)(b"hello")

    run(story())
    assert capfd.readouterr() == ("", "")


# The port


@pytest.mark.parametrize("other", KINDS)
def test_a_port_that_another_server_listens_on_is_an_error(kind: RpcServerKind, other: RpcServerKind) -> None:
    async def story() -> None:
        async with running(server_of(other)) as address:
            server = server_of(kind, port=int(address.rpartition(":")[2]))
            with pytest.raises(AddressInUse, match=f"{address}: it is in use .* choose another port"):
                await server.start()
            await server.stop(0)

    run(story())


def test_a_port_that_another_server_listens_on_can_t_be_bound(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with running(server_of(kind)) as address:
            with pytest.raises(AddressInUse):
                server_of(kind, port=int(address.rpartition(":")[2])).bind()

    run(story())


def test_of_two_servers_that_bound_one_port_the_second_can_t_start(kind: RpcServerKind) -> None:
    async def story() -> None:
        first = server_of(kind)
        first.bind()
        second = server_of(kind, port=first.port)
        second.bind()
        async with running(first):
            with pytest.raises(AddressInUse):
                await second.start()
            await second.stop(0)

    run(story())


def test_a_port_on_all_addresses_of_the_host_is_taken_on_each_of_them(kind: RpcServerKind) -> None:
    async def story() -> None:
        server = create_rpc_server(kind, "0.0.0.0", 0, max_message_bytes=1_000)
        async with running(server):
            with pytest.raises(AddressInUse):
                server_of(kind, port=server.port).bind()

    run(story())


def test_what_listens_without_grpc_is_in_the_way_too(kind: RpcServerKind) -> None:
    async def story() -> None:
        with socket.create_server((HOST, 0)) as listener, pytest.raises(AddressInUse):
            await server_of(kind, port=listener.getsockname()[1]).start()

    run(story())


def test_a_port_can_be_used_again_at_once(kind: RpcServerKind) -> None:
    async def story() -> None:
        port = 0
        for _ in range(3):
            server = server_of(kind, port=port)
            async with running(server) as address, channel_to(address) as channel:
                assert await channel.unary_unary(METHOD)(b"hello") == b"hello"
            port = server.port

    run(story())


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_an_address_of_another_host_is_an_error(kind: RpcServerKind, host: str) -> None:
    async def story() -> None:
        server = create_rpc_server(kind, host, 0, max_message_bytes=1_000)
        with pytest.raises(AddressInUse, match=f"{host}:0: it is no address of this host"):
            await server.start()

    run(story())


# Stop


def test_nobody_can_connect_to_a_stopped_server(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with running(server_of(kind)) as address:
            pass
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, int(address.rpartition(":")[2]))

    run(story())


def test_a_server_may_be_stopped_again(kind: RpcServerKind) -> None:
    async def story() -> None:
        server = server_of(kind)
        async with running(server):
            await server.stop(0)

    run(story())


def test_a_server_may_be_stopped_twice_at_once(kind: RpcServerKind) -> None:
    async def story() -> None:
        server = server_of(kind)
        await server.start()
        await asyncio.gather(server.stop(0), server.stop(LONG_SECONDS))

    run(story())


def test_a_server_that_was_never_started_can_be_stopped(kind: RpcServerKind, no_leaks: None) -> None:
    async def story() -> None:
        await server_of(kind).stop(0)
        bound = server_of(kind)
        bound.bind()
        await bound.stop(0)

    run(story())


def test_calls_may_end_within_the_grace(kind: RpcServerKind) -> None:
    has_started, may_end = asyncio.Event(), asyncio.Event()

    async def wait(request: bytes, context: Context) -> bytes:
        has_started.set()
        await may_end.wait()
        return b"done"

    async def story() -> None:
        server = server_of(kind, unary_unary(wait))
        async with running(server) as address, channel_to(address) as channel:
            call = asyncio.ensure_future(channel.unary_unary(METHOD)(b""))
            await has_started.wait()
            stopping = asyncio.create_task(server.stop(LONG_SECONDS))
            await asyncio.sleep(SHORT_SECONDS)
            assert not stopping.done()
            may_end.set()
            await stopping
            assert await call == b"done"

    run(story())


def test_calls_are_cancelled_after_the_grace(kind: RpcServerKind) -> None:
    handler = Hanging()

    async def story() -> None:
        server = server_of(kind, unary_unary(handler.handle))
        async with running(server) as address, channel_to(address) as channel:
            call = asyncio.ensure_future(channel.unary_unary(METHOD)(b""))
            await until(lambda: handler.started)
            await server.stop(SHORT_SECONDS)
            assert handler.cancelled
            assert (await failure_of(call)).code() is grpc.StatusCode.UNAVAILABLE

    run(story())


def test_no_more_calls_are_taken_within_the_grace(kind: RpcServerKind) -> None:
    handler = Hanging()

    async def story() -> None:
        server = server_of(kind, unary_unary(handler.handle))
        async with running(server) as address, channel_to(address) as channel:
            running_call = asyncio.ensure_future(channel.unary_unary(METHOD)(b""))
            await until(lambda: handler.started)
            stopping = asyncio.create_task(server.stop(LONG_SECONDS))
            await asyncio.sleep(SHORT_SECONDS)
            assert (await failure_of(channel.unary_unary(METHOD)(b""))).code() is grpc.StatusCode.UNAVAILABLE
            running_call.cancel()
            await stopping
            assert handler.started == 1

    run(story())


def test_a_stopped_server_leaves_nothing_behind(
    kind: RpcServerKind, no_leaks: None, no_leaked_tasks: NoLeakedTasks
) -> None:
    handler = Hanging()

    async def story() -> None:
        async with no_leaked_tasks():
            async with serving(kind, stream_stream(handler.handle)) as address, channel_to(address) as channel:
                calls = [channel.stream_stream(METHOD)() for _ in range(10)]
                await until(lambda: handler.started == len(calls))
            # Those of the client's library end by themselves, but not always sooner than the server stops.
            await until(lambda: not [task for task in asyncio.all_tasks() if "_AioCall" in repr(task)])

    run(story())


def test_a_server_that_could_not_start_leaves_nothing_behind(
    kind: RpcServerKind, no_leaks: None, no_leaked_tasks: NoLeakedTasks
) -> None:
    async def story() -> None:
        with socket.create_server((HOST, 0)) as listener:
            async with no_leaked_tasks():
                with pytest.raises(AddressInUse):
                    await server_of(kind, port=listener.getsockname()[1]).start()

    run(story())


def test_servers_don_t_pile_up_native_threads() -> None:
    async def story() -> None:
        async with running(server_of("http2")):
            threads = native_threads()
        for _ in range(5):
            async with running(server_of("http2")):
                pass
        assert native_threads() <= threads

    run(story())


def test_a_client_that_doesn_t_read_doesn_t_keep_a_server_from_stopping(kind: RpcServerKind) -> None:
    async def flood(requests: object, context: Context) -> None:
        while True:
            await context.write(bytes(100_000))

    async def story() -> None:
        server = server_of(kind, stream_stream(flood))
        async with running(server) as address, channel_to(address) as channel:
            call = channel.stream_stream(METHOD)()
            await call.read()
            async with asyncio.timeout(LONG_SECONDS):
                await server.stop(SHORT_SECONDS)
            call.cancel()

    run(story())
