"""A bad line, with a listener behind it that sends back what it gets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest

from meteora.testing import proxy as module
from meteora.testing.proxy import Proxy

HOST = "127.0.0.1"

PATIENCE_SECONDS = 10.0

TURNS = 50
"""Of the loop, after which whatever could have come by itself is there."""


class Line:
    """The proxy, and a connection through it."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.reader = reader
        self.writer = writer
        self.heard = bytearray()
        """By the listener."""

    async def echo(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.reader.readexactly(len(data))

    async def some_turns(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0.001)


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    heard = bytearray()

    async def send_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            heard.extend(data)
            writer.write(data)
        writer.close()

    listener = await asyncio.start_server(send_back, HOST, 0)
    proxy = Proxy(HOST, listener.sockets[0].getsockname()[1], Random(1))
    await proxy.listen(HOST, 0)
    assert proxy._server is not None
    reader, writer = await asyncio.open_connection(HOST, proxy._server.sockets[0].getsockname()[1])
    made = Line(proxy, reader, writer)
    made.heard = heard
    try:
        yield made
    finally:
        writer.close()
        await proxy.close()
        listener.close()


def tell(story: Callable[[Line], Awaitable[None]]) -> None:
    async def told() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), line() as made:
            await story(made)
        # Nothing is left of the line.
        await asyncio.sleep(0)
        assert not made.proxy._connections

    asyncio.run(told())


def test_everything_arrives_in_order_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE_BYTES", 1000)
    monkeypatch.setattr(module, "RETRANSMISSION_SECONDS", 0.002)
    data = Random(2).randbytes(100_000)

    async def story(made: Line) -> None:
        made.proxy.longest_delay_seconds, made.proxy.loss = 0.001, 0.2
        assert await made.echo(data) == data

    tell(story)


@pytest.mark.parametrize("there", [True, False])
def test_what_is_sent_while_it_is_cut_arrives_once_it_is_mended(there: bool) -> None:
    async def story(made: Line) -> None:
        await made.echo(b"before")
        made.proxy.cut(there=there, back=not there)
        answer = asyncio.ensure_future(made.echo(b"meanwhile"))
        await made.some_turns()
        assert made.heard == (b"before" if there else b"beforemeanwhile")
        assert not answer.done()
        made.proxy.heal()
        assert await answer == b"meanwhile"

    tell(story)


def test_who_is_broken_off_learns_it() -> None:
    async def story(made: Line) -> None:
        await made.echo(b"before")
        made.proxy.break_off()
        with suppress(ConnectionResetError):
            assert await made.reader.read() == b""

    tell(story)


def test_a_listener_that_ends_a_connection_ends_it_for_who_asked() -> None:
    async def story(made: Line) -> None:
        await made.echo(b"before")
        made.writer.write_eof()
        assert await made.reader.read() == b""

    tell(story)
