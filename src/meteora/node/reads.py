"""Linearizable reads: all that wait share one round of ReadIndex (thesis 6.4).

A read may be answered from this node's state once everything is applied that was committed when the read came in. One
question to the leader settles that for all reads that were waiting when it was asked; those that come later wait for
the next one. A round that is lost is asked again under a new context.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Sequence

from meteora.errors import NotApplied, Overloaded

MAX_PENDING_READS = 65_536
"""Some hundred times what keeps a core busy; more would only wait longer."""

LONG_KEY_BYTES = 1024
MAX_LONG_KEYS_BYTES = 64 << 20
"""Of the keys longer than that which wait: no less than the others may come to."""

_CONTEXT = struct.Struct(">QQQ")


class PendingRead:
    """One key that somebody waits for."""

    __slots__ = ("deadline", "key", "result")

    def __init__(self, key: bytes, deadline: float, result: asyncio.Future[bytes | None]) -> None:
        self.key = key
        self.deadline = deadline
        """In the loop's time, seconds."""
        self.result = result


class ReadRounds:
    """The reads of this node that are not answered yet.

    A read is first waiting, then in the round that is asked for, then confirmed, until its index is applied, and then
    looked up. A disk that does not answer holds nobody up beyond the deadline.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, node_id: int, instance_id: int) -> None:
        """`instance_id` is new at every start, so that no context is ever used twice."""
        self._loop = loop
        self._node_id = node_id
        self._instance_id = instance_id
        self.rounds = 0
        """How many were asked for."""
        self._waiting: list[PendingRead] = []
        self._asked: list[PendingRead] = []
        self._context = b""
        self._asked_at = 0.0
        self._confirmed: list[tuple[int, list[PendingRead]]] = []
        self._looked_up: dict[int, list[PendingRead]] = {}
        """As they were taken out together, by the `id` of the list."""
        self._count = 0
        """Of all of these: many come in one message, and each asks."""
        self._long_keys_bytes = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: bytes, deadline: float) -> asyncio.Future[bytes | None]:
        """Queue a read: the future of its value. Raises `Overloaded` if too many are pending."""
        if self._count >= MAX_PENDING_READS:
            raise Overloaded(f"{self._count} reads are pending already: try again later")
        read = PendingRead(key, deadline, self._loop.create_future())
        if len(key) > LONG_KEY_BYTES:
            self._count_long_key(read)
        self._waiting.append(read)
        self._count += 1
        return read.result

    def _count_long_key(self, read: PendingRead) -> None:
        """Raises `Overloaded` if too many are pending."""
        size_bytes = len(read.key)
        if self._long_keys_bytes + size_bytes > MAX_LONG_KEYS_BYTES:
            raise Overloaded(f"reads with {self._long_keys_bytes} bytes of long keys are pending: try again later")
        self._long_keys_bytes += size_bytes

        def count_no_more(_: asyncio.Future[bytes | None]) -> None:
            self._long_keys_bytes -= size_bytes

        read.result.add_done_callback(count_no_more)

    def add_stale(self, key: bytes, deadline: float) -> asyncio.Future[bytes | None]:
        """Queue a read of the state as it is: it waits for no round. Returns and raises as `add` does."""
        future = self.add(key, deadline)
        self._confirmed.append((0, [self._waiting.pop()]))
        return future

    @property
    def wants_round(self) -> bool:
        """Whether reads wait and no question is under way."""
        return bool(self._waiting) and not self._asked

    def begin_round(self, now: float) -> bytes:
        """All that wait are in this round: the context to ask the leader with."""
        self._asked, self._waiting = self._waiting, []
        self.rounds += 1
        self._asked_at = now
        self._context = _CONTEXT.pack(self._node_id, self._instance_id, self.rounds)
        return self._context

    def confirm(self, context: bytes, index: int) -> None:
        """The reads of this round may be answered once `index` is applied. A round given up meanwhile is ignored."""
        if context == self._context and self._asked:
            self._confirmed.append((index, self._asked))
            self._asked = []

    def ask_again(self, not_since: float) -> None:
        """Give up a round that was asked for at `not_since` or before: its reads wait for the next one."""
        if self._asked and self._asked_at <= not_since:
            self._waiting = self._asked + self._waiting
            self._asked = []

    def take_applied(self, applied: int, at_once: int) -> "deque[list[PendingRead]]":
        """Take the reads that may be answered from a state that has `applied`: they are looked up until `finish`.

        In parts of `at_once` at most, each to be finished by itself.
        """
        ready = [read for index, reads in self._confirmed if index <= applied for read in reads]
        if ready:
            self._confirmed = [(index, reads) for index, reads in self._confirmed if index > applied]
        taken = [read for read in ready if not read.result.done()]
        self._count -= len(ready) - len(taken)
        parts = deque(taken[start : start + at_once] for start in range(0, len(taken), at_once))
        for part in parts:
            self._looked_up[id(part)] = part
        return parts

    def finish(self, taken: list[PendingRead], values: Sequence[bytes | None]) -> None:
        """These reads, which were taken together, were looked up."""
        self._forget(taken)
        for read, value in zip(taken, values, strict=True):
            if not read.result.done():
                read.result.set_result(value)

    def fail(self, taken: list[PendingRead], why: str) -> None:
        """These reads, which were taken together, can't be looked up."""
        self._forget(taken)
        _alive(taken, float("inf"), why)

    def _forget(self, taken: list[PendingRead]) -> None:
        del self._looked_up[id(taken)]
        self._count -= len(taken)

    def expire(self, now: float, why: str) -> None:
        """Answer what waits beyond its deadline, and drop what nobody waits for any more."""
        for reads in self._looked_up.values():
            _alive(reads, now, "the disk has not answered in time")
        self._expire_queued(now, why)

    def _expire_queued(self, now: float, why: str) -> None:
        self._waiting = self._kept(self._waiting, now, why)
        self._asked = self._kept(self._asked, now, why)
        self._confirmed = [(index, kept) for index, reads in self._confirmed if (kept := self._kept(reads, now, why))]

    def _kept(self, reads: list[PendingRead], now: float, why: str) -> list[PendingRead]:
        alive = _alive(reads, now, why)
        self._count -= len(reads) - len(alive)
        return alive

    def give_up_all(self, why: str) -> None:
        """Answer everything but what is being looked up: the node stops."""
        self._expire_queued(float("inf"), why)


def _alive(reads: Sequence[PendingRead], now: float, why: str) -> list[PendingRead]:
    alive = []
    for read in reads:
        if read.result.done():
            continue
        if read.deadline <= now:
            read.result.set_exception(NotApplied(f"{why}: the read was not answered, try again"))
        else:
            alive.append(read)
    return alive
