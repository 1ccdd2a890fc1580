"""A process that applies a story to a state machine until it is killed, and says what it applied.

`python -m tests.unit.kv.applier PATH SEED LENGTH`
"""

import asyncio
import random
import sys
from pathlib import Path

from meteora.kv.state_machine import StateMachine
from tests.unit.kv.state_machines import Story


async def apply_all(machine: StateMachine, story: Story) -> None:
    chance = random.Random(machine.applied_index)
    flushing = asyncio.create_task(machine.flush())
    for index in range(machine.applied_index + 1, len(story.entries) + 1):
        story.apply(machine, index)
        sys.stdout.write(f"{index} {machine.flushed_index}\n")
        sys.stdout.flush()
        await asyncio.sleep(0)
        if flushing.done() and chance.random() < 0.05:
            flushing = asyncio.create_task(machine.flush())
    await flushing


if __name__ == "__main__":
    path, seed, length = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    asyncio.run(apply_all(StateMachine.open(path), Story(seed, length)))
