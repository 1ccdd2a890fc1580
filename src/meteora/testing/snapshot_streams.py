"""Snapshots on the simulated network: the real sender and the real receiver, on a call that is a model.

A call is as gRPC's: what is sent arrives in order, or the call breaks. A loss breaks it, but both ends hear of it only
after a while; so do they of a process that is gone, or of a cut. A chunk may arrive spoilt.
"""

import asyncio
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from random import Random
from typing import Any, Final, NoReturn, Protocol, cast

from meteora.errors import MeteoraError
from meteora.pb import peer_pb2
from meteora.testing.loop import Process, SimulatedLoop
from meteora.transport.codec import INSTANCE_METADATA_KEY, LEVEL_METADATA_KEY
from meteora.transport.incoming import PeerReceiver
from meteora.transport.interface import Identity, OutgoingSnapshot, SnapshotChunk, SnapshotPosition
from meteora.transport.snapshots import SnapshotCall, send_over

KEEPALIVE_SECONDS: Final = (0.1, 4.0)
"""Until both ends find out that a call is broken, from and to: the real ones ping one another every two seconds."""

PIECES_OF_A_CHUNK: Final = 16
"""A chunk is sent in so many parts at most, however small they are to be: each is read from the disk again."""


class Line(Protocol):
    """The network, as far as a call knows it."""

    loop: SimulatedLoop
    random: Random

    def passes(self, sender: str, receiver: str) -> bool:
        """Whether a single packet gets from one address to the other now."""

    def delay_seconds(self) -> float:
        """How long a packet takes."""

    def spoils(self) -> bool:
        """Whether a chunk arrives spoilt."""

    def snapshot_receiver(self, address: str) -> "SnapshotEndpoint | None":
        """Who takes snapshots at this address now."""


class SnapshotEndpoint:
    """The end of a node that takes snapshots from others, until it is closed."""

    def __init__(self, process: Process, receiver: PeerReceiver) -> None:
        self.process = process
        self.receiver = receiver
        self._handlers: dict[asyncio.Task[None], None] = {}

    def serve(self, call: "_Call") -> None:
        """Answer a call, in the process."""
        if call.is_over:
            return
        handler = call.handler = asyncio.ensure_future(call.answer(self.receiver))
        self._handlers[handler] = None
        handler.add_done_callback(self._ended)

    def _ended(self, handler: "asyncio.Task[None]") -> None:
        del self._handlers[handler]
        if not handler.cancelled():
            handler.result()

    async def close(self) -> None:
        """End the calls that are being answered."""
        for handler in self._handlers:
            handler.cancel()
        while self._handlers:
            await asyncio.wait(list(self._handlers))


async def send_snapshot(
    line: Line,
    process: Process,
    identity: Identity,
    snapshot: OutgoingSnapshot,
    *,
    peer: int,
    address: str,
    chunk_bytes: int,
) -> None:
    """Send a snapshot to a peer, in chunks of about so many bytes. Raises as the real one does."""
    call = _Call(line, process, identity, address)
    await send_over(cast(SnapshotCall, call), identity, peer, _InPieces(snapshot, chunk_bytes))


class _InPieces:
    """A snapshot in smaller chunks than the real ones, which hold all of a small state."""

    def __init__(self, snapshot: OutgoingSnapshot, max_bytes: int) -> None:
        self.term = snapshot.term
        self.manifest = snapshot.manifest
        self._snapshot = snapshot
        self._max_bytes = max_bytes

    async def read(self, position: SnapshotPosition) -> tuple[SnapshotChunk, SnapshotPosition] | None:
        """As `OutgoingSnapshot`."""
        found = await self._snapshot.read(position)
        if found is None:
            return None
        size_bytes = max(self._max_bytes, len(found[0].data) // PIECES_OF_A_CHUNK)
        data = found[0].data[:size_bytes]
        if len(data) == len(found[0].data):
            return found
        after = SnapshotPosition(position.table_number, position.offset_bytes + size_bytes)
        return SnapshotChunk(position, data, zlib.crc32(data)), after


class _Aborted(Exception):
    """The receiver wants nothing of it; the message says why."""


class _Context:
    """What the receiver asks of gRPC."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        level = self._identity.release.level
        return ((INSTANCE_METADATA_KEY, str(self._identity.instance_id)), (LEVEL_METADATA_KEY, str(level)))

    def peer(self) -> str:
        return self._identity.raft_address

    async def abort(self, _code: object, details: str, _metadata: object = ()) -> NoReturn:
        raise _Aborted(details)


class _Queue:
    """What has arrived at one end and is not taken yet. Ends once."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.is_ended = False

    def push(self, item: object) -> None:
        if not self.is_ended:
            self._items.append(item)
            self._wake()

    def end(self) -> None:
        self.is_ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> Any:
        """The next item; None at the end."""
        while not self._items:
            if self.is_ended:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._items.popleft()

    def __aiter__(self) -> "_Queue":
        return self

    async def __anext__(self) -> Any:
        item = await self.next()
        if item is None:
            raise StopAsyncIteration
        return item


class _Direction:
    """One way of a call: in order, until something is lost."""

    def __init__(self, line: Line, sender: str, receiver: str) -> None:
        self._line = line
        self._ends = (sender, receiver)
        self._last_arrival = 0.0
        self.is_cut = False

    def carry(self, process: Process, callback: Callable[..., object], *arguments: object) -> None:
        """Call back in `process` when it has arrived, if ever."""
        self.is_cut = self.is_cut or not self._line.passes(*self._ends)
        if not self.is_cut:
            now = self._line.loop.now
            self._last_arrival = max(self._last_arrival, now + self._line.delay_seconds())
            self._line.loop.call_in(process, self._last_arrival - now, callback, *arguments)


class _Call:
    """One call: to the sender what gRPC gives it, to the receiver what comes in."""

    def __init__(self, line: Line, process: Process, identity: Identity, address: str) -> None:
        self._line = line
        self._process = process
        self._identity = identity
        self._address = address
        self._out = _Direction(line, identity.raft_address, address)
        self._back = _Direction(line, address, identity.raft_address)
        self._endpoint: SnapshotEndpoint | None = None
        self._parts = _Queue()
        self._answers = _Queue()
        self._details = ""
        self.is_over = False
        self.handler: asyncio.Task[None] | None = None
        self._look_again()

    # The sender's end

    async def write(self, part: peer_pb2.SnapshotPart) -> None:
        if self._answers.is_ended:
            raise asyncio.InvalidStateError("the call is over")
        if part.data and self._line.spoils():
            part.data = bytes([part.data[0] ^ 1]) + part.data[1:]
        self._out.carry(self._line.loop.outside, self._arrive, part)

    async def read(self) -> peer_pb2.SnapshotWanted | None:
        return cast("peer_pb2.SnapshotWanted | None", await self._answers.next())

    async def details(self) -> str:
        return self._details

    async def code(self) -> str:
        return "UNAVAILABLE"

    def cancel(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._line.loop.call_in(self._line.loop.outside, self._line.delay_seconds(), self._hang_up)

    # On the way

    def _arrive(self, part: peer_pb2.SnapshotPart) -> None:
        endpoint = self._line.snapshot_receiver(self._address)
        if endpoint is None or endpoint is not (self._endpoint or endpoint):
            self._back.carry(self._process, self._end, "the connection was refused")
        elif self._endpoint is None:
            self._endpoint = endpoint
            self._parts.push(part)
            self._line.loop.run_in(endpoint.process, endpoint.serve, self)
        else:
            self._line.loop.run_in(endpoint.process, self._parts.push, part)

    def _end(self, details: str) -> None:
        """In the sender's process."""
        self._details = self._details or details
        self._answers.end()

    def _look_again(self) -> None:
        seconds = self._line.random.uniform(*KEEPALIVE_SECONDS)
        self._line.loop.call_in(self._line.loop.outside, seconds, self._look)

    def _look(self) -> None:
        """Whether both ends are still there, and reach one another."""
        if self.is_over:
            return
        is_gone = self._line.snapshot_receiver(self._address) is not self._endpoint
        if is_gone or self._process.is_dead or self._out.is_cut or self._back.is_cut:
            self.is_over = True
            self._line.loop.call_in(self._process, 0.0, self._end, "the connection is broken")
            self._hang_up()
        else:
            self._look_again()

    def _hang_up(self) -> None:
        if self._endpoint is not None and self.handler is not None:
            self._line.loop.call_in(self._endpoint.process, 0.0, self.handler.cancel)

    # The receiver's end

    async def answer(self, receiver: PeerReceiver) -> None:
        """Take what comes, and say what is wanted."""
        details = ""
        try:
            context = cast(Any, _Context(self._identity))
            async with aclosing(cast(Any, receiver.SendSnapshot(self._parts, context))) as answers:
                async for wanted in answers:
                    self._back.carry(self._process, self._answers.push, wanted)
        except (_Aborted, MeteoraError) as error:
            details = str(error)
        self._back.carry(self._process, self._end, details)
