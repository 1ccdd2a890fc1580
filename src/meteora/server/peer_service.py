"""`meteora.peer.PeerService`: the peers' streams, and nodes that ask to join or to begin a cluster."""

import asyncio

import grpc

from meteora.errors import RequestError
from meteora.observability.logs import OnceLog, get_logger
from meteora.pb import peer_pb2
from meteora.server.cluster import Cluster
from meteora.server.deadlines import deadline_of
from meteora.server.raft_service import was_forwarded
from meteora.server.statuses import abort
from meteora.transport.incoming import PeerReceiver
from meteora.transport.interface import Identity, Inbox


class PeerService(PeerReceiver):
    """Exchange, from the transport, Join and Meet."""

    def __init__(self, identity: Identity, inbox: Inbox, cluster: Cluster, *, timeout_seconds: float) -> None:
        super().__init__(identity, inbox)
        self._cluster = cluster
        self._timeout_seconds = timeout_seconds
        self._own_address = identity.raft_address
        self._instance_id = identity.instance_id
        self._warnings = OnceLog(get_logger("cluster"))

    async def Join(  # noqa: N802  the method's name in the proto
        self, request: peer_pb2.JoinReq, context: grpc.aio.ServicerContext[peer_pb2.JoinReq, peer_pb2.JoinReply]
    ) -> peer_pb2.JoinReply:
        """Add the caller as a learner."""
        self._warn_of_wildcards(request.address.raft_address, context.peer())
        deadline = deadline_of(context, self._timeout_seconds, asyncio.get_running_loop().time())
        try:
            await self._cluster.join(request, deadline, was_forwarded=was_forwarded(context))
        except RequestError as error:
            await abort(context, error)
        return peer_pb2.JoinReply(cluster_id=self._cluster.cluster_id)

    async def Meet(  # noqa: N802  the method's name in the proto
        self,
        request: peer_pb2.MeetReq,  # noqa: ARG002  a member says the same to everybody
        context: grpc.aio.ServicerContext[peer_pb2.MeetReq, peer_pb2.MeetReply],  # noqa: ARG002  nothing is refused
    ) -> peer_pb2.MeetReply:
        """Say that this node is in a cluster, to who would begin one with it."""
        return peer_pb2.MeetReply(cluster_id=self._cluster.cluster_id, instance_id=self._instance_id)

    def _warn_of_wildcards(self, newcomer_address: str, caller: str) -> None:
        """Say that 0.0.0.0 means another host there than here, if the caller is on another host."""
        if caller.startswith(("ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D", "unix:")):
            return
        for address in (self._own_address, newcomer_address):
            if address.startswith(("0.0.0.0:", "[::]:")):
                self._warnings.warning(
                    "other hosts can't reach this address: start that node with --advertise-address",
                    address,
                    address=address,
                    joining_from=caller,
                )
