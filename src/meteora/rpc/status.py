"""How a call ends: a code, a message for people, and their form in HTTP trailers.

Rule: whatever a message holds, the trailer made from it is printable ASCII of bounded length. A trailer that a client
can't take would hide the status that it carries.
"""

from typing import Final
from urllib.parse import quote

import grpc

from meteora.http2 import Header

MAX_DETAILS_CHARACTERS: Final = 1_024
"""Longer messages are cut: encoded, a character takes up to twelve bytes, and clients refuse more than 16 KiB."""

OK: Final = 0

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_LITERAL: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class CallFailed(Exception):
    """Ends a call with `code` and `details`. Raised where a call can't go on, caught where its status is sent."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


def number_of(code: grpc.StatusCode | int) -> int:
    """The number of a code, which may be given as its number already. Raises `ValueError` if there is no such code."""
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    if number not in _CODES:
        raise ValueError(f"no gRPC status has the code {code!r}")
    return int(number)


def status_headers(code: int, details: str) -> list[Header]:
    """`grpc-status` and, if there is anything to say, `grpc-message`."""
    headers = [(b"grpc-status", b"%d" % code)]
    if details:
        headers.append((b"grpc-message", _encoded(details)))
    return headers


def _encoded(details: str) -> bytes:
    """Percent-encoded UTF-8, as the protocol asks for it: all but printable ASCII, and the percent sign itself."""
    return quote(details[:MAX_DETAILS_CHARACTERS], safe=_LITERAL, errors="replace").encode("ascii")
