"""`each_request`: the requests of a stream, handed on as they come."""

import asyncio
import gc
from collections.abc import AsyncIterator

import grpc
import pytest

from meteora.config import RpcServerKind
from meteora.rpc import each_request
from meteora.rpc.call import Call
from tests.rpc.http2_client import framed, http2_client
from tests.rpc.probe import METHOD, Context, calling, echo, run, serving, stream_stream, until


class Taker:
    """Notes what it is handed; fails at `bad`."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.ends: list[BaseException | None] = []

    def take(self, request: bytes) -> None:
        if request == b"bad":
            raise ValueError("bad")
        self.taken.append(request)

    async def handle(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        self.taken.append(await anext(requests))
        yield b"welcome"
        try:
            await each_request(requests, self.take)
        except ValueError:
            await context.abort(grpc.StatusCode.DATA_LOSS, "bad")
        finally:
            self.ends.append(None)


def test_each_request_is_handed_on_and_the_call_ends_with_the_last(kind: RpcServerKind) -> None:
    async def story() -> None:
        taker = Taker()
        async with calling(kind, stream_stream(taker.handle)) as channel:
            call = channel.stream_stream(METHOD)(iter([b"1", b"2", b"3"]))
            assert [response async for response in call] == [b"welcome"]
            assert await call.code() is grpc.StatusCode.OK
        assert taker.taken == [b"1", b"2", b"3"]

    run(story())


def test_requests_that_came_in_one_piece_are_all_handed_on() -> None:
    async def story() -> None:
        taker = Taker()
        async with serving("http2", stream_stream(taker.handle)) as address, http2_client(address) as client:
            response = await client.request(framed(b"1") + framed(b"2") + framed(b"3"))
            assert response.grpc_status == 0
        assert taker.taken == [b"1", b"2", b"3"]

    run(story())


def test_a_request_that_is_not_taken_ends_the_call_as_its_handler_says(kind: RpcServerKind) -> None:
    async def story() -> None:
        taker = Taker()
        async with calling(kind, stream_stream(taker.handle)) as channel:
            call = channel.stream_stream(METHOD)(iter([b"1", b"bad", b"3"]))
            with pytest.raises(grpc.aio.AioRpcError):
                _ = [response async for response in call]
            assert await call.code() is grpc.StatusCode.DATA_LOSS
        assert taker.taken == [b"1"]

    run(story())


def test_a_stream_that_ends_within_a_request_is_an_error() -> None:
    async def story() -> None:
        taker = Taker()
        async with serving("http2", stream_stream(taker.handle)) as address, http2_client(address) as client:
            assert (await client.request(framed(b"1") + framed(b"23")[:-1])).grpc_status == 13

    run(story())


def test_a_client_that_ends_a_stream_and_gives_it_up_at_once_costs_other_calls_nothing() -> None:
    async def story() -> None:
        taker = Taker()
        async with serving("http2", stream_stream(taker.handle)) as address, http2_client(address) as client:
            stream = client.send(framed(b"1"), is_whole=False)
            await until(lambda: taker.taken)
            client._connection.end_stream(stream)
            client._connection.reset_stream(stream)
            client._writer.write(client._connection.data_to_send())
            await until(lambda: taker.ends)
            assert (await client.request(framed(b"2"))).grpc_status == 0

    run(story())


def test_a_stream_that_did_not_end_well_is_out_of_memory_without_the_garbage_collector() -> None:
    async def story() -> None:
        taker = Taker()
        async with calling("http2", stream_stream(taker.handle)) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="DATA_LOSS"):
                _ = [response async for response in channel.stream_stream(METHOD)(iter([b"1", b"bad"]))]
            await until(lambda: not [each for each in gc.get_objects() if isinstance(each, Call)])

    gc.collect()
    gc.disable()
    try:
        run(story())
    finally:
        gc.enable()


def test_a_name_that_is_no_ascii_ends_its_request_alone() -> None:
    async def story() -> None:
        async with serving("http2", stream_stream(Taker().handle)) as address, http2_client(address) as client:
            with pytest.raises(AssertionError, match="reset"):
                await client.request(framed(b""), path="/no.Such/Method", näme="value")
            assert (await client.request(framed(b"1"))).grpc_status == 0

    run(story())


def test_as_many_connections_may_wait_to_be_taken_as_for_any_listener() -> None:
    async def story() -> None:
        async with serving("http2", stream_stream(echo)) as address:
            port = int(address.rpartition(":")[2])
            shown = await asyncio.create_subprocess_exec("ss", "-Hltn", f"sport = :{port}", stdout=-1)
            out, _ = await shown.communicate()
            assert int(out.split()[2]) == 1024

    run(story())
