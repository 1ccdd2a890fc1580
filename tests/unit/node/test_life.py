"""How a node ends when something goes wrong in what it does."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from meteora.node.life import Life


class Panic(BaseException):
    """What native code raises that is no `Exception`."""


def lived(story: Callable[[Life], Awaitable[None]]) -> list[str]:
    """Why it was given up, each time."""
    reasons: list[str] = []

    async def run() -> None:
        await story(Life(asyncio.get_running_loop(), reasons.append))

    asyncio.run(run())
    return reasons


async def raising(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", [ValueError("bad."), Panic("bad.")])
def test_a_task_that_fails_is_the_failure_of_the_node(error: BaseException) -> None:
    async def story(life: Life) -> None:
        life.own(raising(error))
        with pytest.raises((ValueError, RuntimeError), match="bad"):
            await life.failed
        assert not life.tasks

    (why,) = lived(story)
    assert why.startswith("the node has failed: ")
    assert not why.endswith(".")


def test_a_task_that_is_cancelled_is_no_failure() -> None:
    async def story(life: Life) -> None:
        task = life.own(asyncio.Event().wait())
        task.cancel()
        await asyncio.wait([task])
        assert not life.tasks
        assert not life.failed.done()

    assert lived(story) == []


def test_of_two_failures_the_first_one_is_told() -> None:
    async def story(life: Life) -> None:
        for text in ("first", "second"):
            with life.stops_on_error():
                raise ValueError(text)
        with pytest.raises(ValueError, match="first"):
            await life.failed

    assert lived(story) == ["the node has failed: first", "the node has failed: second"]


def test_who_waits_for_a_tick_goes_on_at_the_next_one_and_at_once_if_there_is_none_any_more() -> None:
    async def story(life: Life) -> None:
        waiting = [asyncio.ensure_future(life.next_tick()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        life.tell_tick_watchers()
        await waiting[1]
        life.is_over = True
        await life.next_tick()

    lived(story)
