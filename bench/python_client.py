"""As a user's program sees it: tasks of one Python program that write by our asyncio client, aetcd, or PySyncObj."""

import json
import subprocess
import sys
from functools import partial
from typing import Any, Final

from bench import pysyncobj_system
from bench.plan import Bench, named_nodes
from bench.program import Task
from bench.results import P50, P99, P999, THROUGHPUT, Sample
from bench.systems import SYSTEMS, leader_address, running
from bench.turns import Turn, take_turns

PART: Final = "Python program"
VALUE_BYTES: Final = 64
OVERTIME_SECONDS: Final = 60.0


def run(bench: Bench) -> None:
    """For each number of tasks, on the largest cluster of the plan."""
    nodes = max(bench.plan.nodes)
    for tasks in bench.plan.tasks:
        bench.say(f"Python program: {tasks} at a time, {named_nodes(nodes)}")
        turns: dict[str, Turn] = {system: partial(_turn, bench, system, nodes, tasks) for system in SYSTEMS}
        turns["pysyncobj"] = partial(_pysyncobj_turn, bench, nodes, tasks)
        bench.results.add(PART, take_turns(turns, bench.plan.rounds, bench.say))


def name(nodes: int, tasks: int) -> str:
    """The name of the load."""
    return f"put, {named_nodes(nodes)}, {VALUE_BYTES} B, {tasks} task{'s' if tasks > 1 else ''}"


def _task(bench: Bench, tasks: int) -> Task:
    plan = bench.plan
    return Task(
        tasks=tasks,
        seconds=plan.seconds,
        warm_up_seconds=plan.warm_up_seconds,
        keys=plan.keys,
        value_bytes=VALUE_BYTES,
    )


def _turn(bench: Bench, system: str, nodes: int, tasks: int) -> Sample:
    task = _task(bench, tasks)
    with running(system, nodes, bench.folder) as cluster:
        sizes = [task.tasks, task.seconds, task.warm_up_seconds, task.keys, task.value_bytes]
        command = [sys.executable, "-m", "bench.program", system, leader_address(cluster), *map(str, sizes)]
        limit_seconds = task.seconds + task.warm_up_seconds + OVERTIME_SECONDS
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=limit_seconds).stdout
    return _sample(name(nodes, tasks), json.loads(output))


def _pysyncobj_turn(bench: Bench, nodes: int, tasks: int) -> Sample:
    with pysyncobj_system.running(nodes, bench.folder) as cluster:
        return _sample(name(nodes, tasks), pysyncobj_system.measure(cluster, _task(bench, tasks)))


def _sample(load: str, found: Any) -> Sample:
    return {
        (load, THROUGHPUT): found["requests_per_second"],
        (load, P50): found["p50_ms"],
        (load, P99): found["p99_ms"],
        (load, P999): found["p999_ms"],
    }
