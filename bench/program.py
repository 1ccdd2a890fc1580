"""A Python program with many tasks at once, each of which writes one key after the other: the same for every client.

A process of its own, so that it has an interpreter of its own, as a user's program would:
`python -m bench.program SYSTEM ADDRESS TASKS SECONDS WARM_UP_SECONDS KEYS VALUE_BYTES` prints one line of JSON.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Final

from bench import payloads
from bench.figures import percentile

Put = Callable[[bytes, bytes], Awaitable[object]]

PIECES: Final = 1024
"""Different values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the program does."""

    tasks: int
    seconds: float
    warm_up_seconds: float
    keys: int
    value_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What it measured."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float


async def drive(put: Put, task: Task, now: Callable[[], float] = time.perf_counter) -> Findings:
    """Runs the tasks until the time is over, which `now` tells in seconds. An error of a write ends it."""
    begin = now() + task.warm_up_seconds
    end = begin + task.seconds
    latencies: list[float] = []

    async def write(random_numbers: random.Random) -> None:
        values = [random_numbers.randbytes(task.value_bytes) for _ in range(PIECES // task.tasks + 1)]
        while (sent := now()) < end:
            await put(payloads.key(random_numbers.randrange(task.keys)), random_numbers.choice(values))
            answered = now()
            if begin <= answered < end:
                latencies.append((answered - sent) * 1000)

    await asyncio.gather(*(write(random.Random(number)) for number in range(task.tasks)))
    latencies.sort()
    return Findings(
        requests_per_second=len(latencies) / task.seconds,
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
        p999_ms=percentile(latencies, 99.9),
    )


def to_line(findings: Findings) -> str:
    """One line of JSON."""
    return json.dumps(asdict(findings))


async def _with_meteora(address: str, task: Task) -> Findings:
    from meteora.client import AsyncClient  # noqa: PLC0415 - the program has only the client that it uses

    async with AsyncClient(address) as client:
        return await drive(client.put, task)


async def _with_etcd(address: str, task: Task) -> Findings:
    import aetcd  # noqa: PLC0415 - the program has only the client that it uses

    host, port = address.split(":")
    async with aetcd.Client(host, int(port)) as client:
        return await drive(client.put, task)


_CLIENTS: Final = {"meteora": _with_meteora, "etcd": _with_etcd}


def main() -> None:
    """Prints the findings."""
    system, address, tasks, seconds, warm_up_seconds, keys, value_bytes = sys.argv[1:]
    task = Task(
        tasks=int(tasks),
        seconds=float(seconds),
        warm_up_seconds=float(warm_up_seconds),
        keys=int(keys),
        value_bytes=int(value_bytes),
    )
    print(to_line(asyncio.run(_CLIENTS[system](address, task))), flush=True)


if __name__ == "__main__":
    main()
