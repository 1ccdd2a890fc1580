"""Messages in a body: a flag that says whether it is compressed, the length in four bytes, the message.

Invariants:

- No more than one message of the allowed length, and what came with its last bytes, is held for a call. All else waits
  at the client, by HTTP/2's flow control, until it is asked for.
- A length is judged before anything of that length is waited for, and a compressed message while it is unpacked.
- A body that ends within a message is an error, and a client that goes is no end: what is not whole is not handed on.
"""

import struct
import zlib
from collections.abc import Awaitable, Callable
from typing import Final

import grpc

from meteora.rpc.status import CallFailed

Read = Callable[[], Awaitable[bytes | None]]
"""Gives the next bytes of a body, whenever they come; None at its end."""

PREFIX_BYTES: Final = 5

ACCEPTED_ENCODINGS: Final = b"identity, gzip"
"""What `grpc-accept-encoding` says."""

_PREFIX: Final = struct.Struct(">BI")
_GZIP_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS


def frame(message: bytes) -> bytes:
    """A message as it stands in a body, not compressed."""
    return _PREFIX.pack(0, len(message)) + message


def whole_message(body: bytes, max_message_bytes: int) -> bytes | None:
    """The message, if the body holds just one, whole, allowed and not compressed. If not, a `MessageReader` knows."""
    if len(body) < PREFIX_BYTES:
        return None
    flag, length = _PREFIX.unpack_from(body)
    if flag or length != len(body) - PREFIX_BYTES or length > max_message_bytes:
        return None
    return body[PREFIX_BYTES:]


class MessageReader:
    """Takes the messages from the body of one request, one at a time."""

    __slots__ = ("_buffer", "_encoding", "_is_ended", "_keep", "_kept_bytes", "_max_message_bytes", "_read")

    def __init__(
        self, read: Read, encoding: bytes, max_message_bytes: int, keep: Callable[[int], None] | None = None
    ) -> None:
        """`keep` is told how many bytes of a message are here that is not whole, whenever that changes.

        So it is told 0 when that message is whole, whatever there is of the next one.
        """
        self._read = read
        self._keep = keep
        self._kept_bytes = 0
        self._encoding = encoding
        self._max_message_bytes = max_message_bytes
        self._buffer = bytearray()
        self._is_ended = False

    async def read(self) -> bytes | None:
        """The next message; None at the end of the body.

        Raises `CallFailed` for a message that can't be taken, and what the body's own read raises.
        """
        while (message := self.next_whole()) is None:
            if self._is_ended:
                self.ensure_whole()
                return None
            data = await self._read()
            if data is None:
                self._is_ended = True
            else:
                self.feed(data)
        return message

    def feed(self, data: bytes) -> None:
        """Takes the next part of the body. For whoever does not want it to be read."""
        self._buffer += data

    def next_whole(self) -> bytes | None:
        """The next message, if all of it is here. Raises `CallFailed` for one that can't be taken."""
        message = self._next_whole()
        if message is not None and self._kept_bytes:
            self._note_kept(0)
        if len(self._buffer) != self._kept_bytes:
            self._note_kept(len(self._buffer))
        return message

    def _note_kept(self, count: int) -> None:
        self._kept_bytes = count
        if self._keep is not None:
            self._keep(count)

    def _next_whole(self) -> bytes | None:
        here = len(self._buffer) - PREFIX_BYTES
        if here < 0:
            return None
        flag, length = _PREFIX.unpack_from(self._buffer)
        if length > self._max_message_bytes:
            raise _too_large(f"{length} vs. {self._max_message_bytes}")
        if here < length:
            return None
        message = self._take(length)
        return message if flag == 0 else self._decompressed(flag, message)

    def ensure_whole(self) -> None:
        """Raises `CallFailed` if the body, which has ended, ended within a message."""
        if self._buffer:
            raise _truncated()

    async def read_only(self) -> bytes:
        """The one message of a request that has no more. As `read`, but raises `CallFailed` if there is none."""
        message = await self.read()
        if message is None:
            raise _truncated()
        return message

    def _take(self, length: int) -> bytes:
        end = PREFIX_BYTES + length
        # Through a view, because a slice of a bytearray would be a second copy.
        with memoryview(self._buffer) as view, view[PREFIX_BYTES:end] as part:
            message = bytes(part)
        del self._buffer[:end]
        return message

    def _decompressed(self, flag: int, message: bytes) -> bytes:
        if flag != 1:
            raise CallFailed(grpc.StatusCode.INTERNAL, f"invalid flags {flag} before a message")
        if self._encoding == b"identity":
            raise CallFailed(grpc.StatusCode.INTERNAL, "Compression bit set but no encoding configured")
        if self._encoding != b"gzip":
            raise UnknownEncoding(self._encoding)
        return gunzip(message, self._max_message_bytes)


class UnknownEncoding(CallFailed):
    """The message is compressed in a way that we don't know. The answer has to say which ones we do."""

    def __init__(self, encoding: bytes) -> None:
        details = f"messages compressed by {encoding.decode('latin-1')!r} are not supported"
        super().__init__(grpc.StatusCode.UNIMPLEMENTED, details)


def gunzip(compressed: bytes, max_message_bytes: int) -> bytes:
    """The message, unpacked no further than to the limit. Raises `CallFailed` beyond that, or if it can't be."""
    unpacker = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        message = unpacker.decompress(compressed, max_message_bytes + 1)
    except zlib.error as error:
        raise CallFailed(grpc.StatusCode.INTERNAL, f"Decompression failed: {error}") from None
    if len(message) > max_message_bytes:
        raise _too_large(f"more than {max_message_bytes} when decompressed")
    if not unpacker.eof or unpacker.unused_data:
        raise CallFailed(grpc.StatusCode.INTERNAL, "Decompression failed: not one whole gzip stream")
    return message


def _truncated() -> CallFailed:
    return CallFailed(grpc.StatusCode.INTERNAL, "the request ended before its message was complete")


def _too_large(sizes: str) -> CallFailed:
    return CallFailed(grpc.StatusCode.RESOURCE_EXHAUSTED, f"Received message larger than max ({sizes})")
