"""Frames as they stand on the wire (RFC 9113, sections 4 and 6), and how what breaks the rules is called."""

import struct
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends before its first frame."""

HEAD_BYTES: Final = 9

HEAD: Final = struct.Struct(">BHBBL")
"""Length (its upper byte, its lower two), kind, flags, stream."""

MIN_FRAME_BYTES: Final = 16_384
"""The longest payload that every peer takes."""

MAX_WINDOW_BYTES: Final = 2**31 - 1

DEFAULT_WINDOW_BYTES: Final = 65_535

DEFAULT_TABLE_BYTES: Final = 4_096

MAX_REASON_BYTES: Final = 1_000
"""Of the reason in a GOAWAY frame, which may quote what the peer sent, and must fit a frame that every peer takes."""

# Kinds. Plain numbers, because each frame is looked at.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

# Flags.
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

_WORD: Final = struct.Struct(">L")
_SETTING: Final = struct.Struct(">HL")


class Setting(IntEnum):
    """Section 6.5.2."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    """Section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFault(Exception):
    """The peer broke a rule after which nothing it sends can be understood, or trusted: the connection ends."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class StreamFault(Exception):
    """The peer broke a rule that only concerns one stream: that one ends."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame."""
    return HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream_id) + payload


def settings_frame(settings: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(key, value) for key, value in settings.items()]))


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, _WORD.pack(increment))


def rst_stream_frame(stream_id: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, _WORD.pack(code))


def goaway_frame(last_stream_id: int, code: int, reason: str = "") -> bytes:
    """A GOAWAY frame."""
    return frame(GOAWAY, 0, 0, _WORD.pack(last_stream_id) + _WORD.pack(code) + reason.encode()[:MAX_REASON_BYTES])


def word_of(payload: bytes, offset: int = 0) -> int:
    """The 31 bits of a number in a payload."""
    value: int = _WORD.unpack_from(payload, offset)[0]
    return value & MAX_WINDOW_BYTES


def code_of(payload: bytes, offset: int = 0) -> int:
    """The 32 bits of an error code in a payload. Peers may send codes that nobody knows."""
    value: int = _WORD.unpack_from(payload, offset)[0]
    return value


def settings_of(payload: bytes) -> list[tuple[int, int]]:
    """The settings in a payload, known or not, in their order."""
    return list(_SETTING.iter_unpack(payload))


def without_padding(payload: bytes) -> bytes:
    """The payload of a frame that is flagged `PADDED`. Raises `ConnectionFault` if the padding is all there is."""
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
