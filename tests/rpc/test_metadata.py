"""Metadata both ways."""

import asyncio
from collections.abc import AsyncIterator

import grpc

from meteora.config import RpcServerKind
from tests.rpc.probe import METHOD, Context, calling, echo, failure_of, run, unary_stream, unary_unary

METADATA = (("text", "value"), ("text", "another"), ("bytes-bin", b"\x00\xff"), ("empty", ""))


def test_a_handler_sees_what_the_client_sent(kind: RpcServerKind) -> None:
    seen = []

    async def note(request: bytes, context: Context) -> bytes:
        seen.extend(context.invocation_metadata())
        return b""

    async def story() -> None:
        async with calling(kind, unary_unary(note)) as channel:
            await channel.unary_unary(METHOD)(b"", metadata=METADATA)
            assert set(METADATA) <= set(seen)

    run(story())


def test_what_belongs_to_the_protocol_is_no_metadata(kind: RpcServerKind) -> None:
    seen = []

    async def note(request: bytes, context: Context) -> bytes:
        seen.extend(key for key, _ in context.invocation_metadata())
        return b""

    async def story() -> None:
        async with calling(kind, unary_unary(note)) as channel:
            await channel.unary_unary(METHOD)(b"", timeout=60)
            assert seen == ["user-agent"]

    run(story())


def test_initial_metadata_comes_before_any_response(kind: RpcServerKind) -> None:
    may_go_on = asyncio.Event()

    async def greet(request: bytes, context: Context) -> AsyncIterator[bytes]:
        await context.send_initial_metadata(METADATA)
        await may_go_on.wait()
        yield b"late"

    async def story() -> None:
        async with calling(kind, unary_stream(greet)) as channel:
            call = channel.unary_stream(METHOD)(b"")
            assert set(METADATA) <= set(await call.initial_metadata())
            may_go_on.set()
            assert await call.read() == b"late"

    run(story())


def test_initial_metadata_can_be_sent_only_once(kind: RpcServerKind) -> None:
    async def greet_twice(request: bytes, context: Context) -> bytes:
        await context.send_initial_metadata(())
        await context.send_initial_metadata(())
        return b""

    async def story() -> None:
        async with calling(kind, unary_unary(greet_twice)) as channel:
            error = await failure_of(channel.unary_unary(METHOD)(b""))
            assert "Send initial metadata failed: already sent" in str(error.details())

    run(story())


def test_trailing_metadata_comes_with_a_response(kind: RpcServerKind) -> None:
    async def end(request: bytes, context: Context) -> bytes:
        context.set_trailing_metadata(METADATA)
        return b"done"

    async def story() -> None:
        async with calling(kind, unary_unary(end)) as channel:
            call = channel.unary_unary(METHOD)(b"")
            assert await call == b"done"
            assert set(METADATA) <= set(await call.trailing_metadata())

    run(story())


def test_trailing_metadata_comes_with_an_error(kind: RpcServerKind) -> None:
    async def refuse(request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.ABORTED, "no", METADATA)

    async def story() -> None:
        async with calling(kind, unary_unary(refuse)) as channel:
            error = await failure_of(channel.unary_unary(METHOD)(b""))
            assert set(METADATA) <= set(error.trailing_metadata())

    run(story())


def test_a_context_gives_back_what_was_set(kind: RpcServerKind) -> None:
    seen = []

    async def note(request: bytes, context: Context) -> bytes:
        context.set_trailing_metadata((("key", "value"),))
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("gone")
        seen.extend([context.trailing_metadata(), context.code(), context.details()])
        return b""

    async def story() -> None:
        async with calling(kind, unary_unary(note)) as channel:
            await failure_of(channel.unary_unary(METHOD)(b""))
            assert seen == [(("key", "value"),), grpc.StatusCode.NOT_FOUND, "gone"]

    run(story())


def test_a_handler_knows_who_calls(kind: RpcServerKind) -> None:
    async def whoami(request: bytes, context: Context) -> bytes:
        return context.peer().encode()

    async def story() -> None:
        async with calling(kind, unary_unary(whoami)) as channel:
            protocol, host, port = (await channel.unary_unary(METHOD)(b"")).split(b":")
            assert (protocol, host, port.isdigit()) == (b"ipv4", b"127.0.0.1", True)

    run(story())


def test_a_client_without_credentials_has_no_identity(kind: RpcServerKind) -> None:
    seen = []

    async def note(request: bytes, context: Context) -> bytes:
        seen.extend([context.peer_identities(), context.peer_identity_key()])
        return await echo(request, context)

    async def story() -> None:
        async with calling(kind, unary_unary(note)) as channel:
            await channel.unary_unary(METHOD)(b"")
            assert seen == [None, None]

    run(story())
