"""One stream: a request and its response, at either end.

What is sent goes out as far as flow control lets it, and waits here otherwise: who sends much awaits `drained`. What is
received waits here until it is read, and no more than a window of it: the peer gets room back as it is read.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from meteora.http2.frames import ErrorCode

if TYPE_CHECKING:
    from meteora.http2.connection import Connection

STREAM_WINDOW_BYTES: Final = 4 << 20
"""What a peer may have sent on one stream that was not read here yet: room for large values over long lines."""

_RETURN_BYTES: Final = STREAM_WINDOW_BYTES // 4
"""Room is given back in pieces of this size: a frame for each piece that is read would be as many frames again."""


SHORT_BYTES: Final = 4 << 10
"""Pieces are put together up to this: each costs some 40 bytes beside itself, a multiple of what may be in it."""


def add_piece(pieces: "deque[bytes | bytearray]", data: bytes) -> None:
    """Puts what was received behind what is there, in as few pieces as it takes without copying much."""
    if not pieces or len(pieces[-1]) >= SHORT_BYTES:
        pieces.append(data)
        return
    last = pieces[-1]
    if isinstance(last, bytes):
        last = pieces[-1] = bytearray(last)
    last += data


class StreamEnded(Exception):
    """The stream ended before its time: the peer, this end, or the connection gave it up. It says why."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code
        """An `ErrorCode`, or what the peer made up."""


class Stream:
    """One stream of a connection."""

    __slots__ = (
        "_drained",
        "_is_returned",
        "_reader",
        "_received",
        "_unreturned_bytes",
        "connection",
        "ending",
        "id",
        "is_holding",
        "is_local_done",
        "is_remote_done",
        "on_drained",
        "on_ended",
        "on_received",
        "queue",
        "queue_ends",
        "queued_trailers",
        "receive_window",
        "send_window",
    )

    def __init__(self, connection: "Connection", stream_id: int, send_window: int) -> None:
        self.connection = connection
        self.id = stream_id
        self.send_window = send_window
        self.receive_window = STREAM_WINDOW_BYTES
        self.is_local_done = self.is_remote_done = False
        """Whether this end, or the peer, has sent all that it will."""
        self.is_holding = False
        """Whether bytes may be held for it: see `meteora.http2.bounds`."""
        self.ending: StreamEnded | None = None
        """Set if the stream ended before its time."""
        self.on_ended: Callable[[], object] | None = None
        """Called then."""
        self.on_received: Callable[[], object] | None = None
        """Called when there is something to be read, or nothing more will come."""
        self.queue: deque[bytes | memoryview] | None = None
        """Data that is still to be sent; None if there was never any that had to wait."""
        self.queued_trailers: bytes | None = None
        self.queue_ends = False
        """Whether the stream ends with what is queued."""
        self.on_drained: Callable[[], object] | None = None
        """Called once, when all is sent that was queued."""
        self._drained: asyncio.Future[None] | None = None
        self._received: deque[bytes | bytearray] | None = None
        self._reader: asyncio.Future[None] | None = None
        self._unreturned_bytes = 0
        self._is_returned = False

    # Sending

    def send_headers(self, block: bytes, *, is_end: bool = False) -> None:
        """Sends headers, or trailers behind the data that are queued. Nothing if the stream has ended."""
        if self.ending is not None or self.is_local_done:
            return
        if self.queue:
            self.queued_trailers = block
            self.queue_ends = True
            return
        self.connection.write_headers(self.id, block, is_end=is_end)
        if is_end:
            self.connection.finish_local(self)

    def send(self, data: bytes, *, is_end: bool = False) -> None:
        """Sends data, or queues what the peer has no room for. Nothing if the stream has ended."""
        if self.ending is not None or self.is_local_done:
            return
        if self.queue is None:
            self.queue = deque()
        if data or is_end:
            self.queue.append(memoryview(data) if len(data) > self.connection.max_send_bytes else data)
        self.queue_ends = is_end
        self.connection.pump(self)

    async def drained(self) -> None:
        """Returns when all is sent that was queued. Raises `StreamEnded`."""
        while self.queue and self.ending is None:
            # Who waited before may have given up, and the future with it.
            if self._drained is None or self._drained.done():
                self._drained = self.connection.loop.create_future()
            await self._drained
        if self.ending is not None:
            raise StreamEnded(str(self.ending), self.ending.code)

    def note_drained(self) -> None:
        """All that was queued is sent."""
        waiter, self._drained = self._drained, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        callback, self.on_drained = self.on_drained, None
        if callback is not None:
            # Not from within the sending of this stream's last frame.
            self.connection.loop.call_soon(callback)

    def reset(self, code: ErrorCode, reason: str) -> None:
        """Gives the stream up."""
        self.connection.reset(self, code, reason)

    # Receiving

    @property
    def has_received(self) -> bool:
        """Whether something waits to be read."""
        return bool(self._received)

    def feed(self, data: bytes) -> None:
        """Something was received."""
        if data:
            if self._is_returned:
                # They ended the stream: they take no room of the connection's any more either.
                self.connection.return_room(len(data))
            if self._received is None:
                self._received = deque()
            add_piece(self._received, data)
        self.wake_reader()

    def wake_reader(self) -> None:
        """There is something to be read, or nothing more will come."""
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)
        if self.on_received is not None:
            self.on_received()

    async def read(self) -> bytes | None:
        """The next data; None when the peer has sent all. Raises `StreamEnded`."""
        while not self._received:
            if self.is_remote_done:
                return None
            if self.ending is not None:
                raise StreamEnded(str(self.ending), self.ending.code)
            self._reader = self.connection.loop.create_future()
            await self._reader
        return self.take()

    def take(self) -> bytes:
        """The next data of those that wait to be read."""
        assert self._received
        data = bytes(self._received.popleft())
        if not self._is_returned:
            self.return_room(len(data))
        return data

    def return_room(self, count: int) -> None:
        """So many bytes are read: the peer may send as many more."""
        self.connection.return_room(count)
        if not self.is_remote_done:
            self._unreturned_bytes += count
            if self._unreturned_bytes >= _RETURN_BYTES:
                self.receive_window += self._unreturned_bytes
                self.connection.grant(self.id, self._unreturned_bytes)
                self._unreturned_bytes = 0

    def return_all(self) -> None:
        """The stream is over: what nobody has read takes no room of the connection's any more."""
        if self._received and not self._is_returned:
            self.connection.return_room(sum(map(len, self._received)))
        self._is_returned = True

    # The end

    def end(self, ending: StreamEnded) -> None:
        """The stream is over before its time."""
        self.ending = ending
        if self.queue:
            self.queue.clear()
        self.note_drained()
        self.wake_reader()
        callback, self.on_ended = self.on_ended, None
        if callback is not None:
            callback()
