"""Whose turn it is."""

import asyncio
from collections.abc import Awaitable, Callable

from meteora.storage.turn import Turn


def with_turn(story: Callable[[Turn], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(Turn())

    asyncio.run(asyncio.wait_for(run(), 10))


def test_a_turn_that_is_free_is_had_at_once_and_only_once() -> None:
    turn = Turn()
    assert (turn.try_take(), turn.try_take()) == (True, False)
    turn.release()
    assert turn.try_take()


def test_those_who_wait_get_it_in_the_order_in_which_they_came() -> None:
    async def story(turn: Turn) -> None:
        order: list[int] = []

        async def take(number: int) -> None:
            async with turn:
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(take(number) for number in range(5)))
        assert order == list(range(5))

    with_turn(story)


def test_nobody_takes_it_between_a_release_and_the_one_who_waits() -> None:
    async def story(turn: Turn) -> None:
        turn.try_take()
        waiting = asyncio.ensure_future(turn.__aenter__())
        await asyncio.sleep(0)
        turn.release()
        assert not turn.try_take()
        await waiting

    with_turn(story)


def test_who_stops_waiting_is_passed_over() -> None:
    async def story(turn: Turn) -> None:
        turn.try_take()
        waiting = [asyncio.ensure_future(turn.__aenter__()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        turn.release()
        await waiting[1]

    with_turn(story)


def test_who_is_cancelled_just_when_it_is_its_turn_passes_it_on() -> None:
    async def story(turn: Turn) -> None:
        turn.try_take()
        waiting = [asyncio.ensure_future(turn.__aenter__()) for _ in range(2)]
        await asyncio.sleep(0)
        turn.release()
        waiting[0].cancel()
        await waiting[1]
        turn.release()
        assert turn.try_take()

    with_turn(story)
