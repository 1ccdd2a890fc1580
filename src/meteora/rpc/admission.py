"""The bytes of long messages that handlers are busy with: who brings more has to come again.

A message that came whole stays in memory until its call is answered, which is as long as the node waits for others. The
short way of a call (`direct`) keeps nothing of it.
"""

from typing import Final

import grpc

from meteora.http2 import Headers
from meteora.rpc.status import CallFailed

LONG_BYTES: Final = 4 << 10
"""Shorter messages are not counted: what they may come to is bounded by the number of requests."""

MAX_BYTES: Final = 128 << 20
"""Of all handlers of a server together. Its messages are there twice: as bytes, and as what they mean."""


class Admission:
    """Of one server. `refusal_headers` is what those are told behind the status who are turned away."""

    def __init__(self, refusal_headers: Headers) -> None:
        self.refusal_headers = refusal_headers
        self.bytes = 0

    def enter(self, count: int) -> int:
        """Lets a message of so many bytes in: how many to `leave` with. Raises `CallFailed` if there is no room."""
        if count <= LONG_BYTES:
            return 0
        if self.bytes + count > MAX_BYTES:
            raise TurnedAway
        self.bytes += count
        return count

    def leave(self, count: int) -> None:
        """The call is answered."""
        self.bytes -= count


class TurnedAway(CallFailed):
    """Nothing was done."""

    def __init__(self) -> None:
        super().__init__(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many long requests are being served: try again later")
