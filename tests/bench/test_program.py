import asyncio

import pytest

from bench.program import Task, drive

TASK = Task(tasks=4, seconds=0.05, warm_up_seconds=0.01, keys=10, value_bytes=64)


def test_as_many_writes_are_under_way_as_there_are_tasks() -> None:
    under_way, most = 0, 0

    async def put(key: bytes, value: bytes) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    findings = asyncio.run(drive(put, TASK))
    assert most == TASK.tasks
    assert findings.requests_per_second > 0


def test_a_write_that_fails_ends_the_run() -> None:
    async def put(key: bytes, value: bytes) -> None:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError):
        asyncio.run(drive(put, TASK))
