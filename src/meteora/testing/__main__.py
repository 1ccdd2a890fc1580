"""`python -m meteora.testing`: simulated runs, one after the other; exit status 1 if any of them fails."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from meteora.observability.logs import configure
from meteora.testing.shrinking import shortest
from meteora.testing.simulation import Report, Simulation


def main(words: Sequence[str] | None = None) -> int:
    """Run the seeds that the command line asks for."""
    arguments = _parse(words)
    configure("error", "text")
    began_at = time.monotonic()
    reports = []
    with ExitStack() as files:
        trace = files.enter_context(arguments.trace.open("w", encoding="utf-8")) if arguments.trace else None
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            report = run(seed, arguments.seconds, trace)
            reports.append(report)
            if report.failure is not None:
                print(failure_text(report, arguments.seconds), flush=True)  # noqa: T201
    print(summary_text(reports, time.monotonic() - began_at))  # noqa: T201
    return 1 if any(report.failure for report in reports) else 0


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m meteora.testing", description="Simulates clusters that break.")
    parser.add_argument("--first-seed", type=int, default=1, help="the seed of the first run")
    parser.add_argument("--seeds", type=int, default=1, help="how many runs, each with the next seed")
    parser.add_argument("--seconds", type=float, default=60.0, help="virtual seconds for which things go wrong")
    parser.add_argument("--trace", type=Path, help="write every event of the runs to this file")
    return parser.parse_args(words)


def run(seed: int, seconds: float, trace: TextIO | None = None) -> Report:
    """One run, with its events written to `trace`."""
    return Simulation(seed, seconds, None if trace is None else lambda line: print(line, file=trace)).run()


def failure_text(report: Report, seconds: float) -> str:
    """What failed, how little of the run is enough to see it, and how to see it again."""
    least, least_seconds = shortest(report, seconds)
    return (
        f"seed {report.seed} breaks: {report.invariant}\n"
        f"  {least.summary}\n"
        f"  shortest prefix found that fails: {least_seconds:g} virtual seconds of faults; it fails at "
        f"{least.virtual_seconds:.6f}, step {least.steps}\n"
        f"  again: python -m meteora.testing --first-seed {report.seed} --seconds {least_seconds:g} --trace trace.txt"
    )


def summary_text(reports: list[Report], took_seconds: float) -> str:
    """All runs in a few lines."""
    faults: Counter[str] = Counter()
    for report in reports:
        faults.update(report.faults)
    virtual_seconds = sum(report.virtual_seconds for report in reports)
    failed = [report.seed for report in reports if report.failure is not None]
    lines = [
        f"{len(reports)} runs, {virtual_seconds:.0f} virtual seconds in {took_seconds:.1f} s,"
        f" {sum(report.operations for report in reports)} operations checked,"
        f" {sum(report.snapshots for report in reports)} snapshots installed,"
        f" {len(failed)} failed{': ' + ' '.join(map(str, failed)) if failed else ''}",
        "faults: " + ", ".join(f"{kind} {count}" for kind, count in sorted(faults.items())),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
