"""How old a node's state may be: known from the linearizable reads that it makes for this purpose.

A linearizable read that was asked for at one time and is answered proves that the state has everything that was
acknowledged anywhere before that time (`meteora.node.reads`). So a node makes one every now and then, of nothing. What
a leader says in its heartbeats would not do: it may have been deposed without knowing it, and it tells those who are
behind no more than what they have.

Rule: the bound is never too low, whatever is lost or late on the way. It is too high by a `LOOK_SECONDS` or so.
"""

import asyncio
from typing import NamedTuple

LOOK_SECONDS = 1.0
"""Between two looks while nobody asks: one round of heartbeats a second for each node."""

BEHIND_SECONDS = 3.0
"""Older than this, a state says nothing of who may do what: two looks, of which one was lost, and some patience."""


class AppliedState(NamedTuple):
    """What is known of a node's state at one moment."""

    applied_index: int
    whole_until: float | None
    """Everything that was acknowledged before this time is in it; None if nothing is known."""


class StaleRead(NamedTuple):
    """A value that may be old."""

    value: bytes | None
    applied_index: int
    """The state that it is from had applied the log up to here at least."""
    staleness_seconds: float | None
    """Every write that was acknowledged longer than this before the answer is in that state; None: nothing is known."""


class Freshness:
    """Up to what time a node's state is known to be whole. Times are those of `NodeSettings.clock`, in seconds."""

    def __init__(self) -> None:
        self.whole_until: float | None = None
        """Everything that was acknowledged before this time is in the state; None if nothing is known."""
        self.is_behind = True
        """Whether the state may lack what was acknowledged longer than `BEHIND_SECONDS` ago: after a start, out of
        touch with the leader, and until a node has got what it missed meanwhile."""
        self._asked_at = float("-inf")
        self._look: asyncio.Future[bytes | None] | None = None

    def note_time(self, now: float) -> None:
        """To be called every now and then: nothing tells of what doesn't come."""
        self.is_behind = self.whole_until is None or now - self.whole_until > BEHIND_SECONDS

    def wants_look(self, now: float) -> bool:
        """Whether it is time for another read."""
        return not self.is_looking and now - self._asked_at >= LOOK_SECONDS

    @property
    def is_looking(self) -> bool:
        """Whether a read is under way."""
        return self._look is not None and not self._look.done()

    def looks(self, now: float, look: asyncio.Future[bytes | None]) -> None:
        """A linearizable read was asked for at `now`, and is under way."""
        self._asked_at = now
        self._look = look
        look.add_done_callback(lambda done: self._looked(now, done))

    def _looked(self, asked_at: float, look: asyncio.Future[bytes | None]) -> None:
        # One that failed proves nothing.
        if not look.cancelled() and look.exception() is None:
            self.whole_until = asked_at
