"""`meteora.raft.RaftService`: the cluster, as this node sees it, and changes of its members and its leader."""

import asyncio
from typing import Any

import grpc

import meteora
from meteora.errors import RequestError
from meteora.features import SUPPORTED_LEVEL
from meteora.node.node import Node
from meteora.node.room import Shortage
from meteora.pb import common_pb2, raft_pb2
from meteora.pb.raft_pb2_grpc import RaftServiceServicer
from meteora.raft import RoleName
from meteora.server.cluster import FORWARDED_KEY, Cluster
from meteora.server.deadlines import deadline_of
from meteora.server.replies import Replies
from meteora.server.statuses import abort

_ROLES = {
    RoleName.FOLLOWER: raft_pb2.FOLLOWER,
    RoleName.PRE_CANDIDATE: raft_pb2.PRE_CANDIDATE,
    RoleName.CANDIDATE: raft_pb2.CANDIDATE,
    RoleName.LEADER: raft_pb2.LEADER,
}

_ALARMS = {Shortage.QUOTA: raft_pb2.QUOTA, Shortage.DISK_SPACE: raft_pb2.DISK_SPACE}


def was_forwarded(context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    """Whether another node passed this request on."""
    return any(key == FORWARDED_KEY for key, _ in context.invocation_metadata() or ())


class RaftService(RaftServiceServicer):
    """Status, membership, leadership."""

    def __init__(self, node: Node, cluster: Cluster, replies: Replies, *, timeout_seconds: float) -> None:
        self._node = node
        self._cluster = cluster
        self._replies = replies
        self._timeout_seconds = timeout_seconds

    async def Status(  # noqa: N802  the method's name in the proto
        self,
        request: common_pb2.Null,  # noqa: ARG002  the servicer's signature
        context: grpc.aio.ServicerContext[common_pb2.Null, raft_pb2.StatusReply],  # noqa: ARG002  likewise
    ) -> raft_pb2.StatusReply:
        """The members and the leader as this node knows them."""
        return self._replies.status()

    async def NodeStatus(  # noqa: N802  the method's name in the proto
        self,
        request: common_pb2.Null,  # noqa: ARG002  the servicer's signature
        context: grpc.aio.ServicerContext[common_pb2.Null, raft_pb2.NodeStatusReply],  # noqa: ARG002  likewise
    ) -> raft_pb2.NodeStatusReply:
        """Where this node stands."""
        status, room = self._node.status(), self._node.room
        addresses = self._replies.status().address_map
        return raft_pb2.NodeStatusReply(
            cluster_id=self._cluster.cluster_id,
            node_id=status.node_id,
            role=_ROLES[status.role],
            leader_id=status.leader_id,
            term=status.term,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            last_index=status.last_index,
            members=[
                raft_pb2.Member(
                    id=each,
                    address=addresses[each],
                    learner=each in status.configuration.learners,
                    instance_id=member.instance_id,
                )
                for each, member in sorted(self._node.members.by_id.items())
            ],
            version=meteora.__version__,
            differing=sorted(self._node.differing),
            level=self._node.level,
            supported_level=SUPPORTED_LEVEL,
            older_members=self._node.older_members,
            alarms=[
                raft_pb2.Alarm(node_id=alarm.node_id, kind=_ALARMS[alarm.shortage], message=alarm.message)
                for alarm in self._node.alarms
            ],
            stored_bytes=room.stored_bytes,
            quota_bytes=room.quota_bytes,
            free_bytes=room.free_bytes,
            min_free_bytes=room.min_free_bytes,
        )

    async def ChangeConfig(  # noqa: N802  the method's name in the proto
        self, request: raft_pb2.ConfChange, context: grpc.aio.ServicerContext[raft_pb2.ConfChange, raft_pb2.ChangeReply]
    ) -> raft_pb2.ChangeReply:
        """Add, promote or remove a member."""
        deadline = deadline_of(context, self._timeout_seconds, asyncio.get_running_loop().time())
        try:
            state = await self._cluster.as_admitted().change(request, deadline, was_forwarded=was_forwarded(context))
        except RequestError as error:
            await abort(context, error)
        return self._replies.change(state)

    async def TransferLeadership(  # noqa: N802  the method's name in the proto
        self,
        request: raft_pb2.TransferReq,
        context: grpc.aio.ServicerContext[raft_pb2.TransferReq, raft_pb2.ChangeReply],
    ) -> raft_pb2.ChangeReply:
        """Let another node lead."""
        deadline = deadline_of(context, self._timeout_seconds, asyncio.get_running_loop().time())
        try:
            cluster = self._cluster.as_admitted()
            await cluster.transfer(request.node_id, deadline, was_forwarded=was_forwarded(context))
        except RequestError as error:
            await abort(context, error)
        return self._replies.change(common_pb2.OK)
