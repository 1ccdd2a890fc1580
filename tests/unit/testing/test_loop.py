import asyncio
from collections.abc import Awaitable, Callable

import pytest

from meteora.testing.loop import MAX_STEPS_AT_ONE_INSTANT, Deadlock, SimulatedLoop

Story = Callable[[SimulatedLoop], Awaitable[None]]


def tell(story: Story) -> SimulatedLoop:
    loop = SimulatedLoop()  # type: ignore[abstract]
    loop.run_until_complete(story(loop))
    loop.forget()
    return loop


def test_the_clock_jumps_to_the_next_timer_and_no_further() -> None:
    async def story(loop: SimulatedLoop) -> None:
        await asyncio.sleep(3600.0)
        assert loop.now == 3600.0

    tell(story)


def test_timers_of_one_instant_fire_in_the_order_in_which_they_were_set() -> None:
    fired: list[int] = []

    async def story(loop: SimulatedLoop) -> None:
        for number in range(10):
            loop.call_later(1.0, fired.append, number)
        await asyncio.sleep(1.0)

    tell(story)
    assert fired == list(range(10))


def test_a_process_has_a_clock_of_its_own_with_its_own_rate() -> None:
    times: list[float] = []

    async def story(loop: SimulatedLoop) -> None:
        process = loop.new_process("fast", clock_base=100.0, clock_rate=2.0)
        loop.call_in(process, 0.0, lambda: loop.call_later(1.0, lambda: times.append(loop.time())))
        await asyncio.sleep(0.5)

    tell(story)
    assert times == [101.0]


def test_a_clock_whose_rate_changes_does_not_jump() -> None:
    async def story(loop: SimulatedLoop) -> None:
        process = loop.new_process("changing", clock_rate=2.0)
        await asyncio.sleep(1.0)
        process.set_clock_rate(0.5)
        assert process.local_time() == 2.0
        await asyncio.sleep(1.0)
        assert process.local_time() == 2.5

    tell(story)


def test_what_comes_up_for_a_paused_process_runs_in_order_once_it_goes_on() -> None:
    ran: list[tuple[int, float]] = []

    async def story(loop: SimulatedLoop) -> None:
        process = loop.new_process("paused")
        process.pause()
        for number in range(3):
            loop.call_in(process, 0.1 * number, lambda number=number: ran.append((number, loop.now)))  # type: ignore[misc]
        await asyncio.sleep(1.0)
        assert ran == []
        process.resume()
        await asyncio.sleep(0)

    tell(story)
    assert ran == [(0, 1.0), (1, 1.0), (2, 1.0)]


def test_nothing_of_a_killed_process_ever_runs_again() -> None:
    ran: list[str] = []

    async def story(loop: SimulatedLoop) -> None:
        process = loop.new_process("killed")

        async def live() -> None:
            try:
                await asyncio.sleep(1.0)
            finally:
                ran.append("cleaned up")

        loop.call_in(process, 0.0, lambda: asyncio.ensure_future(live()))
        await asyncio.sleep(0.5)
        process.kill()
        await asyncio.sleep(10.0)
        assert ran == []

    tell(story)


def test_the_observer_of_a_process_is_called_after_each_of_its_steps_and_no_others() -> None:
    looks: list[float] = []

    async def story(loop: SimulatedLoop) -> None:
        process = loop.new_process("watched")
        process.after_step = lambda: looks.append(loop.now)
        loop.call_in(process, 1.0, lambda: None)
        loop.call_in(process, 2.0, lambda: None)
        await asyncio.sleep(5.0)

    tell(story)
    assert looks == [1.0, 2.0]


def test_an_error_in_a_callback_of_any_process_ends_the_run() -> None:
    def fail() -> None:
        raise ValueError("wrong")

    async def story(loop: SimulatedLoop) -> None:
        loop.call_in(loop.new_process("failing"), 1.0, fail)
        await asyncio.sleep(5.0)

    with pytest.raises(ValueError, match="wrong"):
        tell(story)


def test_a_loop_that_waits_for_nothing_is_deadlocked() -> None:
    async def story(loop: SimulatedLoop) -> None:
        await loop.create_future()

    with pytest.raises(Deadlock, match="nothing is left to run or to wait for"):
        tell(story)


def test_a_clock_that_stands_still_for_too_many_steps_is_a_livelock() -> None:
    async def story(loop: SimulatedLoop) -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Deadlock, match=f"has stood at 0.000000 for {MAX_STEPS_AT_ONE_INSTANT} steps"):
        tell(story)
