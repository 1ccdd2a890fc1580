"""Whole clusters under faults: a few seeds of the many that `make sim` runs, and that a seed says all about a run."""

import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from meteora.testing.simulation import Simulation

SEEDS = 8
VIRTUAL_SECONDS = 15.0


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_cluster_keeps_its_promises_under_faults(seed: int) -> None:
    report = Simulation(seed, VIRTUAL_SECONDS).run()
    assert report.summary == ""


# In the last of these a snapshot is installed.
@pytest.mark.parametrize("seed", [4, 11, 22])
def test_the_same_seed_is_the_same_run_in_another_process(seed: int, tmp_path: Path) -> None:
    traces = [traced(seed, tmp_path / hash_seed, hash_seed) for hash_seed in ("1", "2")]
    assert len(traces[0]) > 1_000
    assert traces[0] == traces[1]


def test_the_same_seed_is_the_same_run_wherever_its_objects_lie_in_memory() -> None:
    traces: list[list[str]] = [[], []]
    Simulation(9, 5.0, traces[0].append).run()
    in_the_way = [Simulation(seed, 0.0) for seed in range(20)][::2]
    Simulation(9, 5.0, traces[1].append).run()
    assert in_the_way
    assert traces[0] == traces[1]


def traced(seed: int, path: Path, hash_seed: str) -> bytes:
    arguments = ["--first-seed", str(seed), "--seconds", "5", "--trace", str(path)]
    command = [sys.executable, "-m", "meteora.testing", *arguments]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": hash_seed})
    return path.read_bytes()


def test_one_run_after_another_leaves_nothing_of_those_before() -> None:
    first = Simulation(1, 1.0)
    files, remains = first.cluster.files, weakref.ref(first.cluster)
    first.run()
    del first
    Simulation(2, 1.0).run()
    assert remains() is None
    assert not files.exists()
