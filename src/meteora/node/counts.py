"""What a node counts of its work, for metrics: plain numbers, that are read when somebody asks."""

from dataclasses import dataclass, field
from typing import Final

from meteora.observability.histogram import DISK_SECONDS, Histogram

SLOW_APPLY_SECONDS: Final = 0.1
"""As etcd's: applying holds up the loop, and this is a heartbeat's time."""


@dataclass(slots=True)
class NodeCounts:
    """Since the node was started."""

    leader_changes: int = 0
    """How often it came to know another leader."""
    applied_writes: int = 0
    """Of any node's clients."""
    slow_applies: int = 0
    snapshots_sent: int = 0
    snapshots_not_sent: int = 0
    snapshots_installed: int = 0
    apply_seconds: Histogram = field(default_factory=lambda: Histogram(DISK_SECONDS))
    log_write_seconds: Histogram = field(default_factory=lambda: Histogram(DISK_SECONDS))
    """Each for all that came together."""

    def note_apply(self, seconds: float, writes: int) -> None:
        """A batch was applied."""
        self.applied_writes += writes
        self.apply_seconds.observe(seconds)
        self.slow_applies += seconds > SLOW_APPLY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What waits in a node, and what it keeps, at one moment."""

    writes_pending: int
    writes_failed: int
    """Since the node was started."""
    reads_pending: int
    read_rounds: int
    """Since the node was started."""
    snapshots_created: int
    """Since the node was started."""
    first_index: int
    """Of the log."""
    unflushed_bytes: int
