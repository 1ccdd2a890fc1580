"""One run: a cluster, its clients and its faults, from one seed.

1. Machines start; the first founds a cluster, the others join it.
2. Clients work and things break, for as long as the run is to last.
3. Everything is mended, but for less than half of the voters, which may be lost for good, and are removed. Within a
   bounded time a write must succeed, and all must come to hold the same bytes.
4. What the clients saw is checked for linearizability.

A `Story` has a size and faults of its own in the place of those that the seed would draw.
"""

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from meteora.errors import RequestError
from meteora.testing.clients import Client, Fate
from meteora.testing.cluster import Cluster, ConnectionRefused, Machine
from meteora.testing.faults import Nemesis
from meteora.testing.history import History, OperationKind
from meteora.testing.invariants import Violation
from meteora.testing.linearizability import check_history
from meteora.testing.loop import SimulatedLoop

RECOVERY_SECONDS = 60.0
"""Once nothing goes wrong any more, the cluster serves again within this: joins, elections and catching up."""

POLL_SECONDS = 0.1

ASK_SECONDS = 0.2
"""Between two looks for leaders that are deposed and don't know it, and for an answer of one."""


@dataclass(slots=True)
class Report:
    """What came of a run."""

    seed: int
    virtual_seconds: float = 0.0
    steps: int = 0
    operations: int = 0
    snapshots: int = 0
    """That were installed."""
    entries: int = 0
    """That were committed, each of them the same for all."""
    leaders: int = 0
    """Terms that had one."""
    faults: Counter[str] = field(default_factory=Counter)
    failure: BaseException | None = None

    @property
    def invariant(self) -> str:
        """What does not hold; empty if all does."""
        if isinstance(self.failure, Violation):
            return str(self.failure).partition(":")[0]
        return "" if self.failure is None else f"no {type(self.failure).__name__}"

    @property
    def summary(self) -> str:
        """The failure in one line."""
        return "" if self.failure is None else f"{type(self.failure).__name__}: {self.failure}"


@dataclass(frozen=True, slots=True)
class Story:
    """What is to happen in a run."""

    break_things: Callable[[Cluster], Awaitable[None]]
    """All that goes wrong. Network and disks are mended once it has ended, and who is down is started."""
    machines: int = 5
    snapshot_catchup_entries: int = 5_000
    """As `NodeSettings` has it."""


class Simulation:
    """A run. The same seed, seconds and story give the same run, step by step."""

    def __init__(
        self,
        seed: int,
        seconds: float = 0.0,
        write_trace: Callable[[str], None] | None = None,
        story: Story | None = None,
    ) -> None:
        """For `seconds` what the seed draws goes wrong; or a `story`, for as long as it takes."""
        self.seed = seed
        self._story = story
        self._seconds = seconds
        self._random = Random(seed)
        self._loop = SimulatedLoop()  # type: ignore[abstract]  # what it leaves out needs an operating system
        self.cluster = Cluster(self._loop, self._random, write_trace)
        # Not drawn, so that all else of a seed is what it would be without.
        self.cluster.lease_reads = seed % 4 == 0
        self._history = History()
        self._clients: list[Client] = []

    def run(self) -> Report:
        """Run to the end, or to the first thing that must not be."""
        report = Report(self.seed, faults=self.cluster.faults)
        # What the run before has left, with its files. Then no more: a collection would run destructors at moments that
        # no seed decides.
        gc.collect()
        gc.disable()
        gc.freeze()
        try:
            self._loop.run_until_complete(self._main())
        except Exception as failure:  # noqa: BLE001  whatever it is, it is what was looked for
            report.failure = failure
        finally:
            self.cluster.forget()
            self._loop.forget(report.failure)
            gc.unfreeze()
            gc.enable()
        report.virtual_seconds, report.steps = self._loop.now, self._loop.steps
        report.snapshots = self.cluster.installed_snapshots
        report.entries = self.cluster.invariants.committed_index
        report.leaders = self.cluster.invariants.leaders
        report.operations = sum(client.operations for client in self._clients)
        return report

    async def _main(self) -> None:
        await self._begin()
        nemesis = Nemesis(self.cluster)
        asking = asyncio.ensure_future(self._ask_old_leaders())
        if self._story is None:
            await nemesis.run_for(self._seconds)
        else:
            await self._story.break_things(self.cluster)
        nemesis.heal()
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        for client in self._clients:
            await client.stop()
        await self._recover(nemesis)
        await self._read_everything()
        verdict = check_history(self._history)
        if not verdict.is_linearizable:
            raise Violation(f"linearizability: {verdict}")

    async def _begin(self) -> None:
        random, cluster = self._random, self.cluster
        cluster.clock_skew = random.choice([0.0, 0.01, 0.1])
        cluster.timeout_likeness = random.choice([1, 1, 5])
        cluster.snapshot_catchup_entries = random.choice([1, 10, 100, 5_000])
        machines = random.choice([1, 3, 3, 3, 5])
        if self._story is not None:
            machines, cluster.snapshot_catchup_entries = self._story.machines, self._story.snapshot_catchup_entries
        for number in range(machines):
            machine = cluster.add_machine()
            machine.start(joins=number > 0)
        await self._until(lambda: cluster.leader() is not None, "a first leader")
        keys = random.choice([1, 3, 10])
        for number in range(1, random.randint(2, 4)):
            client = Client(cluster, number, self._history, keys)
            client.start(random.randint(1, 4))
            self._clients.append(client)

    async def _ask_old_leaders(self) -> None:
        """Read where somebody still leads while another one does already: clients alone are rarely there in time."""
        while True:
            await asyncio.sleep(ASK_SECONDS)
            leaders = [machine for machine in self.cluster.machines.values() if machine.is_up and machine.is_leader]
            newest = max((machine.term for machine in leaders), default=0)
            for machine in leaders:
                if machine.term < newest:
                    await self._ask(machine)

    async def _ask(self, machine: Machine) -> None:
        async def read(machine: Machine) -> None:
            await machine.get(b"key0", ASK_SECONDS)

        with suppress(RequestError, ConnectionRefused, TimeoutError):
            await self.cluster.call(self._loop.outside, "observer", machine.raft_address, read, ASK_SECONDS)

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        give_up_at = self._loop.now + RECOVERY_SECONDS
        while not holds():
            if self._loop.now > give_up_at:
                raise Violation(f"progress: no {what} within {RECOVERY_SECONDS:g} s without faults; {self._describe()}")
            await asyncio.sleep(POLL_SECONDS)

    async def _recover(self, nemesis: Nemesis) -> None:
        await self._until(self._has_settled, "settled cluster")
        losing = asyncio.ensure_future(nemesis.lose_some(self._voters()))
        await self._until(losing.done, "way to remove who is lost")
        losing.result()
        await self._until(self._has_settled, "settled cluster")
        for _ in self._members():
            client = self._clients[0]
            fate = await client.operate(OperationKind.PUT, b"key0", 10.0)
            if fate is not Fate.DONE:
                raise Violation(f"progress: a write to a whole cluster is {fate.value}; {self._describe()}")
        await self._until(self._agrees, "agreement")

    async def _read_everything(self) -> None:
        for key in range(10):
            await self._clients[0].operate(OperationKind.GET, b"key%d" % key, 10.0)

    def _members(self) -> list[Machine]:
        """The machines that the leader counts as members."""
        leader = self.cluster.leader()
        ids = leader.node.members.by_id if leader is not None and leader.node is not None else {}
        return [self.cluster.machines[node_id] for node_id in ids]

    def _voters(self) -> list[Machine]:
        """The machines that the leader counts as voters."""
        leader = self.cluster.leader()
        assert leader is not None
        return [self.cluster.machines[node_id] for node_id in sorted(leader.configuration.voters)]

    def _has_settled(self) -> bool:
        """Everyone who is up is a member, and has the role that it is to have.

        But for those who were removed before they had heard of anybody.
        """
        leader = self.cluster.leader()
        if leader is None or leader.node is None:
            return False
        members = leader.node.members
        up = {machine.node_id for machine in self.cluster.machines.values() if machine.is_up}
        strangers = {node_id for node_id in up - members.by_id.keys() if self._knows_nobody(node_id)}
        to_promote = {node_id for node_id in members.configuration.learners if members.by_id[node_id].promote}
        return up - strangers == members.by_id.keys() and not to_promote and not members.configuration.is_joint

    def _knows_nobody(self, node_id: int) -> bool:
        node = self.cluster.machines[node_id].node
        return node is not None and not node.members.by_id

    def _agrees(self) -> bool:
        """All members have applied all of the log, and hold the same."""
        members = self._members()
        nodes = [machine.node.status() for machine in members if machine.node is not None]
        if len(nodes) < len(members) or len({each.applied_index for each in nodes}) != 1:
            return False
        if any(each.applied_index < each.last_index for each in nodes):
            return False
        self.cluster.invariants.agree(members)
        return True

    def _describe(self) -> str:
        machines = self.cluster.machines.values()
        return "; ".join(f"{each.name} {each.describe()}" for each in machines)
