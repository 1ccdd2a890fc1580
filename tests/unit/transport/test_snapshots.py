import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from meteora.config import RpcServerKind
from meteora.errors import MeteoraError, SnapshotDamaged
from meteora.pb.peer_pb2_grpc import add_PeerServiceServicer_to_server
from meteora.rpc import create_rpc_server
from meteora.transport import incoming
from meteora.transport.incoming import PeerReceiver
from meteora.transport.interface import (
    Identity,
    Refusal,
    SnapshotChunk,
    SnapshotNotSent,
    SnapshotPosition,
    SnapshotUnusable,
)
from meteora.transport.snapshots import WINDOW_CHUNKS
from tests.unit.transport.peers import CLUSTER, RecordingInbox, sending, unused_address

CHUNK_BYTES = 100
TABLES = (bytes(range(250)) * 5, b"second" * 200, b"x")
START = SnapshotPosition(0, 0)
END = SnapshotPosition(len(TABLES), 0)


def after(position: SnapshotPosition, size_bytes: int, tables: Sequence[bytes] = TABLES) -> SnapshotPosition:
    end_bytes = position.offset_bytes + size_bytes
    is_whole = end_bytes >= len(tables[position.table_number])
    return SnapshotPosition(position.table_number + 1, 0) if is_whole else position._replace(offset_bytes=end_bytes)


class Sent:
    """A snapshot in memory."""

    term = 7
    manifest = b"what it is"

    def __init__(self) -> None:
        self.reads: list[SnapshotPosition] = []
        self.damage: Callable[[SnapshotChunk], SnapshotChunk] = lambda chunk: chunk

    async def read(self, position: SnapshotPosition) -> tuple[SnapshotChunk, SnapshotPosition] | None:
        self.reads.append(position)
        if position == END:
            return None
        begin = position.offset_bytes
        data = TABLES[position.table_number][begin : begin + CHUNK_BYTES]
        return self.damage(SnapshotChunk(position, data, zlib.crc32(data))), after(position, len(data))


class Received:
    """A snapshot that is put together in memory."""

    def __init__(self, position: SnapshotPosition = START) -> None:
        self.tables = [bytearray() for _ in TABLES]
        self.position = position
        self.fails_at: SnapshotPosition | None = None
        self.failure = MeteoraError("the disk is full")
        self.times_closed = 0
        self.is_finished = False

    async def begin(self) -> SnapshotPosition:
        return self.position

    async def write(self, chunk: SnapshotChunk) -> SnapshotPosition:
        if chunk.position == self.fails_at:
            raise self.failure
        if chunk.position == self.position and zlib.crc32(chunk.data) == chunk.checksum:
            self.tables[chunk.position.table_number] += chunk.data
            self.position = after(self.position, len(chunk.data))
        return self.position

    @property
    def is_complete(self) -> bool:
        return self.position == END

    async def finish(self) -> None:
        self.is_finished = True

    def close(self) -> None:
        self.times_closed += 1


@asynccontextmanager
async def node(kind: RpcServerKind, inbox: RecordingInbox, *, cluster_id: int = CLUSTER) -> AsyncIterator[str]:
    """The address of node 2."""
    server = create_rpc_server(kind, "127.0.0.1", 0, max_message_bytes=1 << 20)
    receiver = PeerReceiver(Identity(cluster_id, 2, instance_id=0, raft_address=""), inbox)
    add_PeerServiceServicer_to_server(receiver, server)
    await server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.stop(0.0)


async def send(kind: RpcServerKind, sent: Sent, received: Received, **options: int) -> None:
    """Send it to node 2, which wants it."""
    inbox = RecordingInbox()
    inbox.incoming[sent.manifest] = received
    async with node(kind, inbox, **options) as address, sending(RecordingInbox(), {2: address}) as transport:
        await transport.send_snapshot(2, sent)


on_both_hosts = pytest.mark.parametrize("kind", ["http2", "grpcio"])


@on_both_hosts
def test_what_arrives_is_what_was_sent(kind: RpcServerKind) -> None:
    received = Received()
    asyncio.run(send(kind, Sent(), received))
    assert tuple(map(bytes, received.tables)) == TABLES
    assert (received.is_finished, received.times_closed) == (True, 1)


@on_both_hosts
def test_what_is_there_already_is_not_sent_again(kind: RpcServerKind) -> None:
    sent, there = Sent(), SnapshotPosition(1, 300)
    asyncio.run(send(kind, sent, Received(there)))
    assert sent.reads[0] == there


def test_of_a_snapshot_that_is_there_nothing_is_sent() -> None:
    sent = Sent()
    asyncio.run(send("http2", sent, Received(END)))
    assert sent.reads == []


def test_a_chunk_that_is_damaged_on_the_way_is_sent_again() -> None:
    sent, received = Sent(), Received()
    damaged = SnapshotPosition(0, 3 * CHUNK_BYTES)
    is_damaged_now = [True]

    def damage(chunk: SnapshotChunk) -> SnapshotChunk:
        if chunk.position == damaged and is_damaged_now:
            is_damaged_now.clear()
            return chunk._replace(data=b"?" * len(chunk.data))
        return chunk

    sent.damage = damage
    asyncio.run(send("http2", sent, received))
    assert sent.reads.count(damaged) == 2
    assert tuple(map(bytes, received.tables)) == TABLES


def test_no_more_is_on_its_way_than_the_window_holds() -> None:
    sent = Sent()

    class Silent(Received):
        async def write(self, chunk: SnapshotChunk) -> SnapshotPosition:
            await asyncio.Event().wait()
            raise AssertionError

    async def story() -> None:
        sending_it = asyncio.create_task(send("http2", sent, Silent()))
        async with asyncio.timeout(10):
            while len(sent.reads) < WINDOW_CHUNKS:
                await asyncio.sleep(0.01)
        for _ in range(100):  # Turns of the loop, in any of which one more could be read.
            await asyncio.sleep(0)
        assert len(sent.reads) == WINDOW_CHUNKS
        sending_it.cancel()
        await asyncio.wait([sending_it])

    asyncio.run(story())


@on_both_hosts
def test_a_sender_that_stands_still_is_given_up(kind: RpcServerKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "PATIENCE_SECONDS", 0.2)
    received = Received()
    goes_on = asyncio.Event()

    class Paused(Sent):
        async def read(self, position: SnapshotPosition) -> tuple[SnapshotChunk, SnapshotPosition] | None:
            if len(self.reads) == 3:
                while not received.times_closed:
                    await asyncio.sleep(0.01)
                goes_on.set()
            return await super().read(position)

    async def story() -> None:
        async with asyncio.timeout(10):
            await send(kind, Paused(), received)

    with pytest.raises(SnapshotNotSent):
        asyncio.run(story())
    assert goes_on.is_set()
    assert (received.is_finished, received.times_closed) == (False, 1)


@on_both_hosts
def test_the_sender_learns_why_the_receiver_ended_it(kind: RpcServerKind) -> None:
    received = Received()
    received.fails_at = SnapshotPosition(1, 0)
    with pytest.raises(SnapshotNotSent, match="node 2 ended it: the disk is full"):
        asyncio.run(send(kind, Sent(), received))
    assert (received.is_finished, received.times_closed) == (False, 1)


def test_the_sender_learns_that_another_snapshot_had_better_be_made() -> None:
    received = Received()
    received.fails_at, received.failure = SnapshotPosition(1, 0), SnapshotDamaged("table 0 has another digest")
    with pytest.raises(SnapshotUnusable, match="node 2 ended it: table 0 has another digest"):
        asyncio.run(send("http2", Sent(), received))


def test_a_snapshot_that_is_not_wanted_is_not_sent() -> None:
    async def story() -> None:
        async with node("http2", RecordingInbox()) as address, sending(RecordingInbox(), {2: address}) as transport:
            await transport.send_snapshot(2, Sent())

    with pytest.raises(SnapshotNotSent, match="node 2 ended it: term 7 of node 1 is over"):
        asyncio.run(story())


def test_a_snapshot_of_another_cluster_is_refused() -> None:
    received = Received()
    with pytest.raises(SnapshotNotSent, match="node 2 belongs to cluster 0000000000000bad"):
        asyncio.run(send("http2", Sent(), received, cluster_id=0xBAD))
    assert received.position == START


def test_a_snapshot_of_a_removed_node_is_refused() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        inbox.refusals[1] = Refusal.REMOVED_SENDER
        async with node("http2", inbox) as address, sending(RecordingInbox(), {2: address}) as transport:
            await transport.send_snapshot(2, Sent())

    with pytest.raises(SnapshotNotSent, match="node 1 was removed from the cluster"):
        asyncio.run(story())


def test_nobody_there_is_said() -> None:
    async def story() -> None:
        async with sending(RecordingInbox(), {2: unused_address()}) as transport:
            await transport.send_snapshot(2, Sent())

    with pytest.raises(SnapshotNotSent, match=r"node 2 ended it: .*Connection refused"):
        asyncio.run(story())


def test_to_who_is_no_peer_nothing_is_sent() -> None:
    async def story() -> None:
        async with sending(RecordingInbox(), {}) as transport:
            await transport.send_snapshot(2, Sent())

    with pytest.raises(SnapshotNotSent, match="node 2 is no peer any more"):
        asyncio.run(story())


def test_a_snapshot_that_can_not_be_read_is_not_sent() -> None:
    class Broken(Sent):
        async def read(self, position: SnapshotPosition) -> tuple[SnapshotChunk, SnapshotPosition] | None:
            raise SnapshotUnusable("table 0 is not there any more")

    with pytest.raises(SnapshotUnusable, match="table 0 is not there any more"):
        asyncio.run(send("http2", Broken(), Received()))


def test_a_receiver_that_wants_more_than_there_is_does_not_keep_the_sender() -> None:
    class Insatiable(Received):
        is_complete = False

    with pytest.raises(SnapshotNotSent, match="node 2 wants more than there is"):
        asyncio.run(send("http2", Sent(), Insatiable(END)))
