import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from meteora.server.service_manager import ALIVE, READY, ServiceManager


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket as systemd's, at `tmp_path / "notify"`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        yield listener


def test_a_state_reaches_who_listens(listening: socket.socket) -> None:
    ServiceManager({"NOTIFY_SOCKET": listening.getsockname()}).tell(READY)
    assert listening.recv(100) == b"READY=1"


def test_an_at_sign_stands_for_the_abstract_name_space() -> None:
    name = f"meteora-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(10)
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).tell(READY)
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_where_nobody_listens_nothing_happens(environment: dict[str, str], no_leaks: None) -> None:
    ServiceManager(environment).tell(READY)


def test_who_does_not_take_what_it_is_told_is_not_waited_for(listening: socket.socket) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": listening.getsockname()})
    for _ in range(10_000):  # More than a socket holds.
        manager.tell(READY)


async def pings(environment: dict[str, str]) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(ServiceManager(environment).stay_alive(), 0.5)


def test_a_watchdog_is_told_again_and_again(listening: socket.socket) -> None:
    asyncio.run(
        pings({"NOTIFY_SOCKET": listening.getsockname(), "WATCHDOG_USEC": "3000", "WATCHDOG_PID": str(os.getpid())})
    )
    assert [listening.recv(100) for _ in range(3)] == [ALIVE.encode()] * 3


@pytest.mark.parametrize("variables", [{}, {"WATCHDOG_USEC": "3000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}])
def test_without_a_watchdog_of_its_own_nobody_is_told(variables: dict[str, str], listening: socket.socket) -> None:
    asyncio.run(ServiceManager({"NOTIFY_SOCKET": listening.getsockname(), **variables}).stay_alive())
    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.recv(100)
