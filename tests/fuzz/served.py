"""A whole node, the only one of its cluster, on simulated time and a simulated disk, with all that it serves; and a
client on the same loop, without a socket between.

Nothing here waits: a call that takes its whole deadline takes as long as any other.
"""

import asyncio
import json
import shutil
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast

import grpc
from argon2 import PasswordHasher
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_health.v1 import health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from meteora.features import OWN_RELEASE, SUPPORTED_LEVEL
from meteora.http2 import ClientConnection, StreamEnded
from meteora.http2.client import ClientStream
from meteora.http2.frames import ErrorCode
from meteora.http2.server import ServerConnection
from meteora.kv.installation import INCOMING
from meteora.kv.state_machine import StateMachine
from meteora.node import Member, Node, NodeSettings
from meteora.node.recovery import create_cluster, replay
from meteora.node.snapshots import Snapshots
from meteora.pb.auth_pb2_grpc import add_AuthServiceServicer_to_server
from meteora.pb.kv_pb2_grpc import add_KvServiceServicer_to_server
from meteora.pb.maintenance_pb2_grpc import add_MaintenanceServiceServicer_to_server
from meteora.pb.peer_pb2_grpc import add_PeerServiceServicer_to_server
from meteora.pb.raft_pb2_grpc import add_RaftServiceServicer_to_server
from meteora.rpc.connect import add_connect_methods
from meteora.rpc.http2_host import Http2Server
from meteora.server.access import Gate
from meteora.server.administration import Administration
from meteora.server.auth_service import AuthService
from meteora.server.cluster import Cluster
from meteora.server.guarded import GuardedServer
from meteora.server.kv_service import KvService
from meteora.server.maintenance_service import MaintenanceService
from meteora.server.passwords import Passwords
from meteora.server.peer_service import PeerService
from meteora.server.raft_service import RaftService
from meteora.server.replies import Replies
from meteora.server.statuses import NOT_APPLIED_METADATA
from meteora.testing.databases import (
    SimulatedBatch,
    SimulatedDatabase,
    SimulatedLog,
    SimulatedPace,
    SimulatedReceiver,
    SimulatedTable,
)
from meteora.testing.disk import FIRST_STATE, Disk, SimulatedThread
from meteora.testing.loop import SimulatedLoop
from meteora.transport.dialler import Dialler
from meteora.transport.interface import Identity, OutgoingSnapshot, Room, SnapshotNotSent
from meteora.web import WebApplication
from tests.fuzz.messages import METHODS, response_type
from tests.fuzz.wire import Wire, judge, nothing_logged

CLUSTER = 7
MAX_VALUE_BYTES = 65_536
MAX_MESSAGE_BYTES = MAX_VALUE_BYTES + 8192
CALL_SECONDS = 5.0
"""The deadline of calls that name none."""

ANSWERED_SECONDS = 4 * CALL_SECONDS
"""Who waits longer waits in vain."""


class _Loop(SimulatedLoop):
    """Has no threads: what others do on one is done at once, and its end is told later."""

    def __init__(self) -> None:
        super().__init__()
        self.complaints: list[dict[str, Any]] = []

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  is raised where it is waited for
            done.set_exception(error)
        future = self.create_future()
        self.call_soon(_settle, future, done)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(context)


def _settle(future: "asyncio.Future[Any]", done: "Future[Any]") -> None:
    if future.done():
        return
    if (error := done.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())


def simulate(story: Coroutine[Any, Any, None]) -> None:
    """Runs a case on a loop of its own, after which no task may be left, and no error that nobody has looked at."""

    async def all_of_it() -> None:
        await story
        left = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
        assert not left, f"left running: {left}"

    loop = _Loop()
    try:
        with nothing_logged():
            loop.run_until_complete(all_of_it())
    except BaseException as error:
        loop.forget(error)
        raise
    assert not loop.complaints, loop.complaints


class _NoPeers:
    """A `Transport` to nobody."""

    def __init__(self) -> None:
        self.peers: Mapping[int, str] = {}

    def send(self, messages: Sequence[Any]) -> None:
        pass

    def report(self, report: bytes) -> None:
        pass

    def tell_room(self, room: Room) -> None:
        pass

    def set_peers(self, addresses: Mapping[int, str]) -> None:
        self.peers = addresses

    async def send_snapshot(self, peer: int, snapshot: OutgoingSnapshot) -> None:
        raise SnapshotNotSent("nobody is there")

    async def close(self) -> None:
        pass


class Answer(NamedTuple):
    """How a call has ended."""

    code: grpc.StatusCode | None
    """None if it was given up, or was answered as no call at all."""
    details: str = ""
    messages: Sequence[bytes | Message] = ()


_CODES = {code.value[0]: code for code in grpc.StatusCode}
_CONNECT_CODES = {code.name.lower().replace("cancelled", "canceled"): code for code in grpc.StatusCode}


class Served:
    """The node, and the way to it."""

    def __init__(self, root: Path) -> None:
        random = Random(1)
        self.disk = disk = Disk(random, root)
        self._new_thread: Callable[[Any], SimulatedThread] = lambda _: SimulatedThread(disk, random)
        self.clock = [1_000_000.0]
        """Seconds since the epoch."""
        self.node: Node
        self.gate: Gate

    async def start(self) -> None:
        thread = self._new_thread(None)
        root = self.disk.root
        log = SimulatedLog(root / "raft", self.disk, thread, 0, 1 << 20)
        await create_cluster(log, 1, Member("127.0.0.1:5000", "127.0.0.1:7000", 1))
        self.log = log = SimulatedLog(root / "raft", self.disk, thread, 0, 1 << 20)
        state_machine = self._new_state_machine(root / FIRST_STATE)
        replay(log, state_machine)
        snapshots = Snapshots(root, log, state_machine, thread)
        snapshots.incoming.receiver = SimulatedReceiver(root / INCOMING, thread, self.disk)
        loop = asyncio.get_running_loop()
        settings = NodeSettings(
            node_id=1,
            instance_id=1,
            session_id=1,
            tick_seconds=0.1,
            election_ticks=10,
            heartbeat_ticks=1,
            snapshot_catchup_entries=10_000,
            lease_reads=False,
            clock=loop.time,
            random_below=lambda bound: bound // 2,
        )
        self.state_machine = state_machine
        self.node = Node(settings, log, state_machine, snapshots)
        self.node.start(_NoPeers())
        await self._until(lambda: self.node.level == SUPPORTED_LEVEL)
        self._serve()

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.01)

    def _new_state_machine(self, path: Path) -> StateMachine:
        disk = self.disk

        def new_database(path: Path) -> SimulatedDatabase:
            return SimulatedDatabase(disk, path, lambda: 0.0)

        return StateMachine(
            path,
            new_database(path),
            new_thread=self._new_thread,
            new_batch=SimulatedBatch,
            new_database=new_database,
            new_table=lambda _: SimulatedTable(disk, 1 << 20),
            new_pace=lambda: SimulatedPace(disk),
            clock=asyncio.get_running_loop().time,
        )

    def _serve(self) -> None:
        """As `meteora.server.assembly` does it, on one port."""
        node = self.node
        gate = self.gate = Gate(node, lambda: self.clock[0])
        identity = Identity(CLUSTER, 1, 1, "127.0.0.1:7000", OWN_RELEASE)
        cluster = Cluster(node, CLUSTER, Dialler(), lambda: gate.member_authorization, has_proven_peers=False)
        replies = Replies(node)
        self.passwords = Passwords()
        # As little work as argon2 does: what is checked here is not how hard passwords are to guess.
        self.passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        administration = Administration(node, self.passwords, token_ttl_seconds=60.0)
        self.server = Http2Server("127.0.0.1", 0, MAX_MESSAGE_BYTES, refusal_metadata=NOT_APPLIED_METADATA)
        guarded = GuardedServer(self.server, gate, timeout_seconds=CALL_SECONDS, is_of_members=False)
        kv_service = KvService(
            node, replies, gate, max_value_bytes=MAX_VALUE_BYTES, timeout_seconds=CALL_SECONDS, forwards=True
        )
        add_KvServiceServicer_to_server(kv_service, guarded)
        auth_service = AuthService(node, administration, gate, replies, timeout_seconds=CALL_SECONDS)
        add_AuthServiceServicer_to_server(auth_service, guarded)
        raft_service = RaftService(node, cluster, replies, timeout_seconds=CALL_SECONDS)
        add_RaftServiceServicer_to_server(raft_service, guarded)
        maintenance_service = MaintenanceService(node, CLUSTER, gate, timeout_seconds=CALL_SECONDS)
        add_MaintenanceServiceServicer_to_server(maintenance_service, guarded)
        self.peer_service = PeerService(identity, node, cluster, timeout_seconds=CALL_SECONDS)
        add_PeerServiceServicer_to_server(self.peer_service, guarded)
        guarded.add_direct_methods("meteora.kv.KvService", kv_service.direct_methods)
        add_HealthServicer_to_server(health.aio.HealthServicer(), guarded)
        reflection.enable_server_reflection((reflection.SERVICE_NAME, "meteora.kv.KvService"), guarded)
        self._connect()

    def _connect(self) -> None:
        """What `Http2Server.start` does, but for the socket; and a connection."""
        self.web = WebApplication(MAX_MESSAGE_BYTES * 2)
        self.server.serve_web(self.web)
        application = self.server._application
        application.running.loop = asyncio.get_running_loop()
        add_connect_methods(self.web, application.methods, application.running, self.server._thread)
        self.client = ClientConnection()
        self.accepted = ServerConnection(self.server._endpoint)
        self._ends = _Line(self.client), _Line(self.accepted)
        self._ends[0].other, self._ends[1].other = self._ends[1], self._ends[0]
        self.accepted.connection_made(self._ends[1])
        self.client.connection_made(self._ends[0])

    async def stop(self) -> None:
        for end in self._ends:
            end.lose()
        await self.server._application.running.stop(0)
        self.web.stop()
        await self.web.wait_for_end()
        await self.server._application.running.wait_for_end()
        self.server._thread.shutdown()
        failed = self.node.failed
        if failed.done() and (error := failed.exception()) is not None:
            raise AssertionError("a call has stopped the node") from error
        await self.node.stop()
        self.state_machine.close()
        await self.passwords.close()
        # What is under way on a thread of the disk is waited for.
        await asyncio.sleep(1.0)
        assert not self.server._application.running.calls
        assert not self.server._application.running.outcomes
        for end in self._ends:
            judge(bytes(end.written))

    # Calls

    async def call(self, path: str, message: bytes, metadata: Sequence[tuple[bytes, bytes]] = ()) -> Answer:
        """A call by gRPC, with one message."""
        stream = self.begin(path, framed(message), metadata)
        return Answer(None) if stream is None else await self.end(path, stream)

    def begin(
        self, path: str, body: bytes, metadata: Sequence[tuple[bytes, bytes]] = (), *, is_end: bool = True
    ) -> ClientStream | None:
        """A call with any body. None if the connection takes none."""
        headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b"te", b"trailers")]
        with suppress(StreamEnded):
            stream = self.client.request([*headers, (b"content-type", b"application/grpc"), *metadata])
            stream.send(body, is_end=is_end)
            return stream
        return None

    async def end(self, path: str, stream: ClientStream, *, is_whole: bool = True) -> Answer:
        """Its end. A call that is not whole may have none; then it is given up."""
        try:
            async with asyncio.timeout(ANSWERED_SECONDS if is_whole else 1.0):
                body = await _all_of(stream)
        except StreamEnded as ending:
            return Answer(None, str(ending))
        except TimeoutError:
            assert not is_whole, f"{path} is not answered"
            stream.reset(ErrorCode.CANCEL, "nothing comes")
            return Answer(None, "given up")
        fields = dict(stream.trailers or stream.headers or ())
        if b"grpc-status" not in fields:
            return Answer(None, repr(fields))
        code, details = _CODES[int(fields[b"grpc-status"])], fields.get(b"grpc-message", b"").decode()
        return Answer(code, details, _messages(path, body) if code is grpc.StatusCode.OK else ())

    async def post(
        self, path: str, body: bytes, kind: bytes = b"application/json", headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> Answer:
        """A call by Connect."""
        first = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"127.0.0.1"), (b":path", path.encode())]
        try:
            stream = self.client.request([*first, (b"content-type", kind), *headers])
            stream.send(body, is_end=True)
            content = await _all_of(stream)
        except StreamEnded as ending:
            return Answer(None, str(ending))
        fields = dict(stream.headers or ())
        if fields[b":status"] == b"200":
            return Answer(grpc.StatusCode.OK, "", [_parsed(path, content, kind)])
        if fields.get(b"content-type") != b"application/json":
            assert fields[b":status"][:1] == b"4", (fields, content)
            return Answer(None, content.decode())
        error = json.loads(content)
        return Answer(_CONNECT_CODES[error["code"]], error["message"])


class _Line(Wire):
    """One end of a connection, whose other end gets what is written to it."""

    other: "_Line"

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        asyncio.get_running_loop().call_soon(self.other.take, bytes(data))

    def take(self, data: bytes) -> None:
        if not self.is_closing():
            self.protocol.data_received(data)  # type: ignore[attr-defined]  # these two have it

    def lose(self) -> None:
        was_lost = self.is_lost
        super().lose()
        if not was_lost:
            self.other.lose()


def framed(message: bytes) -> bytes:
    """As it stands in the body of a call."""
    return struct.pack(">BI", 0, len(message)) + message


async def _all_of(stream: ClientStream) -> bytes:
    body = bytearray()
    while (data := await stream.read()) is not None:
        body += data
    return bytes(body)


def _messages(path: str, body: bytes) -> list[bytes | Message]:
    messages: list[bytes | Message] = []
    offset = 0
    while offset < len(body):
        is_compressed, size = struct.unpack_from(">BI", body, offset)
        assert not is_compressed
        data = body[offset + 5 : offset + 5 + size]
        messages.append(response_type(path).FromString(data) if path in METHODS else data)
        offset += 5 + size
    assert offset == len(body), "a message was sent in part"
    return messages


def _parsed(path: str, content: bytes, kind: bytes) -> bytes | Message:
    if path not in METHODS:
        return content
    if kind == b"application/json":
        return cast(Message, json_format.Parse(content, response_type(path)()))
    return response_type(path).FromString(content)


@asynccontextmanager
async def serving(root: Path) -> AsyncIterator[Served]:
    """A node, until the end of the block; its files are in `root`."""
    shutil.rmtree(root, ignore_errors=True)
    served = Served(root)
    await served.start()
    yield served
    await served.stop()
