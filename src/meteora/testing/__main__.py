"""`python -m meteora.testing`: simulated runs, one after the other; exit status 1 if any of them fails."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from meteora.observability.logs import configure
from meteora.testing.simulation import Report, Simulation


def main() -> int:
    """Run the seeds that the command line asks for."""
    arguments = _parse()
    configure("error", "text")
    began_at = time.monotonic()
    reports = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        report = run(seed, arguments.seconds, arguments.trace)
        reports.append(report)
        if report.failure is not None:
            print(failure_text(report, arguments.seconds), flush=True)  # noqa: T201
    print(summary_text(reports, time.monotonic() - began_at))  # noqa: T201
    return 1 if any(report.failure for report in reports) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m meteora.testing", description="Simulates clusters that break.")
    parser.add_argument("--first-seed", type=int, default=1, help="the seed of the first run")
    parser.add_argument("--seeds", type=int, default=1, help="how many runs, each with the next seed")
    parser.add_argument("--seconds", type=float, default=60.0, help="virtual seconds for which things go wrong")
    parser.add_argument("--trace", type=Path, help="write every event of the (last) run to this file")
    return parser.parse_args()


def run(seed: int, seconds: float, trace: Path | None = None) -> Report:
    """One run."""
    with ExitStack() as files:
        write_trace: Callable[[str], None] | None = None
        if trace is not None:
            file = files.enter_context(trace.open("w", encoding="utf-8"))

            def write_trace(line: str) -> None:
                file.write(f"{line}\n")

        return Simulation(seed, seconds, write_trace).run()


def failure_text(report: Report, seconds: float) -> str:
    """What failed, when, and how to see it again."""
    return (
        f"seed {report.seed} failed after {report.virtual_seconds:.3f} virtual seconds:\n  {report.summary}\n"
        f"  again: python -m meteora.testing --first-seed {report.seed} --seeds 1 --seconds {seconds:g} "
        f"--trace trace.txt"
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
        f" {len(failed)} failed{': ' + ' '.join(map(str, failed)) if failed else ''}",
        "faults: " + ", ".join(f"{kind} {count}" for kind, count in sorted(faults.items())),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
