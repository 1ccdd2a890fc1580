"""What the end of a command means to the shell."""

from typing import Final

from meteora.errors import ConfigurationError, MeteoraError, NotApplied, OutcomeUnknown, Overloaded

SUCCESS: Final = 0
FAILED: Final = 1
"""There is no such key or member, the request was refused, or the node could not start or go on."""
USAGE: Final = 2
UNAVAILABLE: Final = 3
"""Nobody served the request in time, or the fate of a write is unknown."""
INTERRUPTED: Final = 130
"""As shells report a process that Ctrl-C ended."""
BROKEN_PIPE: Final = 141
"""As shells report a process that wrote to a pipe which nobody reads."""


def exit_status_of(error: MeteoraError) -> int:
    """The exit status of a command that ended with `error`."""
    if isinstance(error, ConfigurationError):
        return USAGE
    if isinstance(error, NotApplied | OutcomeUnknown | Overloaded):
        return UNAVAILABLE
    return FAILED
