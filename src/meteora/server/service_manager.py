"""What started this process is told how it is: systemd, of a unit with `Type=notify`, by datagrams.

Nothing is sent where nobody asked for it, and a manager that doesn't listen keeps no node from its work.
"""

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"

_PINGS_A_PERIOD: Final = 3
"""So that one that comes late is not taken for a death."""


class ServiceManager:
    """Where to tell it, and how often it wants to hear that the event loop is alive."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A name in the abstract name space begins with a zero, for which @ stands.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_seconds = _watchdog_seconds(environment)

    def tell(self, state: str) -> None:
        """Send one state. Never waits, never raises."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), self._address)

    async def stay_alive(self) -> None:
        """Say again and again that the event loop runs, until cancelled; returns at once if nobody wants to know."""
        while self._watchdog_seconds is not None:
            self.tell(ALIVE)
            await asyncio.sleep(self._watchdog_seconds / _PINGS_A_PERIOD)


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Within which a sign of life is expected from this process."""
    # The variables may have been meant for a parent, as a shell.
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdigit() and int(microseconds) else None
