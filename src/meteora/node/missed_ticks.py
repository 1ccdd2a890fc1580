"""The ticks that a node owes its core because it stood still: stopped, suspended, or out of CPU.

Ticks come from a timer of the event loop, and a timer that was held up fires once. For elections that is right: a node
that was paused must not depose a leader whose heartbeats lie unread in its socket. For a lease it is not: a leader that
wakes up would believe that no time has passed, and answer reads while another one leads. So, with lease reads, a leader
makes up for what it missed before it lets its core answer anybody.

Rule: the clock is read after the requests were taken in that are answered because of it.
"""

import time
from collections.abc import Callable


def seconds_awake_or_not() -> float:
    """A clock that never stands still, not even while the machine is suspended; in seconds, from anywhere."""
    # Elsewhere than on Linux, that of this name goes on.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class MissedTicks:
    """The difference between the ticks that there were and those that there ought to have been."""

    def __init__(self, tick_seconds: float, clock: Callable[[], float]) -> None:
        self._tick_seconds = tick_seconds
        self._clock = clock
        self._ticked_until = clock()

    def note_tick(self) -> None:
        """The timer has fired."""
        self._ticked_until += self._tick_seconds

    def take(self) -> int:
        """How many are owed by now. They are taken as made up for."""
        owed = max(0, int((self._clock() - self._ticked_until) / self._tick_seconds))
        self._ticked_until += owed * self._tick_seconds
        return owed
