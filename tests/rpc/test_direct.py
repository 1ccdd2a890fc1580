"""Methods that are served directly: by a future, past the handler."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from meteora.rpc import Direct, RpcServer, create_rpc_server, frame
from tests.rpc.http2_client import framed, http2_client
from tests.rpc.probe import (
    MAX_MESSAGE_BYTES,
    METHOD,
    NAME,
    SERVICE,
    Context,
    channel_to,
    failure_of,
    register,
    run,
    running,
    unary_unary,
    until,
)

SHORT_SECONDS = 0.2
LONG_SECONDS = 3600.0


class Bent(Exception):
    """What the probe's errors are explained by."""


async def explain(context: Context, error: Exception) -> None:
    if isinstance(error, Bent):
        await context.abort(grpc.StatusCode.DATA_LOSS, str(error), (("what", "bent"),))


async def handle(request: bytes, context: Context) -> bytes:
    return b"handled"


class Probe:
    """A method that leaves its calls waiting, and answers them as the test wants."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[bytes]] = []
        self.timeouts: list[float | None] = []
        self.declines = False
        self.refuses: Exception | None = None

    def begin(
        self, request: bytes, timeout_seconds: float | None, authorization: str | None
    ) -> asyncio.Future[bytes] | None:
        if self.refuses is not None:
            raise self.refuses
        if self.declines:
            return None
        self.timeouts.append(timeout_seconds)
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    def server(self) -> RpcServer:
        server = create_rpc_server("http2", "127.0.0.1", 0, max_message_bytes=MAX_MESSAGE_BYTES)
        register(server, unary_unary(handle))
        server.add_direct_methods(
            SERVICE, {NAME: Direct(self.begin, lambda outcome: frame(b"direct " + outcome), explain)}
        )
        return server


@asynccontextmanager
async def calling(probe: Probe) -> AsyncIterator[grpc.aio.Channel]:
    async with running(probe.server()) as address, channel_to(address) as channel:
        yield channel


def called(channel: grpc.aio.Channel, **options: Any) -> asyncio.Future[bytes]:
    return asyncio.ensure_future(channel.unary_unary(METHOD)(b"request", **options))


def test_the_answer_is_what_comes_of_the_future() -> None:
    async def story() -> None:
        probe = Probe()
        async with calling(probe) as channel:
            call = called(channel)
            await until(lambda: probe.waiting)
            probe.waiting[0].set_result(b"answer")
            assert await call == b"direct answer"

    run(story())


def test_the_method_is_told_how_long_the_client_waits() -> None:
    async def story() -> None:
        probe = Probe()
        async with calling(probe) as channel:
            calls = [called(channel), called(channel, timeout=LONG_SECONDS)]
            await until(lambda: len(probe.waiting) == len(calls))
            for waiting in probe.waiting:
                waiting.set_result(b"")
            await asyncio.gather(*calls)
            without, with_one = sorted(probe.timeouts, key=bool)
            assert without is None
            assert with_one is not None
            assert LONG_SECONDS / 2 < with_one < LONG_SECONDS * 1.01

    run(story())


@pytest.mark.parametrize(
    ("options", "declines"),
    [({"timeout": 0.9}, False), ({"compression": grpc.Compression.Gzip}, False), ({}, True)],
    ids=["a client in a hurry", "a compressed request", "a method that declines"],
)
def test_what_is_not_for_the_short_way_goes_to_the_handler(options: dict[str, Any], declines: bool) -> None:
    async def story() -> None:
        probe = Probe()
        probe.declines = declines
        async with calling(probe) as channel:
            call = channel.unary_unary(METHOD)(b"request" * 100, **options)
            assert (await call, probe.waiting) == (b"handled", [])

    run(story())


@pytest.mark.parametrize("refuses", [None, Bent("all bent")], ids=["declined", "refused"])
def test_nothing_is_kept_of_a_call_that_its_client_gives_up_before_its_task_begins(refuses: Exception | None) -> None:
    async def story() -> None:
        probe = Probe()
        probe.declines, probe.refuses = True, refuses
        server = probe.server()
        async with running(server) as address, http2_client(address) as client:
            client.give_up(client.send(framed(b"request")))
            assert (await client.request(framed(b"request"))).grpc_status == (0 if refuses is None else 15)
            (counts,) = server.call_counts.values()
            await until(lambda: not server.pressure.requests)
            assert counts.measured == {}

    run(story())


def test_a_deadline_that_has_passed_is_answered_without_the_method() -> None:
    async def story() -> None:
        probe = Probe()
        async with running(probe.server()) as address, http2_client(address) as client:
            assert (await client.request(framed(b""), grpc_timeout="0n")).grpc_status == 4
            assert probe.waiting == []

    run(story())


def test_a_deadline_that_makes_no_sense_is_an_error() -> None:
    async def story() -> None:
        probe = Probe()
        async with running(probe.server()) as address, http2_client(address) as client:
            assert (await client.request(framed(b""), grpc_timeout="soon")).grpc_status == 13
            assert probe.waiting == []

    run(story())


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "by the future"])
def test_what_the_method_raises_is_explained_by_it(is_late: bool) -> None:
    async def story() -> None:
        probe = Probe()
        probe.refuses = None if is_late else Bent("all bent")
        async with calling(probe) as channel:
            call = called(channel)
            if is_late:
                await until(lambda: probe.waiting)
                probe.waiting[0].set_exception(Bent("all bent"))
            error = await failure_of(call)
            assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "all bent")
            assert dict(error.trailing_metadata() or ())["what"] == "bent"

    run(story())


def test_what_nobody_explains_ends_the_call_as_a_handler_s_error_would() -> None:
    async def story() -> None:
        probe = Probe()
        probe.refuses = ZeroDivisionError("so what")
        async with calling(probe) as channel:
            error = await failure_of(called(channel))
            assert error.code() is grpc.StatusCode.UNKNOWN
            assert error.details() == "Unexpected <class 'ZeroDivisionError'>: so what"

    run(story())


def test_the_future_is_cancelled_when_the_client_cancels() -> None:
    async def story() -> None:
        probe = Probe()
        async with calling(probe) as channel:
            call = called(channel)
            await until(lambda: probe.waiting)
            call.cancel()
            await until(probe.waiting[0].cancelled)

    run(story())


def test_a_future_that_somebody_else_cancelled_ends_the_call_too() -> None:
    async def story() -> None:
        probe = Probe()
        async with calling(probe) as channel:
            call = channel.unary_unary(METHOD)(b"")
            await until(lambda: probe.waiting)
            probe.waiting[0].cancel()
            assert await call.code() is grpc.StatusCode.CANCELLED

    run(story())


def test_calls_may_end_within_the_grace_of_a_server_that_stops() -> None:
    async def story() -> None:
        probe = Probe()
        server = probe.server()
        async with running(server) as address, channel_to(address) as channel:
            call = called(channel)
            await until(lambda: probe.waiting)
            stopping = asyncio.create_task(server.stop(LONG_SECONDS))
            assert (await failure_of(called(channel))).code() is grpc.StatusCode.UNAVAILABLE
            assert not stopping.done()
            probe.waiting[0].set_result(b"answer")
            await stopping
            assert await call == b"direct answer"

    run(story())


def test_calls_end_after_the_grace_of_a_server_that_stops() -> None:
    async def story() -> None:
        probe = Probe()
        server = probe.server()
        async with running(server) as address, channel_to(address) as channel:
            call = called(channel)
            await until(lambda: probe.waiting)
            await server.stop(SHORT_SECONDS)
            assert probe.waiting[0].cancelled()
            error = await failure_of(call)
            assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "the server is stopping")

    run(story())


def test_a_call_that_has_ended_is_kept_nowhere() -> None:
    async def story() -> None:
        probe = Probe()
        server = probe.server()
        async with running(server) as address, channel_to(address) as channel:
            call = called(channel)
            await until(lambda: probe.waiting)
            probe.waiting[0].set_result(b"")
            await call
            await server.stop(LONG_SECONDS)

    run(story())
