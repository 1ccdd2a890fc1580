"""What all clients of one endpoint may make it keep, together; what one connection may is in `connection` and `server`.

Bytes are held for a client while only that client can end it: by sending the rest of a message, or by reading what it
was sent. What comes and goes in one turn of the event loop is not counted.

Rule: at the bound, who has been held for longest lets go, if that is long: who is honest is done in a moment. If nobody
has, there is much to do, and the newcomer has to come again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

STALE_SECONDS: Final = 5.0
"""Who has kept us waiting for longer makes room for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """For one endpoint."""

    max_connections: int = 10_000
    """One more is closed at once."""
    max_requests: int = 16_384
    """Under way, on all connections. One more is refused at once."""
    max_held_bytes: int = 256 << 20
    """Of what clients have sent half of, and of what they don't read."""


class Holder(Protocol):
    """What bytes are held for; told apart by identity."""

    def let_go(self) -> None:
        """Gives up what it has begun: nothing is held for it any more."""


class HeldBytes:
    """The bytes that are held, and for whom."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self.total = 0
        self.let_go = 0
        """How many holders had to."""
        self._held: dict[Holder, int] = {}
        """In the order in which they came."""
        self._since: dict[Holder, float] = {}

    def hold(self, holder: Holder, count: int) -> None:
        """So many bytes more are held for `holder`, which may have to let go of all within this call."""
        if holder not in self._held:
            self._held[holder] = 0
            self._since[holder] = self._clock()
        self._held[holder] += count
        self.total += count
        if self.total > self._max_bytes:
            self._make_room(holder)

    def release(self, holder: Holder, count: int) -> None:
        """So many bytes are held for it no more. Nothing if it had to let go meanwhile."""
        held = self._held.get(holder, 0)
        if held <= count:
            self.drop(holder)
        else:
            self._held[holder] = held - count
            self.total -= count

    def drop(self, holder: Holder) -> None:
        """Nothing is held for it any more."""
        self.total -= self._held.pop(holder, 0)
        self._since.pop(holder, None)

    def _make_room(self, newcomer: Holder) -> None:
        while self.total > self._max_bytes:
            longest = next(iter(self._held))
            is_stale = self._clock() - self._since[longest] > STALE_SECONDS
            loser = longest if is_stale else newcomer
            self.drop(loser)
            self.let_go += 1
            loser.let_go()
            if loser is newcomer:
                return
