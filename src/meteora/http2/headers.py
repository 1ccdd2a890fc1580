"""Header compression (RFC 7541), and what the headers of a request must be like.

Both directions avoid the work that HPACK makes. What is sent never uses the dynamic table, so a block of headers means
the same on every stream of every connection, and is encoded once. What is received means the same as the last time if
its bytes do and the table was not changed since: `HeaderDecoder.generation` tells.
"""

import re
from collections.abc import Iterable
from typing import Final

from hpack import Decoder, HPACKError
from hpack.table import HeaderTable

from meteora.http2.frames import ConnectionFault, ErrorCode, StreamFault

Header = tuple[bytes, bytes]
"""Name and value."""

Headers = list[Header]

MAX_HEADERS_BYTES: Final = 64 * 1024
"""Of one request or response, uncompressed, with 32 bytes more for each header: what most servers allow."""

TABLE_EMPTIED: Final = b"\x20"
"""Before a block: the size of the dynamic table is 0 now (section 6.3)."""

_SHORT: Final = 127
"""A length below fits into its first byte (section 5.1)."""

_NAME: Final = re.compile(rb"[!-@\[-~]+")
"""Visible ASCII without capital letters (RFC 9113, section 8.2.1)."""

_NOT_IN_VALUES: Final = re.compile(rb"[\0\r\n]")

_PSEUDO: Final = frozenset([b":method", b":scheme", b":path", b":authority"])
_REQUIRED: Final = frozenset([b":method", b":scheme", b":path"])
_STATUS: Final = frozenset([b":status"])
_STATUS_VALUE: Final = re.compile(rb"[1-9][0-9]{2}")
_NONE: Final[frozenset[bytes]] = frozenset()
_OF_HTTP_1: Final = frozenset([b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"])


class _CountingTable(HeaderTable):
    """A dynamic table that counts what is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.additions = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.additions += 1
        super().add(name, value)


class HeaderDecoder:
    """The headers that one peer sends. Every block must be decoded, in order, or be known from the same generation."""

    def __init__(self) -> None:
        self._table = _CountingTable()
        self._decoder = Decoder(MAX_HEADERS_BYTES)
        self._decoder.header_table = self._table
        self._resizes = 0

    @property
    def generation(self) -> int:
        """Changes when the meaning of blocks does."""
        return self._table.additions + self._resizes

    def decode(self, block: bytes) -> Headers:
        """The headers in a block. Raises `ConnectionFault`: after that, no block can be understood any more."""
        if len(block) > MAX_HEADERS_BYTES:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"headers of more than {MAX_HEADERS_BYTES} bytes")
        # Where there is one, a new size of the table comes first.
        self._resizes += block[:1] >= b"\x20" and block[:1] < b"\x40"
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "headers that can't be read, or are too many") from error


def encode_headers(headers: Iterable[Header]) -> bytes:
    """A block that leaves the dynamic table alone: literal fields without indexing (section 6.2.2)."""
    return b"".join([b"\x00" + _string(name) + _string(value) for name, value in headers])


def _string(text: bytes) -> bytes:
    length = len(text)
    if length < _SHORT:
        return bytes((length,)) + text
    rest, encoded = length - _SHORT, bytearray((_SHORT,))
    while rest >= 0x80:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded) + text


def check_request(headers: Headers) -> None:
    """Raises `StreamFault` for headers that are no request's (RFC 9113, section 8)."""
    if not _check_fields(headers, _PSEUDO) >= _REQUIRED:
        raise _malformed(b":path")


def check_response(headers: Headers) -> None:
    """Raises `StreamFault` for headers that are no response's."""
    if not _check_fields(headers, _STATUS) or not _STATUS_VALUE.fullmatch(dict(headers)[b":status"]):
        raise _malformed(b":status")


def check_trailers(headers: Headers) -> None:
    """Raises `StreamFault` for headers that can't come behind a body."""
    _check_fields(headers, _NONE)


def _check_fields(headers: Headers, allowed: frozenset[bytes]) -> set[bytes]:
    """The pseudo-headers, each of which is there once and allowed. Raises `StreamFault`."""
    pseudo: set[bytes] = set()
    has_regular = False
    for name, value in headers:
        if name.startswith(b":"):
            if has_regular or name in pseudo or name not in allowed:
                raise _malformed(name)
            pseudo.add(name)
            continue
        has_regular = True
        if not _NAME.fullmatch(name) or name in _OF_HTTP_1 or (name == b"te" and value != b"trailers"):
            raise _malformed(name)
        if _NOT_IN_VALUES.search(value):
            raise _malformed(name)
    return pseudo


def content_length_of(headers: Headers) -> int | None:
    """What the headers say how long the body is; None if they don't. Raises `StreamFault` for what is no length."""
    stated = {value for name, value in headers if name == b"content-length"}
    if not stated:
        return None
    length = stated.pop()
    if stated or not length.isdigit() or not length.isascii() or len(length) > len(str(2**63)):
        raise _malformed(b"content-length")
    return int(length)


def _malformed(name: bytes) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, f"malformed headers: {name!r}")
