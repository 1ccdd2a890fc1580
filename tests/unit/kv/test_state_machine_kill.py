"""`kill -9` at any instant: the state is whole at the applied index that it says."""

import itertools
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.kv.state_machines import Story, everything_in, opened

LENGTH = 3000
"""Hardly ever does a process get there before it is killed."""

ROUNDS = 4


def run_until_killed(path: Path, seed: int, kill_after: int) -> tuple[int, int]:
    """Let a process apply; kill it once it has said `kill_after` times that it did.

    Returns the applied and the flushed index that it told of last.
    """
    command = [sys.executable, "-m", "tests.unit.kv.applier", str(path), str(seed), str(LENGTH)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            told = list(itertools.islice(process.stdout, kill_after))
        finally:
            process.kill()
        told += [line for line in process.stdout if line.endswith("\n")]
    applied, flushed = told[-1].split()
    return int(applied), int(flushed)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_state_machine_is_whole_at_its_applied_index_and_the_log_brings_back_the_rest(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    story = Story(seed, LENGTH)
    for _ in range(ROUNDS):
        told_applied, told_flushed = run_until_killed(tmp_path / "kv", seed, chance.randint(1, 120))
        with opened(tmp_path / "kv") as machine:
            found = machine.applied_index
            assert told_flushed <= found <= told_applied + 1
            assert everything_in(machine) == story.states[found]
            assert machine.membership == story.memberships[found]
            story.apply(machine, told_applied)
            assert everything_in(machine) == story.states[told_applied]
        if told_applied == LENGTH:
            break
    with opened(tmp_path / "kv") as machine:
        story.apply(machine, LENGTH)
        assert everything_in(machine) == story.states[LENGTH]
