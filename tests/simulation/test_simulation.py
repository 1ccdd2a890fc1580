"""Whole clusters under faults: a few seeds of the many that `python -m meteora.testing` runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meteora.testing.simulation import Simulation

SEEDS = 25

KNOWN_DEFECTS = {6: "a node that is removed while it joins, before it has heard of anybody, waits for ever"}
"""Seeds that show what is not mended yet, and what that is. Strict: a seed that passes again has to leave this list."""


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_cluster_keeps_its_promises_under_faults(seed: int, request: pytest.FixtureRequest) -> None:
    if seed in KNOWN_DEFECTS:
        request.applymarker(pytest.mark.xfail(reason=KNOWN_DEFECTS[seed]))
    report = Simulation(seed, seconds=30.0).run()
    assert report.summary == ""


@pytest.mark.parametrize("seed", [3, 7])
def test_the_same_seed_is_the_same_run_in_another_process(seed: int, tmp_path: Path) -> None:
    traces = [traced(seed, tmp_path / hash_seed, hash_seed) for hash_seed in ("1", "2")]
    assert len(traces[0]) > 10_000
    assert traces[0] == traces[1]


def traced(seed: int, path: Path, hash_seed: str) -> bytes:
    command = [
        sys.executable,
        "-m",
        "meteora.testing",
        "--first-seed",
        str(seed),
        "--seconds",
        "10",
        "--trace",
        str(path),
    ]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": hash_seed})
    return path.read_bytes()
