"""Stories of whole clusters that the random runs have found, or would take long to find."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest

from meteora.errors import ChangeRefused
from meteora.kv.command import Command, Operation
from meteora.pb import common_pb2, peer_pb2, raft_pb2
from meteora.raft.membership import Change, ChangeKind, ConfChange
from meteora.testing.cluster import Cluster, Machine
from meteora.testing.loop import SimulatedLoop
from tests.simulation.waiting import PATIENCE_SECONDS, ask, until, voters

Story = Callable[[Cluster], Awaitable[None]]


def tell(story: Story, seed: int = 1) -> None:
    """Run a story on a cluster of its own, which is still empty."""
    loop = SimulatedLoop()
    # A collection on the way would run the destructors of a killed process within a living one.
    gc.disable()
    try:
        loop.run_until_complete(story(Cluster(loop, Random(seed), None)))
    finally:
        loop.forget()
        gc.enable()


async def grow(cluster: Cluster, size: int) -> None:
    """Add machines until there are so many voters."""
    while len(cluster.machines) < size:
        machine = cluster.add_machine()
        machine.start(joins=machine.node_id > 1)
        node_id = machine.node_id
        await until(lambda node_id=node_id: node_id in voters(cluster), f"n{node_id} votes")


async def lead(cluster: Cluster, machine: Machine) -> None:
    """Make a machine the leader."""
    for each in cluster.running():
        if each is not machine:
            assert each.node is not None
            each.node._raw.transfer_leader(machine.node_id)
            each.node._wake()
    await until(lambda: cluster.leader() is machine, f"n{machine.node_id} leads")


async def put(cluster: Cluster, machine: Machine, sequence: int) -> None:
    command = Command(Operation.PUT, 77, sequence, 1, False, b"key", b"%d" % sequence)
    await ask(cluster, machine, lambda machine: machine.write(command, PATIENCE_SECONDS))


def applied(machine: Machine) -> int:
    return machine.log.applied if machine.node is not None else -1


def test_a_member_that_missed_a_newcomer_follows_it_when_it_leads() -> None:
    async def story(cluster: Cluster) -> None:
        await grow(cluster, 3)
        late = cluster.machines[3]
        late.kill()
        await grow(cluster, 4)
        await lead(cluster, cluster.machines[4])
        late.start()
        await put(cluster, cluster.machines[1], 1)
        await until(lambda: applied(late) == applied(cluster.machines[4]), "n3 has what n4 has")
        assert cluster.leader() is cluster.machines[4]

    tell(story)


def test_a_directory_that_was_removed_before_it_heard_of_its_admission_is_not_let_in_again() -> None:
    async def story(cluster: Cluster) -> None:
        await grow(cluster, 1)
        address = common_pb2.NodeAddress(kv_address="n2:5001", raft_address="n2:7001")
        request = peer_pb2.JoinReq(node_id=2, address=address, instance_id=22)
        member = cluster.machines[1]
        await member.admit(request)
        await member.change_membership(raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=2))
        with pytest.raises(ChangeRefused, match="node 2 was removed from the cluster"):
            await member.admit(request)

    tell(story)


def test_a_leader_that_removed_itself_stays_until_the_others_know_that_they_can_do_without_it() -> None:
    async def story(cluster: Cluster) -> None:
        await grow(cluster, 2)
        one, two = cluster.machines[1], cluster.machines[2]
        await lead(cluster, one)
        change = ConfChange((Change(ChangeKind.REMOVE, 1),))
        removing = asyncio.ensure_future(ask(cluster, one, lambda machine: machine.change_roles(change)))
        removal = one.log.last_index + 1
        while not two.disk.holds(removal, one.term):
            await asyncio.sleep(0.0001)
        cluster.network.cut.add((one.raft_address, two.raft_address))
        await asyncio.sleep(5.0)
        cluster.network.heal()
        await put(cluster, two, 1)
        await until(lambda: one.node is None, "n1 has stopped")
        removing.cancel()

    tell(story)


async def leave_behind(cluster: Cluster) -> Machine:
    """Three machines, of which one is down and the others no longer have what it lacks in their logs."""
    cluster.snapshot_catchup_entries = 1
    await grow(cluster, 3)
    late = cluster.machines[3]
    await lead(cluster, cluster.machines[1])
    last_index = late.disk.last_index
    late.kill()
    for machine in cluster.machines.values():
        machine.flush_bytes = 1
        machine.table_bytes = 30
    for sequence in range(1, 6):
        await put(cluster, cluster.machines[1], sequence)
    await until(
        lambda: all(
            machine.disk.base.index > last_index for machine in cluster.machines.values() if machine is not late
        ),
        "the logs are cut",
    )
    return late


def has_caught_up(cluster: Cluster, late: Machine) -> bool:
    return late.node is not None and applied(late) == applied(cluster.machines[1]) and late.log.first_index > 2


def test_a_machine_that_was_left_behind_gets_a_snapshot() -> None:
    async def story(cluster: Cluster) -> None:
        late = await leave_behind(cluster)
        late.start()
        await until(lambda: has_caught_up(cluster, late), "n3 has what the others have")
        assert cluster.installed_snapshots == 1
        assert late.state == cluster.machines[1].state

    tell(story)


@pytest.mark.parametrize("end", ["sender", "receiver"])
def test_a_snapshot_gets_through_wherever_the_power_is_lost_at_either_end(end: str) -> None:
    losses = 0
    for step in range(1, 100):
        is_lost = []

        async def story(cluster: Cluster, step: int = step, is_lost: list[bool] = is_lost) -> None:
            late = await leave_behind(cluster)
            machine = late if end == "receiver" else cluster.machines[1]
            machine.disk.lose_power_after(step, of_snapshots_only=True)
            late.start()
            await until(lambda: has_caught_up(cluster, late) or not machine.is_up, "n3 is there, or the power is lost")
            if not machine.is_up:
                is_lost.append(True)
                machine.start()
            await until(lambda: has_caught_up(cluster, late), "n3 has what the others have")
            assert late.state == cluster.machines[1].state

        tell(story)
        losses += bool(is_lost)
        if not is_lost:
            break
    assert losses > 5


def test_a_removed_member_stops_although_one_of_those_who_remained_is_gone_too() -> None:
    async def story(cluster: Cluster) -> None:
        await grow(cluster, 3)
        first, leader, last = (cluster.machines[number] for number in (1, 2, 3))
        await lead(cluster, leader)
        for machine in (first, last):
            removal = raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=machine.node_id)
            await ask(cluster, leader, lambda machine, removal=removal: machine.change_membership(removal))
            # So that neither can tell the other that it knows of the removal.
            ends = (first.raft_address, last.raft_address)
            cluster.network.cut |= {ends, ends[::-1]}
        await until(lambda: last.node is None, "n3 has stopped")
        await until(lambda: first.node is None, "n1 has stopped")

    tell(story)


def test_a_newcomer_that_passes_the_time_of_its_forerunner_does_not_elect_itself() -> None:
    async def story(cluster: Cluster) -> None:
        await grow(cluster, 2)
        founder, other = cluster.machines[1], cluster.machines[2]
        await lead(cluster, other)
        removal = raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=1)
        await ask(cluster, other, lambda machine: machine.change_membership(removal))
        await until(lambda: founder.node is None, "n1 has stopped")
        for sequence in range(1, 40):
            await put(cluster, other, sequence)
        other._core.settings = replace(other._core.settings, max_append_bytes=1)
        founder.start()
        # By its first entry, the founder is the only member; it is another one's directory that was meant.
        await until(lambda: founder.node is not None and founder.log.applied > 0, "n1#2 has the first entry")
        cluster.network.cut |= {(a, b) for a in cluster.addresses() for b in cluster.addresses()}
        assert founder.node.members.by_id[1].instance_id != founder.directory.instance_id
        await asyncio.sleep(20.0)
        assert not founder.is_leader

    tell(story)
