"""Clusters under random schedules keep Raft's rules, and agree once the trouble is over.

A failure names its seed: `Schedule(seed, steps=STEPS).run()` is the same run again. For more runs, set
`METEORA_SCHEDULES` to their number.
"""

import os

import pytest

from tests.properties.schedule import Schedule

STEPS = 500

RUNS = int(os.environ.get("METEORA_SCHEDULES", "150"))

BATCH = 50
"""Runs in one test, so that a time-out says where."""


@pytest.mark.parametrize("first", range(0, RUNS, BATCH))
@pytest.mark.timeout(300)
def test_a_cluster_keeps_the_rules_under_any_schedule(first: int) -> None:
    for seed in range(first, min(first + BATCH, RUNS)):
        Schedule(seed, steps=STEPS).run()


def test_schedules_are_the_same_again_from_the_same_seed() -> None:
    one, again = Schedule(7, steps=STEPS), Schedule(7, steps=STEPS)
    one.run()
    again.run()
    assert list(one.story) == list(again.story)


def test_schedules_are_not_idle() -> None:
    """A run that elects nobody and commits nothing finds nothing either."""
    schedules = [Schedule(seed, steps=STEPS) for seed in range(40)]
    for schedule in schedules:
        schedule.run()
    assert sum(schedule.elections for schedule in schedules) > 2 * len(schedules)
    assert sum(schedule.committed_index for schedule in schedules) > 8 * len(schedules)
    assert sum(schedule.confirmed_reads for schedule in schedules) > 2 * len(schedules)
    assert sum(schedule.installed_snapshots for schedule in schedules) > len(schedules) / 2
