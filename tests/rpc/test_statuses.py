"""How calls end that don't end well."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import NamedTuple

import grpc
import pytest

from meteora.config import RpcServerKind
from meteora.pb import kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceServicer, KvServiceStub, add_KvServiceServicer_to_server
from meteora.rpc import create_rpc_server
from tests.rpc.probe import METHOD, Context, calling, channel_to, failure_of, run, running, unary_stream, unary_unary

NOT_ASCII = "Schlüssel „Ö“ 100 % ☃\n\x00"


class Status(NamedTuple):
    """What a servicer may hand to `abort_with_status`."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str], ...]


async def fail(request: bytes, context: Context) -> bytes:
    raise ValueError("boom")


async def abort(request: bytes, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, NOT_ASCII)


def test_an_aborted_call_ends_with_code_and_details(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, unary_unary(abort)) as channel:
            error = await failure_of(channel.unary_unary(METHOD)(b""))
            assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, NOT_ASCII)

    run(story())


def test_a_call_may_be_aborted_with_a_status(kind: RpcServerKind) -> None:
    async def abort_with_status(request: bytes, context: Context) -> bytes:
        await context.abort_with_status(Status(grpc.StatusCode.ABORTED, "no", (("key", "value"),)))

    async def story() -> None:
        async with calling(kind, unary_unary(abort_with_status)) as channel:
            error = await failure_of(channel.unary_unary(METHOD)(b""))
            assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "no")
            assert ("key", "value") in tuple(error.trailing_metadata())

    run(story())


def test_details_that_were_set_before_are_kept_by_abort(kind: RpcServerKind) -> None:
    async def set_and_abort(request: bytes, context: Context) -> bytes:
        context.set_details("set before")
        await context.abort(grpc.StatusCode.ABORTED)

    async def story() -> None:
        async with calling(kind, unary_unary(set_and_abort)) as channel:
            assert (await failure_of(channel.unary_unary(METHOD)(b""))).details() == "set before"

    run(story())


def test_an_abort_that_is_swallowed_ends_the_call_all_the_same(kind: RpcServerKind) -> None:
    async def swallow(request: bytes, context: Context) -> bytes:
        with pytest.raises(grpc.aio.AbortError):
            await context.abort(grpc.StatusCode.ABORTED, "no")
        return b"yes"

    async def story() -> None:
        async with calling(kind, unary_unary(swallow)) as channel:
            error = await failure_of(channel.unary_unary(METHOD)(b""))
            assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "no")

    run(story())


def test_an_aborted_call_sends_no_more(kind: RpcServerKind) -> None:
    async def write_after_abort(request: bytes, context: Context) -> None:
        with pytest.raises(grpc.aio.AbortError):
            await context.abort(grpc.StatusCode.ABORTED, "no")
        await context.write(b"yes")

    async def story() -> None:
        async with calling(kind, unary_stream(write_after_abort)) as channel:
            error = await failure_of(channel.unary_stream(METHOD)(b"").read())
            assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "no")

    run(story())


def test_a_code_that_was_set_takes_the_place_of_the_response(kind: RpcServerKind) -> None:
    async def not_found(request: bytes, context: Context) -> bytes:
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("no such key")
        return b"dropped"

    async def story() -> None:
        async with calling(kind, unary_unary(not_found)) as channel:
            error = await failure_of(channel.unary_unary(METHOD)(b""))
            assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such key")

    run(story())


def test_a_stream_may_end_with_an_error_after_responses(kind: RpcServerKind) -> None:
    async def one_and_abort(request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"one"
        await context.abort(grpc.StatusCode.DATA_LOSS, "no more")

    async def story() -> None:
        async with calling(kind, unary_stream(one_and_abort)) as channel:
            call = channel.unary_stream(METHOD)(b"")
            assert await call.read() == b"one"
            assert (await failure_of(call.read())).code() is grpc.StatusCode.DATA_LOSS

    run(story())


def test_an_exception_is_told_to_the_client(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with calling(kind, unary_unary(fail)) as channel:
            error = await failure_of(channel.unary_unary(METHOD)(b""))
            assert (error.code(), error.details()) == (
                grpc.StatusCode.UNKNOWN,
                "Unexpected <class 'ValueError'>: boom",
            )

    run(story())


def test_an_exception_is_logged(kind: RpcServerKind, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with calling(kind, unary_unary(fail)) as channel:
            await failure_of(channel.unary_unary(METHOD)(b""))

    run(story())
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert METHOD in caplog.text
    assert "ValueError: boom" in caplog.text.replace("\\n", "\n")


def test_an_exception_keeps_a_code_that_was_set(kind: RpcServerKind) -> None:
    async def set_and_fail(request: bytes, context: Context) -> bytes:
        context.set_code(grpc.StatusCode.DATA_LOSS)
        raise ValueError("boom")

    async def story() -> None:
        async with calling(kind, unary_unary(set_and_fail)) as channel:
            assert (await failure_of(channel.unary_unary(METHOD)(b""))).code() is grpc.StatusCode.DATA_LOSS

    run(story())


def test_a_response_that_is_none_is_an_error(kind: RpcServerKind) -> None:
    async def forget(request: bytes, context: Context) -> None:
        pass

    handler = unary_unary(forget, response_serializer=kv_pb2.PutReply.SerializeToString)

    async def story() -> None:
        async with calling(kind, handler) as channel:
            assert (await failure_of(channel.unary_unary(METHOD)(b""))).code() is grpc.StatusCode.UNKNOWN

    run(story())


def test_the_connection_lives_on_after_an_exception(kind: RpcServerKind) -> None:
    async def fail_on_demand(request: bytes, context: Context) -> bytes:
        if request == b"fail":
            raise ValueError("boom")
        return context.peer().encode()

    async def story() -> None:
        async with calling(kind, unary_unary(fail_on_demand)) as channel:
            call = channel.unary_unary(METHOD)
            before = await call(b"")
            await failure_of(call(b"fail"))
            assert await call(b"") == before

    run(story())


def test_a_method_that_a_servicer_leaves_out_is_unimplemented(kind: RpcServerKind) -> None:
    async def story() -> None:
        server = create_rpc_server(kind, "127.0.0.1", 0, max_message_bytes=100)
        add_KvServiceServicer_to_server(KvServiceServicer(), server)
        async with running(server) as address, channel_to(address) as channel:
            error = await failure_of(KvServiceStub(channel).Get(kv_pb2.GetReq()))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED

    run(story())


def test_details_of_any_length_arrive() -> None:
    async def abort_at_length(request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.ABORTED, "ö" * 100_000)

    async def story() -> None:
        async with calling("http2", unary_unary(abort_at_length)) as channel:
            error = await failure_of(channel.unary_unary(METHOD)(b""))
            assert error.code() is grpc.StatusCode.ABORTED
            assert str(error.details()).startswith("ööö")

    run(story())


@pytest.mark.parametrize(
    ("key", "value"), [("Upper", "x"), ("grpc-status", "0"), ("text", "ö"), ("text", "line\nline"), ("", "x")]
)
def test_metadata_that_can_t_be_sent_is_an_error_of_the_handler(key: str, value: str) -> None:
    async def end(request: bytes, context: Context) -> bytes:
        context.set_trailing_metadata(((key, value),))
        return b""

    async def story() -> None:
        async with calling("http2", unary_unary(end)) as channel:
            error = await failure_of(channel.unary_unary(METHOD)(b""))
            assert str(error.details()).startswith("Unexpected <class 'ValueError'>")

    run(story())


def test_a_call_can_t_be_aborted_with_ok() -> None:
    async def abort_with_ok(request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.OK, "fine")

    async def story() -> None:
        async with calling("http2", unary_unary(abort_with_ok)) as channel:
            assert (await failure_of(channel.unary_unary(METHOD)(b""))).code() is grpc.StatusCode.UNKNOWN

    run(story())


def test_a_call_can_t_be_aborted_twice() -> None:
    async def abort_twice(request: bytes, context: Context) -> bytes:
        with pytest.raises(grpc.aio.AbortError):
            await context.abort(grpc.StatusCode.ABORTED, "first")
        with pytest.raises(grpc.aio.UsageError):
            await context.abort(grpc.StatusCode.DATA_LOSS, "second")
        return b""

    async def story() -> None:
        async with calling("http2", unary_unary(abort_twice)) as channel:
            assert (await failure_of(channel.unary_unary(METHOD)(b""))).details() == "first"

    run(story())


def test_a_handler_that_awaits_what_somebody_else_cancelled_still_answers() -> None:
    async def await_cancelled(request: bytes, context: Context) -> bytes:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future

    async def story() -> None:
        async with calling("http2", unary_unary(await_cancelled)) as channel:
            assert (await failure_of(channel.unary_unary(METHOD)(b""))).code() is grpc.StatusCode.CANCELLED

    run(story())
