"""A newcomer asks to be let in, for as long as it takes: its peer may not be up yet."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import grpc

from meteora.errors import ChangeRefused, InvalidRequest, JoinRefused, NotApplied, OutcomeUnknown, Overloaded
from meteora.features import OWN_RELEASE
from meteora.node.node import Node
from meteora.observability.logs import Logger, get_logger
from meteora.pb import common_pb2, peer_pb2
from meteora.pb.peer_pb2_grpc import PeerServiceStub
from meteora.server.cluster import Cluster
from meteora.transport.dialler import Dialler

ATTEMPT_SECONDS = 10.0
"""For one answer: the cluster may have other changes to make first."""

ANNOUNCE_SECONDS = 2.0
"""For this node to find the leader, or to become it. The peers are asked if it does neither."""

PAUSE_SECONDS = 0.5
"""Between attempts."""

ASK_AGAIN_SECONDS = 5.0
"""For a cluster that has let a node in to speak to it."""

TOLD_AGAIN_SOON_SECONDS = 5.0
"""After the first log line about a trouble, so that whoever looks on sees that it lasts."""

TOLD_AGAIN_SECONDS = 30.0
"""Between the later ones."""

_REFUSALS = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)

_log = get_logger("join")


class Troubles:
    """Logs what keeps a node from joining: each other cause at once, the same one again from time to time."""

    def __init__(self, log: Logger, peer: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._peer = peer
        self._clock = clock
        self._cause = ""
        self._told_again_at = 0.0

    def tell(self, cause: str) -> None:
        """An attempt has failed, for this reason."""
        now = self._clock()
        is_new = cause != self._cause
        if not is_new and now < self._told_again_at:
            return
        self._cause = cause
        self._told_again_at = now + (TOLD_AGAIN_SOON_SECONDS if is_new else TOLD_AGAIN_SECONDS)
        self._log.warning("can't join yet, trying on", peer=self._peer, cause=cause)


async def join(dialler: Dialler, peers: Sequence[str], request: peer_pb2.JoinReq) -> int:
    """Ask one peer after another until the cluster has taken this node in: its id. Raises `JoinRefused`."""
    troubles = {peer: Troubles(_log, peer) for peer in peers}
    _log.info("asking to join", peer=",".join(peers))
    for peer in itertools.cycle(peers):
        try:
            return await _ask(dialler, peer, request)
        except grpc.aio.AioRpcError as failure:
            if failure.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise JoinRefused(
                    f"what answers at {peer} lets no nodes join: it takes the Raft address of a member, not its KV "
                    "address"
                ) from None
            if failure.code() in _REFUSALS:
                raise JoinRefused(f"the cluster at {peer} refuses this node: {failure.details()}") from None
            troubles[peer].tell(cause_of(failure, ATTEMPT_SECONDS))
        await asyncio.sleep(PAUSE_SECONDS)
    raise JoinRefused("nobody is known who could let this node in")


async def ask_until_heard(dialler: Dialler, node: Node, peers: Sequence[str], request: peer_pb2.JoinReq) -> bool:
    """Once let in: ask again and again until the cluster has told this node so. False if it is not let in any more.

    Who is removed before any member has spoken to it would otherwise wait for ever: it is nobody's peer.
    """
    troubles = {peer: Troubles(_log, peer) for peer in peers}
    for peer in itertools.cycle(peers):
        await asyncio.sleep(ASK_AGAIN_SECONDS)
        if node.members.by_id:
            return True
        cause = f"it was let in, but nobody has spoken to it at {request.address.raft_address}: see --advertise-address"
        try:
            await _ask(dialler, peer, request)
        except grpc.aio.AioRpcError as failure:
            if failure.code() in _REFUSALS:
                _log.warning("the cluster lets this node in no more", peer=peer, cause=failure.details())
                return False
            cause = cause_of(failure, ATTEMPT_SECONDS)
        # One whose leader is known waits for a snapshot.
        if not node.leader_id:
            troubles[peer].tell(cause)
    return False


def cause_of(failure: grpc.aio.AioRpcError, waited_seconds: float) -> str:
    """Why an attempt failed that was given so long."""
    details = failure.details() or failure.code().name
    if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED and "Deadline Exceeded" in details:
        return f"no answer within {waited_seconds:g} s"
    return details


async def _ask(dialler: Dialler, peer_raft_address: str, request: peer_pb2.JoinReq) -> int:
    async with dialler.open_channel(peer_raft_address) as channel:
        reply = await PeerServiceStub(channel).Join(request, timeout=ATTEMPT_SECONDS)
    return reply.cluster_id


async def announce(dialler: Dialler, peers: Sequence[str], request: peer_pb2.JoinReq, own_cluster: Cluster) -> None:
    """Let the cluster know the new address of this member: by itself, for it may lead, or by any of its peers."""
    address = request.address.raft_address
    try:
        while True:
            if await _tell_leader(own_cluster, request) or await _tell_peers(dialler, peers, request):
                break
            await asyncio.sleep(PAUSE_SECONDS)
    except (ChangeRefused, InvalidRequest) as refusal:
        _log.error("the cluster refuses the new address of this node", raft_address=address, cause=str(refusal))
    else:
        _log.info("told the cluster the new address of this node", raft_address=address)


async def _tell_leader(own_cluster: Cluster, request: peer_pb2.JoinReq) -> bool:
    """Whether the leader took it. Raises `ChangeRefused` or `InvalidRequest` if it never will."""
    deadline = asyncio.get_running_loop().time() + ANNOUNCE_SECONDS
    with suppress(NotApplied, OutcomeUnknown, Overloaded):
        await own_cluster.join(request, deadline, was_forwarded=False)
        return True
    return False


async def _tell_peers(dialler: Dialler, peers: Sequence[str], request: peer_pb2.JoinReq) -> bool:
    """Whether the cluster took it from one of the peers. Raises `ChangeRefused` if it never will."""
    for peer in peers:
        try:
            await _ask(dialler, peer, request)
        except grpc.aio.AioRpcError as failure:
            if failure.code() in _REFUSALS:
                raise ChangeRefused(failure.details()) from failure
        else:
            return True
    return False


def join_request(node_id: int, instance_id: int, kv_address: str, raft_address: str) -> peer_pb2.JoinReq:
    """What a node says of itself when it asks to join."""
    address = common_pb2.NodeAddress(kv_address=kv_address, raft_address=raft_address)
    return peer_pb2.JoinReq(
        node_id=node_id,
        address=address,
        instance_id=instance_id,
        level=OWN_RELEASE.level,
        version=OWN_RELEASE.version,
    )
