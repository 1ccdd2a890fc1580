"""One thread, in order, on any loop."""

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from meteora.storage.disk_thread import DiskThread

pytestmark = pytest.mark.usefixtures("no_leaks")

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module", autouse=True)
def uvloop_has_its_pipe() -> None:
    """The first uvloop of a process opens a pipe for signals, for good."""
    uvloop.run(asyncio.sleep(0))


@pytest.fixture
def disk() -> Iterator[DiskThread]:
    thread = DiskThread("test disk")
    yield thread
    thread.close()


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


def test_a_result_comes_back_to_the_loop(disk: DiskThread, run: Run) -> None:
    assert run(disk.run(divmod, 7, 2)) == (3, 1)


def test_an_error_comes_back_to_the_loop(disk: DiskThread, run: Run) -> None:
    with pytest.raises(ZeroDivisionError):
        run(disk.run(divmod, 7, 0))


def test_the_thread_goes_on_after_an_error(disk: DiskThread) -> None:
    async def scenario() -> tuple[int, int]:
        with pytest.raises(ZeroDivisionError):
            await disk.run(divmod, 7, 0)
        return await disk.run(divmod, 7, 2)

    assert asyncio.run(scenario()) == (3, 1)


def test_functions_run_on_the_one_thread(disk: DiskThread, run: Run) -> None:
    async def scenario() -> set[str]:
        return {await disk.run(lambda: threading.current_thread().name) for _ in range(5)}

    assert run(scenario()) == {"test disk"}


def test_functions_run_in_the_order_in_which_they_were_handed_over(disk: DiskThread, run: Run) -> None:
    seen: list[int] = []

    async def scenario() -> None:
        await asyncio.gather(*(disk.run(seen.append, number) for number in range(200)))

    run(scenario())
    assert seen == list(range(200))


def test_the_loop_goes_on_while_the_thread_waits(disk: DiskThread, run: Run) -> None:
    go_on = threading.Event()

    async def scenario() -> bool:
        waiting = asyncio.create_task(disk.run(go_on.wait, 10.0))
        await asyncio.sleep(0)
        go_on.set()
        return await waiting

    assert run(scenario())


def test_a_function_runs_though_its_caller_was_cancelled(disk: DiskThread, run: Run) -> None:
    go_on, done = threading.Event(), threading.Event()

    async def scenario() -> None:
        first = asyncio.create_task(disk.run(go_on.wait, 10.0))
        second = asyncio.create_task(disk.run(done.set))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go_on.set()
        await first
        await disk.run(int)

    run(scenario())
    assert done.is_set()


def test_a_function_that_ends_after_its_loop_does_no_harm(disk: DiskThread) -> None:
    go_on = threading.Event()

    async def abandon() -> None:
        task = asyncio.create_task(disk.run(go_on.wait, 10.0))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(abandon())
    go_on.set()
    assert asyncio.run(disk.run(divmod, 7, 2)) == (3, 1)


@pytest.mark.parametrize(("divisor", "expected"), [(2, type(None)), (0, ZeroDivisionError)])
def test_what_was_begun_is_told_of_on_the_loop(disk: DiskThread, run: Run, divisor: int, expected: type) -> None:
    async def scenario() -> tuple[type, int]:
        ended: asyncio.Future[tuple[type, int]] = asyncio.get_running_loop().create_future()
        disk.begin(lambda: 1 // divisor, lambda error: ended.set_result((type(error), threading.get_ident())))
        return await ended

    assert run(scenario()) == (expected, threading.get_ident())


def test_a_blocking_call_waits_its_turn_and_returns(disk: DiskThread) -> None:
    async def scenario() -> list[int]:
        seen: list[int] = []
        task = asyncio.create_task(disk.run(seen.append, 1))
        await asyncio.sleep(0)
        disk.call(seen.append, 2)
        await task
        return seen

    assert asyncio.run(scenario()) == [1, 2]


def test_a_blocking_call_raises_what_the_function_raises(disk: DiskThread) -> None:
    with pytest.raises(ZeroDivisionError):
        disk.call(divmod, 7, 0)


def test_closing_finishes_what_was_handed_over() -> None:
    disk = DiskThread("test disk")
    seen: list[int] = []

    async def scenario() -> None:
        tasks = [asyncio.create_task(disk.run(_append_slowly, seen, number)) for number in range(5)]
        await asyncio.sleep(0)
        disk.close()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert seen == list(range(5))


def _append_slowly(seen: list[int], number: int) -> None:
    time.sleep(0.001)
    seen.append(number)


def test_a_closed_thread_refuses_work() -> None:
    disk = DiskThread("test disk")
    disk.close()
    with pytest.raises(RuntimeError, match="test disk is closed"):
        asyncio.run(disk.run(int))
    with pytest.raises(RuntimeError, match="test disk is closed"):
        disk.call(int)


def test_closing_twice_does_nothing() -> None:
    disk = DiskThread("test disk")
    disk.close()
    disk.close()


class Thing:
    """Something that can be watched going."""


def test_an_idle_thread_keeps_nothing_alive(disk: DiskThread) -> None:
    thing = Thing()
    watched = weakref.ref(thing)
    asyncio.run(disk.run(id, thing))
    del thing
    # The thread lets go right after it has answered, and that may be a moment later.
    deadline = time.monotonic() + 10.0
    while watched() is not None and time.monotonic() < deadline:
        time.sleep(0.001)
    assert watched() is None
