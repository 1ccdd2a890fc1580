"""When a node knows that it was removed, and may stop."""

import asyncio
from collections.abc import Callable

import pytest

from meteora.node.parting import ASK_AGAIN_SECONDS, FIRST_ASK_SECONDS
from meteora.node.removal import OwnRemoval, Removal
from meteora.raft import Configuration
from meteora.transport.interface import REMOVALS, Refusal

THREE = Configuration(frozenset({2, 3, 4}))


def with_removal(story: Callable[[OwnRemoval], None], *, has_known_leader: bool = True) -> None:
    async def run() -> None:
        story(OwnRemoval(lambda: has_known_leader))

    asyncio.run(run())


@pytest.mark.parametrize(("has_known_leader", "how"), [(True, Removal.WHILE_RUNNING), (False, Removal.WHILE_DOWN)])
def test_who_is_told_of_its_removal_by_others_has_gone(has_known_leader: bool, how: Removal) -> None:
    def story(removal: OwnRemoval) -> None:
        removal.refused_by(2, Refusal.REMOVED_SENDER, "", THREE)
        assert removal.over.result() is how

    with_removal(story, has_known_leader=has_known_leader)


@pytest.mark.parametrize("refusal", sorted(set(Refusal) - REMOVALS))
def test_another_refusal_means_nothing(refusal: Refusal) -> None:
    def story(removal: OwnRemoval) -> None:
        removal.refused_by(2, refusal, "", THREE)
        assert not removal.over.done()

    with_removal(story)


def test_who_has_applied_its_removal_stays_until_a_majority_of_the_others_has() -> None:
    def story(removal: OwnRemoval) -> None:
        removal.apply()
        removal.refused_by(2, Refusal.REMOVED_SENDER, "", THREE)
        assert not removal.over.done()
        removal.refused_by(4, Refusal.REMOVED_SENDER, "", THREE)
        assert removal.over.done()

    with_removal(story)


def test_one_that_says_that_it_was_long_ago_is_enough() -> None:
    def story(removal: OwnRemoval) -> None:
        removal.apply()
        removal.refused_by(2, Refusal.REMOVED_LONG_AGO, "", THREE)
        assert removal.over.done()

    with_removal(story)


def test_others_are_asked_about_it_now_and_then_once_it_is_applied() -> None:
    def story(removal: OwnRemoval) -> None:
        now = asyncio.get_running_loop().time()
        assert not removal.is_to_be_asked_about(now + 10)
        removal.apply()
        asked = [removal.is_to_be_asked_about(now + FIRST_ASK_SECONDS + ASK_AGAIN_SECONDS * each) for each in (1, 1, 3)]
        assert asked == [True, False, True]

    with_removal(story)


def test_what_was_noted_first_stands() -> None:
    def story(removal: OwnRemoval) -> None:
        removal.note(Removal.WHILE_DOWN)
        removal.note(Removal.WHILE_RUNNING)
        assert removal.over.result() is Removal.WHILE_DOWN

    with_removal(story)
