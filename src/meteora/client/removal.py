"""The removal of a member, said in such a way that it can be tried again.

Pure. The rule: a removal of which it is not known whether it was made is tried again only on the member that was there
before. Its id may have been given to another node meanwhile.
"""

from collections.abc import Callable

from meteora.pb import raft_pb2


def removal_of(node_id: int, before: raft_pb2.NodeStatusReply, *, force: bool) -> Callable[[bool], raft_pb2.ConfChange]:
    """Makes the request, knowing whether it may have been done already. `before`: the members before the first."""
    instance_id = next((member.instance_id for member in before.members if member.id == node_id), 0)

    def request(is_retry: bool) -> raft_pb2.ConfChange:
        return raft_pb2.ConfChange(
            change_type=raft_pb2.RemoveNode,
            node_id=node_id,
            instance_id=instance_id if is_retry else 0,
            force=force,
        )

    return request
