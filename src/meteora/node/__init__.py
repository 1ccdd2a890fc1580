"""Joins the core to the world: persist, send, apply, advance; batching, reads, membership.

`node` is the file to read to trust the system: it holds the order of things. `writes`, `reads` and `changes` keep what
waits for an answer, `forwarded` what followers have proposed; `life` ends all that a node has begun. `members` says who
is in the cluster, `membership` changes that, `hand_over` who leads, and `removal` is about a node that is to go.
`snapshot_traffic` sends and takes snapshots when the core wants it, and `room_upkeep` looks after the disk. `recovery`
makes one state of what a crash left on disk.
"""

from meteora.node.members import Member, Members
from meteora.node.node import Node
from meteora.node.removal import Removal
from meteora.node.settings import NodeSettings

__all__ = ["Member", "Members", "Node", "NodeSettings", "Removal"]
