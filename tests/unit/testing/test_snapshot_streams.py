import asyncio
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from meteora.errors import MeteoraError, SnapshotDamaged
from meteora.testing.loop import SimulatedLoop
from meteora.testing.network import Network, SimulatedTransport
from meteora.transport.interface import (
    Identity,
    SnapshotChunk,
    SnapshotNotSent,
    SnapshotPosition,
    SnapshotUnusable,
)
from tests.unit.testing.test_network import CLUSTER_ID, Inbox

CONTENT = bytes(range(256)) * 4
END = SnapshotPosition(1, 0)


class Sent:
    """A snapshot of one table."""

    term = 3
    manifest = b"manifest"

    async def read(self, position: SnapshotPosition) -> tuple[SnapshotChunk, SnapshotPosition] | None:
        if position == END:
            return None
        data = CONTENT[position.offset_bytes :]
        return SnapshotChunk(position, data, zlib.crc32(data)), END


class Received:
    """What has arrived of it, on a disk that outlives calls."""

    def __init__(self) -> None:
        self.content = b""
        self.offers: list[tuple[int, int, bytes]] = []
        self.chunks = 0
        self.is_taken = False
        self.closed = 0
        self.damage: MeteoraError | None = None

    def _wanted(self) -> SnapshotPosition:
        return END if self.is_complete else SnapshotPosition(0, len(self.content))

    async def begin(self) -> SnapshotPosition:
        return self._wanted()

    async def write(self, chunk: SnapshotChunk) -> SnapshotPosition:
        await asyncio.sleep(0.01)
        self.chunks += 1
        if chunk.position == self._wanted() and zlib.crc32(chunk.data) == chunk.checksum:
            self.content += chunk.data
        return self._wanted()

    @property
    def is_complete(self) -> bool:
        return len(self.content) == len(CONTENT)

    async def finish(self) -> None:
        if self.damage is not None:
            raise self.damage
        self.is_taken = True

    def close(self) -> None:
        self.closed += 1


class Taking(Inbox):
    """The node that takes it."""

    def __init__(self, received: Received) -> None:
        super().__init__()
        self._received = received

    def offered(self, sender: int, term: int, manifest: bytes) -> Received:
        self._received.offers.append((sender, term, manifest))
        return self._received


class Pair:
    """A sender, and a receiver whose process can be another one."""

    def __init__(self, network: Network, chunk_bytes: int = 100) -> None:
        self.network = network
        self.received = Received()
        process = network.loop.new_process("sender")
        self.sender = SimulatedTransport(
            network, process, Identity(CLUSTER_ID, 1, 1, "n1:7001"), Inbox(), chunk_bytes=chunk_bytes
        )
        network.loop.call_in(process, 0.0, self.sender.set_peers, {2: "n2:7001"})
        self.start_receiver()

    def start_receiver(self) -> None:
        self.receiving = self.network.loop.new_process("receiver")
        identity = Identity(CLUSTER_ID, 2, 2, "n2:7001")
        transport = SimulatedTransport(self.network, self.receiving, identity, Taking(self.received))
        self.network.endpoints["n2:7001"] = transport

    def kill_receiver(self) -> None:
        self.receiving.kill()
        del self.network.endpoints["n2:7001"]

    async def send(self) -> None:
        outcome: asyncio.Future[None] = self.network.loop.create_future()

        async def work() -> None:
            try:
                await self.sender.send_snapshot(2, Sent())
            except SnapshotNotSent as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(None)

        self.network.loop.call_in(self.sender.process, 0.0, lambda: asyncio.ensure_future(work()))
        await outcome


def run(story: Callable[[Network], Awaitable[None]]) -> None:
    loop = SimulatedLoop()  # type: ignore[abstract]

    async def within() -> None:
        await story(Network(loop, Random(1), Counter()))

    loop.run_until_complete(within())
    loop.forget()


def test_a_snapshot_arrives_in_chunks_of_the_size_that_is_asked_for() -> None:
    async def story(network: Network) -> None:
        pair = Pair(network, chunk_bytes=300)
        await pair.send()
        assert pair.received.offers == [(1, 3, b"manifest")]
        assert pair.received.content == CONTENT
        assert pair.received.is_taken
        assert pair.received.chunks == 4

    run(story)


def test_chunks_that_arrive_spoilt_are_sent_again() -> None:
    async def story(network: Network) -> None:
        pair = Pair(network)
        network.spoil_rate = 0.2
        await pair.send()
        assert network.faults["chunk spoilt"] > 0
        assert pair.received.content == CONTENT

    run(story)


@pytest.mark.parametrize("cut", [("n1:7001", "n2:7001"), ("n2:7001", "n1:7001")])
def test_a_call_over_a_cut_breaks_at_both_ends_and_the_next_one_goes_on(cut: tuple[str, str]) -> None:
    async def story(network: Network) -> None:
        pair = Pair(network)
        sending = asyncio.ensure_future(pair.send())
        while not pair.received.content:
            await asyncio.sleep(0.001)
        network.cut.add(cut)
        with pytest.raises(SnapshotNotSent, match="the connection is broken"):
            await sending
        await asyncio.sleep(0)
        assert pair.received.closed == 1
        before, network.cut = pair.received.chunks, set()
        await pair.send()
        assert pair.received.content == CONTENT
        assert pair.received.chunks - before < len(CONTENT) / 100

    run(story)


def test_a_receiver_that_is_killed_ends_the_call_although_another_one_listens_soon() -> None:
    async def story(network: Network) -> None:
        pair = Pair(network)
        sending = asyncio.ensure_future(pair.send())
        while not pair.received.content:
            await asyncio.sleep(0.001)
        pair.kill_receiver()
        pair.start_receiver()
        with pytest.raises(SnapshotNotSent):
            await sending
        await pair.send()
        assert pair.received.is_taken

    run(story)


def test_a_sender_that_is_killed_ends_the_call_at_the_receiver() -> None:
    async def story(network: Network) -> None:
        pair = Pair(network)
        sending = asyncio.ensure_future(pair.send())
        while not pair.received.content:
            await asyncio.sleep(0.001)
        pair.sender.process.kill()
        await asyncio.sleep(5.0)
        assert pair.received.closed == 1
        sending.cancel()

    run(story)


def test_a_receiver_that_closes_ends_its_calls() -> None:
    async def story(network: Network) -> None:
        pair = Pair(network)
        sending = asyncio.ensure_future(pair.send())
        while not pair.received.content:
            await asyncio.sleep(0.001)
        endpoint = network.snapshot_receiver("n2:7001")
        assert endpoint is not None
        await endpoint.close()
        assert pair.received.closed == 1
        with pytest.raises(SnapshotNotSent):
            await sending

    run(story)


def test_a_sender_is_told_that_its_snapshot_is_of_no_use() -> None:
    async def story(network: Network) -> None:
        pair = Pair(network)
        pair.received.damage = SnapshotDamaged("it is not what it says")
        with pytest.raises(SnapshotUnusable, match="it is not what it says"):
            await pair.send()

    run(story)


def test_nobody_who_listens_and_nobody_who_is_known_are_no_receivers() -> None:
    async def story(network: Network) -> None:
        pair = Pair(network)
        pair.kill_receiver()
        with pytest.raises(SnapshotNotSent):
            await pair.send()
        with pytest.raises(SnapshotNotSent, match="no peer"):
            await pair.sender.send_snapshot(3, Sent())

    run(story)
