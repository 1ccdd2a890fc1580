"""What a node does about its cluster before it stops: it leaves, or hands leadership over, or neither.

It says at once what it waits for and for how long at most, and in the end what came of it: whoever pressed Ctrl-C looks
on. Whatever comes of it, the node stops.
"""

import asyncio

from meteora.errors import MeteoraError
from meteora.node import Node
from meteora.observability.logs import get_logger
from meteora.server.cluster import HAND_OVER_SECONDS, Cluster

LEAVE_SECONDS = 5.0
"""To leave the cluster before stopping. Then the node stops as it is, and can be removed from elsewhere."""

LAST_WORDS_SECONDS = 0.3
"""For what a node that leaves has still to say: the others must learn that its removal is committed."""

_log = get_logger("server")


async def step_back(node: Node, cluster: Cluster, *, leaves: bool) -> None:
    """Leave the cluster, if told to; else hand leadership over, so that nobody has to notice that it is gone."""
    if node.failed.done() or node.removed.done():
        return
    if leaves:
        await _leave(node, cluster)
    elif node.leads and not _is_last(node):
        _log.info("handing leadership over", gives_up_after_seconds=HAND_OVER_SECONDS)
        if not await node.hand_over(HAND_OVER_SECONDS):
            _log.warning("stopping as the leader: no other member could take over")


async def _leave(node: Node, cluster: Cluster) -> None:
    has_left, cause = await _try_to_leave(node, cluster)
    if has_left:
        await asyncio.wait([node.removed], timeout=LAST_WORDS_SECONDS)
        # The others have removed it, whether or not word of that has come back.
        node.note_removal()
    elif _is_last(node):
        _log.info("not leaving: this is the only member, and so it keeps the data; to go on, start it first")
    elif not node.removed.done():
        _log.warning(
            "could not leave: this node stays a member; to remove it, use `meteora leave` at another one", cause=cause
        )


async def _try_to_leave(node: Node, cluster: Cluster) -> tuple[bool, str]:
    """Whether this node has left, and if not, why."""
    if _is_last(node):
        return False, ""
    _log.info("leaving the cluster: waiting for a majority to agree", gives_up_after_seconds=LEAVE_SECONDS)
    try:
        return await cluster.leave(LEAVE_SECONDS), ""
    except MeteoraError as error:
        return False, str(error)


def _is_last(node: Node) -> bool:
    """Whether this node is the only voter: then it is the cluster."""
    return node.members.configuration.voters == {node.node_id}
