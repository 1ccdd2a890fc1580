"""What a snapshot of the state machine stands for in the log.

The core never sees the state itself: it is made, carried and installed by the node. What the core must know is the
place in the log that the state is of, and who the members were there.
"""

from typing import NamedTuple

from meteora.raft.membership import Configuration


class Snapshot(NamedTuple):
    """The state after all entries up to `index`, all of them committed."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a snapshot
    term: int
    """Of the entry at `index`."""
    configuration: Configuration
    """The applied one at `index`."""
