"""A newcomer asks to be let in, for as long as it takes: its peer may not be up yet."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import grpc

from meteora.errors import JoinRefused, RequestError
from meteora.observability.logs import OnceLog, get_logger
from meteora.pb import common_pb2, peer_pb2
from meteora.pb.peer_pb2_grpc import PeerServiceStub
from meteora.server.cluster import Cluster

ATTEMPT_SECONDS = 10.0
"""For one answer: the cluster may have other changes to make first."""

ANNOUNCE_SECONDS = 2.0
"""For this node to find the leader, or to become it. The peers are asked if it does neither."""

PAUSE_SECONDS = 0.5
"""Between attempts."""

TOLD_AGAIN_SECONDS = 30.0
"""Between log lines about the same trouble."""

_REFUSALS = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)

_log = get_logger("join")


async def join(peer_raft_address: str, request: peer_pb2.JoinReq) -> int:
    """Ask the peer until the cluster has taken this node in: the cluster's id. Raises `JoinRefused`."""
    troubles = OnceLog(_log, again_after_seconds=TOLD_AGAIN_SECONDS)
    _log.info("asking to join", peer=peer_raft_address)
    while True:
        try:
            return await _ask(peer_raft_address, request)
        except grpc.aio.AioRpcError as failure:
            if failure.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise JoinRefused(
                    f"what answers at {peer_raft_address} lets no nodes join: -p takes the Raft address of a member, "
                    "not its KV address"
                ) from None
            if failure.code() in _REFUSALS:
                raise JoinRefused(
                    f"the cluster at {peer_raft_address} refuses this node: {failure.details()}"
                ) from None
            troubles.warning(
                "can't join yet, trying on",
                failure.code(),
                peer=peer_raft_address,
                cause=failure.details() or failure.code().name,
            )
        await asyncio.sleep(PAUSE_SECONDS)


async def _ask(peer_raft_address: str, request: peer_pb2.JoinReq) -> int:
    # A channel of its own for each attempt: gRPC's back-off would make a peer that is just starting seem down.
    async with grpc.aio.insecure_channel(
        peer_raft_address, options=(("grpc.use_local_subchannel_pool", 1),)
    ) as channel:
        reply = await PeerServiceStub(channel).Join(request, timeout=ATTEMPT_SECONDS)
    return reply.cluster_id


async def announce(peers: Sequence[str], request: peer_pb2.JoinReq, own_cluster: Cluster) -> None:
    """Let the cluster know the new address of this member: by itself, for it may lead, or by any of its peers."""
    while True:
        if await _tell_leader(own_cluster, request) or await _tell_peers(peers, request):
            break
        await asyncio.sleep(PAUSE_SECONDS)
    _log.info("told the cluster the new address of this node", raft_address=request.address.raft_address)


async def _tell_leader(own_cluster: Cluster, request: peer_pb2.JoinReq) -> bool:
    deadline = asyncio.get_running_loop().time() + ANNOUNCE_SECONDS
    with suppress(RequestError):
        await own_cluster.join(request, deadline, was_forwarded=False)
        return True
    return False


async def _tell_peers(peers: Sequence[str], request: peer_pb2.JoinReq) -> bool:
    for peer in peers:
        with suppress(grpc.aio.AioRpcError):
            await _ask(peer, request)
            return True
    return False


def join_request(node_id: int, instance_id: int, kv_address: str, raft_address: str) -> peer_pb2.JoinReq:
    """What a node says of itself when it asks to join."""
    address = common_pb2.NodeAddress(kv_address=kv_address, raft_address=raft_address)
    return peer_pb2.JoinReq(node_id=node_id, address=address, instance_id=instance_id)
