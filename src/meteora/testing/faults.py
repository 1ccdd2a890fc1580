"""What goes wrong in a simulated run, and when: drawn from the seed.

Each seed has a mood of its own: some kinds of faults don't happen in it at all, the others at rates that it draws. So
some runs are about one fault alone, and others about many at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from random import Random

from meteora.errors import RequestError
from meteora.pb import raft_pb2
from meteora.raft.membership import Change, ChangeKind, ConfChange, Transition
from meteora.testing.cluster import Cluster, ConnectionRefused, Machine
from meteora.testing.disk import USUAL_SYNC_SECONDS

LONGEST_SECONDS = 6.0
"""Of one fault that passes by itself: some election timeouts."""

CALL_SECONDS = 6.0

ASK_AGAIN_SECONDS = 0.5

STOP_POLL_SECONDS = 0.1

MAX_MACHINES = 7

Fault = Callable[[], Awaitable[None]]


class Nemesis:
    """Breaks things, until it is stopped; `heal` mends what can be mended."""

    def __init__(self, cluster: Cluster, only: Collection[str] = ()) -> None:
        """Of all kinds of faults the seed chooses some; or they are those that are named, as they are counted."""
        self._cluster = cluster
        self._random: Random = cluster.random
        self._is_stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        kinds: list[Fault] = [
            self._kill,
            self._kill_many,
            self._kill_while_writing,
            self._lose_power,
            self._leave_behind,
            self._break_snapshot,
            self._topple,
            self._restart,
            self._pause,
            self._change_clock,
            self._cut_one_way,
            self._flap,
            self._isolate,
            self._split,
            self._worsen_network,
            self._slow_disk,
            self._fail_sync,
            self._fill_disk,
            self._stall_writes,
            self._corrupt_read,
            self._hand_over,
            self._remove,
            self._add,
            self._change_role,
            self._change_many,
        ]
        if only:
            chosen = [kind for kind in kinds if _name(kind) in only]
        else:
            chosen = self._random.sample(kinds, self._random.randint(1, len(kinds)))
        self._weights = {kind: self._random.random() for kind in chosen}
        self._pause_seconds = self._random.choice([0.3, 1.0, 3.0])

    async def run_for(self, seconds: float) -> None:
        """Break things for so long, and wait for what passes by itself."""
        breaking = asyncio.ensure_future(self.run())
        await asyncio.sleep(seconds)
        await self.stop()
        await breaking

    async def run(self) -> None:
        """Break something now and then."""
        while True:
            await asyncio.sleep(self._random.expovariate(1 / self._pause_seconds))
            if self._is_stopping:
                return
            (fault,) = self._random.choices(list(self._weights), list(self._weights.values()))
            name = _name(fault)
            self._cluster.faults[name] += 1
            self._cluster.trace(f"fault: {name}")
            task = asyncio.ensure_future(fault())
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        task.result()

    async def stop(self) -> None:
        """Break nothing more; wait for what passes by itself."""
        self._is_stopping = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    def heal(self) -> None:
        """Mend the network and the disks, wake who is paused, start who is down."""
        self._cluster.network.heal()
        for machine in self._cluster.machines.values():
            machine.stall_until = 0.0
            machine.disk.mend()
            if machine.process is not None:
                machine.process.resume()
                machine.process.set_clock_rate(1.0)
            elif not machine.directory.is_removed:
                machine.start()

    # Which, and for how long

    def _some_seconds(self) -> float:
        return self._random.choice([0.02, 0.5, 1.0]) * self._random.uniform(0, LONGEST_SECONDS)

    def _any(self) -> Machine:
        """A machine; the leader's more often than others."""
        leader = self._cluster.leader()
        if leader is not None and self._random.random() < 0.5:
            return leader
        return self._random.choice(list(self._cluster.machines.values()))

    # Processes

    async def _kill(self) -> None:
        await self._kill_for(self._any(), self._some_seconds())

    async def _kill_many(self) -> None:
        machines = list(self._cluster.machines.values())
        chosen = self._random.sample(machines, self._random.randint(1, len(machines)))
        seconds = self._some_seconds()
        await asyncio.gather(*(self._kill_for(machine, seconds) for machine in chosen))

    async def _kill_while_writing(self) -> None:
        """Between a write and its sync, when most can be lost."""
        machine = self._any()
        give_up_at = self._cluster.loop.now + LONGEST_SECONDS
        while machine.is_up and not machine.disk.unsynced and self._cluster.loop.now < give_up_at:  # noqa: ASYNC110  time
            await asyncio.sleep(self._random.uniform(0.0005, 0.005))
        await self._kill_for(machine, self._some_seconds())

    async def _lose_power(self) -> None:
        """In the middle of something: of what is done about a snapshot, mostly."""
        machine = self._any()
        of_snapshots_only = self._random.random() < 0.7
        machine.disk.lose_power_after(self._random.randint(1, 20), of_snapshots_only=of_snapshots_only)
        await self._bring_back(machine)

    async def _leave_behind(self) -> None:
        """A machine is cut off, or down, until others have cut their logs where it needs them; then a snapshot comes.

        Whatever is about to happen to the snapshot happens to this one.
        """
        machine = self._random.choice(list(self._cluster.machines.values()))
        last_index = machine.disk.last_index
        out, back = self._ways(machine)
        if self._random.random() < 0.5:
            machine.kill()
        else:
            self._cluster.network.cut |= out | back
        give_up_at = self._cluster.loop.now + LONGEST_SECONDS
        while self._cluster.loop.now < give_up_at and not self._has_been_cut(last_index):  # noqa: ASYNC110  time
            await asyncio.sleep(self._random.uniform(0.01, 0.2))
        self._cluster.network.cut -= out | back
        if self._random.random() < 0.5:
            machine.disk.lose_power_after(self._random.randint(1, 30), of_snapshots_only=True)
        await self._bring_back(machine)

    def _has_been_cut(self, index: int) -> bool:
        """Whether the leader no longer has what comes after this index."""
        leader = self._cluster.leader()
        return leader is not None and leader.log.first_index > index + 1

    async def _break_snapshot(self) -> None:
        """Something happens to a snapshot that is on its way; nothing does, if none comes."""
        give_up_at = self._cluster.loop.now + LONGEST_SECONDS
        while self._cluster.loop.now < give_up_at:
            ends = [
                machine for machine in self._cluster.machines.values() if machine.is_up and machine.disk.has_snapshot
            ]
            if ends:
                await self._break_one(self._random.choice(ends))
                return
            await asyncio.sleep(self._random.uniform(0.01, 0.1))

    async def _break_one(self, end: Machine) -> None:
        """One of its ends is killed, its files are spoilt, one end is not heard, or another leader goes on without."""
        match self._random.randrange(4):
            case 0:
                await self._kill_for(end, self._some_seconds())
            case 1:
                end.disk.spoil_snapshots()
            case 2:
                out, _ = self._ways(end)
                await self._cut(out, self._some_seconds())
            case _:
                await self._hand_over()

    async def _topple(self) -> None:
        """Leaders fall one after the other, each with entries that not all others have."""
        falls: list[asyncio.Task[None]] = []
        for _ in range(self._random.randint(2, 6)):
            leader = await self._leader_with_news()
            if leader is not None:
                fall = self._random.choice([self._kill_for, self._cut_off])
                falls.append(asyncio.ensure_future(fall(leader, self._random.uniform(0.2, LONGEST_SECONDS))))
            await asyncio.sleep(self._random.uniform(0, 1))
        await asyncio.gather(*falls)

    async def _leader_with_news(self) -> Machine | None:
        """A leader that has just appended what is not committed yet; None if there is none for some time."""
        give_up_at = self._cluster.loop.now + LONGEST_SECONDS
        while self._cluster.loop.now < give_up_at:
            leader = self._cluster.leader()
            if leader is not None and leader.log.last_index > leader.log.committed:
                return leader
            await asyncio.sleep(self._random.uniform(0.001, 0.01))
        return None

    async def _kill_for(self, machine: Machine, seconds: float) -> None:
        machine.kill()
        await asyncio.sleep(seconds)
        if not machine.is_up and not machine.directory.is_removed:
            machine.start()

    async def _restart(self) -> None:
        machine = self._any()
        machine.stop()
        await asyncio.sleep(self._some_seconds())
        while machine.is_stopping:  # noqa: ASYNC110  time is simulated
            # Or it would be down when all that is down was started again.
            await asyncio.sleep(STOP_POLL_SECONDS)
        if not machine.is_up and not machine.directory.is_removed:
            machine.start()

    async def _pause(self) -> None:
        process = self._any().process
        if process is not None:
            process.pause()
            await asyncio.sleep(self._some_seconds())
            process.resume()

    async def _change_clock(self) -> None:
        process = self._any().process
        if process is not None:
            process.set_clock_rate(self._random.uniform(0.9, 1.1))

    # The network

    async def _cut(self, pairs: set[tuple[str, str]], seconds: float) -> None:
        cut = self._cluster.network.cut
        cut |= pairs
        await asyncio.sleep(seconds)
        cut -= pairs

    async def _cut_one_way(self) -> None:
        await self._cut({(self._any().raft_address, self._any().raft_address)}, self._some_seconds())

    async def _flap(self) -> None:
        """A link that comes and goes."""
        pair = (self._any().raft_address, self._any().raft_address)
        pairs = self._random.choice([{pair}, {pair, pair[::-1]}])
        ends_at = self._cluster.loop.now + self._some_seconds()
        while self._cluster.loop.now < ends_at:
            self._cluster.network.cut |= pairs
            await asyncio.sleep(self._random.uniform(0, 0.5))
            self._cluster.network.cut -= pairs
            await asyncio.sleep(self._random.uniform(0, 0.5))

    async def _isolate(self) -> None:
        """One machine hears nobody, or is heard by nobody, or both."""
        out, back = self._ways(self._any())
        await self._cut(self._random.choice([out, back, out | back]), self._some_seconds())

    async def _cut_off(self, machine: Machine, seconds: float) -> None:
        out, back = self._ways(machine)
        await self._cut(out | back, seconds)

    def _ways(self, machine: Machine) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """From a machine to all others, and from all others to it."""
        others = [address for address in self._cluster.addresses() if address != machine.raft_address]
        return {(machine.raft_address, other) for other in others}, {(other, machine.raft_address) for other in others}

    async def _split(self) -> None:
        one_side = set(self._random.sample(self._cluster.addresses(), len(self._cluster.machines) // 2))
        pairs = {(a, b) for a in self._cluster.addresses() for b in self._cluster.addresses()}
        await self._cut({(a, b) for a, b in pairs if (a in one_side) != (b in one_side)}, self._some_seconds())

    async def _worsen_network(self) -> None:
        network, random = self._cluster.network, self._random
        network.mean_delay_seconds = random.choice([0.001, 0.01, 0.1])
        network.loss_rate = random.choice([0, 0.01, 0.2])
        network.duplicate_rate = random.choice([0, 0.1])
        network.reorder_rate = random.choice([0, 0.1])
        network.spoil_rate = random.choice([0, 0, 0.1])

    # Disks

    async def _slow_disk(self) -> None:
        disk = self._any().disk
        disk.sync_seconds = self._random.choice([0.05, 0.5, 3.0, 20.0])
        await asyncio.sleep(self._some_seconds())
        disk.change_speed(self._random.choice([0.0005, USUAL_SYNC_SECONDS, 0.02]))

    async def _fail_sync(self) -> None:
        machine = self._any()
        if self._random.random() < 0.7:
            machine.disk.fails_next_sync = True
        else:
            machine.disk.fails_next_flush = True
        await self._bring_back(machine)

    async def _fill_disk(self) -> None:
        machine = self._any()
        machine.disk.is_full = True
        await self._bring_back(machine)

    async def _corrupt_read(self) -> None:
        machine = self._any()
        if self._random.random() < 0.7:
            machine.disk.corrupts_next_read = True
        else:
            machine.disk.corrupts_next_get = True
        await self._bring_back(machine)

    async def _bring_back(self, machine: Machine) -> None:
        await asyncio.sleep(self._some_seconds())
        machine.disk.mend()
        if not machine.is_up and not machine.directory.is_removed:
            machine.start()

    async def _stall_writes(self) -> None:
        self._any().stall_until = self._cluster.loop.now + self._some_seconds()

    # Membership

    async def _hand_over(self) -> None:
        leader = self._cluster.leader()
        if leader is not None:
            await self._ask(leader, lambda machine: machine.hand_over())

    async def _remove(self) -> None:
        await self._request_change(raft_pb2.RemoveNode, self._any())

    async def _request_change(self, kind: raft_pb2.ConfChangeType, machine: Machine) -> None:
        request = raft_pb2.ConfChange(change_type=kind, node_id=machine.node_id)
        leader = self._cluster.leader()
        if leader is not None:

            async def change(machine: Machine) -> None:
                await machine.change_membership(request)

            await self._ask(leader, change)

    async def _add(self) -> None:
        """A machine joins: one that was removed before, or a new one."""
        down = [each for each in self._cluster.machines.values() if each.directory.is_removed and not each.is_up]
        if down:
            self._random.choice(down).start()
        elif len(self._cluster.machines) < MAX_MACHINES:
            self._cluster.add_machine().start()

    async def _change_role(self) -> None:
        """A voter becomes a learner, or a learner a voter."""
        kind = self._random.choice([raft_pb2.AddNode, raft_pb2.AddLearnerNode])
        await self._request_change(kind, self._any())

    async def _change_many(self) -> None:
        """Several roles at once, through a joint configuration."""
        leader = self._cluster.leader()
        if leader is None or leader.node is None:
            return
        members = sorted(leader.node.status().peers)
        chosen = self._random.sample(members, self._random.randint(1, len(members))) if members else []
        kinds = [ChangeKind.ADD_VOTER, ChangeKind.ADD_LEARNER]
        changes = tuple(Change(self._random.choice(kinds), node_id) for node_id in chosen)
        change = ConfChange(changes, Transition.JOINT_IMPLICIT)
        await self._ask(leader, lambda machine: machine.change_roles(change))

    async def lose_some(self, voters: Sequence[Machine]) -> None:
        """Less than half of the voters are gone for good, with their disks. They are removed; some are replaced."""
        lost = self._random.sample(voters, self._random.randint(0, (len(voters) - 1) // 2))
        for machine in lost:
            self._cluster.faults["lost for good"] += 1
            machine.lose()
        for machine in lost:
            while self._is_member(machine):
                await self._request_change(raft_pb2.RemoveNode, machine)
                await asyncio.sleep(ASK_AGAIN_SECONDS)
            if self._random.random() < 0.5:
                machine.start()

    def _is_member(self, machine: Machine) -> bool:
        """As far as is known: yes, as long as nobody leads."""
        leader = self._cluster.leader()
        return leader is None or leader.node is None or machine.node_id in leader.node.members.by_id

    async def _ask(self, machine: Machine, serve: Callable[[Machine], Awaitable[None]]) -> None:
        with suppress(RequestError, ConnectionRefused, TimeoutError):
            loop = self._cluster.loop
            await self._cluster.call(loop.outside, "operator", machine.raft_address, serve, CALL_SECONDS)


def _name(fault: Fault) -> str:
    """As it is counted."""
    return fault.__name__.strip("_").replace("_", " ")
