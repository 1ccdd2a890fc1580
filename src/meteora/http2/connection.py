"""What both ends of a connection have in common: frames, flow control, settings, pings, the end.

Invariants:

- Frames are written in the order of the calls, in one write for each turn of the event loop. Nothing is sent beyond the
  windows that the peer has opened, and none of many streams waits for one of them to be done.
- What is received is counted against both windows before anything else is done with it.
- A peer that breaks the rules is told which, by GOAWAY, and cut off.
"""

import asyncio
import socket
import struct
from collections import deque
from typing import Final, cast

from meteora.http2 import frames
from meteora.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEAD,
    HEAD_BYTES,
    HEADERS,
    MAX_WINDOW_BYTES,
    MIN_FRAME_BYTES,
    PADDED,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ConnectionFault,
    ErrorCode,
    Setting,
    StreamFault,
)
from meteora.http2.headers import MAX_HEADERS_BYTES, TABLE_EMPTIED, HeaderDecoder
from meteora.http2.stream import STREAM_WINDOW_BYTES, Stream, StreamEnded, add_piece
from meteora.observability.logs import get_logger
from meteora.tls import TlsFailure

CONNECTION_WINDOW_BYTES: Final = 16 << 20
"""What a peer may have sent on all streams that was not read here yet. A stream that nobody reads leaves three quarters
to the others."""

MAX_FRAME_BYTES: Final = 256 << 10
"""The longest payload that is taken: a few frames for a large value, and no more than this to hold till it is whole."""

LONG_FRAME_BYTES: Final = 16 << 10
"""A frame up to this may be incomplete on every connection: no more is looked at."""

UNREAD_BYTES: Final = 16 << 10
"""So much that the peer does not read may wait in the socket's buffer on every connection: no more is looked at."""

MAX_CONTROL_FRAMES: Final = 10_000
"""Answers to a peer's pings, settings and broken streams, and headers, none of which wait in a stream: so many may wait
because the peer does not read, and then it is cut off."""

MAX_CONTROL_BYTES: Final = 4 << 20
"""The same, in bytes."""

_RETURN_BYTES: Final = CONNECTION_WINDOW_BYTES // 4
_WRITE_BYTES: Final = 512 << 10
"""Of data in one write: more waits in the streams, which can still drop it."""

_TCP_INFO: Final = 11
_ROUND_TRIP: Final = struct.Struct("=68xI")
"""Linux: the socket option that tells of a connection, and where in it `tcpi_rtt` is, in microseconds."""

_TAKEN: Final = struct.Struct("=120xQ16xI52xQQ")
"""There, too: bytes that were acknowledged, that are not sent yet, that were sent, and of these again."""

_log = get_logger("http2")


class Connection(asyncio.Protocol):
    """One connection. Used on the event loop that it was made on."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.streams: dict[int, Stream] = {}
        """All that are not over at both ends."""
        self.max_send_bytes = MIN_FRAME_BYTES
        """The longest payload that the peer takes."""
        self.is_clear = True
        """Whether what is sent need not wait behind anything, but for the windows."""
        self.send_window = frames.DEFAULT_WINDOW_BYTES
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self._peer_stream_window = frames.DEFAULT_WINDOW_BYTES
        self._receive_window = CONNECTION_WINDOW_BYTES
        self._unreturned_bytes = 0
        self._decoder = HeaderDecoder()
        self._transport: asyncio.Transport
        self._out: list[bytes | memoryview] = []
        self._out_bytes = 0
        self._control_frames = self._control_bytes = 0
        """Written while the transport takes no more."""
        self._is_flush_due = self._is_paused = self._is_table_emptied = self._is_closing = False
        self._waiting: dict[int, Stream] = {}
        """Streams with something to send, whose turn is yet to come."""
        self._parts: deque[bytes | bytearray] = deque()
        """Of a frame that is not whole yet."""
        self._parts_bytes = self._wanted_bytes = 0
        self._block: list[bytes] = []
        """Of headers that are not whole yet."""
        self._block_stream_id = self._block_flags = self._block_bytes = 0
        self._has_settings = False
        self._ping_seconds = 0.0
        self._has_heard = True
        """Since the last look."""
        self._is_pinged = False
        self._pinger: asyncio.TimerHandle | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        # uvloop's transports are none by inheritance.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=UNREAD_BYTES)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._has_heard = True
        try:
            self._receive(data)
        except ConnectionFault as fault:
            self.fail(fault.code, str(fault))
        except Exception:  # noqa: BLE001  a bug of this end must not leave the peer without a word
            _log.exception("a connection is ended by an error of this end")
            self.fail(ErrorCode.INTERNAL_ERROR, "an error of this end")
        if self._out:
            self.flush()

    def eof_received(self) -> bool | None:
        """Called by asyncio, which then closes the connection."""
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio, once, last."""
        self._is_closing = True
        if self._pinger is not None:
            self._pinger.cancel()
        self._out.clear()
        self._waiting.clear()
        reason = str(exc) if isinstance(exc, TlsFailure) else "the connection was lost"
        self._end_streams(StreamEnded(reason, ErrorCode.CONNECT_ERROR))
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """Called by asyncio."""
        self._is_paused = True
        self.is_clear = False

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._is_paused = False
        self._control_frames = self._control_bytes = 0
        self._pump_waiting()

    def round_trip_seconds(self) -> float | None:
        """How long a packet takes to the peer and back, smoothed by the system; None if that doesn't tell."""
        try:
            sock = self._transport.get_extra_info("socket")
            information = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _ROUND_TRIP.size)
            return float(_ROUND_TRIP.unpack(information)[0]) * 1e-6
        except (AttributeError, OSError, struct.error):
            return None

    def bytes_taken(self) -> tuple[int, int] | None:
        """How many bytes the peer's system has, and how many it has once it has all that was written.

        Those of TLS included. None if the system doesn't tell.
        """
        try:
            sock = self._transport.get_extra_info("socket")
            information = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _TAKEN.size)
            taken, unsent, sent, sent_again = _TAKEN.unpack(information)
        except (AttributeError, OSError, struct.error):
            return None
        return taken, sent - sent_again + unsent + self._transport.get_write_buffer_size()

    # The end

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is taken in."""
        return self._is_closing

    def fail(self, code: ErrorCode, reason: str) -> None:
        """Cuts the peer off, and tells it why."""
        if not self._is_closing:
            self._write(frames.goaway_frame(self._last_stream_id(), code, reason))
            self.close()
            self._end_streams(StreamEnded(reason, code))

    def close(self) -> None:
        """Ends the connection, once what was written is sent."""
        if not self._is_closing:
            self._is_closing = True
            self.flush()
            self._transport.close()

    def abort(self) -> None:
        """Ends the connection at once."""
        self._is_closing = True
        self._transport.abort()

    def _last_stream_id(self) -> int:
        """The last stream of the peer's that was looked at."""
        return 0

    def _end_streams(self, ending: StreamEnded) -> None:
        streams, self.streams = list(self.streams.values()), {}
        for stream in streams:
            stream.return_all()
            stream.end(ending)

    # Life signs

    def ping_after(self, seconds: float) -> None:
        """Pings a peer from which nothing came for so long; if there is no answer in the same time, it is gone."""
        self._ping_seconds = seconds
        self._pinger = self.loop.call_later(seconds, self._look_for_life)

    def _look_for_life(self) -> None:
        if not self._has_heard:
            if self._is_pinged:
                self.fail(ErrorCode.NO_ERROR, f"nothing was heard for {2 * self._ping_seconds:g} s")
                # Nobody reads what would be flushed.
                self._transport.abort()
                return
            self._write(frames.frame(PING, 0, 0, bytes(8)))
        self._is_pinged = not self._has_heard
        self._has_heard = False
        self._pinger = self.loop.call_later(self._ping_seconds, self._look_for_life)

    # Writing

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        if not self._is_flush_due:
            self._is_flush_due = True
            self.loop.call_soon(self._flush_due)

    def _write_control(self, data: bytes) -> None:
        """Writes what the peer made this end say, and what is not held back by its windows."""
        if self._is_paused:
            self._control_frames += 1
            self._control_bytes += len(data)
            if self._control_frames > MAX_CONTROL_FRAMES or self._control_bytes > MAX_CONTROL_BYTES:
                self.abort()
                return
        self._write(data)

    def _flush_due(self) -> None:
        self._is_flush_due = False
        self.flush()

    def flush(self) -> None:
        """Hands what was written to the socket, now and not at the end of the turn."""
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._out_bytes = 0
            if not self._transport.is_closing():
                self._transport.write(data)
        if self._waiting and not self._is_paused:
            self._pump_waiting()

    def write_headers(self, stream_id: int, block: bytes, *, is_end: bool) -> None:
        """Writes a block of headers, in as many frames as it needs."""
        if self._is_table_emptied:
            self._is_table_emptied = False
            self.is_clear = not (self._is_paused or self._waiting)
            block = TABLE_EMPTIED + block
        flags = END_STREAM if is_end else 0
        if len(block) <= self.max_send_bytes:
            self._write_control(frames.frame(HEADERS, flags | END_HEADERS, stream_id, block))
            return
        parts = [block[at : at + self.max_send_bytes] for at in range(0, len(block), self.max_send_bytes)]
        self._write_control(frames.frame(HEADERS, flags, stream_id, parts[0]))
        for part in parts[1:-1]:
            self._write_control(frames.frame(CONTINUATION, 0, stream_id, part))
        self._write_control(frames.frame(CONTINUATION, END_HEADERS, stream_id, parts[-1]))

    def pump(self, stream: Stream) -> None:
        """Sends what the stream has queued, as far as it may."""
        self._waiting[stream.id] = stream
        self._pump_waiting()

    def _pump_waiting(self) -> None:
        """A frame of each stream in turn, until nothing more may be sent."""
        waiting = self._waiting
        while waiting and not self._is_paused and self._out_bytes < _WRITE_BYTES:
            stream_id, stream = next(iter(waiting.items()))
            if self.send_window <= 0 and stream.queue and stream.queue[0]:
                break
            del waiting[stream_id]
            if self._send_frame(stream):
                waiting[stream_id] = stream
        self.is_clear = not (self._is_paused or waiting or self._is_table_emptied)

    def _send_frame(self, stream: Stream) -> bool:
        """Sends what fits a frame; whether the stream may send more."""
        queue = stream.queue
        if not queue:
            self._finish_queue(stream)
            return False
        data = queue[0]
        # A stream's window is negative after settings that made it smaller than what was sent.
        room = max(0, min(self.send_window, stream.send_window, self.max_send_bytes))
        count = min(room, len(data))
        if count == 0 and data:
            return False  # Goes on when the peer gives this stream room.
        if count == len(data):
            queue.popleft()
        else:
            data, queue[0] = data[:count], data[count:]
        self.send_window -= count
        stream.send_window -= count
        is_end = not queue and stream.queue_ends and stream.queued_trailers is None
        head = HEAD.pack(count >> 16, count & 0xFFFF, DATA, END_STREAM if is_end else 0, stream.id)
        self._out_bytes += count
        self._write(head)
        self._out.append(data)
        if queue:
            return True
        self._finish_queue(stream)
        return False

    def _finish_queue(self, stream: Stream) -> None:
        stream.note_drained()
        if stream.queue_ends:
            if stream.queued_trailers is not None:
                self.write_headers(stream.id, stream.queued_trailers, is_end=True)
            self.finish_local(stream)

    def finish_local(self, stream: Stream) -> None:
        """This end has sent all that it will on this stream."""
        stream.is_local_done = True
        if stream.is_remote_done:
            self._forget(stream)

    def finish_remote(self, stream: Stream) -> None:
        """The peer has sent all that it will on this stream."""
        stream.is_remote_done = True
        if stream.is_local_done:
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        self.streams.pop(stream.id, None)
        self._waiting.pop(stream.id, None)
        stream.return_all()

    def reset(self, stream: Stream, code: ErrorCode, reason: str) -> None:
        """Gives a stream up, and tells the peer."""
        if self.streams.get(stream.id) is stream:
            self._forget(stream)
            self._note_given_up(stream.id)
            self._write_control(frames.rst_stream_frame(stream.id, code))
            stream.end(StreamEnded(reason, code))

    def _refuse(self, stream: Stream, code: ErrorCode, reason: str) -> None:
        """Gives a stream up on which the peer broke a rule."""
        self._on_reset()
        self.reset(stream, code, reason)

    # Room for what the peer sends

    def return_room(self, count: int) -> None:
        """So many bytes were read, or dropped."""
        self._unreturned_bytes += count
        if self._unreturned_bytes >= _RETURN_BYTES:
            self._receive_window += self._unreturned_bytes
            self.grant(0, self._unreturned_bytes)
            self._unreturned_bytes = 0

    def grant(self, stream_id: int, count: int) -> None:
        """Tells the peer that it may send so much more."""
        if not self._is_closing:
            self._write(frames.window_update_frame(stream_id, count))

    # Reading

    def _receive(self, data: bytes) -> None:
        """Puts frames together that came in parts."""
        if self._parts:
            add_piece(self._parts, data)
            self._parts_bytes += len(data)
            if self._parts_bytes < self._wanted_bytes:
                return
            data = b"".join(self._parts)
            self._parts.clear()
            if self._wanted_bytes > LONG_FRAME_BYTES:
                self._note_part(0)
        taken = self._take_frames(data)
        if taken < len(data) and not self._is_closing:
            rest = data[taken:]
            self._parts.append(rest)
            self._parts_bytes = len(rest)
            self._wanted_bytes = HEAD_BYTES
            if len(rest) >= HEAD_BYTES:
                self._wanted_bytes += int.from_bytes(rest[:3])
                if self._wanted_bytes > LONG_FRAME_BYTES:
                    self._note_part(self._wanted_bytes)

    def part_bytes(self, stream_id: int) -> int:
        """How much is here of a frame of that stream that is not whole yet."""
        if not self._parts or len(self._parts[0]) < HEAD_BYTES or HEAD.unpack_from(self._parts[0])[-1] != stream_id:
            return 0
        return self._parts_bytes

    def _note_part(self, wanted_bytes: int) -> None:
        """A long frame is not whole yet; 0: it is."""

    def _note_block(self, count: int) -> None:
        """So many more bytes of headers are here that are not whole yet; 0: they are."""

    def _take_frames(self, data: bytes) -> int:
        """Takes all frames that are whole; how many bytes those are."""
        unpack, position, size = HEAD.unpack_from, 0, len(data)
        while size - position >= HEAD_BYTES and not self._is_closing:
            upper, lower, kind, flags, stream_id = unpack(data, position)
            length = upper << 16 | lower
            if stream_id > MAX_WINDOW_BYTES:
                stream_id &= MAX_WINDOW_BYTES
            if length > MAX_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = position + HEAD_BYTES
            position_after = start + length
            if position_after > size:
                break
            position = position_after
            payload = data[start:position]
            if kind == DATA and self._has_settings and not self._block:
                self._take_data(flags, stream_id, payload)
            elif kind == HEADERS and flags & END_HEADERS and self._has_settings and not self._block:
                self._take_headers(flags, stream_id, payload)
            else:
                self._take_other(kind, flags, stream_id, payload)
        return position

    def _take_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than there was room for")
        stream = self.streams.get(stream_id)
        if stream is None or stream.is_remote_done:
            if not self._is_known(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"data on stream {stream_id}, which was never opened")
            # Of a stream that this end has given up: it was on its way.
            self.return_room(size)
            if stream is not None:
                self._refuse(stream, ErrorCode.STREAM_CLOSED, "data after the end of the stream")
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            self.return_room(size)
            self._refuse(stream, ErrorCode.FLOW_CONTROL_ERROR, "more data than there was room for")
            return
        if flags & PADDED:
            payload = frames.without_padding(payload)
            stream.return_room(size - len(payload))
        if size <= 1 and not payload and not flags & END_STREAM:
            self._on_reset()
        self._on_data(stream, payload, is_end=flags & END_STREAM != 0)

    def _take_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & (PADDED | HAS_PRIORITY):
            payload = _block_in(flags, payload)
        try:
            self._on_headers(stream_id, payload, is_end=flags & END_STREAM != 0)
        except StreamFault as fault:
            stream = self.streams.get(stream_id)
            if stream is None:
                self._note_given_up(stream_id)
                self._write_control(frames.rst_stream_frame(stream_id, fault.code))
            else:
                self._refuse(stream, fault.code, str(fault))

    def _take_other(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self._ensure_order(kind, stream_id)
        match kind:
            case frames.HEADERS:
                self._begin_block(flags, stream_id, _block_in(flags, payload))
            case frames.CONTINUATION:
                self._continue_block(flags, payload)
            case frames.WINDOW_UPDATE:
                self._take_window_update(stream_id, payload)
            case frames.SETTINGS:
                self._take_settings(flags, stream_id, payload)
            case frames.PING:
                self._take_ping(flags, stream_id, payload)
            case frames.RST_STREAM:
                self._take_rst_stream(stream_id, payload)
            case frames.GOAWAY:
                _ensure_stream(kind, stream_id == 0)
                _ensure_size(kind, len(payload) >= 8)
                self._on_goaway(frames.word_of(payload), frames.code_of(payload, 4), payload[8:])
            case frames.PRIORITY:
                _ensure_stream(kind, stream_id != 0)
                _ensure_size(kind, len(payload) == 5)
            case frames.PUSH_PROMISE:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "pushes were not asked for")
            case _:
                pass  # Section 4.1: kinds that are not known are ignored.

    def _ensure_order(self, kind: int, stream_id: int) -> None:
        # Who is not let in is told so without settings.
        if not self._has_settings and kind not in (SETTINGS, GOAWAY):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is no SETTINGS")
        if self._block and (kind != CONTINUATION or stream_id != self._block_stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "headers that were not finished")

    # Headers in several frames

    def _begin_block(self, flags: int, stream_id: int, part: bytes) -> None:
        self._block = [part]
        self._note_block(HEAD_BYTES + len(part))
        self._block_stream_id, self._block_flags, self._block_bytes = stream_id, flags, len(part)

    def _continue_block(self, flags: int, part: bytes) -> None:
        if not self._block:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "headers go on that have not begun")
        # Every frame counts, or empty ones could go on for ever.
        self._block_bytes += HEAD_BYTES + len(part)
        if self._block_bytes > MAX_HEADERS_BYTES:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"headers of more than {MAX_HEADERS_BYTES} bytes")
        self._block.append(part)
        self._note_block(HEAD_BYTES + len(part))
        if flags & END_HEADERS:
            self._note_block(0)
            block, self._block = b"".join(self._block), []
            self._take_headers(self._block_flags & END_STREAM, self._block_stream_id, block)

    # What is about the connection

    def _take_window_update(self, stream_id: int, payload: bytes) -> None:
        _ensure_size(WINDOW_UPDATE, len(payload) == 4)
        increment = frames.word_of(payload)
        # Section 6.9 for no room, section 6.9.1 for too much of it.
        code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
        stream = self.streams.get(stream_id)
        if stream_id == 0:
            self.send_window += increment
            if increment == 0 or self.send_window > MAX_WINDOW_BYTES:
                raise ConnectionFault(code, "a window that is none")
            self._pump_waiting()
        elif stream is not None:
            stream.send_window += increment
            if increment == 0 or stream.send_window > MAX_WINDOW_BYTES:
                self._refuse(stream, code, "a window that is none")
            elif stream.queue:
                self.pump(stream)
        elif not self._is_known(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"room on stream {stream_id}, which was never opened")

    def _take_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        is_answer = flags & frames.ACK != 0
        _ensure_stream(SETTINGS, stream_id == 0)
        _ensure_size(SETTINGS, len(payload) % 6 == 0 and not (is_answer and payload))
        if is_answer:
            return
        self._has_settings = True
        for key, value in frames.settings_of(payload):
            self._apply_setting(key, value)
        self._write_control(frames.frame(SETTINGS, frames.ACK, 0))
        self._pump_waiting()

    def _apply_setting(self, key: int, value: int) -> None:
        match key:
            case Setting.INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW_BYTES:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"a window of {value} bytes")
                difference, self._peer_stream_window = value - self._peer_stream_window, value
                for stream in self.streams.values():
                    stream.send_window += difference
                    if stream.send_window > MAX_WINDOW_BYTES:
                        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"a window of {stream.send_window} bytes")
                    if stream.queue:
                        self._waiting[stream.id] = stream
            case Setting.MAX_FRAME_SIZE:
                if not MIN_FRAME_BYTES <= value < 1 << 24:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"frames of {value} bytes")
                self.max_send_bytes = min(value, MAX_FRAME_BYTES)
            case Setting.HEADER_TABLE_SIZE:
                if value < frames.DEFAULT_TABLE_BYTES:
                    # It wants to be told that the table is smaller now, though nothing was ever put into it.
                    self._is_table_emptied = True
                    self.is_clear = False
            case _:
                self._on_setting(key, value)

    def _take_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        _ensure_stream(PING, stream_id == 0)
        _ensure_size(PING, len(payload) == 8)
        if not flags & frames.ACK:
            self._write_control(frames.frame(PING, frames.ACK, 0, payload))

    def _take_rst_stream(self, stream_id: int, payload: bytes) -> None:
        _ensure_size(RST_STREAM, len(payload) == 4)
        if not self._is_known(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"the end of stream {stream_id}, which was never opened")
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._on_reset()
            self._forget(stream)
            stream.end(StreamEnded("the peer gave it up", frames.code_of(payload)))

    # What the two ends do differently

    def _is_known(self, stream_id: int) -> bool:
        """Whether the stream is, or was, one of this connection's."""
        raise NotImplementedError

    def _on_headers(self, stream_id: int, block: bytes, *, is_end: bool) -> None:
        """Headers have come. May raise `StreamFault`."""
        raise NotImplementedError

    def _on_data(self, stream: Stream, data: bytes, *, is_end: bool) -> None:
        """Data have come."""
        raise NotImplementedError

    def _note_given_up(self, stream_id: int) -> None:
        """This end has ended a stream on which more may be on its way."""

    def _on_reset(self) -> None:
        """The peer gives a stream up, or makes this end do so. May raise `ConnectionFault`."""

    def _on_goaway(self, last_stream_id: int, code: int, reason: bytes) -> None:
        """The peer will end the connection."""

    def _on_setting(self, key: int, value: int) -> None:
        """A setting that only one end cares for."""


def opening_frames(extra: dict[Setting, int]) -> bytes:
    """The first frames of either end: its settings, and the room that there is on the connection."""
    settings = {
        Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
        Setting.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
        Setting.MAX_HEADER_LIST_SIZE: MAX_HEADERS_BYTES,
        **extra,
    }
    room = CONNECTION_WINDOW_BYTES - frames.DEFAULT_WINDOW_BYTES
    return frames.settings_frame(settings) + frames.window_update_frame(0, room)


def _block_in(flags: int, payload: bytes) -> bytes:
    """The part of a block in the payload of a HEADERS frame."""
    if flags & PADDED:
        payload = frames.without_padding(payload)
    if flags & HAS_PRIORITY:
        _ensure_size(HEADERS, len(payload) >= 5)
        payload = payload[5:]
    return payload


def _ensure_size(kind: int, condition: bool) -> None:
    if not condition:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of kind {kind} of the wrong length")


def _ensure_stream(kind: int, condition: bool) -> None:
    if not condition:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"a frame of kind {kind} on the wrong stream")
