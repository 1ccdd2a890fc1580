"""Reads by lease: what they save, and when a leader has no lease any more."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from meteora.errors import NotApplied
from meteora.raft import MessageKind
from tests.unit.node.nodes import PATIENCE_SECONDS, Running, Trio, soon, three

A_LEASE_SECONDS = 1.0
"""More than any lease of these nodes lasts."""


class Clock:
    """Stands still but for what a test says: so nothing is owed because the machine is busy."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def with_leases(folder: Path, story: Callable[[Trio, Clock], Coroutine[Any, Any, None]]) -> None:
    """Run `story` with three voters that read by leases, once their leader has one."""

    async def run() -> None:
        clock = Clock()
        async with three(folder, clock=clock) as trio:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await rounds_for_a_read(trio, trio.leader):
                    pass
            await story(trio, clock)

    asyncio.run(run())


async def rounds_for_a_read(trio: Trio, at: Running) -> int:
    """How many messages ask, before a read is answered, whether the leader still leads."""
    trio.network.sent.clear()
    await at.get(b"k")
    heartbeats = trio.network.sent_by(trio.leader.node.node_id, MessageKind.HEARTBEAT)
    return sum(message.context.isdigit() for message in heartbeats)


def test_without_leases_each_read_asks_all_others(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            await trio.leader.put(b"k")
            assert await rounds_for_a_read(trio, trio.leader) >= 2

    asyncio.run(run())


@pytest.mark.parametrize("which", ["leader", "follower"])
def test_a_read_by_lease_asks_nobody_whether_the_leader_still_leads(tmp_path: Path, which: str) -> None:
    async def story(trio: Trio, _: Clock) -> None:
        at = trio.leader if which == "leader" else trio.followers[0]
        assert [await rounds_for_a_read(trio, at) for _ in range(20)] == [0] * 20

    with_leases(tmp_path, story)


def test_a_read_by_lease_sees_what_was_written_before_it(tmp_path: Path) -> None:
    async def story(trio: Trio, _: Clock) -> None:
        for number in range(20):
            await trio.followers[0].put(b"k", b"%d" % number)
            assert await trio.leader.get(b"k") == b"%d" % number
            assert await trio.followers[1].get(b"k") == b"%d" % number

    with_leases(tmp_path, story)


def test_a_leader_that_was_replaced_answers_no_read(tmp_path: Path) -> None:
    async def story(trio: Trio, _: Clock) -> None:
        old = trio.leader
        trio.network.cut_off.add(old.node.node_id)
        new = await trio.until_replaced(old)
        await new.put(b"k", b"new")
        with pytest.raises(NotApplied):
            await old.node.get(b"k", soon(0.2))

    with_leases(tmp_path, story)


def test_a_leader_that_wakes_up_after_its_lease_is_over_asks_before_it_answers(tmp_path: Path) -> None:
    async def story(trio: Trio, clock: Clock) -> None:
        old = trio.leader
        trio.network.cut_off.add(old.node.node_id)
        # As if its process had been stopped here, for so long.
        clock.now += A_LEASE_SECONDS
        with pytest.raises(NotApplied):
            await old.node.get(b"k", soon(0.2))

    with_leases(tmp_path, story)


def test_a_leader_that_wakes_up_after_a_short_while_leads_on(tmp_path: Path) -> None:
    async def story(trio: Trio, clock: Clock) -> None:
        old, term = trio.leader, trio.leader.node.status().term
        clock.now += A_LEASE_SECONDS
        await old.put(b"k", b"v")
        assert (await old.get(b"k"), old.node.status().term) == (b"v", term)

    with_leases(tmp_path, story)
