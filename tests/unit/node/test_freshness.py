import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from meteora.node.freshness import BEHIND_SECONDS, LOOK_SECONDS, Freshness

Look = asyncio.Future[bytes | None]


def on_a_loop(story: Callable[[Freshness, Callable[[], Look]], Coroutine[Any, Any, None]]) -> None:
    """Run `story` with a new object, and with what makes reads."""

    async def run() -> None:
        await story(Freshness(), asyncio.get_running_loop().create_future)

    asyncio.run(run())


async def ended(look: Look) -> None:
    """Lets what waits for a look take note of its end."""
    await asyncio.wait([look])
    await asyncio.sleep(0)


def test_nothing_is_known_before_the_first_look() -> None:
    freshness = Freshness()
    assert (freshness.whole_until, freshness.wants_look(0.0)) == (None, True)


def test_a_look_that_is_answered_proves_the_state_whole_until_it_was_asked_for() -> None:
    async def story(freshness: Freshness, new: Callable[[], Look]) -> None:
        look = new()
        freshness.looks(3.0, look)
        look.set_result(None)
        await ended(look)
        assert freshness.whole_until == 3.0

    on_a_loop(story)


def test_a_look_that_failed_proves_nothing() -> None:
    async def story(freshness: Freshness, new: Callable[[], Look]) -> None:
        look = new()
        freshness.looks(3.0, look)
        look.set_exception(ValueError())
        await ended(look)
        assert freshness.whole_until is None

    on_a_loop(story)


def test_a_look_that_was_cancelled_proves_nothing() -> None:
    async def story(freshness: Freshness, new: Callable[[], Look]) -> None:
        look = new()
        freshness.looks(3.0, look)
        look.cancel()
        await ended(look)
        assert freshness.whole_until is None

    on_a_loop(story)


def test_one_look_is_under_way_at_a_time() -> None:
    async def story(freshness: Freshness, new: Callable[[], Look]) -> None:
        freshness.looks(3.0, new())
        assert (freshness.is_looking, freshness.wants_look(3.0 + LOOK_SECONDS)) == (True, False)

    on_a_loop(story)


def test_the_next_look_is_due_after_a_while() -> None:
    async def story(freshness: Freshness, new: Callable[[], Look]) -> None:
        look = new()
        freshness.looks(3.0, look)
        look.set_result(None)
        assert [freshness.wants_look(now) for now in (3.0, 3.0 + LOOK_SECONDS)] == [False, True]

    on_a_loop(story)


def test_a_state_is_old_until_a_look_is_answered_and_when_none_was_for_long() -> None:
    async def story(freshness: Freshness, new: Callable[[], Look]) -> None:
        freshness.note_time(3.0)
        assert freshness.is_behind
        look = new()
        freshness.looks(3.0, look)
        look.set_result(None)
        await ended(look)
        for now, is_behind in ((3.0 + BEHIND_SECONDS, False), (3.1 + BEHIND_SECONDS, True)):
            freshness.note_time(now)
            assert freshness.is_behind is is_behind

    on_a_loop(story)
