"""What callers of a client may pass, and what it becomes. Pure."""

import math

from meteora.errors import ConfigurationError


def as_bytes(value: bytes | str) -> bytes:
    """Bytes as they are, text as UTF-8."""
    return value.encode() if isinstance(value, str) else value


def checked_timeout_seconds(timeout_seconds: float) -> float:
    """`timeout_seconds` itself. Raises `ConfigurationError` unless it is a finite number above 0."""
    if not (math.isfinite(timeout_seconds) and timeout_seconds > 0):
        raise ConfigurationError(f"timeout_seconds is {timeout_seconds}: expected a number of seconds above 0")
    return timeout_seconds
