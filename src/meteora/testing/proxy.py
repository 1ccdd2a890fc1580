"""A TCP proxy that is a bad line between real processes: slow, lossy, cut one way or both, or broken off.

Rules:

- What is forwarded arrives whole and in order, as TCP promises: whatever is lost on a real line is sent again. So a
  loss is a pause, as long as it takes TCP to find out, in which everything behind it waits, too.
- A cut is silent. What is sent meanwhile arrives once it is mended, if anybody still waits for it.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

RETRANSMISSION_SECONDS: Final = 0.2
"""Linux waits for so long, at the least, before it sends again what nobody has acknowledged."""

_PIECE_BYTES: Final = 64 * 1024


class Proxy:
    """One address that stands for another. Made, changed and closed on one event loop."""

    def __init__(self, host: str, port: int, random: Random) -> None:
        """Stands for the listener at `host` and `port`; `random` decides about delays and losses."""
        self._host = host
        self._port = port
        self._random = random
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._there, self._back = asyncio.Event(), asyncio.Event()
        self.longest_delay_seconds = 0.0
        """Each piece takes up to so long, and those behind it wait."""
        self.loss = 0.0
        """The chance, from 0 to 1, that a piece is lost at first."""
        self.heal()

    async def listen(self, host: str, port: int) -> None:
        """Be reached at `host` and `port`. Raises `OSError`."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_PIECE_BYTES)

    async def close(self) -> None:
        """Break everything off, and listen no more."""
        if self._server is not None:
            self._server.close()
        self.break_off()
        while self._connections:
            await asyncio.wait(self._connections)

    def cut(self, *, there: bool = True, back: bool = True) -> None:
        """Hold back what goes there, to the listener, or what comes back from it, or both."""
        for is_cut, passes in ((there, self._there), (back, self._back)):
            if is_cut:
                passes.clear()

    def heal(self) -> None:
        """Let everything pass."""
        self._there.set()
        self._back.set()

    def break_off(self) -> None:
        """End all connections that there are; both ends learn it."""
        for connection in self._connections:
            connection.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task that asyncio has made for this connection, and holds no reference to.
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # It is over: the other end is told by the end of its own connection.
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward both ways until one end has had enough."""
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port, limit=_PIECE_BYTES)
        ways = [
            asyncio.ensure_future(self._forward(reader, far_writer, self._there)),
            asyncio.ensure_future(self._forward(far_reader, writer, self._back)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.transport.abort()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, passes: asyncio.Event) -> None:
        while piece := await source.read(_PIECE_BYTES):
            await asyncio.sleep(self._pause_seconds())
            await passes.wait()
            sink.write(piece)
            await sink.drain()

    def _pause_seconds(self) -> float:
        random: Callable[[], float] = self._random.random
        pause_seconds = self.longest_delay_seconds * random()
        while random() < self.loss:
            pause_seconds += RETRANSMISSION_SECONDS
        return pause_seconds
