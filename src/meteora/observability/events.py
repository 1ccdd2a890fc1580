"""The last things of note that a node has seen, for who looks at it: elections, changes of members.

The log has them, too; this is what is left of it at hand, without a file to be read. No key, value or client is in it.
"""

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

MAX_EVENTS: Final = 100
"""That are kept; an older one is in the log only."""


@dataclass(frozen=True, slots=True)
class Event:
    """One of them."""

    at: float
    """In seconds since 1970, by this machine's clock."""
    text: str


class RecentEvents:
    """The newest `MAX_EVENTS`, oldest first."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)

    def note(self, text: str) -> None:
        """It has just happened."""
        self._events.append(Event(time.time(), text))

    def newest_first(self) -> list[Event]:
        """All that are kept."""
        return list(reversed(self._events))
