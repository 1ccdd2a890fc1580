"""Writes on their way: from the caller's `await` to the entry that is applied.

A write waits in the queue, is handed on (appended here, or sent to the leader) together with all others that wait, and
is answered when its command is applied on *this* node, whichever node led. What was handed on can get lost, so it is
handed on again, under the same request id, until it is applied or its time is up: the state machine applies it once.

What is said of a write that got no answer: never handed on means certainly not applied; else nobody knows.

Everything is bounded: by `MAX_PENDING_WRITES` and `MAX_PENDING_BYTES`.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

from meteora.errors import NO_ROOM, NoRoom, NotApplied, OutcomeUnknown, Overloaded, RequestError
from meteora.kv.command import COMMAND_OVERHEAD_BYTES, Command, Operation
from meteora.kv.sessions import MAX_WINDOW, Outcome
from meteora.kv.state_machine import Applied

MAX_PENDING_WRITES = 16_384
"""Some hundred times what keeps the disk busy; more would only wait longer."""

MAX_PENDING_BYTES = 64 << 20
"""Of encoded commands."""

MAX_BATCH_BYTES = 1 << 20
"""Of commands in one entry: what one append message carries, and one apply holds up the loop for."""

# Half the time of a named tuple's own constructor.
_new = tuple.__new__


class PendingWrite:
    """One write that somebody waits for."""

    __slots__ = ("command", "deadline", "handed_on_at", "is_queued", "result", "retries", "size_bytes")

    def __init__(self, command: Command, size_bytes: int, deadline: float, result: asyncio.Future[None]) -> None:
        self.command = command
        self.size_bytes = size_bytes
        self.deadline = deadline
        """In the loop's time, seconds."""
        self.result = result
        self.retries: list[asyncio.Future[None]] | None = None
        """Of those who asked for the same again meanwhile."""
        self.handed_on_at: float | None = None
        """When it last left the queue, in the loop's time; None if never."""
        self.is_queued = True

    @property
    def is_awaited(self) -> bool:
        """Whether anybody still waits for it."""
        return not self.result.done() or (self.retries is not None and any(not each.done() for each in self.retries))

    def answer(self, error: RequestError | None) -> None:
        """Tell those who wait: what went wrong, or that it is done."""
        for waiter in (self.result, *(self.retries or ())):
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
                # Whoever waited may be gone: then nobody looks at the error, which asyncio would log.
                waiter.exception()

    def forget_gone(self) -> None:
        """Keep nothing of those who asked again and don't wait any more."""
        if self.retries:
            self.retries = [each for each in self.retries if not each.done()]

    def mark_retried(self) -> None:
        """It may have been sent before."""
        self.command = self.command._replace(retry=True)


class PendingWrites:
    """All writes of this node that are not answered yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop, session_id: int) -> None:
        """`session_id` names this node's own session, for callers that have none; new at every start, never 0."""
        self._loop = loop
        self._session_id = session_id
        self._last_sequence = 0
        self._first_outstanding = 1
        """Of this node's own session: no write below is pending."""
        self._own: dict[int, PendingWrite] = {}
        """By sequence: a write without a request id costs no pair of numbers."""
        self._others: dict[tuple[int, int], PendingWrite] = {}
        """By client id and sequence."""
        self._queue: deque[PendingWrite] = deque()
        """Oldest first. A write that was answered meanwhile stays until its turn, or until the next `expire`."""
        self._bytes = 0
        self.refusal = ""
        """Why no put is taken; empty if they are."""
        self.failed = 0
        """How many were refused, or given up, while somebody waited for them."""

    def __len__(self) -> int:
        return len(self._own) + len(self._others)

    @property
    def has_queued(self) -> bool:
        """Whether any write may wait to be handed on."""
        return bool(self._queue)

    def add_own(self, operation: Operation, key: bytes, value: bytes, deadline: float) -> asyncio.Future[None]:
        """As `add`, for a caller that brings no request id: the write gets one of this node's."""
        sequence = self._last_sequence + 1
        command: Command = _new(
            Command, (operation, self._session_id, sequence, self._first_outstanding, False, key, value)
        )
        write = self._queued(command, deadline)
        self._last_sequence = sequence
        self._own[sequence] = write
        return write.result

    def add(self, command: Command, deadline: float) -> asyncio.Future[None]:
        """Queue a write: the future that is done when it is applied.

        The same request again gets a future of its own, of the same write. If too much is pending, raises `Overloaded`,
        or, for what may have been sent before, `OutcomeUnknown`.
        """
        key = (command.client_id, command.sequence)
        known = self._others.get(key)
        if known is None:
            write = self._others[key] = self._queued(command, deadline)
            return write.result
        known.deadline = max(known.deadline, deadline)
        if command.retry and not known.command.retry:
            known.mark_retried()
        again: asyncio.Future[None] = self._loop.create_future()
        if known.retries is None:
            known.retries = []
        known.retries.append(again)
        return again

    def _queued(self, command: Command, deadline: float) -> PendingWrite:
        if self.refusal and command[0] is Operation.PUT:
            raise self._no_room(command)
        size_bytes = COMMAND_OVERHEAD_BYTES + len(command[5]) + len(command[6])
        total_bytes = self._bytes + size_bytes
        if len(self._own) + len(self._others) >= MAX_PENDING_WRITES or total_bytes > MAX_PENDING_BYTES:
            raise self._overload(command)
        write = PendingWrite(command, size_bytes, deadline, self._loop.create_future())
        self._bytes = total_bytes
        self._queue.append(write)
        return write

    def _overload(self, command: Command) -> RequestError:
        self.failed += 1
        pending = f"{len(self)} writes of {self._bytes} bytes are pending already"
        if command.retry:
            return OutcomeUnknown(
                f"{pending}: it was not tried again, and may have been applied when it was sent before"
            )
        return Overloaded(f"{pending}: try again later")

    def _no_room(self, command: Command) -> RequestError:
        self.failed += 1
        if command.retry:
            return OutcomeUnknown(
                f"{NO_ROOM}: {self.refusal}; it was not tried again, and may have been applied when it was sent before"
            )
        return NoRoom(f"{NO_ROOM}: {self.refusal}")

    def take_batch(self, now: float) -> list[Command]:
        """Take the commands that fit one entry out of the queue; they count as handed on. May be none."""
        batch: list[Command] = []
        size_bytes = 0
        queue = self._queue
        while queue:
            write = queue[0]
            size_bytes += write.size_bytes
            if (batch and size_bytes > MAX_BATCH_BYTES) or self._is_too_far_ahead(write.command):
                break
            queue.popleft()
            write.is_queued = False
            if write.result.done() and not write.is_awaited:
                # It is certainly not applied by this sending.
                size_bytes -= write.size_bytes
                self._forget(write)
                continue
            write.handed_on_at = now
            batch.append(write.command)
        return batch

    def _is_too_far_ahead(self, command: Command) -> bool:
        """Whether the session would have to forget a write of this node that may still be sent again."""
        return command[1] == self._session_id and command[2] - self._first_outstanding >= MAX_WINDOW

    def applied(self, results: Iterable[Applied]) -> None:
        """Answer the writes that were applied, as far as they are this node's."""
        own, others, session_id = self._own, self._others, self._session_id
        if not own and not others:
            return
        for client_id, sequence, outcome in results:
            write = own.pop(sequence, None) if client_id == session_id else others.pop((client_id, sequence), None)
            if write is None:
                continue
            self._bytes -= write.size_bytes
            if outcome is Outcome.EXPIRED:
                self.failed += 1
                write.answer(_expired())
            elif outcome is Outcome.REFUSED:
                write.answer(
                    NotApplied("what it relies on was changed by others meanwhile: nothing was done, try again")
                )
            elif write.retries is None and not write.result.done():
                write.result.set_result(None)
            else:
                write.answer(None)
        self._advance_first_outstanding()

    def _advance_first_outstanding(self) -> None:
        first, end, own = self._first_outstanding, self._last_sequence + 1, self._own
        while first < end and first not in own:
            first += 1
        self._first_outstanding = first

    def hand_on_again(self, not_since: float) -> None:
        """Queue again, before all others, what was handed on at `not_since` or before and is still not applied."""
        late = []
        for write in self._all():
            if not write.is_queued and write.handed_on_at is not None and write.handed_on_at <= not_since:
                write.mark_retried()
                write.is_queued = True
                late.append(write)
        self._queue.extendleft(reversed(late))

    def expire(self, now: float, why: str) -> None:
        """Answer what waits beyond its deadline, and drop what nobody waits for any more."""
        for write in self._others.values():
            write.forget_gone()
        expired = [write for write in self._all() if write.deadline <= now or not write.is_awaited]
        for write in expired:
            self._forget(write)
            self.failed += write.is_awaited
            write.answer(_fate(write, why))
        if expired:
            self._advance_first_outstanding()
            self._queue = deque(write for write in self._queue if write.is_awaited)

    def give_up_all(self, why: str) -> None:
        """Answer everything: the node stops."""
        self.expire(float("inf"), why)

    def _all(self) -> Iterable[PendingWrite]:
        yield from self._own.values()
        yield from self._others.values()

    def _forget(self, write: PendingWrite) -> None:
        client_id, sequence = write.command.client_id, write.command.sequence
        # One that was answered before its turn is pending no more, and by now there may be the same request again.
        if self._own.get(sequence) is write:
            del self._own[sequence]
        elif self._others.get((client_id, sequence)) is write:
            del self._others[client_id, sequence]
        else:
            return
        self._bytes -= write.size_bytes


def _fate(write: PendingWrite, why: str) -> RequestError:
    return unanswered(why, may_be_applied=write.handed_on_at is not None or write.command.retry)


def unanswered(why: str, *, may_be_applied: bool) -> RequestError:
    """What a write ends with that got no answer because of `why`."""
    if not may_be_applied:
        return NotApplied(f"{why}: the write was not applied, try again")
    return OutcomeUnknown(f"{why}: the write may have been applied, or may yet be; a retry with its request id is safe")


def _expired() -> OutcomeUnknown:
    return OutcomeUnknown(
        "the record of this client's earlier writes is gone, so it can't be told whether this one was applied before: "
        "read the key to find out"
    )
