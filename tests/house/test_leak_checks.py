import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from tests import conftest


def test_a_free_port_can_be_listened_on(free_port: Callable[[], int]) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] > 0


def test_free_ports_are_all_different(free_port: Callable[[], int]) -> None:
    assert len({free_port() for _ in range(50)}) == 50


def test_a_port_that_is_listened_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not conftest._is_free(server.getsockname()[1])


def test_a_socket_that_stays_open_fails_the_check() -> None:
    cleanup = contextlib.ExitStack()
    with cleanup, pytest.raises(pytest.fail.Exception, match="socket:"), conftest.nothing_left(grace_seconds=0):
        cleanup.enter_context(socket.socket())


def test_a_thread_that_still_runs_fails_the_check() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="left behind")
    try:
        with pytest.raises(pytest.fail.Exception, match="left behind"), conftest.nothing_left(grace_seconds=0):
            thread.start()
    finally:
        release.set()
        thread.join()


def test_a_test_that_leaves_nothing_passes(no_leaks: None) -> None:
    with socket.socket():
        threading.Thread(target=bool).start()


def test_a_task_that_still_runs_fails_the_check(
    no_leaked_tasks: Callable[[], AbstractAsyncContextManager[None]],
) -> None:
    async def scenario() -> None:
        async with no_leaked_tasks():
            task = asyncio.create_task(asyncio.Event().wait(), name="forgotten")
        task.cancel()

    with pytest.raises(pytest.fail.Exception, match="forgotten"):
        asyncio.run(scenario())


def test_a_task_that_has_ended_passes_the_check(
    no_leaked_tasks: Callable[[], AbstractAsyncContextManager[None]],
) -> None:
    async def scenario() -> None:
        async with no_leaked_tasks():
            task = asyncio.create_task(asyncio.Event().wait())
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    asyncio.run(scenario())
