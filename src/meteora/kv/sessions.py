"""What makes a retried write safe: of all sendings of one write, the state machine applies one.

A client numbers its writes; a session remembers, per client, which numbers were applied. The rules, in this order:

1. Never apply twice.
2. Never call a write applied that was not.
3. Where memory does not reach, say so: EXPIRED means not applied now, and unknown whether it was before.

A client says with each write which numbers it may still send again, so a session forgets the others, and a number that
it has forgotten is EXPIRED for ever: only a stray duplicate can still bring it, and nobody waits for the answer. Both
what one session remembers and how many sessions there are is bounded; what falls out by that is EXPIRED, too.

After a session has ever been dropped for room, a client without a session may be an old one. Its retries are EXPIRED
then. Its first sendings (`Command.retry` false) are applied: this relies on a first sending reaching the log before its
client's session is dropped, which takes the writes of `MAX_SESSIONS` other clients since.

Rule: everything here is a function of the commands in their order. Replicas that applied the same log have the same
sessions, whatever restarts they had in between: no clock, no chance.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple

from meteora.errors import Corruption
from meteora.kv.command import Command

MAX_SESSIONS: Final = 100_000
"""Of some 300 bytes each. Clients that come and go, as a command line does, push out the least recently used."""

MAX_WINDOW: Final = 16_384
"""How far a session's newest write may be ahead of its oldest unfinished one; a bit each, 2 KiB.

A node has that many writes pending under one session. If the first of them gets lost on the way to the leader, all
others may be applied before it is sent again."""

SESSION_VERSION: Final = 1

_SESSION: Final = struct.Struct(">BQQQQ")


class Outcome(IntEnum):
    """What became of a command."""

    APPLIED = 0
    """It is done now."""
    DUPLICATE = 1
    """It had been applied before."""
    EXPIRED = 2
    """It is not done now, and it can't be told any more whether it had been applied before."""
    REFUSED = 3
    """It is not done, because something that it relies on is not as it was when it was decided on."""


class Session:
    """Which writes of one client were applied.

    Invariants: known_from <= done_through + 1; what lies between the two was applied, done_through + 1 was not; bit i
    of `above` says whether done_through + 1 + i was, and there are at most `MAX_WINDOW` of them.
    """

    __slots__ = ("above", "born_at", "done_through", "known_from", "last_use")

    def __init__(self, known_from: int, done_through: int, born_at: int, last_use: int, above: int) -> None:
        self.known_from = known_from
        """Below, nothing is remembered."""
        self.done_through = done_through
        self.born_at = born_at
        """Retries of lower sequences may have been applied in a session that was dropped. 0: there was none."""
        self.last_use = last_use
        """When a command of this client came last, counted in turns: how often another client's came next."""
        self.above = above

    def judge(self, sequence: int, first_outstanding: int, retry: bool) -> Outcome:
        """What to do with a command; if it is APPLIED, it counts as done from now on."""
        if sequence == self.done_through + 1 and first_outstanding <= sequence and not self.above:
            # What follows would come to the same: with nothing above, done_through has passed born_at. Nearly every
            # write comes this way.
            self.done_through = sequence
            self.known_from = max(self.known_from, first_outstanding)
            return Outcome.APPLIED
        if first_outstanding > self.known_from:
            self._forget_below(first_outstanding)
        if sequence < self.known_from:
            return Outcome.EXPIRED
        if sequence <= self.done_through or self.above >> (sequence - self.done_through - 1) & 1:
            return Outcome.DUPLICATE
        if retry and sequence < self.born_at:
            return Outcome.EXPIRED
        self._add(sequence)
        return Outcome.APPLIED

    def _add(self, sequence: int) -> None:
        if sequence - self.done_through > MAX_WINDOW:
            # What this skips was not all applied, so nothing below may be called known any more.
            self._forget_below(sequence - MAX_WINDOW + 1)
        self.above |= 1 << (sequence - self.done_through - 1)
        self._close_ranks()

    def _forget_below(self, sequence: int) -> None:
        self.known_from = sequence
        if sequence - 1 > self.done_through:
            self.above >>= sequence - 1 - self.done_through
            self.done_through = sequence - 1
            self._close_ranks()

    def _close_ranks(self) -> None:
        """Move done_through up over what is done right above it."""
        done = (~self.above & (self.above + 1)).bit_length() - 1
        self.above >>= done
        self.done_through += done

    def encode(self) -> bytes:
        """The record for disk."""
        header = _SESSION.pack(SESSION_VERSION, self.known_from, self.done_through, self.born_at, self.last_use)
        return header + self.above.to_bytes((self.above.bit_length() + 7) // 8, "big")


def decode_session(record: bytes) -> Session:
    """The session in a record. Raises `Corruption`."""
    if len(record) < _SESSION.size or record[0] != SESSION_VERSION:
        raise Corruption(f"{record.hex()} is not a session of this release")
    _, known_from, done_through, born_at, last_use = _SESSION.unpack_from(record)
    return Session(known_from, done_through, born_at, last_use, int.from_bytes(record[_SESSION.size :], "big"))


class Changes(NamedTuple):
    """What is to be written, so that the sessions on disk are those in memory."""

    dropped: list[int]
    """Client ids; to be deleted before the others are put."""
    records: list[tuple[int, bytes]]
    """Client ids and their records."""
    ever_dropped: bool
    """Whether any session was dropped, ever."""


class Sessions:
    """The sessions of all clients, in the order of their last use."""

    def __init__(
        self,
        sessions: Iterable[tuple[int, Session]] = (),
        *,
        ever_dropped: bool = False,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        """From what was stored, in any order."""
        self._sessions = OrderedDict(sorted(sessions, key=lambda pair: pair[1].last_use))
        self._latest_client_id = next(reversed(self._sessions), 0)
        self._clock = self._sessions[self._latest_client_id].last_use if self._sessions else 0
        self._ever_dropped = ever_dropped
        self._max_sessions = max_sessions
        self._touched: dict[int, Session] = {}
        self._touched_last: Session
        self._touched_last_id = 0
        self._dropped: dict[int, None] = {}

    def judge(self, command: Command) -> Outcome:
        """What to do with a command of a client that has an id; APPLIED: it must be done, and counts as done."""
        _, client_id, sequence, first_outstanding, retry, _, _ = command
        if client_id == self._touched_last_id:
            # Most commands of a batch: their node's own.
            return self._touched_last.judge(sequence, first_outstanding, retry)
        session = self._sessions.get(client_id)
        if session is None:
            if retry and self._ever_dropped:
                return Outcome.EXPIRED
            session = self._begin(client_id, sequence, first_outstanding)
        if client_id != self._latest_client_id:
            self._latest_client_id = client_id
            self._sessions.move_to_end(client_id)
            self._clock += 1
            session.last_use = self._clock
        self._touched[client_id] = self._touched_last = session
        self._touched_last_id = client_id
        return session.judge(sequence, first_outstanding, retry)

    def take_changes(self) -> Changes:
        """What changed since the last call, each session once."""
        changes = Changes(
            list(self._dropped),
            [(client_id, session.encode()) for client_id, session in self._touched.items()],
            self._ever_dropped,
        )
        self._touched.clear()
        self._touched_last_id = 0
        self._dropped.clear()
        return changes

    def _begin(self, client_id: int, sequence: int, first_outstanding: int) -> Session:
        if len(self._sessions) >= self._max_sessions:
            self._drop_least_recently_used()
        known_from = max(first_outstanding, 1)
        born_at = sequence if self._ever_dropped else 0
        session = Session(known_from, known_from - 1, born_at, 0, 0)
        self._sessions[client_id] = session
        return session

    def _drop_least_recently_used(self) -> None:
        client_id, _ = self._sessions.popitem(last=False)
        self._touched.pop(client_id, None)
        self._dropped[client_id] = None
        self._ever_dropped = True
