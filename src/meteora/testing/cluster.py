"""Machines that run real nodes on simulated disks, and the cluster that they make.

A machine does what `meteora.server.assembly` does: it knows or gets an identity, founds or joins a cluster, opens its
disk, replays, and runs a `Node` until that is stopped, fails, or is removed. Its process can be killed at any step; its
directories stay.
"""

import asyncio
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from meteora.errors import (
    ChangeRefused,
    Corruption,
    JoinRefused,
    NotApplied,
    OutcomeUnknown,
    RequestError,
    StorageError,
)
from meteora.features import FIRST_RELEASE, OWN_RELEASE
from meteora.kv.command import Command
from meteora.kv.command import Operation as CommandKind
from meteora.kv.installation import INCOMING, remove_leftovers
from meteora.kv.state import State
from meteora.kv.state_machine import Applied, StateMachine
from meteora.node import Member, Node, NodeSettings
from meteora.node.recovery import create_cluster, replay
from meteora.node.snapshots import Snapshots
from meteora.pb import common_pb2, peer_pb2, raft_pb2
from meteora.raft.core import Raft, Settings
from meteora.raft.entry import Entry
from meteora.raft.leader import Leader
from meteora.raft.log import Log
from meteora.raft.membership import ConfChange, Configuration
from meteora.raft.message import HardState, Message
from meteora.raft.text import configuration_text, entry_text, message_text
from meteora.server.cluster import Cluster as Membership
from meteora.storage.raft_records import Base
from meteora.storage.rocks import WriteBatch
from meteora.storage.snapshot_files import Manifest
from meteora.testing.databases import (
    SimulatedBatch,
    SimulatedDatabase,
    SimulatedLog,
    SimulatedPace,
    SimulatedReceiver,
    SimulatedTable,
)
from meteora.testing.disk import FIRST_STATE, Disk, SimulatedThread
from meteora.testing.invariants import Invariants
from meteora.testing.loop import Process, SimulatedLoop
from meteora.testing.network import Network, SimulatedTransport
from meteora.transport.dialler import Dialler
from meteora.transport.interface import Identity

TICK_SECONDS = 0.1
ELECTION_TICKS = 10
HEARTBEAT_TICKS = 1
"""The defaults of a real node."""

UPGRADE_RATE = 0.5
"""Of the starts of a machine, how many are with this release, and not with the one that it ran before."""

JOIN_ATTEMPT_SECONDS = 5.0
JOIN_PAUSE_SECONDS = 0.5

T = TypeVar("T")


class ConnectionRefused(Exception):
    """Nobody listens there: nothing was sent."""


class Directory:
    """A data directory: what makes a machine the member that it is."""

    def __init__(self, name: str, random: Random, root: Path) -> None:
        """Its files are in the directory `root`."""
        self.name = name
        self.disk = Disk(random, root)
        self.instance_id = random.getrandbits(63) + 1
        self.cluster_id = 0
        """0 until it has founded or joined a cluster."""
        self.is_removed = False


class Machine:
    """One node's machine: a directory, and mostly a process that runs on it."""

    def __init__(self, cluster: "Cluster", node_id: int) -> None:
        self.node_id = node_id
        self.raft_address = f"n{node_id}:7001"
        self._cluster = cluster
        self._directories = 0
        self.directory = self._new_directory()
        self.process: Process | None = None
        self._is_told_to_stop = False
        self.node: Node | None = None
        self.log: Log
        self._core: Raft
        self._looked_at: tuple[object, ...] = ()
        """What of the core was last checked."""
        self._state_machine: _WatchedStateMachine
        self._stop: asyncio.Future[None]
        self.stall_until = 0.0
        """True time until when the state machine's database takes no writes."""
        self.flush_bytes = cluster.random.choice([2_000, 20_000, 200_000])
        self.cache_bytes = cluster.random.choice([0, 2_000, 1 << 20])
        self.table_bytes = cluster.random.choice([300, 5_000, 1 << 20])
        self.chunk_bytes = cluster.random.choice([100, 2_000, 1 << 18])
        self._limits = self._draw_limits()
        self.release = FIRST_RELEASE
        """What it runs: at first, maybe, the one before."""

    def _draw_limits(self) -> Settings:
        """Some of them so low that what they bound happens all the time."""
        choose = self._cluster.random.choice
        return Settings(
            election_ticks=ELECTION_TICKS,
            heartbeat_ticks=HEARTBEAT_TICKS,
            max_append_bytes=choose([1, 300, 1 << 20]),
            max_inflight_messages=choose([1, 4, 256]),
            max_inflight_bytes=choose([1_000, 16 << 20]),
            max_uncommitted_bytes=choose([2_000, 64 << 20]),
            max_apply_bytes=choose([1, 1_000, 4 << 20]),
        )

    def _new_directory(self) -> Directory:
        self._directories += 1
        name = f"n{self.node_id}#{self._directories}"
        directory = Directory(name, self._cluster.random, self._cluster.files / name)
        directory.disk.power_lost = self.kill
        return directory

    # As meteora.testing.invariants.Member

    @property
    def name(self) -> str:
        """Of the directory."""
        return self.directory.name

    @property
    def disk(self) -> Disk:
        """Of the directory."""
        return self.directory.disk

    @property
    def term(self) -> int:
        """Of the core."""
        return self._core.term

    @property
    def is_leader(self) -> bool:
        """Whether its core leads."""
        return self.node is not None and isinstance(self._core.role, Leader)

    @property
    def configuration(self) -> Configuration:
        """Of the core."""
        return self._core.configuration

    def disks(self) -> dict[int, Disk]:
        """Those of all machines."""
        return {node_id: machine.disk for node_id, machine in self._cluster.machines.items()}

    def _look(self) -> None:
        """After every step. Most change nothing that an invariant is about."""
        core = self._core
        state = (core.term, core.role, core.log.committed, core.log.applied)
        if state != self._looked_at:
            self._looked_at = state
            self._cluster.invariants.look_at(self)
        self._cluster.invariants.raise_violation()

    # For the end of a run

    @property
    def state(self) -> dict[bytes, bytes]:
        """Everything in the state machine's database."""
        return self._state_machine.pairs

    def describe(self) -> str:
        """Where it stands, for people."""
        if self.process is None:
            return "removed" if self.directory.is_removed else "down"
        return repr(self._core) + f" {configuration_text(self._core.configuration)}" if self.node else "starting"

    # From outside

    @property
    def is_up(self) -> bool:
        """Whether its process is alive, paused or not."""
        return self.process is not None

    @property
    def is_stopping(self) -> bool:
        """Whether its process was told to stop, and has not ended."""
        return self.is_up and self._is_told_to_stop

    def start(self, *, joins: bool = True) -> None:
        """Switch on: a new process. If it is no member yet, it joins the others, or founds a cluster."""
        cluster = self._cluster
        assert self.process is None
        if self.directory.is_removed:
            # As `meteora start -p` after a removal: the old state is set aside.
            self.directory = self._new_directory()
        # Who joins with an older release than the others have may be refused for good, and that is no fault.
        is_newcomer = joins and not self.directory.cluster_id
        has_new = any(machine.release == OWN_RELEASE for machine in cluster.machines.values())
        if cluster.upgrades.random() < UPGRADE_RATE or (is_newcomer and has_new):
            self.release = OWN_RELEASE
        self._is_told_to_stop = False
        self.process = cluster.loop.new_process(self.name, cluster.random.uniform(0, 1e6), cluster.new_clock_rate())
        cluster.trace(f"{self.name} starts")
        cluster.loop.call_in(self.process, 0.0, self._begin, joins)

    def kill(self) -> None:
        """As kill -9, or a power loss."""
        if self.process is not None:
            self._cluster.trace(f"{self.name} is killed")
            self._gone()

    def lose(self) -> None:
        """Its disk is lost for good. If it is ever started again, it has an empty one."""
        self.kill()
        self.directory.is_removed = True

    def _gone(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.after_step = None
        self.process = self.node = None
        self._cluster.network.endpoints.pop(self.raft_address, None)
        self.disk.crash()

    def stop(self) -> None:
        """As SIGTERM."""
        if self.process is not None and self.node is not None and not self._stop.done():
            self._is_told_to_stop = True
            self._cluster.loop.call_in(self.process, 0.0, _settle, self._stop, self._stop.set_result, None)

    # In the process

    def _begin(self, joins: bool) -> None:
        task = asyncio.ensure_future(self._live(joins))
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = task.exception()
        if error is not None and not isinstance(error, StorageError | JoinRefused):
            raise error
        why = f": {self._cluster.error_text(error)}" if error else ""
        self._cluster.trace(f"{self.name} has ended{why}")
        # Who was refused is started anew with an empty directory, if at all.
        self.directory.is_removed |= isinstance(error, JoinRefused)
        self._gone()

    async def _live(self, joins: bool) -> None:
        await self._know_cluster(joins)
        log, state_machine = await self.disk.guarded(self._open_disk)
        node = self._new_node(log, state_machine)
        identity = self._identity()
        transport = SimulatedTransport(self._cluster.network, self._running(), identity, node, self.chunk_bytes)
        self._stop = asyncio.get_running_loop().create_future()
        self._core = node._raw._raft  # noqa: SLF001  what is checked is what nobody else may see
        self._core.settings = self._limits
        self.log = self._core.log
        self.node = node
        self._cluster.invariants.restarted(self)
        self._looked_at = ()
        self._running().after_step = self._look
        node.start(transport)
        self._cluster.network.endpoints[self.raft_address] = transport
        ends: tuple[asyncio.Future[Any], ...] = (node.failed, node.removed, self._stop)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await self._step_back(node)
        await self._close(node, transport, log, state_machine)

    def _running(self) -> Process:
        assert self.process is not None
        return self.process

    async def _step_back(self, node: Node) -> None:
        failed = node.failed.exception() if node.failed.done() else None
        if failed is not None:
            self._cluster.node_failed(self, failed)
        elif node.removed.done():
            self._cluster.trace(f"{self.name} is removed: {node.removed.result().value}")
            self.directory.is_removed = True
        elif node.leads:
            await node.hand_over(2.0)

    async def _close(
        self, node: Node, transport: SimulatedTransport, log: SimulatedLog, state_machine: StateMachine
    ) -> None:
        self._cluster.network.endpoints.pop(self.raft_address, None)
        await transport.snapshots.close()
        await node.stop()
        await transport.close()
        log.close()
        # A disk that has failed may fail again; the next start finds out what is left.
        with suppress(StorageError):
            await self.disk.guarded(state_machine.close)

    async def _know_cluster(self, joins: bool) -> None:
        directory = self.directory
        if directory.cluster_id:
            return
        if joins:
            directory.cluster_id = await self._join()
        else:
            log = self._open_log(0)
            await create_cluster(log, self.node_id, self._member())
            directory.cluster_id = self._cluster.cluster_id

    async def _join(self) -> int:
        member = self._member()
        address = common_pb2.NodeAddress(kv_address=member.kv_address, raft_address=member.raft_address)
        request = peer_pb2.JoinReq(
            node_id=self.node_id, address=address, instance_id=member.instance_id, level=self.release.level
        )
        while True:
            at = self._cluster.random.choice(self._cluster.addresses())
            try:
                return await self._cluster.call(
                    self._running(), self.raft_address, at, lambda there: there.admit(request), JOIN_ATTEMPT_SECONDS
                )
            except ChangeRefused as refusal:
                raise JoinRefused(str(refusal)) from refusal
            except (TimeoutError, ConnectionRefused, RequestError):
                await asyncio.sleep(JOIN_PAUSE_SECONDS)

    def _member(self) -> Member:
        return Member(f"n{self.node_id}:5001", self.raft_address, self.directory.instance_id)

    def _identity(self) -> Identity:
        instance_id = self.directory.instance_id
        return Identity(self.directory.cluster_id, self.node_id, instance_id, self.raft_address, self.release)

    def _open_disk(self) -> tuple[SimulatedLog, StateMachine]:
        disk = self.disk
        state_path = disk.root / disk.state_directory
        if disk.state_directory != FIRST_STATE and not state_path.is_dir():
            raise Corruption(f"simulated: {state_path}, which holds the state, is gone")
        state_machine = self._state_machine = _WatchedStateMachine(self, self._cluster, state_path)
        log = self._open_log(state_machine.applied_index)
        replay(log, state_machine)
        log.release(state_machine.applied_index)
        remove_leftovers(disk.root, state_path)
        return log, state_machine

    def stall_seconds(self) -> float:
        """For which the state machine's database takes no writes."""
        return inf if self.stall_until > self._cluster.loop.now else 0.0

    def _open_log(self, applied_index: int) -> SimulatedLog:
        return _WatchedLog(self, self._cluster, applied_index)

    def _new_node(self, log: SimulatedLog, state_machine: StateMachine) -> Node:
        random = self._cluster.random
        settings = NodeSettings(
            node_id=self.node_id,
            instance_id=self.directory.instance_id,
            session_id=random.getrandbits(63) + 1,
            tick_seconds=TICK_SECONDS,
            election_ticks=ELECTION_TICKS,
            heartbeat_ticks=HEARTBEAT_TICKS,
            lease_reads=self._cluster.lease_reads,
            clock=self._cluster.loop.time,
            snapshot_catchup_entries=self._cluster.snapshot_catchup_entries,
            release=self.release,
            random_below=lambda bound: random.randrange(max(1, bound // self._cluster.timeout_likeness)),
        )
        thread = SimulatedThread(self.disk, random)
        snapshots = Snapshots(self.disk.root, log, state_machine, thread)
        snapshots.incoming.receiver = SimulatedReceiver(self.disk.root / INCOMING, thread, self.disk)
        return Node(settings, log, state_machine, snapshots)

    # What it serves

    async def admit(self, request: peer_pb2.JoinReq) -> int:
        """PeerService.Join."""
        node = self._serving()
        deadline = asyncio.get_running_loop().time() + JOIN_ATTEMPT_SECONDS
        await _Membership(self, self._cluster, node).join(request, deadline, was_forwarded=True)
        return self.directory.cluster_id

    async def change_membership(
        self, request: raft_pb2.ConfChange, timeout_seconds: float = JOIN_ATTEMPT_SECONDS
    ) -> common_pb2.State:
        """RaftService.ChangeConfig."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        membership = _Membership(self, self._cluster, self._serving())
        return await membership.change(request, deadline, was_forwarded=True)

    async def change_at(self, address: str, request: raft_pb2.ConfChange, timeout_seconds: float) -> common_pb2.State:
        """Have another machine make a change. Raises `RequestError`."""

        async def change(machine: Machine) -> common_pb2.State:
            return await machine.change_membership(request, timeout_seconds)

        try:
            return await self._cluster.call(self._running(), self.raft_address, address, change, timeout_seconds)
        except ConnectionRefused as error:
            raise NotApplied(f"nobody listens at {address}") from error
        except TimeoutError as error:
            raise OutcomeUnknown(f"no answer from {address}") from error

    async def change_roles(self, change: ConfChange) -> None:
        """Node.change_membership: what no service offers yet."""
        await self._serving().change_membership(change, asyncio.get_running_loop().time() + JOIN_ATTEMPT_SECONDS)

    async def write_anonymously(self, kind: CommandKind, key: bytes, value: bytes, timeout_seconds: float) -> None:
        """KvService.Put and Delete, of a client that sends no request id."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        node = self._serving()
        await (node.put(key, value, deadline) if kind is CommandKind.PUT else node.delete(key, deadline))

    async def write(self, command: Command, timeout_seconds: float) -> None:
        """KvService.Put and Delete."""
        await self._serving().write(command, asyncio.get_running_loop().time() + timeout_seconds)

    async def get(self, key: bytes, timeout_seconds: float) -> bytes | None:
        """KvService.Get."""
        node, committed_index = self._serving(), self._cluster.invariants.committed_index
        value = await node.get(key, asyncio.get_running_loop().time() + timeout_seconds)
        if node is self.node:
            self._cluster.invariants.was_read(self, self._state_machine.applied_index, committed_index)
        return value

    async def hand_over(self) -> None:
        """Lets another node lead, if this one does."""
        await self._serving().hand_over(2.0)

    def _serving(self) -> Node:
        if self.node is None:
            raise NotApplied("the node is starting")
        return self.node


class _Membership(Membership):
    """The real one; what a leader that is to be removed asks its successor goes over the simulated network."""

    def __init__(self, machine: Machine, cluster: "Cluster", node: Node) -> None:
        super().__init__(node, cluster.cluster_id, Dialler())
        self._machine = machine

    async def _pass_on(self, call: Callable[[Any], Awaitable[T]], was_forwarded: bool) -> T:
        leader = self._node.members.by_id.get(self._node.leader_id)
        if was_forwarded or leader is None:
            return await super()._pass_on(call, was_forwarded)
        return await call(_Channel(self._machine, leader.raft_address))


class _Channel:
    """As much of a gRPC channel as the stub of `RaftService` needs; only changes of the membership go by it."""

    def __init__(self, machine: Machine, address: str) -> None:
        self._machine = machine
        self._address = address

    def unary_unary(self, _path: str, **_options: object) -> Callable[..., Awaitable[raft_pb2.ChangeReply]]:
        async def change(request: raft_pb2.ConfChange, **options: Any) -> raft_pb2.ChangeReply:
            state = await self._machine.change_at(self._address, request, options["timeout"])
            return raft_pb2.ChangeReply(state=state)

        return change


class _WatchedLog(SimulatedLog):
    def __init__(self, machine: Machine, cluster: "Cluster", applied_index: int) -> None:
        thread = SimulatedThread(machine.disk, cluster.random)
        super().__init__(Path(machine.name), machine.disk, thread, applied_index, machine.cache_bytes)
        self._machine = machine
        self._cluster = cluster

    async def _persist(self, entries: Sequence[Entry], state: HardState) -> None:
        previous_term = self._terms.term(entries[0].index - 1) if entries else 0
        self._cluster.invariants.appended(self._machine, entries, previous_term, state)
        await super()._persist(entries, state)

    async def _persist_base(self, base: Base, is_here: bool, state: HardState, state_directory: str | None) -> None:
        self._cluster.trace(f"{self._machine.name} cuts its log at {base.index}@{base.term}")
        self._cluster.invariants.cut(self._machine, base, state_directory)
        await super()._persist_base(base, is_here, state, state_directory)


class _WatchedStateMachine(StateMachine):
    _database: SimulatedDatabase

    def __init__(self, machine: Machine, cluster: "Cluster", path: Path) -> None:
        self._machine = machine
        self._cluster = cluster

        def new_database(path: Path) -> SimulatedDatabase:
            return SimulatedDatabase(machine.disk, path, machine.stall_seconds)

        super().__init__(
            path,
            new_database(path),
            new_thread=lambda _: SimulatedThread(machine.disk, cluster.random),
            new_batch=SimulatedBatch,
            new_database=new_database,
            new_table=lambda _: SimulatedTable(machine.disk, machine.table_bytes),
            new_pace=lambda: SimulatedPace(machine.disk),
            clock=cluster.loop.time,
        )
        cluster.invariants.goes_on_from(machine, self.applied_index)
        cluster.invariants.has_state(machine, self.applied_index, self._database.digest)

    @property
    def pairs(self) -> dict[bytes, bytes]:
        """Everything in the database."""
        return self._database.pairs

    def needs_flush(self) -> bool:
        return self.unflushed_bytes >= self._machine.flush_bytes

    def apply(self, entries: Sequence[Entry]) -> list[Applied]:
        results = super().apply(entries)
        self._cluster.applied(self._machine, entries, results)
        return results

    def apply_membership(self, entry: Entry, membership: bytes) -> None:
        super().apply_membership(entry, membership)
        self._cluster.applied(self._machine, [entry], [])

    def _write(self, batch: WriteBatch, entries: Sequence[Entry]) -> None:
        super()._write(batch, entries)
        self._cluster.invariants.has_state(self._machine, self.applied_index, self._database.digest)

    async def create_snapshot(self, directory: Path) -> Manifest | None:
        manifest = await super().create_snapshot(directory)
        if manifest is not None:
            self._cluster.trace(f"{self._machine.name} has made a snapshot at {manifest.index}@{manifest.term}")
        return manifest

    async def adopt(self, state: State) -> None:
        assert isinstance(state.database, SimulatedDatabase)
        self._cluster.installs(self._machine, state, self.applied_index)
        self._cluster.invariants.goes_on_from(self._machine, state.index)
        self._cluster.invariants.has_state(self._machine, state.index, state.database.digest)
        await super().adopt(state)


class Cluster:
    """All machines, and what they share: time, chance, the network, and the eyes of the observer."""

    def __init__(self, loop: SimulatedLoop, random: Random, write_trace: Callable[[str], None] | None) -> None:
        self.loop = loop
        self.random = random
        self.upgrades = Random(repr(random.getstate()))
        """Which machine runs which release. Apart, so that it changes nothing else of a run."""
        self.faults: Counter[str] = Counter()
        self.invariants = Invariants()
        self.network = Network(loop, random, self.faults)
        self.network.watch = self._sent
        self.network.watch_delivery = self._delivered
        self.machines: dict[int, Machine] = {}
        self.cluster_id = random.getrandbits(63) + 1
        self.clock_skew = 0.0
        """How much faster or slower than true time clocks may run."""
        self.timeout_likeness = 1
        """The larger, the more alike the election timeouts are, and the more elections are split."""
        self.lease_reads = False
        """Of all nodes. Clocks that are skewed by up to a tenth must do for them."""
        self.snapshot_catchup_entries = 5_000
        """As `NodeSettings` has it."""
        self.installed_snapshots = 0
        self.files = Path(tempfile.mkdtemp(prefix="meteora-simulation-", dir=_fastest_directory()))
        """Where the files are that the real code writes and reads; they go with this object."""
        weakref.finalize(self, shutil.rmtree, self.files, ignore_errors=True)
        self._write_trace = write_trace

    def add_machine(self) -> Machine:
        """A machine with the next free id."""
        machine = Machine(self, max(self.machines, default=0) + 1)
        self.machines[machine.node_id] = machine
        return machine

    def forget(self) -> None:
        """Let go of all machines: the run is over."""
        self.machines.clear()
        self.network.endpoints.clear()

    def new_clock_rate(self) -> float:
        """Of a process."""
        return 1 + self.random.uniform(-self.clock_skew, self.clock_skew)

    def addresses(self) -> list[str]:
        """The Raft addresses of all machines."""
        return [machine.raft_address for machine in self.machines.values()]

    def running(self) -> list[Machine]:
        """The machines whose node takes part."""
        return [machine for machine in self.machines.values() if machine.node is not None]

    def leader(self) -> Machine | None:
        """The machine that leads the highest term, as far as it knows."""
        return max((each for each in self.running() if each.is_leader), key=lambda each: each.term, default=None)

    # Calls between processes

    async def call(
        self,
        caller: Process,
        caller_address: str,
        address: str,
        serve: Callable[[Machine], Awaitable[T]],
        timeout_seconds: float,
    ) -> T:
        """Have a machine do something, over the network.

        Raises what that raises, `ConnectionRefused` if nothing was sent, `TimeoutError` if no answer came.
        """
        answer: asyncio.Future[T] = self.loop.create_future()

        def respond(settle: Callable[..., None], outcome: object) -> None:
            if self.network.passes(address, caller_address):
                self.loop.call_in(caller, self.network.delay_seconds(), _settle, answer, settle, outcome)

        if self.network.passes(caller_address, address):
            delay_seconds = self.network.delay_seconds()
            self.loop.call_in(self.loop.outside, delay_seconds, self._serve, address, serve, answer, respond)
        return await asyncio.wait_for(answer, timeout_seconds)

    def _serve(
        self,
        address: str,
        serve: Callable[[Machine], Awaitable[T]],
        answer: "asyncio.Future[T]",
        respond: Callable[[Callable[..., None], object], None],
    ) -> None:
        machine = next((each for each in self.machines.values() if each.raft_address == address), None)
        if machine is None or machine.process is None or machine.node is None:
            respond(answer.set_exception, ConnectionRefused(address))
            return

        async def work() -> None:
            try:
                result = await serve(machine)
            except RequestError as error:
                respond(answer.set_exception, error)
            else:
                respond(answer.set_result, result)

        self.loop.call_in(machine.process, 0.0, lambda: asyncio.ensure_future(work()))

    # What is seen

    def trace(self, text: str) -> None:
        """Note an event."""
        if self._write_trace is not None:
            self._write_trace(f"{self.loop.now:.6f} {text}")

    def applied(self, machine: Machine, entries: Sequence[Entry], results: Sequence[Applied]) -> None:
        """A machine's state machine has applied entries."""
        if self._write_trace is not None:
            self.trace(f"{machine.name} applies {' '.join(map(entry_text, entries))}")
        self.invariants.applied(machine, entries, results)

    def installs(self, machine: Machine, state: State, applied_index: int) -> None:
        """A machine goes on with the state of a snapshot, in the place of one that was at `applied_index`."""
        self.trace(f"{machine.name} installs a snapshot at {state.index}@{state.term} over {applied_index}")
        self.installed_snapshots += 1
        self.invariants.installs(machine, state.index, state.term, applied_index)

    def error_text(self, error: BaseException) -> str:
        """Without what differs from run to run."""
        return repr(error).replace(f"{self.files}/", "")

    def node_failed(self, machine: Machine, error: BaseException) -> None:
        """A node could not go on. Only its disk may be the reason."""
        self.trace(f"{machine.name} has failed: {self.error_text(error)}")
        self.faults["node stopped by its disk"] += 1
        if not isinstance(error, StorageError):
            raise error

    def _sent(self, message: Message) -> None:
        machine = self.machines[message.sender]
        if self._write_trace is not None:
            self.trace(f"{machine.name} sends {message_text(message)}")
        self.invariants.sent(machine, message)

    def _delivered(self, messages: Sequence[Message]) -> None:
        if self._write_trace is not None:
            for message in messages:
                self.trace(f"n{message.receiver} gets {message_text(message)}")


def _fastest_directory() -> str | None:
    """In memory, where the system has that; None: the usual one. What survives a crash is up to the model."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _settle(answer: "asyncio.Future[T]", settle: Callable[..., None], outcome: object) -> None:
    if not answer.done():
        settle(outcome)
