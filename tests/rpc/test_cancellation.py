"""Calls that end before their handlers do: by the deadline, or because the client goes."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import grpc
import pytest

from meteora.client import AsyncClient
from meteora.config import RpcServerKind
from meteora.http2 import server as http2_server
from meteora.pb import common_pb2, kv_pb2, raft_pb2
from meteora.pb.kv_pb2_grpc import KvServiceServicer, add_KvServiceServicer_to_server
from meteora.pb.raft_pb2_grpc import RaftServiceServicer, add_RaftServiceServicer_to_server
from meteora.rpc import create_rpc_server
from meteora.rpc.call import Call
from tests.rpc.http2_client import framed, http2_client
from tests.rpc.probe import (
    MAX_MESSAGE_BYTES,
    METHOD,
    PATIENCE_SECONDS,
    Context,
    Hanging,
    calling,
    channel_to,
    echo,
    failure_of,
    run,
    running,
    serving,
    stream_stream,
    stream_unary,
    unary_stream,
    unary_unary,
    until,
)

NoLeakedTasks = Callable[[], AbstractAsyncContextManager[None]]

SHORT_SECONDS = 0.2
LONG_SECONDS = 3600.0


def test_without_a_deadline_there_is_no_time_remaining(kind: RpcServerKind) -> None:
    seen = []

    async def note(request: bytes, context: Context) -> bytes:
        seen.append(context.time_remaining())
        return b""

    async def story() -> None:
        async with calling(kind, unary_unary(note)) as channel:
            await channel.unary_unary(METHOD)(b"")
            assert seen == [None]

    run(story())


def test_a_handler_knows_the_time_remaining(kind: RpcServerKind) -> None:
    seen = []

    async def note(request: bytes, context: Context) -> bytes:
        seen.append(context.time_remaining())
        return b""

    async def story() -> None:
        async with calling(kind, unary_unary(note)) as channel:
            await channel.unary_unary(METHOD)(b"", timeout=LONG_SECONDS)
            # The client may round its deadline up.
            assert LONG_SECONDS / 2 < seen[0] < LONG_SECONDS * 1.01

    run(story())


def test_a_call_ends_at_its_deadline(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, unary_unary(Hanging().handle)) as channel:
            error = await failure_of(channel.unary_unary(METHOD)(b"", timeout=SHORT_SECONDS))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    run(story())


def test_the_handler_is_cancelled_at_the_deadline(kind: RpcServerKind) -> None:
    handler = Hanging()

    async def story() -> None:
        async with calling(kind, unary_unary(handler.handle)) as channel:
            await failure_of(channel.unary_unary(METHOD)(b"", timeout=SHORT_SECONDS))
            await until(lambda: handler.cancelled)

    run(story())


def test_the_server_itself_answers_at_the_deadline() -> None:
    async def story() -> None:
        async with serving("http2", unary_unary(Hanging().handle)) as address, http2_client(address) as client:
            response = await client.request(framed(b""), grpc_timeout="50m")
            assert (response.grpc_status, response.grpc_message) == (4, "Deadline Exceeded")

    run(story())


def test_a_deadline_that_has_passed_is_answered_without_the_handler() -> None:
    handler = Hanging()

    async def story() -> None:
        async with serving("http2", unary_unary(handler.handle)) as address, http2_client(address) as client:
            assert (await client.request(framed(b""), grpc_timeout="0n")).grpc_status == 4
            assert handler.started == 0

    run(story())


def test_a_handler_that_won_t_be_cancelled_doesn_t_answer_after_the_deadline() -> None:
    async def insist(request: bytes, context: Context) -> bytes:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return b"late"

    async def story() -> None:
        async with serving("http2", unary_unary(insist)) as address, http2_client(address) as client:
            response = await client.request(framed(b""), grpc_timeout="50m")
            assert (response.grpc_status, response.body) == (4, b"")

    run(story())


def test_a_stream_ends_at_its_deadline_after_what_was_sent() -> None:
    async def one_and_wait(request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.Event().wait()

    async def story() -> None:
        async with serving("http2", unary_stream(one_and_wait)) as address, http2_client(address) as client:
            response = await client.request(framed(b""), grpc_timeout="50m")
            assert (response.body, response.grpc_status) == (framed(b"one"), 4)

    run(story())


def test_a_call_that_was_answered_in_time_leaves_no_timer(no_leaked_tasks: NoLeakedTasks) -> None:
    seen = []

    async def note(request: bytes, context: Context) -> bytes:
        context.add_done_callback(seen.append)
        return b""

    async def story() -> None:
        async with calling("http2", unary_unary(note)) as channel:
            await channel.unary_unary(METHOD)(b"", timeout=LONG_SECONDS)
            await until(lambda: seen)
            assert seen[0]._timer.cancelled()

    run(story())


def test_the_handler_is_cancelled_when_the_client_cancels(kind: RpcServerKind) -> None:
    handler = Hanging()

    async def story() -> None:
        async with calling(kind, unary_unary(handler.handle)) as channel:
            call = channel.unary_unary(METHOD)(b"")
            await until(lambda: handler.started)
            call.cancel()
            await until(lambda: handler.cancelled)

    run(story())


def test_requests_that_break_off_don_t_look_complete() -> None:
    # On grpcio they do: there, a handler sees the same end of the requests when the client cancels.
    fates: list[object] = []

    async def collect(requests: AsyncIterator[bytes], context: Context) -> bytes:
        try:
            fates.append(await anext(aiter(requests)))
            fates.append(await anext(aiter(requests), "end"))
        except asyncio.CancelledError:
            fates.append("cancelled")
            raise
        return b""

    async def story() -> None:
        async with calling("http2", stream_unary(collect)) as channel:
            call = channel.stream_unary(METHOD)()
            await call.write(b"request")
            await until(lambda: fates)
            call.cancel()
            await until(lambda: len(fates) > 1)
            assert fates == [b"request", "cancelled"]

    run(story())


def test_a_generator_is_closed_when_the_client_cancels(kind: RpcServerKind) -> None:
    fates = []

    async def flood(request: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            fates.append("closed")

    async def story() -> None:
        async with calling(kind, unary_stream(flood)) as channel:
            call = channel.unary_stream(METHOD)(b"")
            await call.read()
            call.cancel()
            await until(lambda: fates)

    run(story())


def test_the_handler_is_cancelled_when_the_connection_breaks(kind: RpcServerKind) -> None:
    handler = Hanging()

    async def story() -> None:
        async with serving(kind, unary_unary(handler.handle)) as address:
            async with http2_client(address) as client:
                client.send(framed(b""))
                await until(lambda: handler.started)
            await until(lambda: handler.cancelled)

    run(story())


def test_half_a_request_is_dropped_with_its_connection(kind: RpcServerKind, no_leaked_tasks: NoLeakedTasks) -> None:
    handler = Hanging()

    async def story() -> None:
        async with no_leaked_tasks(), serving(kind, unary_unary(handler.handle)) as address:
            async with http2_client(address) as client:
                client.send(framed(b"message")[:-1], is_whole=False)
            async with channel_to(address) as channel:
                assert (await failure_of(channel.unary_unary(METHOD)(b"", timeout=SHORT_SECONDS))) is not None
            assert handler.started == 1

    run(story())


def test_cancelled_calls_leave_no_task(kind: RpcServerKind, no_leaked_tasks: NoLeakedTasks) -> None:
    handler = Hanging()

    async def story() -> None:
        async with no_leaked_tasks(), calling(kind, stream_stream(handler.handle)) as channel:
            calls = [channel.stream_stream(METHOD)() for _ in range(20)]
            await until(lambda: handler.started == len(calls))
            for call in calls:
                call.cancel()
            await until(lambda: handler.cancelled == len(calls))

    run(story())


def test_the_connection_lives_on_after_a_cancelled_call(kind: RpcServerKind) -> None:
    async def hang_on_demand(request: bytes, context: Context) -> bytes:
        if request == b"hang":
            await asyncio.Event().wait()
        return context.peer().encode()

    async def story() -> None:
        async with calling(kind, unary_unary(hang_on_demand)) as channel:
            call = channel.unary_unary(METHOD)
            before = await call(b"")
            await failure_of(call(b"hang", timeout=SHORT_SECONDS))
            assert await call(b"") == before

    run(story())


MAX_RESETS = 200
"""For these tests; a connection has not as many streams as it may give up."""


@pytest.mark.parametrize(("burst", "lives_on"), [(MAX_RESETS, True), (MAX_RESETS + 50, False)])
def test_a_connection_stands_so_many_calls_cancelled_at_once_and_no_more(
    burst: int, lives_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_server, "MAX_RESETS", MAX_RESETS)
    handler, answer = Hanging(), asyncio.Event()

    async def hang_on_demand(request: bytes, context: Context) -> bytes:
        if request == b"hang":
            return await handler.handle(request, context)
        await answer.wait()
        return request

    async def story() -> None:
        async with calling("http2", unary_unary(hang_on_demand)) as channel:
            call = channel.unary_unary(METHOD)
            other = call(b"other")
            calls = [call(b"hang") for _ in range(burst)]
            await until(lambda: handler.started == burst)
            for each in calls:
                each.cancel()
            await until(lambda: handler.cancelled == burst)
            answer.set()
            assert await other.code() is (grpc.StatusCode.OK if lives_on else grpc.StatusCode.UNAVAILABLE)
            # A new connection, if need be.
            assert await call(b"next", wait_for_ready=True) == b"next"

    run(story())


class HangingNode(KvServiceServicer, RaftServiceServicer):
    """Never answers a read, and no write before it may."""

    def __init__(self) -> None:
        self.reads = Hanging()
        self.writes: list[kv_pb2.PutReq] = []
        self.may_write = asyncio.Event()

    async def NodeStatus(self, request: common_pb2.Null, context: Context) -> raft_pb2.NodeStatusReply:
        return raft_pb2.NodeStatusReply(node_id=1, leader_id=1)

    async def Get(self, request: kv_pb2.GetReq, context: Context) -> kv_pb2.GetReply:
        await self.reads.handle(request, context)
        return kv_pb2.GetReply()

    async def Put(self, request: kv_pb2.PutReq, context: Context) -> kv_pb2.PutReply:
        self.writes.append(request)
        await self.may_write.wait()
        return kv_pb2.PutReply(state=common_pb2.OK, leader_id=1)


def test_our_client_gets_a_write_through_although_its_connection_is_closed_for_what_it_cancels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http2_server, "MAX_RESETS", MAX_RESETS)
    burst = MAX_RESETS + 50

    async def story() -> None:
        node, server = HangingNode(), create_rpc_server("http2", "127.0.0.1", 0, max_message_bytes=MAX_MESSAGE_BYTES)
        add_KvServiceServicer_to_server(node, server)
        add_RaftServiceServicer_to_server(node, server)
        async with running(server) as address, AsyncClient(address, timeout_seconds=PATIENCE_SECONDS) as client:
            write = asyncio.create_task(client.put(b"key", b"value"))
            reads = [asyncio.create_task(client.get(b"key")) for _ in range(burst)]
            await until(lambda: node.writes and node.reads.started == burst)
            for read in reads:
                read.cancel()
            await until(lambda: len(node.writes) > 1)
            node.may_write.set()
            await write
            first, again = node.writes[0].request_id, node.writes[-1].request_id
            assert (again.client_id, again.sequence, again.retry) == (first.client_id, first.sequence, True)

    run(story())


@pytest.mark.parametrize("outcome", ["answered", "failed", "cancelled"])
def test_done_callbacks_are_told_of_the_end(kind: RpcServerKind, outcome: str) -> None:
    done = []

    async def handle(request: bytes, context: Context) -> bytes:
        context.add_done_callback(done.append)
        if outcome == "failed":
            await context.abort(grpc.StatusCode.ABORTED)
        if outcome == "cancelled":
            await asyncio.Event().wait()
        return b""

    async def story() -> None:
        async with calling(kind, unary_unary(handle)) as channel:
            await asyncio.wait([asyncio.ensure_future(channel.unary_unary(METHOD)(b"", timeout=SHORT_SECONDS))])
            await until(lambda: done)

    run(story())


@pytest.mark.parametrize(("cancels", "expected"), [(True, True), (False, False)])
def test_a_context_knows_whether_the_client_cancelled(cancels: bool, expected: bool) -> None:
    started, ends = asyncio.Event(), []

    async def handle(request: bytes, context: Context) -> bytes:
        context.add_done_callback(lambda context: ends.append((context.done(), context.cancelled())))
        started.set()
        if cancels:
            await asyncio.Event().wait()
        return b""

    async def story() -> None:
        async with calling("http2", unary_unary(handle)) as channel:
            call = channel.unary_unary(METHOD)(b"")
            await started.wait()
            if cancels:
                call.cancel()
            await until(lambda: ends)
            assert ends == [(True, expected)]

    run(story())


def test_a_done_callback_that_fails_keeps_nobody_from_being_told() -> None:
    done = []

    async def handle(request: bytes, context: Context) -> bytes:
        context.add_done_callback(lambda _: 1 / 0)
        context.add_done_callback(done.append)
        return await echo(request, context)

    async def story() -> None:
        async with calling("http2", unary_unary(handle)) as channel:
            await channel.unary_unary(METHOD)(b"")
            await until(lambda: done)

    run(story())


def test_an_error_of_a_handler_that_was_cancelled_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail_late(request: bytes, context: Context) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("cleanup failed")

    async def story() -> None:
        async with serving("http2", unary_unary(fail_late)) as address, http2_client(address) as client:
            assert (await client.request(framed(b""), grpc_timeout="50m")).grpc_status == 4

    run(story())
    assert "cleanup failed" in caplog.text


@pytest.mark.parametrize("ending", ["the client goes", "the deadline passes", "the handler fails"])
def test_a_call_that_did_not_end_well_is_out_of_memory_without_the_garbage_collector(ending: str) -> None:
    handler = Hanging()

    async def handle(request: bytes, context: Context) -> bytes:
        if ending == "the handler fails":
            raise ValueError("no")
        return await handler.handle(request, context)

    async def end_badly(channel: grpc.aio.Channel) -> None:
        call = channel.unary_unary(METHOD)(b"", timeout=SHORT_SECONDS if ending == "the deadline passes" else None)
        if ending == "the client goes":
            before = handler.started
            await until(lambda: handler.started > before)
            call.cancel()
            await until(lambda: handler.cancelled == handler.started)
        else:
            await failure_of(call)

    async def story() -> None:
        async with calling("http2", unary_unary(handle)) as channel:
            await end_badly(channel)
            await until(lambda: not calls_in_memory())

    gc.collect()
    gc.disable()
    try:
        run(story())
    finally:
        gc.enable()


def calls_in_memory() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, Call)]
