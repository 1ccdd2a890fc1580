from meteora.client.removal import removal_of
from meteora.pb import raft_pb2

BEFORE = raft_pb2.NodeStatusReply(members=[raft_pb2.Member(id=2, instance_id=20), raft_pb2.Member(id=3)])


def removing(node_id: int, instance_id: int = 0, *, force: bool = False) -> raft_pb2.ConfChange:
    return raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=node_id, instance_id=instance_id, force=force)


def test_the_first_attempt_is_at_whoever_has_the_id() -> None:
    assert removal_of(2, BEFORE, force=False)(False) == removing(2)


def test_a_retry_is_at_the_member_that_was_there_before() -> None:
    assert removal_of(2, BEFORE, force=True)(True) == removing(2, 20, force=True)


def test_of_who_was_no_member_or_had_not_joined_nothing_is_known() -> None:
    assert [removal_of(node_id, BEFORE, force=False)(True) for node_id in (3, 9)] == [removing(3), removing(9)]
