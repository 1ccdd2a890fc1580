"""How long a request may wait: until just before its client's deadline, and no longer than this node's setting."""

from typing import Any

import grpc

ANSWER_MARGIN_SECONDS = 0.25
"""Before the client's own deadline, so that what it gets is our answer and not its own time-out: two ticks, and the
way back."""


def deadline_of(context: grpc.aio.ServicerContext[Any, Any], default_seconds: float, now: float) -> float:
    """When to give up, in the time of the loop, where it is `now`."""
    return deadline_after(context.time_remaining(), default_seconds, now)


def deadline_after(remaining: float | None, default_seconds: float, now: float) -> float:
    """As `deadline_of`, for a client that waits for `remaining` seconds; None: for ever."""
    if remaining is None or remaining >= default_seconds + ANSWER_MARGIN_SECONDS:
        return now + default_seconds
    return now + max(remaining - ANSWER_MARGIN_SECONDS, remaining / 2)
