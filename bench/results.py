"""What a run of the benchmark found, as plain data, and its form as JSON.

Pure but for `save`. A `Series` has one value for each round, in the order of the rounds, so that the values
of two systems at one place were measured one right after the other.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

FORMAT: Final = 1
"""Of the JSON; counts up when old files can't be read any more."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What was measured, in which unit, and what is good."""

    name: str
    unit: str
    higher_is_better: bool = False


THROUGHPUT: Final = Measure("throughput", "requests/s", higher_is_better=True)
P50: Final = Measure("p50", "ms")
P99: Final = Measure("p99", "ms")
P999: Final = Measure("p99.9", "ms")
MEMORY: Final = Measure("memory of the largest node", "MiB")
DURATION: Final = Measure("time", "s")
ELECTIONS: Final = Measure("elections", "")

MEASURES: Final = {each.name: each for each in (THROUGHPUT, P50, P99, P999, MEMORY, DURATION, ELECTIONS)}

Sample = Mapping[tuple[str, Measure], float]
"""What one turn of one system found: by workload and measure."""


@dataclass(frozen=True, slots=True)
class Series:
    """One measure of one system under one load, a value for each round."""

    part: str
    workload: str
    system: str
    measure: Measure
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """How many requests were answered in each second of a long run."""

    system: str
    workload: str
    requests_in_second: tuple[int, ...]


@dataclass(slots=True)
class Results:
    """All that a run found, and where and with what it was run."""

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    series: list[Series] = field(default_factory=list)
    timelines: list[Timeline] = field(default_factory=list)

    def add(self, part: str, samples: Mapping[str, Iterable[Sample]]) -> None:
        """Takes in what the turns of a part found: each system's samples, one for each round."""
        for system, rounds in samples.items():
            values: dict[tuple[str, Measure], list[float]] = {}
            for sample in rounds:
                for key, value in sample.items():
                    values.setdefault(key, []).append(value)
            self.series += [Series(part, load, system, measure, tuple(v)) for (load, measure), v in values.items()]

    def values(self, part: str, workload: str, system: str, measure: Measure) -> tuple[float, ...]:
        """Those of one series; none if it was not measured."""
        wanted = (part, workload, system, measure)
        found = [each for each in self.series if (each.part, each.workload, each.system, each.measure) == wanted]
        return found[-1].values if found else ()


def to_json(results: Results) -> str:
    """Every number that was measured."""
    document = {"format": FORMAT, **asdict(results)}
    for each in document["series"]:
        each["measure"] = each["measure"]["name"]
    return json.dumps(document, indent=1)


def from_json(text: str) -> Results:
    """The results again. Raises `ValueError` for those of another format."""
    document: dict[str, Any] = json.loads(text)
    if document.pop("format", None) != FORMAT:
        raise ValueError(f"these are no results of format {FORMAT}")
    series = [
        Series(each["part"], each["workload"], each["system"], MEASURES[each["measure"]], tuple(each["values"]))
        for each in document["series"]
    ]
    timelines = [
        Timeline(each["system"], each["workload"], tuple(each["requests_in_second"])) for each in document["timelines"]
    ]
    return Results(document["machine"], document["versions"], document["settings"], series, timelines)


def save(results: Results, path: Path) -> None:
    """Writes the JSON; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(results) + "\n")
