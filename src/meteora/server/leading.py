"""Whether a request may be served here, on a node that was told not to forward."""

from meteora.errors import NotApplied, OutcomeUnknown, RequestError
from meteora.node.node import Node

_NO_LEADER = "no leader: a majority of the members can't be reached"


def no_leader(*, is_retry: bool) -> RequestError:
    """What a request without a leader in time ends with. `is_retry`: a write that may have been sent before."""
    if is_retry:
        return OutcomeUnknown(f"{_NO_LEADER}: a retry is safe")
    return NotApplied(f"{_NO_LEADER}: nothing was done")


async def leads(node: Node, deadline: float, *, is_retry: bool = False) -> bool:
    """Whether this node leads; if not, the leader is known by now, so that the caller can go there.

    Raises `NotApplied` if there is none in time; `OutcomeUnknown` for a write that may have been sent before.
    """
    if not await node.wait_for_leader(deadline):
        raise no_leader(is_retry=is_retry)
    return node.leads
