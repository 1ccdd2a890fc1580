"""What a node is told at its start."""

from collections.abc import Callable
from dataclasses import dataclass

from meteora.features import OWN_RELEASE, Release
from meteora.storage.disk_space import DiskSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What a node needs to know besides its disk and its peers."""

    node_id: int
    instance_id: int
    """Of this node's data directory."""
    session_id: int
    """Random, not 0, and new at every start: names this run of the node."""
    tick_seconds: float
    election_ticks: int
    heartbeat_ticks: int
    snapshot_catchup_entries: int
    """Applied entries that the log keeps for followers that are slow; who lacks more gets a snapshot."""
    lease_reads: bool
    """See `meteora.raft.core.Settings`: clocks must be good enough, and all members must have it."""
    clock: Callable[[], float]
    """In seconds; goes on while this process, or the machine, stands still. Leases, and how old a read may be, are
    measured by it."""
    random_below: Callable[[int], int]
    release: Release = OWN_RELEASE
    """What this node runs, and so which feature level it supports."""
    reads_at_once: int = 1_024
    """Values that are read together at most: they are all in memory then."""
    quota_bytes: int = 0
    """Of the state; 0: none."""
    min_free_bytes: int | None = 0
    """On the disk; None: as it is usual for its size."""
    disk_space: Callable[[], DiskSpace] | None = None
    """Looks how much that is, on a thread; None: nobody does."""
