"""The header `grpc-timeout`: how long the client will wait."""

import re
from typing import Final

import grpc

from meteora.rpc.status import CallFailed

_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def parse_timeout_seconds(value: bytes) -> float:
    """The time-out, in seconds. Raises `CallFailed` for what is none: better no call than one without a deadline."""
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise CallFailed(grpc.StatusCode.INTERNAL, "Error parsing 'grpc-timeout' metadata: invalid value")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def format_timeout(seconds: float) -> bytes:
    """The header's value: in milliseconds while these fit its eight digits, which is for a day."""
    milliseconds = max(0, round(seconds * 1000))
    return b"%dm" % milliseconds if milliseconds < 10**8 else b"%dS" % min(milliseconds // 1000, 10**8 - 1)
