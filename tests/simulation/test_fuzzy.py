"""What hashicorp/raft's fuzzy tests break, again and again, while clients work.

In the end all must be well: the members' logs are equal and hold every write that was acknowledged, every state machine
was given the same entries in the same order, and nobody but the leader of a term has sent what only a leader sends. A
run fails otherwise (`meteora.testing.invariants`); that it would is shown in `tests/unit/testing/test_invariants.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from meteora.errors import RequestError
from meteora.pb import raft_pb2
from meteora.raft.message import Message, MessageKind
from meteora.testing.cluster import Cluster, ConnectionRefused, Machine
from meteora.testing.simulation import Report, Simulation, Story
from tests.simulation.waiting import ask, until, voters

MACHINES = 5

VOTES = {
    MessageKind.PRE_VOTE,
    MessageKind.PRE_VOTE_RESPONSE,
    MessageKind.VOTE,
    MessageKind.VOTE_RESPONSE,
}


def told(break_things: Callable[[Cluster], Awaitable[None]]) -> Report:
    """What came of a run in which all five voted, and then this happened."""

    async def story(cluster: Cluster) -> None:
        await until(lambda: voters(cluster) == {1, 2, 3, 4, 5}, "all vote")
        await break_things(cluster)

    report = Simulation(1, story=Story(story, MACHINES)).run()
    assert report.summary == ""
    assert report.operations > 30
    assert report.entries > 30
    return report


async def the_leader(cluster: Cluster) -> Machine:
    await until(lambda: cluster.leader() is not None, "somebody leads")
    leader = cluster.leader()
    assert leader is not None
    return leader


def cut_off(cluster: Cluster, machines: list[Machine]) -> None:
    """These from all others; they hear one another."""
    inside = {machine.raft_address for machine in machines}
    outside = set(cluster.addresses()) - inside
    cluster.network.cut = {pair for one in inside for other in outside for pair in ((one, other), (other, one))}


async def replace_leader(cluster: Cluster, companions: int = 0) -> None:
    """Cut the leader off, with so many others, until another one leads; then it comes back."""
    old = await the_leader(cluster)
    others = [machine for machine in cluster.running() if machine is not old]
    cut_off(cluster, [old, *cluster.random.sample(others, companions)])
    await until(lambda: cluster.leader() not in (old, None), "another one leads")
    cluster.faults["leader cut off"] += 1
    await asyncio.sleep(cluster.random.uniform(0, 3))
    cluster.network.cut.clear()
    await asyncio.sleep(cluster.random.uniform(0, 1))


async def remove(cluster: Cluster, machine: Machine) -> None:
    """By the leader, which is asked until it is done."""
    request = raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=machine.node_id)

    async def change(leader: Machine) -> None:
        await leader.change_membership(request)

    while machine.node_id in voters(cluster) or cluster.leader() is None:
        with suppress(RequestError, ConnectionRefused, TimeoutError):
            await ask(cluster, await the_leader(cluster), change)
        await asyncio.sleep(0.1)
    cluster.faults["removed"] += 1


async def add(cluster: Cluster, machine: Machine) -> None:
    """It joins with an empty directory, and votes once it has caught up."""
    await until(lambda: not machine.is_up, "it has stopped")
    machine.directory.is_removed = True
    machine.start()
    await until(lambda: machine.node_id in voters(cluster), "it votes")
    cluster.faults["added"] += 1


@pytest.mark.parametrize("companions", [0, 1])
def test_leaders_that_are_cut_off_one_after_the_other_with_or_without_company(companions: int) -> None:
    async def story(cluster: Cluster) -> None:
        for _ in range(6):
            await replace_leader(cluster, companions)

    report = told(story)
    assert report.faults["leader cut off"] == 6
    assert report.faults["dropped at a cut"] > 100
    assert report.leaders > 6


@pytest.mark.parametrize("end", ["sent", "received"])
def test_votes_that_some_nodes_have_sent_or_received_late(end: str) -> None:
    async def story(cluster: Cluster) -> None:
        def detour_seconds(message: Message) -> float:
            is_slow = (message.sender if end == "sent" else message.receiver) > 2
            return cluster.random.uniform(0.1, 1.5) if is_slow and message.kind in VOTES else 0.0

        cluster.network.detour_seconds = detour_seconds
        for _ in range(6):
            await replace_leader(cluster)

    report = told(story)
    assert report.faults["leader cut off"] == 6
    assert report.faults["took a detour"] > 30


def test_members_that_are_removed_and_added_again_and_again() -> None:
    async def story(cluster: Cluster) -> None:
        for machine in list(cluster.machines.values())[:3]:
            await remove(cluster, machine)
            await add(cluster, machine)

    report = told(story)
    assert report.faults["removed"] == 3
    assert report.faults["added"] == 3


def test_leaders_that_are_removed_one_after_the_other() -> None:
    async def story(cluster: Cluster) -> None:
        for _ in range(3):
            leader = await the_leader(cluster)
            await remove(cluster, leader)
            await until(lambda leader=leader: leader.directory.is_removed and not leader.is_up, "it has stopped")

    report = told(story)
    assert report.faults["removed"] == 3
    assert report.leaders > 3


@pytest.mark.parametrize("led", [False, True], ids=["a follower", "the leader"])
def test_a_node_that_was_removed_while_it_was_cut_off_disturbs_nobody_when_it_comes_back(led: bool) -> None:
    async def story(cluster: Cluster) -> None:
        leader = await the_leader(cluster)
        node = leader if led else next(each for each in cluster.running() if each is not leader)
        cut_off(cluster, [node])
        await until(lambda: cluster.leader() not in ((node,) if led else ()), "one of the others leads")
        await remove(cluster, node)
        await asyncio.sleep(5.0)
        leader = await the_leader(cluster)
        term = leader.term
        assert node.is_up
        cluster.network.cut.clear()
        await until(lambda: not node.is_up, "it has heard that it was removed")
        assert node.directory.is_removed
        assert cluster.leader() is leader
        assert leader.term == term

    report = told(story)
    assert report.faults["removed"] == 1
    assert report.faults["dropped at a cut"] > 10
