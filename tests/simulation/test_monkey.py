"""What dragonboat's monkey tests do to a cluster at random, while clients work.

In the end all must be well: what the clients saw is linearizable, nothing is stuck for good, and state machines,
members and logs are the same everywhere. A run fails otherwise (`meteora.testing.simulation`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from meteora.errors import RequestError
from meteora.testing.cluster import Cluster, ConnectionRefused, Machine
from meteora.testing.faults import Nemesis
from meteora.testing.simulation import Report, Simulation, Story
from tests.simulation.test_fuzzy import remove, the_leader
from tests.simulation.waiting import ask, until, voters

VIRTUAL_SECONDS = 20.0


def told(break_things: Callable[[Cluster], Awaitable[None]], snapshot_catchup_entries: int = 5_000) -> Report:
    story = Story(break_things, machines=5, snapshot_catchup_entries=snapshot_catchup_entries)
    report = Simulation(1, story=story).run()
    assert report.summary == ""
    assert report.operations > 20
    assert report.entries > 20
    return report


def breaking(*kinds: str) -> Callable[[Cluster], Awaitable[None]]:
    """Faults of these kinds alone, at random."""
    return lambda cluster: Nemesis(cluster, kinds).run_for(VIRTUAL_SECONDS)


def test_nodes_that_are_killed_and_restarted_at_random() -> None:
    report = told(breaking("kill", "kill many", "kill while writing", "restart"))
    assert report.faults["kill"] > 2
    assert report.faults["kill many"] > 2
    assert report.faults["kill while writing"] > 2
    assert report.faults["restart"] > 2


def test_nodes_whose_data_is_deleted_are_refused_until_they_are_removed_and_then_join_anew() -> None:
    async def delete_data(cluster: Cluster) -> None:
        await until(lambda: voters(cluster) == {1, 2, 3, 4, 5}, "all vote")
        for machine in list(cluster.machines.values()):
            await delete_all_of(cluster, machine)

    report = told(delete_data, snapshot_catchup_entries=1)
    assert report.faults["data deleted"] == report.faults["refused"] == report.faults["removed"] == 5
    assert report.snapshots >= 5


async def delete_all_of(cluster: Cluster, machine: Machine) -> None:
    """And kill another one meanwhile."""
    machine.lose()
    cluster.faults["data deleted"] += 1
    other = cluster.random.choice(cluster.running())
    other.kill()
    machine.start()
    emptied = machine.directory
    await until(lambda: not machine.is_up, "it is refused: the member of its id has another directory")
    cluster.faults["refused"] += emptied.is_removed
    other.start()
    await remove(cluster, machine)
    machine.start()
    await until(lambda: machine.node_id in voters(cluster), "it votes")


def test_messages_that_are_dropped_reordered_and_duplicated() -> None:
    async def worsen(cluster: Cluster) -> None:
        network = cluster.network
        network.loss_rate, network.reorder_rate, network.duplicate_rate = 0.1, 0.2, 0.2
        await asyncio.sleep(VIRTUAL_SECONDS)

    report = told(worsen)
    for fault in ("lost", "reordered", "duplicated"):
        assert report.faults[fault] > 200


def test_partitions_of_every_kind() -> None:
    report = told(breaking("split", "isolate", "cut one way", "flap"))
    for fault in ("split", "isolate", "cut one way", "flap"):
        assert report.faults[fault] > 2
    assert report.faults["dropped at a cut"] > 50


def test_snapshots_all_the_time_of_which_some_chunks_are_spoilt() -> None:
    async def story(cluster: Cluster) -> None:
        await until(lambda: voters(cluster) == {1, 2, 3, 4, 5}, "all vote")
        cluster.network.spoil_rate = 0.1
        for machine in cluster.machines.values():
            machine.flush_bytes, machine.chunk_bytes = 1, 5_000
        for _ in range(3):
            await leave_two_behind(cluster)

    report = told(story, snapshot_catchup_entries=1)
    assert report.faults["left behind"] == 6
    assert report.faults["chunk spoilt"] > 5
    assert report.snapshots >= 6


async def leave_two_behind(cluster: Cluster) -> None:
    """Until the leader's log no longer has what they lack; then they get a snapshot.

    A leader keeps what comes after a snapshot that it has sent; a new one doesn't.
    """
    leader = await the_leader(cluster)
    machines = [machine for machine in cluster.running() if machine is not leader][:2]
    last_index = max(machine.disk.last_index for machine in machines)
    for machine in machines:
        machine.kill()
    while leader.log.first_index <= last_index + 1:
        with suppress(RequestError, ConnectionRefused, TimeoutError):
            await ask(cluster, leader, lambda leader: leader.hand_over())
        await asyncio.sleep(0.5)
        leader = await the_leader(cluster)
    cluster.faults["left behind"] += len(machines)
    for machine in machines:
        machine.start()
    await until(lambda: all(each.disk.base.index > last_index for each in machines), "they go on from a snapshot")


def test_entries_that_are_applied_late() -> None:
    waiting: list[int] = []

    async def stall(cluster: Cluster) -> None:
        for _ in range(6):
            machine = cluster.random.choice(cluster.running())
            machine.stall_until = cluster.loop.now + 3.0
            await asyncio.sleep(2.9)
            waiting.append(machine.log.committed - machine.log.applied)

    told(stall)
    assert sum(waits > 3 for waits in waiting) >= 4


def test_a_cluster_that_is_stuck_for_good_is_reported() -> None:
    async def lose_most(cluster: Cluster) -> None:
        await until(lambda: voters(cluster) == {1, 2, 3, 4, 5}, "all vote")
        for node_id in (1, 2, 3):
            cluster.machines[node_id].lose()

    report = Simulation(1, story=Story(lose_most)).run()
    assert report.invariant == "progress"
