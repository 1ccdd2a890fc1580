"""Work in slices, that can be called off."""

import threading

import pytest

from meteora.storage.pace import Abandoned, Pace, Unpaced

pytestmark = pytest.mark.usefixtures("no_leaks")


def step_for_ever(pace: Pace) -> None:
    while True:
        pace.step()


def test_work_goes_on_until_it_is_abandoned() -> None:
    pace = Pace()
    for _ in range(100):
        pace.step()
    pace.abandon()
    with pytest.raises(Abandoned):
        step_for_ever(pace)


def test_a_pause_ends_what_is_abandoned_at_once() -> None:
    pace = Pace()
    pace.abandon()
    with pytest.raises(Abandoned):
        pace.pause()


def test_another_thread_abandons_the_work() -> None:
    pace = Pace()
    ends: list[bool] = []

    def work() -> None:
        try:
            step_for_ever(pace)
        except Abandoned:
            ends.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    pace.abandon()
    thread.join(10.0)
    assert ends == [True]


def test_who_need_not_pause_does_not_even_if_it_was_called_off() -> None:
    pace = Unpaced()
    pace.abandon()
    pace.step()
    pace.pause()
