"""redis, one node, with every write fsynced before its reply: a reference, of what one node can do without agreement.

It doesn't speak gRPC, so its load comes from redis-benchmark, with as many connections as the others have streams, one
request under way on each. Its values are not random bytes, and its keys are.
"""

import csv
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.processes import ServerProcess, free_port, stop_all, wait_until
from bench.results import P50, P99, THROUGHPUT, Sample
from bench.systems import new_folder

START_SECONDS: Final = 20.0
CALL_SECONDS: Final = 600.0

SETTINGS: Final = "--appendonly yes --appendfsync always --save '', else all as by default"

_OPTIONS: Final = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]


def version() -> str:
    """As it says itself."""
    return subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """A fresh server that serves, by its port; afterwards it is stopped and its data are gone."""
    with new_folder(folder) as data:
        port = free_port()
        place = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(data)]
        server = ServerProcess(["redis-server", *place, *_OPTIONS], data / "log").start()
        try:
            wait_until(lambda: _answers(port), "redis serves", START_SECONDS)
            yield port
        finally:
            stop_all([server])


def measure(port: int, command: str, requests: int, *, in_flight: int, keys: int, value_bytes: int) -> str:
    """What redis-benchmark prints of so many requests: `set` or `get`."""
    load = ["-t", command, "-n", str(requests), "-c", str(in_flight), "-r", str(keys), "-d", str(value_bytes)]
    line = ["redis-benchmark", "-p", str(port), *load, "--csv"]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=CALL_SECONDS).stdout


def parse(output: str, workload: str) -> Sample:
    """The sample in redis-benchmark's CSV, which has one line of titles and one of numbers."""
    row = next(iter(csv.DictReader(output.splitlines())))
    return {
        (workload, THROUGHPUT): float(row["rps"]),
        (workload, P50): float(row["p50_latency_ms"]),
        (workload, P99): float(row["p99_latency_ms"]),
    }


def _answers(port: int) -> bool:
    line = ["redis-cli", "-p", str(port), "ping"]
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip() == "PONG"
