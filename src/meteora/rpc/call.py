"""One call: its response, its deadline, its end.

Invariants:

- A status is sent once and last, whatever happens, unless the client has gone.
- An interrupted call is not asked for its response any more: its handler is cancelled, and what it still says is
  dropped. Two things interrupt a call from here, its deadline and a server that stops; if the client goes, the task is
  cancelled by its stream.
- Who makes messages waits while the client does not read: no more than one of them is kept for a call.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpc

from meteora.http2 import Header, Headers, ServerStream, StreamEnded, encode_headers
from meteora.observability.histogram import MEASURED_OF
from meteora.observability.logs import get_logger
from meteora.rpc.admission import Admission, TurnedAway
from meteora.rpc.deadline import parse_timeout_seconds
from meteora.rpc.framing import ACCEPTED_ENCODINGS, MessageReader, UnknownEncoding, frame
from meteora.rpc.method import Method
from meteora.rpc.status import OK, CallFailed, number_of, status_headers

_START_HEADERS: Final[Headers] = [(b":status", b"200"), (b"content-type", b"application/grpc")]

START: Final = encode_headers(_START_HEADERS)
"""The start of every response that has messages, and no metadata before them."""

TRAILERS_OK: Final = encode_headers(status_headers(OK, ""))

_CANCELLED: Final = number_of(grpc.StatusCode.CANCELLED)
_UNKNOWN: Final = number_of(grpc.StatusCode.UNKNOWN)

_log = get_logger("rpc")


class Call:
    """One call of a method, from the headers of its request to the trailers of its response."""

    __slots__ = (
        "_admission",
        "_admitted_bytes",
        "_deadline",
        "_done_callbacks",
        "_has_ended",
        "_has_started",
        "_headers",
        "_interruption",
        "_is_aborted",
        "_is_plain",
        "_loop",
        "_reader",
        "_running",
        "_status",
        "_status_details",
        "_timer",
        "_trailers",
        "max_message_bytes",
        "method",
        "stream",
        "task",
    )

    def __init__(
        self,
        method: Method,
        stream: ServerStream,
        headers: Headers,
        *,
        max_message_bytes: int,
        running: "set[Call]",
        admission: Admission,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.method = method
        self.stream = stream
        self.max_message_bytes = max_message_bytes
        self.task: asyncio.Task[Any] | None = None
        # The handler left everything as it was: the response is one message, OK, and no metadata.
        self._is_plain = True
        self._headers = headers
        self._reader: MessageReader | None = None
        self._running = running
        self._admission = admission
        self._admitted_bytes = 0
        self._loop = loop
        self._status = OK
        self._status_details = ""
        self._trailers: list[Header] = []
        self._has_started = False
        self._has_ended = False
        self._is_aborted = False
        self._interruption: CallFailed | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._done_callbacks: list[Callable[[], None]] | None = None

    # How it goes on

    @property
    def reader(self) -> MessageReader:
        """What takes the messages from the request."""
        if self._reader is None:
            encoding = self._header(b"grpc-encoding") or b"identity"
            self._reader = MessageReader(self._read, encoding, self.max_message_bytes, self.stream.keep)
        return self._reader

    async def _read(self) -> bytes | None:
        try:
            return await self.stream.read()
        except StreamEnded:
            # The client has gone: the stream has cancelled this task, or is about to.
            raise asyncio.CancelledError from None

    def _header(self, name: bytes) -> bytes | None:
        return dict(self._headers).get(name)

    def begin(self) -> None:
        """To be called first, in the task that serves the call. Raises `CallFailed` if its deadline makes no sense."""
        self.task = asyncio.current_task(self._loop)
        self._running.add(self)
        self._measure()
        timeout = self._header(b"grpc-timeout")
        if timeout is not None:
            self._limit_time(parse_timeout_seconds(timeout))

    async def read_only(self) -> bytes:
        """The one message of the request, which stays in memory until the call is answered. Raises `CallFailed`."""
        message = await self.reader.read_only()
        self.admit(len(message))
        self.stream.begin()
        return message

    def admit(self, count: int) -> None:
        """The request takes so many bytes, and not what was said before. Raises `CallFailed` if there is no room."""
        self._admission.leave(self._admitted_bytes)
        self._admitted_bytes = 0
        self._admitted_bytes = self._admission.enter(count)

    def _measure(self) -> None:
        method, counts = self.method, self.method.counts
        counts.seen += 1
        is_due = not counts.measured or counts.seen % MEASURED_OF == 0
        if is_due and not (method.request_streaming or method.response_streaming):
            counts.begin(self.stream)

    def _limit_time(self, timeout_seconds: float) -> None:
        expiry = CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        if timeout_seconds <= 0:
            raise expiry
        self._deadline = self._loop.time() + timeout_seconds
        self._timer = self._loop.call_at(self._deadline, self.interrupt, expiry)

    def interrupt(self, reason: CallFailed) -> None:
        """Cancels the handler; the call then ends with `reason`, whatever the handler makes of it."""
        if self._interruption is None and not self._has_ended and self.task is not None:
            self._interruption = reason
            self._is_plain = False
            self.task.cancel()

    # What is sent

    def start(self, metadata: Headers) -> None:
        """Sends the headers of the response."""
        self._is_plain = False
        self._has_started = True
        self.stream.send_headers(encode_headers(_START_HEADERS + metadata) if metadata else START)

    async def respond(self, response: Any) -> None:
        """Sends a message; waits while the client has too many to read."""
        message = self.method.serialize(response)
        if not self._has_started:
            self.start([])
        self.stream.send(frame(message))
        try:
            await self.stream.drained()
        except StreamEnded:
            raise asyncio.CancelledError from None

    # How it ends

    async def answer(self, response: Any) -> None:
        """Sends the only response, if the handler left the status at OK, and ends the call."""
        if self._is_plain:
            body = frame(self.method.serialize(response))
            self._has_ended = True
            self.stream.respond(START, body, TRAILERS_OK)
            return
        if self._interruption is None and self._status == OK:
            await self.respond(response)
        self.finish()

    def finish(self) -> None:
        """Ends the call as its handler left it."""
        if self._interruption is not None:
            self._fail_with(self._interruption)
        else:
            self._end(self._status, self._status_details)

    def fail(self, error: BaseException) -> bool:
        """Ends the call whose handler, or whose request, raised `error`; False if that must go on, as nobody listens.

        It isn't raised from here: an error whose traceback leads to a frame that holds it keeps the whole call in
        memory, with its request, until the garbage collector comes by.
        """
        if self._has_ended:
            return False
        if isinstance(error, Exception) and not isinstance(error, CallFailed | grpc.aio.AbortError):
            _log.exception("handler failed", method=self.method.path)
        if self._interruption is not None or self._is_aborted:
            self.finish()
        elif isinstance(error, CallFailed):
            self._fail_with(error)
        elif isinstance(error, asyncio.CancelledError):
            return self._fail_cancelled()
        elif isinstance(error, Exception):
            self._end(self._status or _UNKNOWN, f"Unexpected {type(error)}: {error}")
        else:
            return False
        return True

    def leave(self) -> None:
        """To be called last, however the call ended."""
        self._has_ended = True
        self._running.discard(self)
        self._admission.leave(self._admitted_bytes)
        counts = self.method.counts
        if self.stream in counts.measured:
            counts.end(self.stream)
        counts.count(self._status)
        # A task that ended with an error keeps that, and by its traceback this call; and the reader reads by it.
        self.task = self._reader = None
        if self._timer is not None:
            self._timer.cancel()
        for callback in self._done_callbacks or ():
            try:
                callback()
            except Exception:  # noqa: BLE001  whatever it is, the others are still to be told
                _log.exception("done callback failed", method=self.method.path)

    def _fail_with(self, failure: CallFailed) -> None:
        if failure is self._interruption and self.task is not None:
            # The cancellation was ours and has done its work: this task goes on.
            self.task.uncancel()
        if isinstance(failure, TurnedAway):
            self._trailers += self._admission.refusal_headers
        if isinstance(failure, UnknownEncoding):
            self._trailers.append((b"grpc-accept-encoding", ACCEPTED_ENCODINGS))
        self._end(number_of(failure.code), failure.details)

    def _fail_cancelled(self) -> bool:
        self._status = _CANCELLED
        if self.task is not None and self.task.cancelling():
            return False
        # The handler awaited something that somebody else cancelled. Without an answer the client would wait on.
        self._end(_CANCELLED, "the call was cancelled by the server")
        return True

    def _end(self, code: int, details: str) -> None:
        self._has_ended = True
        self._status = code
        headers = status_headers(code, details) + self._trailers
        if self._has_started:
            self.stream.send_headers(encode_headers(headers), is_end=True)
        else:
            send_status(self.stream, headers)


def send_status(stream: ServerStream, headers: Headers) -> None:
    """Sends a response that is nothing but a status."""
    stream.send_headers(encode_headers(_START_HEADERS + headers), is_end=True)
