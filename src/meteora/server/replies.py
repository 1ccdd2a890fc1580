"""What all public replies share: the members' addresses and the leader. Made once for each state of the cluster."""

import math
from collections.abc import Iterable

from meteora.node.freshness import StaleRead
from meteora.node.members import Members
from meteora.node.node import Node
from meteora.pb import common_pb2, kv_pb2, raft_pb2
from meteora.rpc import frame


class Replies:
    """The replies that depend on nothing but the members and the leader. They are shared, so nobody may change them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._members: Members | None = None
        self._leader_id = 0

    def _refresh(self) -> None:
        node = self._node
        if self._members is node.members and self._leader_id == node.leader_id:
            return
        self._members, self._leader_id = node.members, node.leader_id
        state, members, leader_id = common_pb2.OK, address_map(node.members), node.leader_id
        self._put = kv_pb2.PutReply(state=state, address_map=members, leader_id=leader_id)
        self._framed_put = frame(self._put.SerializeToString())
        self._delete = kv_pb2.DeleteReply(state=state, address_map=members, leader_id=leader_id)
        self._framed_delete = frame(self._delete.SerializeToString())
        self._get = kv_pb2.GetReply(state=state, address_map=members, leader_id=leader_id)
        self._batch = kv_pb2.BatchReply(address_map=members, leader_id=leader_id)
        self._status = raft_pb2.StatusReply(state=state, address_map=members, leader_id=leader_id)

    def put(self) -> kv_pb2.PutReply:
        """OK."""
        self._refresh()
        return self._put

    def delete(self) -> kv_pb2.DeleteReply:
        """OK."""
        self._refresh()
        return self._delete

    def framed_put(self, _: None) -> bytes:
        """OK, as it stands in a body."""
        self._refresh()
        return self._framed_put

    def framed_delete(self, _: None) -> bytes:
        """OK, as it stands in a body."""
        self._refresh()
        return self._framed_delete

    def get(self, value: bytes | None) -> kv_pb2.GetReply:
        """OK with the value, or NOT_FOUND."""
        self._refresh()
        reply = kv_pb2.GetReply()
        reply.CopyFrom(self._get)
        if value is None:
            reply.state = common_pb2.NOT_FOUND
        else:
            reply.value = value
        return reply

    def stale(self, read: StaleRead) -> kv_pb2.GetReply:
        """OK with the value, or NOT_FOUND; and how old that may be."""
        reply = self.get(read.value)
        tell_age(reply, read)
        return reply

    def batch(self, results: Iterable[kv_pb2.Result]) -> kv_pb2.BatchReply:
        """These results."""
        self._refresh()
        reply = kv_pb2.BatchReply(results=results)
        reply.MergeFrom(self._batch)
        return reply

    def status(self) -> raft_pb2.StatusReply:
        """OK."""
        self._refresh()
        return self._status

    def change(self, state: common_pb2.State) -> raft_pb2.ChangeReply:
        """What a membership change came to."""
        reply = raft_pb2.ChangeReply(state=state, leader_id=self._node.leader_id)
        reply.address_map.MergeFrom(self.status().address_map)
        return reply


def tell_age(reply: kv_pb2.GetReply | kv_pb2.Result, read: StaleRead) -> None:
    """Says how old the value may be."""
    reply.applied_index = read.applied_index
    if read.staleness_seconds is not None:
        reply.staleness_milliseconds = math.ceil(read.staleness_seconds * 1000)


def address_map(members: Members) -> dict[int, common_pb2.NodeAddress]:
    """The members' addresses as the API has them."""
    return {
        node_id: common_pb2.NodeAddress(kv_address=member.kv_address, raft_address=member.raft_address)
        for node_id, member in members.by_id.items()
    }
