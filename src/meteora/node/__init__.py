"""Joins the core to the world: persist, send, apply, advance; batching, reads, membership.

`node` is the file to read to trust the system: it holds the order of things. `writes`, `reads` and `changes` keep what
waits for an answer; `members` says who is in the cluster; `recovery` makes one state of what a crash left on disk.
"""

from meteora.node.members import Member, Members
from meteora.node.node import Node, NodeSettings, Removal

__all__ = ["Member", "Members", "Node", "NodeSettings", "Removal"]
