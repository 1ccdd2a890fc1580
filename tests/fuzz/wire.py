"""A connection without a socket: what is written is kept, and judged as the peer would judge it."""

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

from meteora.http2.frames import (
    CONTINUATION,
    DATA,
    END_STREAM,
    GOAWAY,
    HEAD,
    HEAD_BYTES,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    code_of,
)

CASE_SECONDS = 5.0
"""For one case, which takes milliseconds: more is a hang."""

TURNS = 6
"""Of the event loop, after each piece: as many as any chain of callbacks takes."""


class Wire(asyncio.Transport):
    """A transport that goes nowhere. It takes what is written at once, or, once `pause` is called, not at all."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.written = bytearray()
        self.is_lost = False
        self._is_closing = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_lost, "something was written to a connection that was lost"
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self.lose)

    def abort(self) -> None:
        self.close()

    def lose(self) -> None:
        self._is_closing = True
        if not self.is_lost:
            self.is_lost = True
            self.protocol.connection_lost(None)


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes


def frames_in(written: bytes) -> Iterator[Frame]:
    """The frames in what was written, all of which must be whole."""
    position = 0
    while position < len(written):
        upper, lower, kind, flags, stream_id = HEAD.unpack_from(written, position)
        end = position + HEAD_BYTES + (upper << 16 | lower)
        assert end <= len(written), "a frame was written in part"
        yield Frame(kind, flags, stream_id, bytes(written[position + HEAD_BYTES : end]))
        position = end


def judge(written: bytes) -> None:
    """Raises `AssertionError` if an end of a connection wrote what RFC 9113 doesn't allow it to."""
    written = written.removeprefix(PREFACE)
    if not written or written.startswith(b"HTTP/1.1 "):
        return
    begun: set[int] = set()
    ended: set[int] = set()
    for number, frame in enumerate(frames_in(written)):
        kind, flags, stream_id, payload = frame
        assert number or kind == SETTINGS, f"the first frame is {frame}"
        assert (stream_id == 0) <= (kind in {SETTINGS, PING, GOAWAY, WINDOW_UPDATE}), f"{frame} on the connection"
        if kind == GOAWAY:
            assert code_of(payload, 4) != ErrorCode.INTERNAL_ERROR, f"an error of this end: {payload!r}"
        if kind in {DATA, HEADERS, CONTINUATION}:
            assert stream_id not in ended, f"{frame} after the end of its stream"
            assert kind == HEADERS or stream_id in begun, f"{frame} before the headers of its stream"
            begun.add(stream_id)
        if kind == RST_STREAM or (kind in {DATA, HEADERS} and flags & END_STREAM):
            ended.add(stream_id)


class _Errors(logging.Handler):
    """Keeps the first exception that was logged, which nobody had expected."""

    def __init__(self) -> None:
        super().__init__()
        self.found: tuple[BaseException, TracebackType | None] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None and self.found is None:
            self.found = record.exc_info[1], record.exc_info[2]


@contextmanager
def nothing_logged() -> Iterator[None]:
    """Raises what was logged with a traceback inside: an exception that was caught where only bugs end."""
    errors = _Errors()
    loggers = [logging.getLogger("meteora"), logging.getLogger("asyncio")]
    before = [each.propagate for each in loggers]
    for logger in loggers:
        logger.addHandler(errors)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(errors)
            logger.propagate = propagate
    if errors.found is not None:
        raise errors.found[0].with_traceback(errors.found[1])


def run(story: Coroutine[Any, Any, None]) -> None:
    """Runs a case on a loop of its own, after which no task may be left."""

    async def all_of_it() -> None:
        async with asyncio.timeout(CASE_SECONDS):
            await story
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left running: {left}"

    with nothing_logged():
        asyncio.run(all_of_it())


async def turns(count: int = TURNS) -> None:
    """Lets everything happen that is due."""
    for _ in range(count):
        await asyncio.sleep(0)
