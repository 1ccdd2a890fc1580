"""How many files and sockets this process may open, and so how many connections it can take.

Whoever runs out of them can't accept anybody, open a table, or reach a peer. So clients get what is left over. The
commands that open a node's databases need as many as it does: RocksDB keeps every table open.
"""

import resource
from typing import Final

RESERVED_HANDLES: Final = 1_024
"""For all that is no client: the tables of two databases, some hundreds with the default quota; peers; the log."""

_ENOUGH_HANDLES: Final = 1 << 20
"""Where the system sets no limit."""


def raise_limit() -> int:
    """Allow this process as many as the system lets it have; how many those are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH_HANDLES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft  # macOS has another limit besides.
    return limit()


def limit() -> int:
    """How many this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH_HANDLES if soft == resource.RLIM_INFINITY else soft


def connections_within(handles: int, wanted: int) -> int:
    """How many connections of clients there may be, of those that are wanted, where so many handles are allowed."""
    return min(wanted, max(handles - RESERVED_HANDLES, handles // 2))
