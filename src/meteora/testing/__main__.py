"""`python -m meteora.testing`: simulated runs, in the order of their seeds; exit status 1 if any of them fails."""

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from meteora.testing.runs import Outcome, outcomes


def main(words: Sequence[str] | None = None) -> int:
    """Run the seeds that the command line asks for."""
    arguments = _parse(words)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    began_at = time.monotonic()
    done = []
    with arguments.trace.open("w", encoding="utf-8") if arguments.trace else nullcontext() as trace:
        for outcome in outcomes(seeds, arguments.seconds, workers=arguments.workers, trace=trace):
            done.append(outcome)
            if outcome.failure_text:
                print(outcome.failure_text, flush=True)  # noqa: T201
    print(summary_text(done, time.monotonic() - began_at))  # noqa: T201
    return 1 if any(outcome.failure_text for outcome in done) else 0


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m meteora.testing", description="Simulates clusters that break.")
    parser.add_argument("--first-seed", type=int, default=1, help="the seed of the first run")
    parser.add_argument("--seeds", type=int, default=1, help="how many runs, each with the next seed")
    parser.add_argument("--seconds", type=float, default=60.0, help="virtual seconds for which things go wrong")
    parser.add_argument("--workers", type=int, default=1, help="how many runs at a time, each in a process of its own")
    parser.add_argument("--trace", type=Path, help="write every event of the runs to this file; with one worker only")
    arguments = parser.parse_args(words)
    if arguments.workers < 1:
        parser.error("--workers must be at least 1")
    if not 0 < arguments.seconds < math.inf:
        parser.error("--seconds must be a number above 0")
    if arguments.workers > 1 and arguments.trace:
        parser.error("--trace writes down one run after the other: leave --workers out")
    return arguments


def summary_text(done: Sequence[Outcome], took_seconds: float) -> str:
    """All runs in a few lines."""
    reports = [outcome.report for outcome in done]
    faults: Counter[str] = Counter()
    for report in reports:
        faults.update(report.faults)
    virtual_seconds = sum(report.virtual_seconds for report in reports)
    failed = [report.seed for report, failure in done if failure]
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
