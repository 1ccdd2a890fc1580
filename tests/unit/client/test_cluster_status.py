from meteora.client.cluster_status import NodeRoom, cluster_status
from meteora.client.fate import Failure, Fate
from meteora.pb import raft_pb2
from tests.unit.client.remote import node_status

MEMBERS = {1: "a:1", 2: "b:1", 3: "c:1"}
UNREACHABLE = Failure(Fate.UNKNOWN, "no answer in time")


def test_each_member_stands_beside_what_it_said_of_itself() -> None:
    answers = {node_id: node_status(node_id, 2, MEMBERS) for node_id in MEMBERS}
    answers[3].applied_index = 7
    cluster = cluster_status(answers[1], answers)
    assert [(each.node_id, each.role, each.progress and each.progress.applied_index) for each in cluster.members] == [
        (1, "follower", 10),
        (2, "leader", 10),
        (3, "follower", 7),
    ]


def test_a_member_that_did_not_answer_is_unreachable() -> None:
    first = node_status(1, 2, MEMBERS, {3})
    cluster = cluster_status(first, {1: first, 2: UNREACHABLE, 3: UNREACHABLE})
    assert [(each.role, each.is_voter, each.progress is None) for each in cluster.members] == [
        ("follower", True, False),
        ("unreachable", True, True),
        ("unreachable", False, True),
    ]


def test_a_learner_is_no_voter() -> None:
    first = node_status(1, 2, MEMBERS, {3})
    learner = cluster_status(first, {3: node_status(3, 2, MEMBERS, {3})}).members[2]
    assert (learner.role, learner.is_voter) == ("learner", False)


def test_the_cluster_id_reads_as_in_the_logs() -> None:
    first = node_status(1, 1, MEMBERS)
    first.cluster_id = 0xAB
    assert cluster_status(first, {}).cluster_id == "00000000000000ab"


def test_the_members_are_those_of_the_newest_view() -> None:
    stale, newest = node_status(1, 1, MEMBERS), node_status(2, 2, {2: "b:1", 4: "d:1"})
    newest.term = 4
    cluster = cluster_status(stale, {1: stale, 2: newest, 3: UNREACHABLE})
    assert (cluster.leader_id, [each.node_id for each in cluster.members]) == (2, [2, 4])


def test_a_node_that_answers_at_the_address_of_another_speaks_only_for_itself() -> None:
    first = node_status(1, 1, MEMBERS)
    cluster = cluster_status(first, {1: first, 2: first, 3: first})
    assert [each.progress is None for each in cluster.members] == [False, True, True]


def test_without_a_leader_there_is_none() -> None:
    assert cluster_status(node_status(1, 0, MEMBERS), {}).leader_id is None


def test_a_node_that_campaigns_is_a_candidate() -> None:
    first = node_status(1, 0, MEMBERS)
    first.role = raft_pb2.PRE_CANDIDATE
    assert cluster_status(first, {}).members[0].role == "candidate"


def test_alarms_are_told_once_in_the_words_of_the_member_itself() -> None:
    first, second = node_status(1, 1, MEMBERS), node_status(2, 1, MEMBERS)
    first.alarms.add(node_id=2, kind=raft_pb2.QUOTA, message="somewhat old")
    first.alarms.add(node_id=3, kind=raft_pb2.DISK_SPACE, message="not heard")
    second.alarms.add(node_id=2, kind=raft_pb2.QUOTA, message="new")
    assert cluster_status(first, {1: first, 2: second}).alarms == ("new", "not heard")
    assert cluster_status(second, {1: first, 2: second}).alarms == ("new", "not heard")


def test_what_a_node_stores_is_known_if_it_says_so() -> None:
    first, second = node_status(1, 1, MEMBERS), node_status(2, 1, MEMBERS)
    first.stored_bytes, first.quota_bytes, first.free_bytes, first.min_free_bytes = 1, 2, 3, 4
    members = cluster_status(first, {1: first, 2: second}).members
    assert members[0].room == NodeRoom(stored_bytes=1, quota_bytes=2, free_bytes=3, min_free_bytes=4)
    assert members[1].room is None
