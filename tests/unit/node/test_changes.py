import asyncio
from collections.abc import Callable

import pytest

from meteora.errors import MeteoraError, NotApplied, OutcomeUnknown
from meteora.node.changes import PendingChanges

INDEX, TERM, DEADLINE = 7, 3, 100.0


def outcome_after(event: Callable[[PendingChanges], None]) -> MeteoraError | bool | None:
    """What is said of the change (INDEX, TERM) after `event`: True once it is done, None while it waits."""

    async def run() -> MeteoraError | bool | None:
        changes = PendingChanges(asyncio.get_running_loop())
        result = changes.add(INDEX, TERM, DEADLINE)
        event(changes)
        if not result.done():
            return None
        error = result.exception()
        assert error is None or isinstance(error, MeteoraError)
        return error or True

    return asyncio.run(run())


def test_a_change_is_done_when_its_entry_is_applied() -> None:
    assert outcome_after(lambda changes: changes.applied(INDEX, TERM)) is True


def test_another_entry_in_its_place_means_certainly_not_applied() -> None:
    error = outcome_after(lambda changes: changes.applied(INDEX, TERM + 1))
    assert isinstance(error, NotApplied)
    assert str(error) == "another leader's entry took the change's place: try again"


def test_other_entries_say_nothing_of_a_change() -> None:
    assert outcome_after(lambda changes: changes.applied(INDEX - 1, TERM)) is None


def test_a_change_waits_until_its_deadline() -> None:
    assert outcome_after(lambda changes: changes.expire(DEADLINE - 0.1, "why")) is None


def test_the_fate_of_a_change_that_is_not_answered_in_time_is_unknown() -> None:
    error = outcome_after(lambda changes: changes.expire(DEADLINE, "no answer in time"))
    assert isinstance(error, OutcomeUnknown)
    assert str(error) == "no answer in time: the change may yet be applied, look at the status"


def test_the_fate_of_a_change_whose_place_another_one_takes_is_unknown() -> None:
    error = outcome_after(lambda changes: changes.add(INDEX, TERM + 1, DEADLINE))
    assert isinstance(error, OutcomeUnknown)
    assert str(error) == "this node lost the lead meanwhile: the change may yet be applied, look at the status"


def test_giving_up_answers_before_the_deadline() -> None:
    error = outcome_after(lambda changes: changes.give_up_all("the node is stopping"))
    assert isinstance(error, OutcomeUnknown)
    assert "the node is stopping" in str(error)


@pytest.mark.parametrize(
    "event",
    [lambda changes: changes.applied(INDEX, TERM), lambda changes: changes.expire(0.0, "why")],
    ids=["applied", "expire"],
)
def test_a_change_that_nobody_waits_for_any_more_is_forgotten(event: Callable[[PendingChanges], None]) -> None:
    async def run() -> None:
        changes = PendingChanges(asyncio.get_running_loop())
        changes.add(INDEX, TERM, DEADLINE).cancel()
        event(changes)
        assert not changes._pending

    asyncio.run(run())


def test_what_was_answered_is_forgotten() -> None:
    async def run() -> None:
        changes = PendingChanges(asyncio.get_running_loop())
        results = [changes.add(INDEX + number, TERM, DEADLINE) for number in range(3)]
        changes.applied(INDEX, TERM)
        changes.applied(INDEX + 1, TERM + 1)
        changes.expire(DEADLINE, "why")
        assert not changes._pending
        await asyncio.gather(*results, return_exceptions=True)

    asyncio.run(run())
