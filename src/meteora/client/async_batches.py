"""What tasks ask of one node in the same tick of the event loop, as one message.

No timer: what was asked for when the tick ends goes out. The rules:

- Who is alone in its tick is told so at its end, and sends by the request's own method.
- While one batch is under way, what comes gathers behind it: so load makes batches longer. Another goes out meanwhile
  only if it is full, and no more than `MAX_UNDER_WAY` are at a time.
- Only what ends alike travels together, or waits behind one another: a read waits for no write, a serializable read for
  nobody who waits for a majority, and nobody with time left for somebody without. So a batch has one time-out, which is
  that of all in it to a tenth of a second; and nothing waits behind what ends later than itself, but for that tenth.
- Whoever is cancelled leaves the others alone; the last one takes the call with it.
- A call that fails has failed for each request in it, in the way in which it would have failed for that one alone.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message import Message

from meteora.client.batch import MAX_BYTES, MAX_OPERATIONS, OPERATION_OVERHEAD_BYTES, Answer, answers_of, batch_of
from meteora.client.fate import CLIENT_CLOSED, CLIENT_CLOSING, Failure, Fate, failure_of_error
from meteora.client.login import Login
from meteora.client.methods import BATCH, Method

LIKE_TIMEOUTS_SECONDS: Final = 0.1
"""How much the time-outs in one batch may differ. A node answers sooner than that before its caller's deadline, so all
of them hear its reason and not their own time-out."""

MAX_UNDER_WAY: Final = 2
"""Batches of one kind to one node. With 64 tasks that write, on three nodes, two halves that take turns did 8,200 puts
a second, and one whole 10,100: a round costs the nodes the same for either."""

WITHOUT_BATCHES_SECONDS: Final = 60.0
"""How long a node that knows no batches is not asked again, once it said so: then it may be of a later release."""


TOO_LATE: Final = Failure(Fate.UNSERVED, "no answer in time to what was sent before")
"""Of a request that was not sent, because there was no time left once there was room."""


class _Kind(NamedTuple):
    """What may travel together."""

    is_write: bool
    needs_majority: bool
    tenths_of_time: int


class _Waiting:
    """A request that is not answered yet."""

    __slots__ = ("answer", "batch", "deadline_seconds", "last_start_seconds", "method", "request", "size_bytes")

    def __init__(
        self, method: Method[Any, Any], request: Message, timeout_seconds: float, answer: asyncio.Future[Answer]
    ) -> None:
        now_seconds = monotonic()
        self.method = method
        self.request = request
        self.size_bytes = request.ByteSize() + OPERATION_OVERHEAD_BYTES
        self.deadline_seconds = now_seconds + timeout_seconds
        self.last_start_seconds = self.deadline_seconds - min(LIKE_TIMEOUTS_SECONDS, timeout_seconds / 2)
        """After this it is not worth sending."""
        self.answer = answer
        self.batch: _Batch | None = None
        """What it was sent in; None until then."""


class _Batch:
    """What was sent in one message."""

    def __init__(self, requests: Sequence[_Waiting]) -> None:
        self.requests = requests
        self._listeners = len(requests)
        self.carrier: asyncio.Task[None] | None = None
        """Waits for the reply."""

    def leave(self) -> None:
        """One of those who wait does so no longer. The last takes the call with it."""
        self._listeners -= 1
        if self._listeners == 0 and self.carrier is not None:
            self.carrier.cancel()

    def settle(self, answers: Iterable[Answer]) -> None:
        """Tells each of those who still wait."""
        for waiting, answer in zip(self.requests, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Raises what should not have happened where it would be raised without a batch."""
        for waiting in self.requests:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)

    def settle_all(self, answer: Answer) -> None:
        """Tells all who still wait the same."""
        self.settle([answer] * len(self.requests))


class _Lane:
    """What is alike: those that wait to be sent, and how many batches of them are under way."""

    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.under_way = 0
        self._waiting_bytes = 0

    def add(self, waiting: _Waiting) -> None:
        """Behind all others."""
        self.waiting.append(waiting)
        self._waiting_bytes += waiting.size_bytes

    @property
    def may_send(self) -> bool:
        """Whether another batch may go out now."""
        if not self.under_way:
            return True
        is_full = self._waiting_bytes >= MAX_BYTES or len(self.waiting) >= MAX_OPERATIONS
        return is_full and self.under_way < MAX_UNDER_WAY

    def _pop(self) -> _Waiting:
        waiting = self.waiting.popleft()
        self._waiting_bytes -= waiting.size_bytes
        return waiting

    def take(self, now_seconds: float) -> list[_Waiting]:
        """Those at the front that may be one message, or may not but are alone. Empty if nobody waits any more."""
        part: list[_Waiting] = []
        size_bytes = 0
        while self.waiting and len(part) < MAX_OPERATIONS:
            waiting = self.waiting[0]
            if waiting.answer.done():
                self._pop()
                continue
            if now_seconds > waiting.last_start_seconds:
                self._pop().answer.set_result(TOO_LATE)
                continue
            size_bytes += waiting.size_bytes
            if part and (size_bytes > MAX_BYTES or not _end_alike(part[0], waiting)):
                break
            part.append(self._pop())
        return part


class Batches:
    """The batches to one node."""

    def __init__(self, channel: grpc.aio.Channel, login: Login) -> None:
        self._login = login
        self._call = channel.unary_unary(BATCH.path, BATCH.request_type.SerializeToString, BATCH.reply_type.FromString)
        self._lanes: dict[_Kind, _Lane] = {}
        self._is_tick_awaited = False
        self._carriers: set[asyncio.Task[None]] = set()
        self._lone_until_seconds = float("-inf")
        self._is_closed = False

    async def send(self, method: Method[Any, Any], request: Message, timeout_seconds: float) -> Answer:
        """The reply to a request, or why there is none; None if it is to be sent by its own method."""
        if not method.operation or monotonic() < self._lone_until_seconds:
            return None
        waiting = _Waiting(method, request, timeout_seconds, asyncio.get_running_loop().create_future())
        kind = _Kind(method.is_write, method.needs_majority, round(timeout_seconds / LIKE_TIMEOUTS_SECONDS))
        self._gather(kind, waiting)
        try:
            return await waiting.answer
        except asyncio.CancelledError:
            if waiting.batch is not None:
                waiting.batch.leave()
            raise

    def _gather(self, kind: _Kind, waiting: _Waiting) -> None:
        lane = self._lanes.get(kind)
        if lane is None:
            lane = self._lanes[kind] = _Lane()
        lane.add(waiting)
        if not self._is_tick_awaited:
            self._is_tick_awaited = True
            asyncio.get_running_loop().call_soon(self._end_tick)

    def _end_tick(self) -> None:
        self._is_tick_awaited = False
        for kind in tuple(self._lanes):
            self._send_waiting(kind)

    def _send_waiting(self, kind: _Kind) -> None:
        lane = self._lanes[kind]
        now_seconds = monotonic()
        while lane.may_send and (part := lane.take(now_seconds)):
            batch = _Batch(part)
            if self._is_closed:
                batch.settle_all(CLIENT_CLOSED)
            elif len(part) == 1 or now_seconds < self._lone_until_seconds:
                batch.settle_all(None)
            else:
                self._begin(kind, batch, min(waiting.deadline_seconds for waiting in part) - now_seconds)
        if not lane.under_way:
            del self._lanes[kind]

    def _begin(self, kind: _Kind, batch: _Batch, timeout_seconds: float) -> None:
        for waiting in batch.requests:
            waiting.batch = batch
        self._lanes[kind].under_way += 1
        batch.carrier = asyncio.create_task(self._carry(batch, timeout_seconds))
        self._carriers.add(batch.carrier)
        batch.carrier.add_done_callback(partial(self._carried, kind, batch))

    async def _carry(self, batch: _Batch, timeout_seconds: float) -> None:
        requests = [(waiting.method, waiting.request) for waiting in batch.requests]
        call = self._call(batch_of(requests), timeout=timeout_seconds, metadata=self._login.metadata)
        try:
            batch.settle(answers_of(requests, await call))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                self._lone_until_seconds = monotonic() + WITHOUT_BATCHES_SECONDS
                batch.settle_all(None)
            else:
                batch.settle_all(failure_of_error(error))

    def _carried(self, kind: _Kind, batch: _Batch, carrier: asyncio.Task[None]) -> None:
        self._carriers.discard(carrier)
        if carrier.cancelled():
            batch.settle_all(CLIENT_CLOSING)
        elif (error := carrier.exception()) is not None:
            batch.fail(error)
        self._lanes[kind].under_way -= 1
        self._send_waiting(kind)

    async def close(self) -> None:
        """Ends what is under way, and takes no more."""
        self._is_closed = True
        for carrier in self._carriers:
            carrier.cancel()
        if self._carriers:
            await asyncio.wait(self._carriers)


def _end_alike(first: _Waiting, other: _Waiting) -> bool:
    return abs(other.deadline_seconds - first.deadline_seconds) <= LIKE_TIMEOUTS_SECONDS
