"""What Meteora is meant to reach, as ratios to another system or to itself in the same run; met or missed is reported.

Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench import growth, half_load, python_client, throughput
from bench.plan import LONE, PEAK, workload
from bench.results import MEMORY, P50, P99, THROUGHPUT, Measure, Results


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands in the results."""

    part: str
    workload: str
    system: str
    measure: Measure

    def value(self, results: Results) -> float | None:
        """The median of the rounds; None if it was not measured."""
        values = results.values(self.part, self.workload, self.system, self.measure)
        return median(values) if values else None


@dataclass(frozen=True, slots=True)
class Target:
    """Our value over another one, or alone, against a limit: at least if more is better, at most otherwise."""

    name: str
    ours: Place
    theirs: Place | None
    limit: float

    def reached(self, results: Results) -> float | None:
        """The ratio, or the value if it is compared with nothing; None if either was not measured."""
        ours = self.ours.value(results)
        theirs = self.theirs.value(results) if self.theirs else 1.0
        return ours / theirs if ours is not None and theirs else None

    @property
    def is_least(self) -> bool:
        """Whether the limit is the least that will do."""
        return self.ours.measure.higher_is_better

    def is_met(self, reached: float) -> bool:
        """Whether this will do."""
        return reached >= self.limit if self.is_least else reached <= self.limit

    @property
    def limit_text(self) -> str:
        """The limit, in words."""
        return f"{'at least' if self.is_least else 'at most'} {self.limit:g}{' x' if self.theirs else ' MiB'}"


def _beside(name: str, part: str, load: str, measure: Measure, limit: float, *, other: str = "etcd") -> Target:
    return Target(name, Place(part, load, "meteora", measure), Place(part, load, other, measure), limit)


def _targets() -> Iterator[Target]:
    part, size = throughput.PART, throughput.TARGET_VALUE_BYTES
    for nodes, least_put in ((1, 1.0), (3, 1.3)):
        load = workload("put", nodes, size, PEAK)
        yield _beside(load, part, load, THROUGHPUT, least_put)
        load = workload("get", nodes, size, PEAK)
        yield _beside(load, part, load, THROUGHPUT, 1.5)
    load = workload("get through a follower", 3, size, PEAK)
    yield _beside(load, part, load, THROUGHPUT, 1.5)
    load = workload("put", 3, size, LONE)
    yield _beside(f"p50 of a lone {load}", part, load, P50, 1.3)
    load = half_load.name(3)
    yield _beside(f"p99 of {load}", half_load.PART, load, P99, 1.3)
    load = python_client.name(3, 64)
    for other in ("etcd", "pysyncobj"):
        yield _beside(
            f"Python program: {load}, against {other}", python_client.PART, load, THROUGHPUT, 5.0, other=other
        )
    few, many = growth.keys_name("put", 10_000), growth.keys_name("put", 1_000_000)
    at = [Place(growth.KEYS_PART, each, "meteora", THROUGHPUT) for each in (many, few)]
    yield Target("put with 10⁶ keys against 10⁴ keys", at[0], at[1], 0.8)
    yield Target("memory of an idle node", Place(part, throughput.idle_name(1), "meteora", MEMORY), None, 120.0)


TARGETS: Final = tuple(_targets())
