"""What the tests of this room share: an inbox that remembers, and a node that listens on a real port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import grpc
import pytest

from meteora.errors import MeteoraError
from meteora.features import Release
from meteora.pb.peer_pb2_grpc import PeerServiceServicer, add_PeerServiceServicer_to_server
from meteora.raft.entry import Entry
from meteora.raft.message import Message, MessageKind
from meteora.transport.channel import SERVER_OPTIONS
from meteora.transport.dialler import Dialler
from meteora.transport.incoming import PeerReceiver
from meteora.transport.interface import Identity, IncomingSnapshot, Refusal, Room
from meteora.transport.outgoing import GrpcTransport

CLUSTER = 0x5EED
SENDER = Identity(CLUSTER, node_id=1, instance_id=2**64 - 1, raft_address="127.0.0.1:7001")


class RecordingInbox:
    """Remembers what it is told; refuses the senders in `refusals`."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, list[Message]]] = []
        self.lost: list[int] = []
        self.reports: list[tuple[int, bytes]] = []
        self.rooms: list[tuple[int, Room]] = []
        self.refused_by: list[tuple[int, Refusal, str]] = []
        self.refusals: dict[int, Refusal] = {}
        self.instance_ids: dict[int, int] = {}
        self.addresses: dict[int, str] = {}
        self.releases: dict[int, Release] = {}
        self.incoming: dict[bytes, IncomingSnapshot] = {}

    @property
    def messages(self) -> list[Message]:
        return [message for _, batch in self.batches for message in batch]

    def admits(self, sender: int, instance_id: int, level: int) -> Refusal | None:
        self.instance_ids[sender] = instance_id
        return self.refusals.get(sender)

    def introduced(self, sender: int, instance_id: int, raft_address: str, release: Release) -> None:
        self.releases[sender] = release
        self.addresses[sender] = raft_address

    def receive(self, sender: int, messages: Sequence[Message]) -> None:
        self.batches.append((sender, list(messages)))

    def offered(self, sender: int, term: int, manifest: bytes) -> IncomingSnapshot:
        if manifest not in self.incoming:
            raise MeteoraError(f"term {term} of node {sender} is over")
        return self.incoming[manifest]

    def reported(self, sender: int, report: bytes) -> None:
        self.reports.append((sender, report))

    def room_told(self, sender: int, room: Room) -> None:
        self.rooms.append((sender, room))

    def unreachable(self, peer: int) -> None:
        self.lost.append(peer)

    def refused(self, peer: int, refusal: Refusal, detail: str) -> None:
        self.refused_by.append((peer, refusal, detail))


@asynccontextmanager
async def serving(servicer: PeerServiceServicer, port: int = 0) -> AsyncIterator[str]:
    """The address at which the servicer is served; 0 for a free port."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    add_PeerServiceServicer_to_server(servicer, server)
    bound_port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{bound_port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def listening(
    inbox: RecordingInbox, node_id: int = 2, *, cluster_id: int = CLUSTER, port: int = 0
) -> AsyncIterator[str]:
    """The address of a node whose peers' messages go to `inbox`."""
    async with serving(
        PeerReceiver(Identity(cluster_id, node_id, instance_id=0, raft_address="127.0.0.1:7002"), inbox), port
    ) as address:
        yield address


@asynccontextmanager
async def sending(inbox: RecordingInbox, peers: dict[int, str]) -> AsyncIterator[GrpcTransport]:
    """The transport of node 1 with these peers."""
    transport = GrpcTransport(SENDER, inbox, Dialler())
    transport.set_peers(peers)
    try:
        yield transport
    finally:
        await transport.close()


@contextmanager
def black_hole() -> Iterator[str]:
    """An address where connections are made, by the kernel, but where nobody ever accepts one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def unused_address() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


class Cable:
    """Carries bytes to an address, until it is cut: then neither end hears of the other, nor that the cable was cut."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._is_whole = asyncio.Event()
        self._is_whole.set()
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[str]:
        """The address of the near end."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            self._is_whole.set()
            for writer in self._writers:
                writer.close()
            await server.wait_closed()

    def cut(self) -> None:
        self._is_whole.clear()

    async def _connect(self, near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, port)
        self._writers += [near_writer, far_writer]
        with suppress(ConnectionError):
            await asyncio.gather(self._carry(near_reader, far_writer), self._carry(far_reader, near_writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._is_whole.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


async def until(condition: Callable[[], object], timeout_seconds: float = 8) -> None:
    """Returns once the condition holds; raises `TimeoutError` if it does not in time."""
    async with asyncio.timeout(timeout_seconds):
        while not condition():
            await asyncio.sleep(0.002)


async def until_sent(transport: GrpcTransport, inbox: RecordingInbox, receiver: int = 2) -> None:
    """Sends heartbeats until one arrives, as a leader does."""
    count = len(inbox.batches)

    def has_arrived() -> bool:
        transport.send([heartbeat(receiver)])
        return len(inbox.batches) > count

    await until(has_arrived)


def heartbeat(receiver: int = 2, *, commit: int = 0) -> Message:
    return Message(MessageKind.HEARTBEAT, 1, receiver, term=3, commit=commit)


def append(index: int, receiver: int = 2, *, data: bytes = b"x") -> Message:
    """An append of one entry."""
    return Message(
        MessageKind.APPEND, 1, receiver, term=3, index=index - 1, log_term=3, entries=(Entry(3, index, data),)
    )


def events_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the transport logged.

    Not what asyncio logs: gRPC keeps one thread for all loops of a process, and asyncio complains when that has news
    for the closed loop of an earlier test.
    """
    return [record.getMessage() for record in caplog.records if record.name == "meteora.transport"]


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])
