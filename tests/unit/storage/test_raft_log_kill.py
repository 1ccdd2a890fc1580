"""`kill -9` at any instant: the log holds all that was acknowledged, and is whole."""

import itertools
import random
import subprocess
import sys
from pathlib import Path

import pytest

from meteora.raft.entry import Entry
from meteora.raft.message import HardState
from tests.unit.storage.appender import story
from tests.unit.storage.raft_logs import all_entries, opened

ROUNDS = 5


def run_until_killed(path: Path, seed: int, step: int, kill_after: int) -> int:
    """Let a process append; kill it once it has said `kill_after` times that it did; the last step that it told of."""
    command = [sys.executable, "-m", "tests.unit.storage.appender", str(path), str(seed), str(step)]
    command.append(str(after(seed, step)[1].commit))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            told = [int(line) for line in itertools.islice(process.stdout, kill_after)]
        finally:
            process.kill()
        # What it had said by then was in the pipe.
        told += [int(line) for line in process.stdout if line.endswith("\n")]
    return told[-1]


def after(seed: int, step: int) -> tuple[list[Entry], HardState]:
    """The log after so many steps of the story."""
    if step == 0:
        return [], HardState()
    _, hard_state, log = next(itertools.islice(story(seed), step - 1, None))
    return log, hard_state


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_log_holds_what_was_acknowledged_and_at_most_the_append_after_it(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    step = 0
    cuts = set[int]()
    for _ in range(ROUNDS):
        told = run_until_killed(tmp_path / "raft", seed, step, chance.randint(1, 60))
        assert told > step
        with opened(tmp_path / "raft", after(seed, told)[1].commit) as log:
            found, base_index = (all_entries(log), log.hard_state), log.first_index() - 1
        entries, hard_state = after(seed, told)
        is_next = found != (entries[base_index:], hard_state)
        if is_next:
            entries, hard_state = after(seed, told + 1)
            assert found == (entries[base_index:], hard_state)
        step = told + is_next
        cuts.add(base_index)
    assert len(cuts) > 1
