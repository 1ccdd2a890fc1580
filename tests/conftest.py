"""What tests of every folder share: free ports, and checks that a test leaves nothing behind."""

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import hypothesis
import pytest

# Timings are never asserted, not even by Hypothesis.
hypothesis.settings.register_profile("meteora", deadline=None, print_blob=True)
hypothesis.settings.load_profile("meteora")

FIRST_PORT, LAST_PORT = 20_000, 31_999
"""Below what the system gives to outgoing connections: one of these can't take the port of a node that is down."""

LEAK_GRACE_SECONDS = 5.0
"""How long a thread that was told to end may take to."""

_handed_out: set[int] = set()

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
"""How many run the tests side by side, and which of them this is. Each has ports of its own: one that is free may be
that of a node which is just down."""


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose last connections still linger is free to listen on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


@pytest.fixture(autouse=True)
def logging_is_as_it_was() -> Iterator[None]:
    """What a test sets up for its logs is gone after it: the next one may look at its own."""
    root, ours = logging.getLogger(), logging.getLogger("meteora")
    handlers, level, our_level = list(root.handlers), root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that returns a port that nothing listens on, another one at each call.

    It is free when it is returned; nothing holds it from then on. Runs of the tests side by side start their search
    at different places.
    """

    def next_free_port() -> int:
        ports = LAST_PORT - FIRST_PORT + 1
        for step in range(ports // _workers):
            place = os.getppid() * 97 + len(_handed_out) + step
            port = FIRST_PORT + (place * _workers + _worker) % ports
            if port not in _handed_out and _is_free(port):
                _handed_out.add(port)
                return port
        raise RuntimeError(f"no free port from {FIRST_PORT} to {LAST_PORT}")

    return next_free_port


def _open_files() -> set[str]:
    """Files, pipes and sockets of this process by what they are.

    Without the epoll and event descriptors: libraries keep those for the life of the process.
    """
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue  # That of this very listing.
        if not target.startswith(("anon_inode:", "/dev/")):
            found.add(f"descriptor {descriptor.name} -> {target}")
    return found


@contextmanager
def nothing_left(grace_seconds: float) -> Iterator[None]:
    """Fails the test if threads, files, pipes or sockets that came up inside are still there after the grace."""
    threads, files = set(threading.enumerate()), _open_files()
    yield
    deadline = time.monotonic() + grace_seconds
    while leaks := {str(thread) for thread in set(threading.enumerate()) - threads} | (_open_files() - files):
        gc.collect()
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {', '.join(sorted(leaks))}")
        time.sleep(0.01)


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """`nothing_left` for a test and the fixtures that it asks for after this one."""
    with nothing_left(LEAK_GRACE_SECONDS):
        yield


@pytest.fixture
def no_leaked_tasks() -> Callable[[], AbstractAsyncContextManager[None]]:
    """An async context manager that fails if tasks that were started inside it still run when it ends.

    `asyncio.run` would cancel them without a word.
    """

    @asynccontextmanager
    async def check() -> AsyncIterator[None]:
        before = asyncio.all_tasks()
        yield
        leaks = [task for task in asyncio.all_tasks() - before if not task.done()]
        if leaks:
            pytest.fail(f"left running: {', '.join(sorted(map(repr, leaks)))}")

    return check


@pytest.fixture
def interrupts_are_heeded() -> Iterator[None]:
    """A shell that runs these tests in the background lets them, and all that they start, ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
