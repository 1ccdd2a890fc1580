"""A process that appends to a raft log, and cuts it now and then, until it is killed; it says what was acknowledged.

`python -m tests.unit.storage.appender PATH SEED STEP APPLIED` goes on after STEP steps of the story that SEED tells,
which had applied the entries up to APPLIED.
"""

import asyncio
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from meteora.raft.entry import Entry
from meteora.raft.message import HardState
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from tests.unit.storage.raft_logs import entries_of


def story(seed: int) -> Iterator[tuple[list[Entry], HardState, list[Entry]]]:
    """The appends of one log, without end: the entries, the hard state, and what the log is after it."""
    chance = random.Random(seed)
    log: list[Entry] = []
    term, commit = 1, 0
    while True:
        commit = chance.randint(commit, len(log))
        first = len(log) + 1
        if chance.random() < 0.2:
            term += 1
            first = chance.randint(commit + 1, len(log) + 1)
        added = entries_of(first, first + chance.randint(0, 5), term, padding_bytes=chance.choice([0, 200, 5000]))
        log[first - 1 :] = added
        yield added, HardState(term, 1, commit), list(log)


async def append_for_ever(log: RaftLog, seed: int, step: int) -> None:
    chance = random.Random(step)
    for number, (entries, hard_state, _) in enumerate(story(seed), start=1):
        if number > step:
            await log.append(entries, hard_state)
            log.release(hard_state.commit)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            if chance.random() < 0.3:
                await log.compact(chance.randint(0, hard_state.commit))


if __name__ == "__main__":
    path, (seed, step, applied) = Path(sys.argv[1]), map(int, sys.argv[2:])
    asyncio.run(append_for_ever(RaftLog.open(path, DiskThread("raft log"), applied), seed, step))
