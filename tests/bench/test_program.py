import asyncio

import pytest

from bench.program import Task, drive

TASK = Task(tasks=4, seconds=2.0, warm_up_seconds=1.0, keys=10, value_bytes=64)


class Store:
    """Takes a write from each of the tasks, then answers them all: after 0.75 seconds, by its own clock."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.most_under_way = 0
        self._waiting: list[asyncio.Future[None]] = []

    def now(self) -> float:
        return self.seconds

    async def put(self, key: bytes, value: bytes) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self.most_under_way = max(self.most_under_way, len(self._waiting))
        if len(self._waiting) == TASK.tasks:
            self.seconds += 0.75
            answered, self._waiting = self._waiting, []
            for each in answered:
                each.set_result(None)
        await answer


def test_as_many_writes_are_under_way_as_there_are_tasks() -> None:
    store = Store()
    asyncio.run(drive(store.put, TASK, store.now))
    assert store.most_under_way == TASK.tasks


def test_what_is_answered_after_the_warm_up_and_before_the_end_counts() -> None:
    store = Store()
    findings = asyncio.run(drive(store.put, TASK, store.now))
    # All four are answered at 0.75, 1.5, 2.25 and 3.0 seconds: the first in the warm-up, the last at the end.
    assert findings.requests_per_second == 2 * TASK.tasks / TASK.seconds
    assert (findings.p50_ms, findings.p999_ms) == (750.0, 750.0)


def test_a_write_that_fails_ends_the_run() -> None:
    async def put(key: bytes, value: bytes) -> None:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError):
        asyncio.run(drive(put, TASK))
