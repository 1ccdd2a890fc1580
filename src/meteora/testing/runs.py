"""Many simulated runs, one by one or side by side in processes of their own, and what is to be said of each."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple, TextIO

from meteora.observability.logs import configure
from meteora.testing.shrinking import shortest
from meteora.testing.simulation import Report, Simulation


class Outcome(NamedTuple):
    """Of one run."""

    report: Report
    """Without its failure, which may be one that can't travel between processes."""
    failure_text: str
    """Empty if nothing has failed."""


def outcomes(
    seeds: Sequence[int], seconds: float, *, workers: int = 1, trace: TextIO | None = None
) -> Iterator[Outcome]:
    """Run all seeds, each for so many virtual seconds of faults; the outcomes in the order of the seeds.

    With more than one of the `workers` there is a process for each, and nothing is written to `trace`.
    """
    if workers == 1:
        yield from (outcome_of(seconds, seed, trace) for seed in seeds)
        return
    # A forked process would have a share in what this one has begun; such a one begins as this one did.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(partial(outcome_of, seconds), seeds)


def outcome_of(seconds: float, seed: int, trace: TextIO | None = None) -> Outcome:
    """One run, and if it fails all that can be said of it."""
    configure("error", "text")
    report = Simulation(seed, seconds, None if trace is None else lambda line: print(line, file=trace)).run()
    text = "" if report.failure is None else _failure_text(report, seconds)
    return Outcome(replace(report, failure=None), text)


def _failure_text(report: Report, seconds: float) -> str:
    """What failed, how little of the run is enough to see it, and how to see it again."""
    least, least_seconds = shortest(report, seconds)
    return (
        f"seed {report.seed} breaks: {report.invariant}\n"
        f"  {least.summary}\n"
        f"  shortest prefix found that fails: {least_seconds:g} virtual seconds of faults; it fails at "
        f"{least.virtual_seconds:.6f}, step {least.steps}\n"
        f"  again: python -m meteora.testing --first-seed {report.seed} --seconds {least_seconds:g} --trace trace.txt"
    )
