"""The benchmark's command line: what `make bench` calls."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench import growth, half_load, machine, python_client, recovery, report, steady, throughput
from bench.h2load import LoadFailed
from bench.load import LoadGenerator
from bench.plan import DEFAULT, FULL, QUICK, Bench, Plan
from bench.processes import NotReady
from bench.results import Results, from_json, save

ROOT: Final = Path(__file__).resolve().parent.parent

PARTS: Final[Mapping[str, Callable[[Bench], None]]] = {
    "throughput": throughput.run,
    "half-load": half_load.run,
    "python": python_client.run,
    "keys": growth.run_keys,
    "connections": growth.run_connections,
    "nodes": growth.run_nodes,
    "restart": recovery.run_restart,
    "catch-up": recovery.run_catch_up,
    "steady": steady.run,
}

DEFAULT_PARTS: Final = ("throughput", "half-load", "python")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m bench", description="Meteora beside etcd, redis and PySyncObj.")
    made.add_argument(
        "parts", nargs="*", help=f"any of {', '.join(PARTS)}; or all. Without: {', '.join(DEFAULT_PARTS)}"
    )
    made.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see whether it works; the numbers mean nothing"
    )
    made.add_argument("--full", action="store_true", help="values of 64 B, 1 KiB and 64 KiB; 1, 64 and 1,024 tasks")
    made.add_argument("--rounds", type=int, help="of each system, in turns")
    made.add_argument("--long-rounds", type=int, help="the same, of parts that take long, and of longer values")
    made.add_argument("--seconds", type=float, help="of each load")
    made.add_argument("--keys", type=int, help="that are written first and picked from")
    made.add_argument("--values", type=_numbers, metavar="BYTES,...", help="the sizes of the values")
    made.add_argument("--nodes", type=_numbers, metavar="N,...", help="the sizes of the clusters")
    made.add_argument("--tasks", type=_numbers, metavar="N,...", help="of the Python program")
    made.add_argument("--steady-seconds", type=float, help="of the steady load")
    made.add_argument(
        "--data", type=Path, default=ROOT / ".bench", help="where the systems keep their data: a real disk"
    )
    made.add_argument(
        "--output", type=Path, help="the results, without .json, .md, .png; bench/results/TIME by default"
    )
    made.add_argument(
        "--report", type=Path, metavar="JSON", help="runs nothing: writes the report of these results anew"
    )
    return made


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def chosen_plan(options: argparse.Namespace) -> Plan:
    """The plan that the options name, with the sizes that they change."""
    plan = QUICK if options.quick else FULL if options.full else DEFAULT
    given = {
        "rounds": options.rounds,
        "long_rounds": options.long_rounds,
        "seconds": options.seconds,
        "keys": options.keys,
        "value_sizes_bytes": options.values,
        "nodes": options.nodes,
        "tasks": options.tasks,
        "steady_seconds": options.steady_seconds,
    }
    return replace(plan, **{name: value for name, value in given.items() if value is not None})


def chosen_parts(words: Sequence[str]) -> list[str]:
    """Their names, in the order in which they are run. Raises `ValueError` for an unknown one."""
    unknown = set(words) - PARTS.keys() - {"all"}
    if unknown:
        raise ValueError(f"there is no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}, all")
    wanted = set(PARTS) if "all" in words else set(words or DEFAULT_PARTS)
    return [part for part in PARTS if part in wanted]


def run(parts: Sequence[str], plan: Plan, data: Path, output: Path) -> int:
    """Runs the parts, and writes what is known after each of them. The exit status: 1 if a part failed."""
    data.mkdir(parents=True, exist_ok=True)
    if (kind := machine.file_system(data)) in machine.MEMORY_FILE_SYSTEMS:
        print(f"{data} is in memory ({kind}): an fsync costs nothing there. Name a folder on a disk with --data.")
        return 1
    failed = False
    with TemporaryDirectory(dir=data) as folder:
        settings = {**machine.settings(), **plan.described()}
        results = Results(machine.machine(Path(folder)), machine.versions(), settings)
        bench = Bench(plan, Path(folder), LoadGenerator(Path(folder)), results)
        for part in parts:
            try:
                PARTS[part](bench)
            except (LoadFailed, NotReady) as error:
                failed = True
                print(f"{part} failed, and is not in the results: {error}", flush=True)
            save(results, output.with_suffix(".json"))
    write_report(results, output)
    return int(failed)


def write_report(results: Results, output: Path) -> None:
    """Writes and prints the tables, and draws the plot."""
    from bench import plot  # noqa: PLC0415 - matplotlib takes a second to import, and memory during the runs

    text = report.markdown(results)
    output.with_suffix(".md").write_text(text)
    plot.save(results, output.with_suffix(".png"))
    print(f"\n{text}\nWritten: {output}.json, .md and .png", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = parser().parse_args(arguments)
    if options.report is not None:
        write_report(from_json(options.report.read_text()), options.output or options.report.with_suffix(""))
        return 0
    try:
        parts = chosen_parts(options.parts)
    except ValueError as error:
        parser().error(str(error))
    output = options.output or ROOT / "bench" / "results" / datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
    return run(parts, chosen_plan(options), options.data, output)


if __name__ == "__main__":
    sys.exit(main())
