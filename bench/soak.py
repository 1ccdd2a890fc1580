"""Hours in minutes: three nodes under load and random kills, and whether what they take of the machine stays flat.

`python -m bench.soak`, or `make soak`. The first node is never killed, for a leak needs a process that lives long; but
it is made to give up leadership again and again. The others are killed at random (`kill -9`) and started again. Each
key has one writer, which knows what the key may hold: every read on the way, and of all keys at the end, is compared
with that. Exit status 1 if a read is wrong, a request fails, or something grows.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.machine import file_system
from bench.meteora_system import MeteoraCluster
from bench.processes import NotReady
from bench.soak_plot import save
from meteora.client import AsyncClient
from meteora.errors import ChangeRefused, NotApplied, OutcomeUnknown, RequestError

ROOT: Final = Path(__file__).resolve().parent.parent

NODES: Final = 3
WRITERS: Final = 32
KEYS_PER_WRITER: Final = 1_000
VALUE_BYTES: Final = (64, 512, 512, 4096)
REQUEST_SECONDS: Final = 15.0
"""Longer than an election: a request that a retry covers does not fail."""

SAMPLE_SECONDS: Final = 5.0
KILL_SECONDS: Final = (15.0, 45.0)
DOWN_SECONDS: Final = (0.5, 8.0)
TRANSFER_SECONDS: Final = 120.0

WARM_UP: Final = 0.4
"""The part of the run in which things may grow: caches, the log up to its bound, the first compactions."""

GROWTH: Final = 1.15
"""What is at the end, at most, as a ratio to what was after the warm-up: medians of a quarter of the rest each."""

MEASURES: Final = ("memory_mib", "handles", "disk_mib")


@dataclass(frozen=True)
class Sample:
    """What one node took of the machine at one moment."""

    second: float
    node: int
    memory_mib: float
    handles: int
    disk_mib: float


@dataclass
class Record:
    """All that a run showed."""

    seconds: float
    samples: list[Sample] = field(default_factory=list)
    kills: list[tuple[float, int]] = field(default_factory=list)
    transfers: list[float] = field(default_factory=list)
    requests_by_second: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    keys_compared: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    def growth(self) -> dict[str, float]:
        """Of each measure of each node: how much of it is there at the end, to after the warm-up."""
        start, found = self.seconds * WARM_UP, {}
        quarter = (self.seconds - start) / 4
        for node in range(1, NODES + 1):
            mine = [each for each in self.samples if each.node == node]
            for measure in MEASURES:
                early = [getattr(each, measure) for each in mine if start <= each.second < start + quarter]
                late = [getattr(each, measure) for each in mine if each.second >= self.seconds - quarter]
                found[f"node {node} {measure}"] = median(late) / median(early)
        return found


class Writer:
    """A task that writes, removes and reads keys that are only its own."""

    def __init__(self, number: int, seed: int, client: AsyncClient, record: Record) -> None:
        self._number = number
        self._random = random.Random(f"{seed} {number}")
        self._client = client
        self._record = record
        self.may_hold: dict[bytes, set[bytes | None]] = {}

    async def run(self, began_at: float, per_second: float) -> None:
        """Until it is cancelled, at no more than so many requests a second."""
        next_at = time.monotonic() + self._random.random() / per_second
        while True:
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            next_at = max(next_at, time.monotonic() - 1.0) + 1.0 / per_second
            await self._request()
            self._record.requests_by_second[int(time.monotonic() - began_at)] += 1

    async def _request(self) -> None:
        key = f"soak/{self._number}/{self._random.randrange(KEYS_PER_WRITER)}".encode()
        choice = self._random.random()
        if choice < 0.3:
            await self.compare(key)
        else:
            size = self._random.choice(VALUE_BYTES)
            await self._write(key, None if choice < 0.4 else self._random.randbytes(size))

    async def compare(self, key: bytes) -> None:
        """Reads a key, and records it if that is not what it may hold."""
        allowed = self.may_hold.get(key, {None})
        try:
            value = await self._client.get(key)
        except RequestError as error:
            self._record.failed.append(f"get: {error}")
            return
        self._record.keys_compared += 1
        if value not in allowed:
            self._record.wrong.append(f"{key!r} has a value of {-1 if value is None else len(value)} bytes")

    async def _write(self, key: bytes, value: bytes | None) -> None:
        before = self.may_hold.get(key, {None})
        self.may_hold[key] = before | {value}
        try:
            await (self._client.delete(key) if value is None else self._client.put(key, value))
        except NotApplied as error:
            self.may_hold[key] = before
            self._record.failed.append(f"write: {error}")
        except RequestError as error:
            self._record.failed.append(f"write: {error}")
        else:
            self.may_hold[key] = {value}


async def observe(cluster: MeteoraCluster, folder: Path, record: Record, began_at: float) -> None:
    """Samples all nodes that run, until it is cancelled."""
    while True:
        for place, process in enumerate(cluster.nodes):
            second = time.monotonic() - began_at
            with suppress(NotReady, OSError):
                disk_mib = await asyncio.to_thread(disk_usage_mib, folder / str(place + 1))
                record.samples.append(Sample(second, place + 1, process.memory_mib, process.handles, disk_mib))
        await asyncio.sleep(SAMPLE_SECONDS)


def disk_usage_mib(folder: Path) -> float:
    """What the files in it take, in blocks; those that go away meanwhile don't count."""
    return sum(_blocks(path) for path in folder.rglob("*")) / 2048


def _blocks(path: Path) -> int:
    try:
        return path.lstat().st_blocks
    except FileNotFoundError:
        return 0


async def kill_at_random(cluster: MeteoraCluster, record: Record, began_at: float, chance: random.Random) -> None:
    """Kills one of the others at a time, and starts it again, until it is cancelled."""
    while True:
        await asyncio.sleep(chance.uniform(*KILL_SECONDS))
        place = chance.randrange(1, NODES)
        record.kills.append((time.monotonic() - began_at, place + 1))
        await asyncio.to_thread(cluster.nodes[place].kill)
        await asyncio.sleep(chance.uniform(*DOWN_SECONDS))
        cluster.nodes[place].start()


async def move_leadership(client: AsyncClient, record: Record, began_at: float, chance: random.Random) -> None:
    """Lets any node lead, from time to time, until it is cancelled."""
    while True:
        await asyncio.sleep(TRANSFER_SECONDS)
        try:
            await client.transfer(chance.randrange(1, NODES + 1))
        except (ChangeRefused, NotApplied, OutcomeUnknown):
            continue  # The one that was chosen is down.
        record.transfers.append(time.monotonic() - began_at)


async def run(cluster: MeteoraCluster, folder: Path, seconds: float, per_second: float, seed: int) -> Record:
    """Loads, kills and samples for so long, and then compares every key."""
    record = Record(seconds)
    chance = random.Random(seed)
    async with AsyncClient(cluster.addresses, timeout_seconds=REQUEST_SECONDS) as client:
        writers = [Writer(number, seed, client, record) for number in range(WRITERS)]
        began_at = time.monotonic()
        disturbances = [
            asyncio.create_task(each)
            for each in (
                observe(cluster, folder, record, began_at),
                kill_at_random(cluster, record, began_at, chance),
                move_leadership(client, record, began_at, chance),
            )
        ]
        load = [asyncio.create_task(each.run(began_at, per_second / WRITERS)) for each in writers]
        await asyncio.wait([*disturbances, *load], timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        await _end([*disturbances, *load])
        await asyncio.to_thread(cluster.start)
        for writer in writers:
            await asyncio.gather(*map(writer.compare, list(writer.may_hold)))
    return record


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
            raise ended


def verdict(record: Record) -> Iterator[str]:
    """What is not as it ought to be."""
    yield from (f"wrong: {each}" for each in record.wrong[:10])
    yield from (f"failed: {each}" for each in record.failed[:10])
    for name, ratio in record.growth().items():
        if ratio > GROWTH:
            yield f"grows: {name} is {ratio:.2f} times what it was after the warm-up"


def summary(record: Record) -> dict[str, Any]:
    """The figures that the documentation states."""
    return {
        "seconds": record.seconds,
        "requests": sum(record.requests_by_second.values()),
        "requests that failed": len(record.failed),
        "reads compared": record.keys_compared,
        "wrong reads": len(record.wrong),
        "kills": len(record.kills),
        "leadership moved": len(record.transfers),
        "at the end, to after the warm-up": {name: round(ratio, 3) for name, ratio in record.growth().items()},
        **record.environment,
    }


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--per-second", type=float, default=1_500.0, help="requests, of all writers")
    parser.add_argument("--seed", type=int, default=1, help="of the load and of who is killed when")
    parser.add_argument("--data", type=Path, default=ROOT / ".bench", help="where the nodes keep their data")
    parser.add_argument("--output", type=Path, default=ROOT / ".bench" / "soak", help="without .json and .png")
    options = parser.parse_args()
    options.data.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=options.data) as name:
        folder = Path(name)
        cluster = MeteoraCluster(NODES, folder)
        try:
            cluster.start()
            seconds = options.minutes * 60
            record = asyncio.run(run(cluster, folder, seconds, options.per_second, options.seed))
        finally:
            cluster.stop()
        record.environment = {"version": cluster.version(), "file system": file_system(folder)}
    figures = summary(record)
    samples = [asdict(each) for each in record.samples]
    text = json.dumps({**figures, "kills at": record.kills, "samples": samples}, indent=1)
    options.output.with_suffix(".json").write_text(text + "\n")
    save(record, options.output.with_suffix(".png"))
    print(json.dumps(figures, indent=1))
    complaints = list(verdict(record))
    print("\n".join(complaints) if complaints else "flat, and nothing was wrong")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
