"""A cluster is upgraded machine by machine, and its users are changed on all of them at once while things break.

What every run checks in the end, equal states above all, is checked of users, too. Here besides: of the changes that
were decided on one revision one is made, and none that was acknowledged is lost.
"""

import asyncio
from contextlib import suppress

from meteora.errors import RequestError
from meteora.features import LEVEL_OF_USERS, OWN_RELEASE
from meteora.kv.users import Change, User
from meteora.testing.cluster import Cluster, ConnectionRefused, Machine
from meteora.testing.faults import Nemesis
from meteora.testing.simulation import Simulation, Story
from tests.simulation.waiting import PATIENCE_SECONDS, ask, until, voters

VIRTUAL_SECONDS = 20.0
CHANGERS = 4


async def upgrade(cluster: Cluster) -> None:
    """All machines that run the release before, one after the other."""
    for machine in [each for each in cluster.machines.values() if each.release != OWN_RELEASE]:
        machine.kill()
        machine.release = OWN_RELEASE
        machine.start()
        await until(lambda machine=machine: machine.node is not None and machine.log.applied > 0, "it is back")
    await until(lambda: level(cluster) == LEVEL_OF_USERS, "all are at the new level")


def level(cluster: Cluster) -> int:
    """The lowest that any machine is at."""
    return min(0 if machine.node is None else machine.node.level for machine in cluster.machines.values())


class Changers:
    """Tasks that add users, each through any machine; two of them never know of one another."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._is_over = False
        self.acknowledged: set[str] = set()
        self.overtaken = 0

    async def run(self, seconds: float) -> None:
        tasks = [asyncio.ensure_future(self._change(number)) for number in range(CHANGERS)]
        await asyncio.sleep(seconds)
        self._is_over = True
        await asyncio.gather(*tasks)

    async def _change(self, number: int) -> None:
        count = 0
        while not self._is_over:
            name = f"user {number} {count}"
            count += 1
            machine = self._cluster.random.choice(list(self._cluster.machines.values()))
            with suppress(ConnectionRefused, TimeoutError):
                await ask(self._cluster, machine, lambda machine, name=name: self._add(machine, name))
            await asyncio.sleep(0.2)

    async def _add(self, machine: Machine, name: str) -> None:
        node = machine.node
        if node is None:
            return
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS / 3
        with suppress(RequestError):
            await node.catch_up(deadline)
            try:
                await node.change_users(Change(node.users.revision, {name: User("")}), deadline)
            except RequestError:
                self.overtaken += 1
                raise
            self.acknowledged.add(name)


def knows(machine: Machine, changers: Changers) -> bool:
    """Whether a machine has all users that were acknowledged. There is no revision that no user came with."""
    if machine.node is None:
        return False
    users = machine.node.users
    assert users.revision == len(users.users)
    return changers.acknowledged <= users.users.keys()


def test_users_that_are_changed_on_all_machines_while_things_break_are_the_same_everywhere() -> None:
    changers: list[Changers] = []

    async def story(cluster: Cluster) -> None:
        await until(lambda: voters(cluster) == {1, 2, 3}, "all vote")
        await upgrade(cluster)
        changers.append(Changers(cluster))
        kinds = ("kill", "split", "isolate", "restart", "hand over", "leave behind")
        await asyncio.gather(changers[0].run(VIRTUAL_SECONDS), Nemesis(cluster, kinds).run_for(VIRTUAL_SECONDS))
        for machine in cluster.machines.values():
            if not machine.is_up:
                machine.start()
        await until(lambda: all(knows(machine, changers[0]) for machine in cluster.machines.values()), "all know all")

    report = Simulation(1, story=Story(story, machines=3, snapshot_catchup_entries=1)).run()
    assert report.summary == ""
    assert len(changers[0].acknowledged) > 5
    assert changers[0].overtaken > 0
