"""Writes on their way: from the caller's `await` to the entry that is applied.

A write waits in the queue, is handed on (appended here, or sent to the leader) together with all others that wait, and
is answered when its command is applied on *this* node, whichever node led. What was handed on can get lost, so it is
handed on again, under the same request id, until it is applied or its time is up: the state machine applies it once.

What is said of a write that got no answer: never handed on means certainly not applied; else nobody knows.

Everything is bounded: by `MAX_PENDING_WRITES` and `MAX_PENDING_BYTES`.
"""

import asyncio
from collections.abc import Iterable

from meteora.errors import NotApplied, OutcomeUnknown, Overloaded, RequestError
from meteora.kv.command import Command, Operation, encode_command
from meteora.kv.sessions import Outcome
from meteora.kv.state_machine import Applied

MAX_PENDING_WRITES = 16_384
"""Some hundred times what keeps the disk busy; more would only wait longer."""

MAX_PENDING_BYTES = 64 << 20
"""Of encoded commands."""

MAX_BATCH_BYTES = 1 << 20
"""Of commands in one entry: what one append message carries, and one apply holds up the loop for."""


class PendingWrite:
    """One write that somebody waits for."""

    __slots__ = ("command", "deadline", "encoded", "handed_on_at", "result")

    def __init__(self, command: Command, deadline: float, result: asyncio.Future[None]) -> None:
        self.command = command
        self.encoded = encode_command(command)
        self.deadline = deadline
        """In the loop's time, seconds."""
        self.result = result
        self.handed_on_at: float | None = None
        """When it last left the queue, in the loop's time; None if never."""


class PendingWrites:
    """All writes of this node that are not answered yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop, session_id: int) -> None:
        """`session_id` names this node's own session, for callers that have none; new at every start, never 0."""
        self._loop = loop
        self._session_id = session_id
        self._last_sequence = 0
        self._own_sequences: dict[int, None] = {}
        self._pending: dict[tuple[int, int], PendingWrite] = {}
        self._queue: dict[tuple[int, int], PendingWrite] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def has_queued(self) -> bool:
        """Whether any write waits to be handed on."""
        return bool(self._queue)

    def add_own(self, operation: Operation, key: bytes, value: bytes, deadline: float) -> asyncio.Future[None]:
        """As `add`, for a caller that brings no request id: the write gets one of this node's."""
        sequence = self._last_sequence + 1
        first_outstanding = next(iter(self._own_sequences), sequence)
        command = Command(operation, self._session_id, sequence, first_outstanding, False, key, value)
        result = self.add(command, deadline)
        self._last_sequence = sequence
        self._own_sequences[sequence] = None
        return result

    def add(self, command: Command, deadline: float) -> asyncio.Future[None]:
        """Queue a write: the future that is done when it is applied.

        The same request again waits for the same future. Raises `Overloaded` if too much is pending.
        """
        key = (command.client_id, command.sequence)
        known = self._pending.get(key)
        if known is not None:
            known.deadline = max(known.deadline, deadline)
            return known.result
        write = PendingWrite(command, deadline, self._loop.create_future())
        if len(self._pending) >= MAX_PENDING_WRITES or self._bytes + len(write.encoded) > MAX_PENDING_BYTES:
            raise Overloaded(f"{len(self._pending)} writes of {self._bytes} bytes are pending already: try again later")
        self._pending[key] = write
        self._queue[key] = write
        self._bytes += len(write.encoded)
        return write.result

    def take_batch(self, now: float) -> list[bytes]:
        """Take the commands that fit one entry out of the queue; they count as handed on."""
        batch: list[bytes] = []
        size = 0
        for key, write in list(self._queue.items()):
            if batch and size + len(write.encoded) > MAX_BATCH_BYTES:
                break
            del self._queue[key]
            write.handed_on_at = now
            batch.append(write.encoded)
            size += len(write.encoded)
        return batch

    def applied(self, results: Iterable[Applied]) -> None:
        """Answer the writes that were applied, as far as they are this node's."""
        for client_id, sequence, outcome in results:
            write = self._forget((client_id, sequence))
            if write is None or write.result.done():
                continue
            if outcome is Outcome.EXPIRED:
                _refuse(
                    write,
                    OutcomeUnknown(
                        "the record of this client's earlier writes is gone, so it can't be told whether this one was "
                        "applied before: read the key to find out"
                    ),
                )
            else:
                write.result.set_result(None)

    def hand_on_again(self, not_since: float) -> None:
        """Queue again what was handed on at `not_since` or before and is still not applied."""
        for key, write in self._pending.items():
            if write.handed_on_at is not None and write.handed_on_at <= not_since and key not in self._queue:
                self._mark_retried(write)
                self._queue[key] = write

    def _mark_retried(self, write: PendingWrite) -> None:
        if not write.command.retry:
            write.command = write.command._replace(retry=True)
            write.encoded = encode_command(write.command)

    def expire(self, now: float, why: str) -> None:
        """Answer what waits beyond its deadline, and drop what nobody waits for any more."""
        for key, write in list(self._pending.items()):
            if write.result.done() or write.deadline <= now:
                self._give_up(key, write, why)

    def give_up_all(self, why: str) -> None:
        """Answer everything: the node stops."""
        for key, write in list(self._pending.items()):
            self._give_up(key, write, why)

    def _give_up(self, key: tuple[int, int], write: PendingWrite, why: str) -> None:
        self._forget(key)
        if not write.result.done():
            _refuse(write, _fate(write, why))

    def _forget(self, key: tuple[int, int]) -> PendingWrite | None:
        write = self._pending.pop(key, None)
        if write is not None:
            self._queue.pop(key, None)
            if key[0] == self._session_id:
                del self._own_sequences[key[1]]
            self._bytes -= len(write.encoded)
        return write


def _refuse(write: PendingWrite, error: RequestError) -> None:
    write.result.set_exception(error)
    # Whoever waited may be gone: then nobody looks at the error, which asyncio would log.
    write.result.exception()


def _fate(write: PendingWrite, why: str) -> RequestError:
    if write.handed_on_at is None and not write.command.retry:
        return NotApplied(f"{why}: the write was not applied, try again")
    return OutcomeUnknown(f"{why}: the write may have been applied, or may yet be; a retry with its request id is safe")
