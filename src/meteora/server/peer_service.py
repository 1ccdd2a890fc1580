"""`meteora.peer.PeerService`: the peers' streams, and nodes that ask to join."""

import grpc

from meteora.errors import RequestError
from meteora.pb import peer_pb2
from meteora.server.cluster import Cluster
from meteora.server.deadlines import deadline_of
from meteora.server.raft_service import was_forwarded
from meteora.server.statuses import abort
from meteora.transport.incoming import PeerReceiver
from meteora.transport.interface import Identity, Inbox


class PeerService(PeerReceiver):
    """Exchange, from the transport, and Join."""

    def __init__(self, identity: Identity, inbox: Inbox, cluster: Cluster, *, timeout_seconds: float) -> None:
        super().__init__(identity, inbox)
        self._cluster = cluster
        self._timeout_seconds = timeout_seconds

    async def Join(  # noqa: N802  the method's name in the proto
        self, request: peer_pb2.JoinReq, context: grpc.aio.ServicerContext[peer_pb2.JoinReq, peer_pb2.JoinReply]
    ) -> peer_pb2.JoinReply:
        """Add the caller as a learner."""
        deadline = deadline_of(context, self._timeout_seconds)
        try:
            await self._cluster.join(request, deadline, was_forwarded=was_forwarded(context))
        except RequestError as error:
            await abort(context, error)
        return peer_pb2.JoinReply(cluster_id=self._cluster.cluster_id)
