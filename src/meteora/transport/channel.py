"""The settings of gRPC at both ends of what goes between peers, and what is said when there is no connection."""

import os
import socket
from typing import Final

KEEPALIVE_SECONDS: Final = 2
"""A peer from which nothing came for this long is pinged; it is given up if the answer takes as long again."""

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""What a receiver takes as one gRPC message: a batch, or one longer message alone, with a lot to spare. A receiver
without a limit could be made to fill its memory by whoever reaches its port."""

ChannelOptions = tuple[tuple[str, int], ...]


def _keepalive(seconds: int) -> ChannelOptions:
    return (
        ("grpc.keepalive_time_ms", seconds * 1000),
        ("grpc.keepalive_timeout_ms", seconds * 1000),
        # Without this one gRPC waits for the answer to a ping for a minute, whatever the time-out above says.
        ("grpc.http2.ping_timeout_ms", seconds * 1000),
        # By default it stops pinging after two pings between which it sent nothing else.
        ("grpc.http2.max_pings_without_data", 0),
    )


SERVER_OPTIONS: Final[ChannelOptions] = (
    # A peer that lost its power does not close its stream.
    *_keepalive(10 * KEEPALIVE_SECONDS),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Streams carry data one way only, and a grpc.aio server hangs up on a client that pings more often than it answers.
    ("grpc.http2.max_ping_strikes", 0),
)
"""For a `grpc.aio.server` that hosts the peers' service."""


def why_unreachable(error: OSError | ValueError) -> str:
    """Why there is no connection, for people."""
    if isinstance(error, socket.gaierror):
        return f"its name can't be looked up: {error.strerror}"
    # asyncio's own words name the address again.
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return f"can't be connected to: {reason}"
