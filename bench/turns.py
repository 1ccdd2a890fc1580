"""Runs taken in turns: A B A B, so that what changes on the machine over the minutes changes for all.

Only one system is up at a time: an idle one still needs some of the processor. So a turn begins with a fresh cluster
and ends with its end, and the next system's turn follows at once.
"""

from collections.abc import Callable, Mapping

from bench.results import Measure, Sample

Turn = Callable[[], Sample]


def take_turns(turns: Mapping[str, Turn], rounds: int, say: Callable[[str], None]) -> dict[str, list[Sample]]:
    """Runs each system's turn once in each round, in their order. The samples of each system, in the rounds' order."""
    samples: dict[str, list[Sample]] = {system: [] for system in turns}
    for number in range(1, rounds + 1):
        for system, turn in turns.items():
            sample = turn()
            samples[system].append(sample)
            say(f"round {number} of {rounds}, {system}: {_told(sample)}")
    return samples


def _told(sample: Sample) -> str:
    return "; ".join(f"{load}: {value:,.2f} {what.unit}" for (load, what), value in sample.items() if is_headline(what))


def is_headline(measure: Measure) -> bool:
    """Whether it is shown while a run is on; all are in the report."""
    return measure.name not in ("p99", "p99.9")
