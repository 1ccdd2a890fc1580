"""What all clients of one endpoint may make it keep, together; what one connection may is in `connection` and `server`.

Bytes are held for a client while only that client can end it: by sending the rest of a message, or by reading what it
was sent. What comes and goes in one turn of the event loop is not counted.

Rule: at the bound, those make room who have been held for long: who is honest is done in a moment. If that is not
enough, those connections do for which most is held, so that a few can't keep the others out.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

STALE_SECONDS: Final = 5.0
"""Who has kept us waiting for longer makes room for others."""

ROOM_SHARE: Final = 8
"""Once the bound is reached, an eighth of it is made free: looking for who has most costs something."""


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

    @property
    def owner(self) -> object:
        """The connection that it belongs to, or is."""

    def let_go(self) -> None:
        """Gives up what it has begun: nothing is held for it any more."""


@dataclass(slots=True)
class _Share:
    """What is held for one holder."""

    since: float
    count: int = 0


class HeldBytes:
    """The bytes that are held, and for whom."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self.total = 0
        self.let_go = 0
        """How many holders had to."""
        self._shares: dict[Holder, _Share] = {}
        """In the order in which they came."""
        self._is_making_room = False

    def hold(self, holder: Holder, count: int) -> None:
        """So many bytes more are held for `holder`, which may have to let go of all within this call."""
        share = self._shares.get(holder)
        if share is None:
            share = self._shares[holder] = _Share(self._clock())
        share.count += count
        self.total += count
        # Who lets go may say why, which is held as well.
        if self.total > self._max_bytes and not self._is_making_room:
            self._is_making_room = True
            try:
                self._make_room()
            finally:
                self._is_making_room = False

    def renew(self, holder: Holder) -> None:
        """It has sent what was waited for: what is held now is for what comes next."""
        share = self._shares.get(holder)
        if share is not None:
            share.since = self._clock()

    def release(self, holder: Holder, count: int) -> None:
        """So many bytes are held for it no more. Nothing if it had to let go meanwhile."""
        share = self._shares.get(holder)
        if share is None or share.count <= count:
            self.drop(holder)
        else:
            share.count -= count
            self.total -= count

    def drop(self, holder: Holder) -> None:
        """Nothing is held for it any more."""
        share = self._shares.pop(holder, None)
        if share is not None:
            self.total -= share.count

    def _make_room(self) -> None:
        enough = self._max_bytes - self._max_bytes // ROOM_SHARE
        stale_since = self._clock() - STALE_SECONDS
        stale = [holder for holder, share in self._shares.items() if share.since < stale_since]
        for holder in (*stale, *self._greediest()):
            if self.total <= enough:
                return
            # Who let go may have taken others with it.
            if holder in self._shares:
                self.drop(holder)
                self.let_go += 1
                holder.let_go()

    def _greediest(self) -> list[Holder]:
        """All, those of the connections first for which most is held, and of each the latest first."""
        totals: dict[object, int] = {}
        for holder, share in self._shares.items():
            totals[holder.owner] = totals.get(holder.owner, 0) + share.count
        latest_first = list(self._shares)[::-1]
        return sorted(latest_first, key=lambda holder: totals[holder.owner], reverse=True)
