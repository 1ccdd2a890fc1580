"""Long work on a thread beside the event loop, in slices between which the loop runs, and that can be abandoned.

A thread that computes holds the GIL until another one has waited for `sys.getswitchinterval()`, and so delays the loop
by as much each time that it comes back from its selector or from a disk. So it must let go by itself, and sleep,
because a GIL that is only let go is mostly taken back at once.
"""

import threading
import time
from typing import Final

SLICE_SECONDS: Final = 0.0005
"""How long the loop may be held up at a time."""

PAUSE_SECONDS: Final = 0.0005
"""At least half of the time is the loop's. If it has much to do, it gets more: the GIL comes back only when it waits,
or after the switch interval."""


class Abandoned(Exception):
    """The work was called off."""


class Pace:
    """Of one piece of work; `step` is called by the thread that does it, `abandon` by any."""

    def __init__(self) -> None:
        self._abandoned = threading.Event()
        self._pause_at = 0.0

    def step(self) -> None:
        """To be called after each small part of the work: pauses if it is time to. Raises `Abandoned`."""
        now = time.perf_counter()
        if now >= self._pause_at:
            self.pause()

    def pause(self) -> None:
        """Let others run now, as after a part that took long. Raises `Abandoned`."""
        if self._abandoned.is_set():
            raise Abandoned
        time.sleep(PAUSE_SECONDS)
        self._pause_at = time.perf_counter() + SLICE_SECONDS

    def abandon(self) -> None:
        """Let the work end at its next step."""
        self._abandoned.set()


class Unpaced(Pace):
    """For who does such work where no loop runs: it goes on without a pause."""

    def step(self) -> None:
        """Nothing to wait for."""

    def pause(self) -> None:
        """Likewise."""
