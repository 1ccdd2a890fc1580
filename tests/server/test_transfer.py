"""`TransferLeadership`, on either server: the node that was named leads, or the answer says why not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from meteora.config import RpcServerKind
from meteora.pb import common_pb2, raft_pb2
from tests.server.served import CALL_SECONDS, ServedCluster, ServedNode, refusal_of, served_cluster

NOWHERE = common_pb2.NodeAddress(kv_address="127.0.0.1:1", raft_address="127.0.0.1:2")


def transfer(asked: ServedNode, node_id: int) -> raft_pb2.ChangeReply:
    return asked.raft.TransferLeadership(raft_pb2.TransferReq(node_id=node_id), timeout=CALL_SECONDS)


@pytest.fixture
def trio(tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind) -> Iterator[ServedCluster]:
    """Three voters, for one test."""
    with served_cluster(tmp_path, free_port, 3, kind) as cluster:
        yield cluster


def test_the_leader_lets_another_voter_lead(trio: ServedCluster) -> None:
    old, named = trio.leader, trio.followers[0]
    reply = transfer(old, named.config.node_id)
    assert (reply.state, reply.leader_id, dict(reply.address_map)) == (
        common_pb2.OK,
        named.config.node_id,
        trio.addresses,
    )
    assert named.node.leads


@pytest.mark.parametrize("which", [0, 1], ids=["the one that is to lead", "the third one"])
def test_a_follower_passes_it_on_and_names_the_new_leader(trio: ServedCluster, which: int) -> None:
    named, asked = trio.followers[0], trio.followers[which]
    assert transfer(asked, named.config.node_id).leader_id == named.config.node_id
    assert named.node.leads


def test_who_leads_already_goes_on_in_the_same_term(three: ServedCluster) -> None:
    leader = three.leader
    term = leader.status().term
    for asked in three.nodes:
        assert transfer(asked, leader.config.node_id).state == common_pb2.OK
    assert (leader.node.leads, leader.status().term) == (True, term)


def test_nobody_has_the_id_0(three: ServedCluster) -> None:
    assert refusal_of(lambda: transfer(three.leader, 0)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "node_id is missing: 0 is no node's id",
        "not-applied",
    )


def test_who_is_no_member_can_not_lead(three: ServedCluster) -> None:
    assert refusal_of(lambda: transfer(three.leader, 9)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "node 9 is no member of the cluster; those who could lead: 1, 2, 3",
        "not-applied",
    )


def test_a_follower_passes_a_refusal_on(three: ServedCluster) -> None:
    code, details, outcome = refusal_of(lambda: transfer(three.followers[0], 9))
    assert (code, outcome) == (grpc.StatusCode.FAILED_PRECONDITION, "not-applied")
    assert details.endswith("node 9 is no member of the cluster; those who could lead: 1, 2, 3")


def test_a_learner_can_not_lead(trio: ServedCluster) -> None:
    trio.leader.change(raft_pb2.AddLearnerNode, 4, NOWHERE.SerializeToString())
    assert refusal_of(lambda: transfer(trio.leader, 4)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "node 4 is a learner, which gets no votes; those who could lead: 1, 2, 3",
        "not-applied",
    )


def test_who_is_silent_can_not_lead_and_the_leader_goes_on(trio: ServedCluster) -> None:
    leader, silent = trio.leader, trio.followers[0]
    silent.end()
    code, details, outcome = refusal_of(lambda: transfer(leader, silent.config.node_id))
    while code is grpc.StatusCode.DEADLINE_EXCEEDED:  # It was heard just before it stopped, and so it was tried.
        code, details, outcome = refusal_of(lambda: transfer(leader, silent.config.node_id))
    assert (code, outcome) == (grpc.StatusCode.FAILED_PRECONDITION, "not-applied")
    assert details.startswith(f"node {silent.config.node_id} at {silent.config.raft_address} is silent")
    assert leader.put(b"k", b"v").state == common_pb2.OK


def test_without_a_leader_nothing_is_transferred(leaderless: ServedNode) -> None:
    code, _, outcome = refusal_of(lambda: transfer(leaderless, 2))
    assert (code, outcome) == (grpc.StatusCode.UNAVAILABLE, "not-applied")
