import time

from meteora.node.missed_ticks import MissedTicks, seconds_awake_or_not


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def after(seconds: float, ticks: int) -> MissedTicks:
    """Of a node with two ticks a second that ran for so long, and had so many ticks."""
    clock = Clock()
    missed = MissedTicks(0.5, clock)
    for _ in range(ticks):
        missed.note_tick()
    clock.now += seconds
    return missed


def test_who_ticks_in_time_owes_nothing() -> None:
    assert after(seconds=10.0, ticks=20).take() == 0


def test_who_stood_still_owes_what_the_clock_went_on() -> None:
    assert after(seconds=10.0, ticks=16).take() == 4


def test_a_tick_that_is_not_over_is_not_owed() -> None:
    assert after(seconds=10.4, ticks=20).take() == 0


def test_what_was_taken_is_not_owed_again() -> None:
    missed = after(seconds=10.4, ticks=16)
    missed.take()
    assert missed.take() == 0


def test_late_ticks_add_up() -> None:
    clock = Clock()
    missed = MissedTicks(0.5, clock)
    owed = 0
    for _ in range(100):
        clock.now += 0.505
        missed.note_tick()
        owed += missed.take()
    assert owed == 1


def test_who_ticked_too_often_owes_nothing() -> None:
    assert after(seconds=1.0, ticks=5).take() == 0


def test_the_clock_is_never_behind_one_that_stands_still_while_the_machine_is_suspended() -> None:
    awake_seconds = time.monotonic()
    assert seconds_awake_or_not() >= awake_seconds
