"""Real nodes on real disks, in one loop. Between them is a network that passes messages on, remembers them, and can
be cut: the network is not what is tested here.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType

from meteora.errors import MeteoraError, StorageError
from meteora.features import FIRST_RELEASE, Release
from meteora.kv.state_machine import StateMachine
from meteora.node import Member, Node, NodeSettings
from meteora.node.members import encode_context
from meteora.node.recovery import replay
from meteora.node.snapshots import Snapshots
from meteora.raft import Change, ChangeKind, ConfChange, Entry, EntryKind, HardState, Message, MessageKind
from meteora.storage.disk_space import DiskSpace
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from meteora.transport.interface import IncomingSnapshot, OutgoingSnapshot, Room, SnapshotNotSent

TICK_SECONDS = 0.02
ELECTION_TICKS = 10
PATIENCE_SECONDS = 10.0
"""For a condition to come true."""

_sessions = iter(range(1, 1 << 63))


class Network:
    """Delivers what is sent between the nodes that are on it, unless either of them is cut off."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {}
        self.sent: list[Message] = []
        """All that was sent, whether or not it arrived."""
        self.cut_off: set[int] = set()

    def deliver(self, message: Message) -> None:
        self.sent.append(message)
        if not {message.sender, message.receiver} & self.cut_off and message.receiver in self.nodes:
            # Through the loop, as from a socket: never from within the sender's own pass.
            asyncio.get_running_loop().call_soon(self._arrive, message)

    def _arrive(self, message: Message) -> None:
        if message.receiver in self.nodes:
            self.nodes[message.receiver].receive(message.sender, [message])

    def report(self, sender: int, receiver: int, report: bytes) -> None:
        if not {sender, receiver} & self.cut_off and receiver in self.nodes:
            asyncio.get_running_loop().call_soon(self.nodes[receiver].reported, sender, report)

    def tell_room(self, sender: int, receiver: int, room: Room) -> None:
        if not {sender, receiver} & self.cut_off and receiver in self.nodes:
            asyncio.get_running_loop().call_soon(self.nodes[receiver].room_told, sender, room)

    def introduce(self, sender: int, receiver: int) -> None:
        """A stream is opened, or refused."""
        if sender in self.nodes and receiver in self.nodes and not {sender, receiver} & self.cut_off:
            settings = self.nodes[sender]._settings
            refusal = self.nodes[receiver].admits(sender, settings.instance_id, settings.release.level)
            if refusal is not None:
                self.nodes[sender].refused(receiver, refusal, "by the test's network")

    def offer(self, sender: int, receiver: int, snapshot: OutgoingSnapshot) -> IncomingSnapshot:
        """What the receiver makes of a snapshot. Raises `SnapshotNotSent`."""
        if {sender, receiver} & self.cut_off or receiver not in self.nodes:
            raise SnapshotNotSent("cut off")
        try:
            return self.nodes[receiver].offered(sender, snapshot.term, snapshot.manifest)
        except MeteoraError as error:
            raise SnapshotNotSent(str(error)) from error

    def sent_by(self, node_id: int, kind: MessageKind) -> list[Message]:
        return [message for message in self.sent if message.sender == node_id and message.kind is kind]


class Line:
    """The `Transport` of one node."""

    def __init__(self, network: Network, node_id: int) -> None:
        self._network = network
        self._node_id = node_id
        self.peers: dict[int, str] = {}
        """As they were last set."""

    def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.receiver in self.peers:
                self._network.deliver(message)

    def report(self, report: bytes) -> None:
        for peer in self.peers:
            self._network.report(self._node_id, peer, report)

    def tell_room(self, room: Room) -> None:
        for peer in self.peers:
            self._network.tell_room(self._node_id, peer, room)

    def set_peers(self, addresses: Mapping[int, str]) -> None:
        newcomers = addresses.keys() - self.peers.keys()
        self.peers = dict(addresses)
        for peer in newcomers:
            asyncio.get_running_loop().call_soon(self._network.introduce, self._node_id, peer)

    async def send_snapshot(self, peer: int, snapshot: OutgoingSnapshot) -> None:
        incoming = self._network.offer(self._node_id, peer, snapshot)
        try:
            position = await incoming.begin()
            while not incoming.is_complete and (found := await snapshot.read(position)) is not None:
                position = await incoming.write(found[0])
            await incoming.finish()
        except MeteoraError as error:
            raise SnapshotNotSent(str(error)) from error
        finally:
            incoming.close()

    async def close(self) -> None:
        self.peers = {}


class Running:
    """One node with its parts."""

    def __init__(self, node: Node, log: RaftLog, state_machine: StateMachine, line: Line) -> None:
        self.node = node
        self.log = log
        self.state_machine = state_machine
        self.line = line

    async def put(self, key: bytes, value: bytes = b"value") -> None:
        await self.node.put(key, value, soon())

    async def get(self, key: bytes) -> bytes | None:
        return await self.node.get(key, soon())

    async def until_leading(self) -> None:
        """Leads, and has applied what its term opened with."""
        await until(lambda: self.node.leads and self.node.status().applied_index == self.node.status().last_index)


def soon(seconds: float = PATIENCE_SECONDS) -> float:
    """A deadline, in the loop's time."""
    return asyncio.get_running_loop().time() + seconds


async def until(condition: Callable[[], object]) -> None:
    """Returns once the condition holds; raises `TimeoutError` if it does not in time."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


def member(node_id: int, *, promote: bool = False) -> Member:
    """What is known of a member: its instance is ten times its id."""
    return Member(f"host{node_id}:5000", f"host{node_id}:7000", instance_id=10 * node_id, promote=promote)


def founding(node_ids: Sequence[int]) -> list[Entry]:
    """The first entries of a cluster of these voters."""
    changes = (
        ConfChange((Change(ChangeKind.ADD_VOTER, node_id),), context=encode_context({node_id: member(node_id)}))
        for node_id in node_ids
    )
    return [Entry(1, index, change.encode(), EntryKind.CONF_CHANGE) for index, change in enumerate(changes, 1)]


@asynccontextmanager
async def running(
    folder: Path,
    network: Network,
    node_id: int = 1,
    *,
    voters: Sequence[int] = (1,),
    instance_id: int | None = None,
    snapshot_catchup_entries: int = 1_000_000,
    clock: Callable[[], float] | None = None,
    random_below: Callable[[int], int] = random.randrange,
    release: Release = FIRST_RELEASE,
    reads_at_once: int = 1_024,
    quota_bytes: int = 0,
    min_free_bytes: int | None = 0,
    disk_space: Callable[[], DiskSpace] | None = None,
) -> AsyncIterator[Running]:
    """Node `node_id` with its disk in `folder`, founded with these voters if it is empty; none: not yet a member.

    With a `clock` it reads by leases, which that clock measures.
    """
    async with AsyncExitStack() as parts:
        disk = DiskThread("raft log")
        parts.callback(disk.close)
        state_machine = StateMachine.open(folder / "kv")
        parts.callback(_close, state_machine)
        log = RaftLog.open(folder / "raft", disk, applied_index=state_machine.applied_index)
        parts.callback(_close, log)
        if not log.last_index() and voters:
            await log.append(founding(voters), HardState(term=1, vote=0, commit=len(voters)))
        replay(log, state_machine)
        log.release(state_machine.applied_index)
        settings = NodeSettings(
            node_id=node_id,
            instance_id=instance_id or 10 * node_id,
            session_id=next(_sessions),
            tick_seconds=TICK_SECONDS,
            election_ticks=ELECTION_TICKS,
            heartbeat_ticks=1,
            snapshot_catchup_entries=snapshot_catchup_entries,
            lease_reads=clock is not None,
            clock=clock or time.monotonic,
            random_below=random_below,
            release=release,
            reads_at_once=reads_at_once,
            quota_bytes=quota_bytes,
            min_free_bytes=min_free_bytes,
            disk_space=disk_space,
        )
        snapshot_disk = DiskThread("snapshots")
        parts.callback(snapshot_disk.close)
        node = Node(settings, log, state_machine, Snapshots(folder, log, state_machine, snapshot_disk))
        line = Line(network, node_id)
        parts.push_async_callback(node.stop)
        network.nodes[node_id] = node
        parts.callback(network.nodes.pop, node_id)
        node.start(line)
        yield Running(node, log, state_machine, line)


def _close(part: RaftLog | StateMachine) -> None:
    # What has failed says so again, and that must not take the place of what a test has to say.
    with suppress(StorageError) if part._failure else nullcontext():
        part.close()


class Trio:
    """Three voters that know their leader."""

    def __init__(self, network: Network, nodes: Sequence[Running]) -> None:
        self.network = network
        self.nodes = nodes

    @property
    def leader(self) -> Running:
        return next(each for each in self.nodes if each.node.leads)

    @property
    def followers(self) -> list[Running]:
        return [each for each in self.nodes if not each.node.leads]

    def _others(self, one: Running) -> list[Running]:
        return [each for each in self.nodes if each is not one]

    async def until_followed(self) -> None:
        """One leads, and the others follow it."""
        await until(lambda: len({each.node.leader_id for each in self.nodes}) == 1 and self.nodes[0].node.leader_id)

    async def until_replaced(self, one: Running) -> Running:
        """One of the others leads, and the third one knows: the new leader."""
        ids = {each.node.node_id for each in self._others(one)}
        await until(lambda: len(leaders := {each.node.leader_id for each in self._others(one)}) == 1 and leaders <= ids)
        return next(each for each in self._others(one) if each.node.leads)


@asynccontextmanager
async def three(
    folder: Path,
    *,
    snapshot_catchup_entries: int = 1_000_000,
    clock: Callable[[], float] | None = None,
    release: Release = FIRST_RELEASE,
    min_free_bytes: int | None = 0,
    disk_spaces: Mapping[int, Callable[[], DiskSpace]] = MappingProxyType({}),
) -> AsyncIterator[Trio]:
    """Three voters, once all of them know the leader. `disk_spaces`: how each looks at its disk, if it does."""
    network = Network()
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                running(
                    folder / str(node_id),
                    network,
                    node_id,
                    voters=(1, 2, 3),
                    snapshot_catchup_entries=snapshot_catchup_entries,
                    clock=clock,
                    release=release,
                    min_free_bytes=min_free_bytes,
                    disk_space=disk_spaces.get(node_id),
                )
            )
            for node_id in (1, 2, 3)
        ]
        trio = Trio(network, nodes)
        # Without waiting for the first time-out.
        nodes[0].node._raw.campaign()
        nodes[0].node._wake()
        await trio.until_followed()
        yield trio
