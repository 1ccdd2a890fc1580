"""What a node does about its room, and when no more."""

import asyncio
import random
from pathlib import Path

import pytest

from meteora.kv.state_machine import StateMachine
from meteora.node.life import Life
from meteora.node.room import RoomWatch
from meteora.node.room_upkeep import RoomUpkeep
from meteora.transport.interface import Room
from tests.unit.kv.state_machines import delete, entry_of, opened, put

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_node_that_stops_just_when_it_was_to_give_back_what_was_deleted_does_not_begin_with_it(
    tmp_path: Path,
) -> None:
    async def story(machine: StateMachine) -> None:
        def give_up(_: str) -> None:
            life.is_over = True
            machine.abandon_snapshots()

        loop = asyncio.get_running_loop()
        life = Life(loop, give_up)

        def stop_next(_: Room) -> None:
            loop.call_soon(give_up, "the node is stopping")

        RoomUpkeep(RoomWatch(1, 1, 0), machine, life, None).look_if_due(0, stop_next)
        while life.tasks:
            await asyncio.wait(life.tasks)
        life.failed.cancel()

    with opened(tmp_path) as machine:
        chance = random.Random(1)
        for index in range(1, 21):
            machine.apply([entry_of(index, put(b"key%d" % index, chance.randbytes(50_000)))])
        asyncio.run(machine.flush())
        machine.apply([entry_of(21, *[delete(b"key%d" % number) for number in range(1, 21)])])
        before = machine.stored_bytes
        asyncio.run(story(machine))
        assert machine.stored_bytes == before
