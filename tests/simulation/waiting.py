"""What stories of simulated clusters wait for; the time is simulated, too."""

import asyncio
from collections.abc import Awaitable, Callable

from meteora.testing.cluster import Cluster, Machine

PATIENCE_SECONDS = 30.0
"""Virtual ones."""


async def until(holds: Callable[[], bool], what: str) -> None:
    for _ in range(int(PATIENCE_SECONDS / 0.01)):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never: {what}")


def voters(cluster: Cluster) -> set[int]:
    """Of the leader's configuration."""
    leader = cluster.leader()
    return set(leader.node.members.configuration.voters) if leader is not None and leader.node is not None else set()


async def ask(cluster: Cluster, machine: Machine, serve: Callable[[Machine], Awaitable[None]]) -> None:
    """Have a machine do something in its own process, by its own clock."""
    await cluster.call(cluster.loop.outside, "outside", machine.raft_address, serve, PATIENCE_SECONDS)
