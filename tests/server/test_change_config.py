"""`ChangeConfig`, on either server: members come, are promoted and go, and what makes no sense is refused."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from meteora.config import RpcServerKind
from meteora.node import Removal
from meteora.pb import common_pb2, raft_pb2
from meteora.server import cluster
from tests.server.served import (
    CALL_SECONDS,
    LoopThread,
    ServedCluster,
    ServedNode,
    config_of,
    refusal_of,
    served_cluster,
    served_node,
    wait_until,
)

NOWHERE = common_pb2.NodeAddress(kv_address="127.0.0.1:1", raft_address="127.0.0.1:2")


@pytest.fixture
def founder(
    tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind, loop_thread: LoopThread
) -> Iterator[ServedNode]:
    """A node that is a cluster by itself, for one test."""
    with served_node(loop_thread, config_of(tmp_path, free_port, 1, kind)) as node:
        yield node


def roles(node: ServedNode) -> dict[int, str]:
    """The members as the node's API tells of them."""
    return {member.id: "learner" if member.learner else "voter" for member in node.status().members}


def test_a_learner_is_added_with_its_address(founder: ServedNode) -> None:
    reply = founder.change(raft_pb2.AddLearnerNode, 2, NOWHERE.SerializeToString())
    assert reply == raft_pb2.ChangeReply(state=common_pb2.OK, address_map={1: founder.address, 2: NOWHERE}, leader_id=1)
    assert roles(founder) == {1: "voter", 2: "learner"}


def test_a_node_is_added_as_a_learner_until_it_has_caught_up(founder: ServedNode) -> None:
    # A voter that is not there would cost the cluster its majority.
    assert founder.change(raft_pb2.AddNode, 2, NOWHERE.SerializeToString()).state == common_pb2.OK
    assert roles(founder) == {1: "voter", 2: "learner"}
    assert founder.put(b"k", b"v").state == common_pb2.OK


def test_a_node_that_was_added_before_it_was_started_joins_and_becomes_a_voter(
    founder: ServedNode, tmp_path: Path, free_port: Callable[[], int], loop_thread: LoopThread
) -> None:
    peer = founder.config.raft_address
    config = config_of(tmp_path, free_port, 2, founder.config.rpc_server, peer_raft_address=peer)
    address = common_pb2.NodeAddress(kv_address=config.kv_address, raft_address=config.raft_address)
    founder.change(raft_pb2.AddNode, 2, address.SerializeToString())
    with served_node(loop_thread, config) as newcomer:
        wait_until(lambda: roles(newcomer) == {1: "voter", 2: "voter"}, "the newcomer is a voter")
        founder.put(b"k", b"v")
        assert newcomer.get(b"k").value == b"v"


def test_a_learner_is_promoted_by_adding_it_as_a_node(
    founder: ServedNode, tmp_path: Path, free_port: Callable[[], int], loop_thread: LoopThread
) -> None:
    peer = founder.config.raft_address
    config = config_of(tmp_path, free_port, 2, founder.config.rpc_server, peer_raft_address=peer)
    address = common_pb2.NodeAddress(kv_address=config.kv_address, raft_address=config.raft_address)
    founder.change(raft_pb2.AddLearnerNode, 2, address.SerializeToString())
    with served_node(loop_thread, config) as learner:
        founder.put(b"k", b"v")
        assert learner.get(b"k").value == b"v"
        assert roles(founder) == {1: "voter", 2: "learner"}
        assert founder.change(raft_pb2.AddNode, 2).state == common_pb2.OK
        wait_until(lambda: roles(founder) == {1: "voter", 2: "voter"}, "the learner is a voter")


def test_an_address_of_a_member_can_be_changed(founder: ServedNode) -> None:
    founder.change(raft_pb2.AddLearnerNode, 2, NOWHERE.SerializeToString())
    moved = common_pb2.NodeAddress(kv_address="127.0.0.1:3", raft_address="127.0.0.1:4")
    reply = founder.change(raft_pb2.AddLearnerNode, 2, moved.SerializeToString())
    assert reply.address_map[2] == moved


def test_a_member_that_is_gone_for_good_is_removed(founder: ServedNode) -> None:
    founder.change(raft_pb2.AddLearnerNode, 2, NOWHERE.SerializeToString())
    reply = founder.change(raft_pb2.RemoveNode, 2)
    assert reply == raft_pb2.ChangeReply(state=common_pb2.OK, address_map={1: founder.address}, leader_id=1)


def test_who_is_no_member_is_not_found(founder: ServedNode) -> None:
    assert founder.change(raft_pb2.RemoveNode, 9) == raft_pb2.ChangeReply(
        state=common_pb2.NOT_FOUND, address_map={1: founder.address}, leader_id=1
    )


def test_the_last_voter_is_not_removed(founder: ServedNode) -> None:
    founder.change(raft_pb2.AddLearnerNode, 2, NOWHERE.SerializeToString())
    assert refusal_of(lambda: founder.change(raft_pb2.RemoveNode, 1)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "node 1 is the last voter: without it there is no cluster; just stop it",
        "not-applied",
    )


def test_the_last_voter_is_not_made_a_learner(founder: ServedNode) -> None:
    assert refusal_of(lambda: founder.change(raft_pb2.AddLearnerNode, 1)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "the change would remove all voters",
        "not-applied",
    )
    assert founder.put(b"k", b"v").state == common_pb2.OK


@pytest.mark.parametrize("change_type", [raft_pb2.AddNode, raft_pb2.AddLearnerNode])
@pytest.mark.parametrize(
    "context", [b"\xff", b"\x0a\x05ab", b"", common_pb2.NodeAddress(kv_address="127.0.0.1:1").SerializeToString()]
)
def test_who_is_added_needs_an_address(alone: ServedNode, change_type: int, context: bytes) -> None:
    assert refusal_of(lambda: alone.change(change_type, 2, context)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "to add a node, context must be its serialized meteora.common.NodeAddress",
        "not-applied",
    )
    assert roles(alone) == {1: "voter"}


@pytest.mark.parametrize("change_type", [raft_pb2.AddNode, raft_pb2.RemoveNode, raft_pb2.AddLearnerNode])
def test_nobody_has_the_id_0(alone: ServedNode, change_type: int) -> None:
    assert refusal_of(lambda: alone.change(change_type, 0, NOWHERE.SerializeToString())) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "node_id is missing: 0 is no node's id",
        "not-applied",
    )


def test_a_kind_of_change_that_this_release_does_not_know_is_refused(alone: ServedNode) -> None:
    assert refusal_of(lambda: alone.change(7, 2, NOWHERE.SerializeToString())) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "change_type 7 is none that this release knows",
        "not-applied",
    )
    assert roles(alone) == {1: "voter"}


# By way of any node


@pytest.fixture
def trio(tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind) -> Iterator[ServedCluster]:
    """Three voters, for one test."""
    with served_cluster(tmp_path, free_port, 3, kind) as cluster:
        yield cluster


def test_a_follower_passes_changes_and_refusals_on(trio: ServedCluster) -> None:
    follower = trio.followers[0]
    assert follower.change(raft_pb2.AddLearnerNode, 4, NOWHERE.SerializeToString()).state == common_pb2.OK
    assert trio.leader.status().members[3].learner
    assert follower.change(raft_pb2.RemoveNode, 4).state == common_pb2.OK
    assert follower.change(raft_pb2.RemoveNode, 4).state == common_pb2.NOT_FOUND
    code, details, outcome = refusal_of(lambda: follower.change(raft_pb2.AddNode, 4, b"\xff"))
    assert (code, outcome) == (grpc.StatusCode.INVALID_ARGUMENT, "not-applied")
    assert details.endswith("to add a node, context must be its serialized meteora.common.NodeAddress")


def test_a_follower_is_removed_and_knows_it(trio: ServedCluster) -> None:
    leader, removed = trio.leader, trio.followers[0]
    assert removed.change(raft_pb2.RemoveNode, removed.config.node_id).state == common_pb2.OK
    wait_until(removed.node.removed.done, "the removed node knows it")
    assert removed.node.removed.result() is Removal.WHILE_RUNNING
    assert removed.config.node_id not in roles(leader)
    assert leader.put(b"k", b"v").state == common_pb2.OK


def test_a_leader_that_is_removed_hands_over_first(trio: ServedCluster) -> None:
    removed, others = trio.leader, trio.followers
    term = removed.status().term
    assert removed.change(raft_pb2.RemoveNode, removed.config.node_id).state == common_pb2.OK
    wait_until(removed.node.removed.done, "the removed node knows it")
    assert [each.put(b"k", b"v").state for each in others] == [common_pb2.OK] * 2
    # One election, not one that had to wait for a time-out and may have been split.
    assert {each.status().term for each in others} == {term + 1}


@pytest.mark.parametrize("which", [0, 1])
def test_a_leader_is_removed_by_way_of_another_node_with_one_call(trio: ServedCluster, which: int) -> None:
    removed, others = trio.leader, trio.followers
    assert others[which].change(raft_pb2.RemoveNode, removed.config.node_id).state == common_pb2.OK
    assert removed.config.node_id not in roles(others[which])


def test_a_leader_whose_removal_is_refused_leads_on(trio: ServedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "HEARD_SECONDS", 0.1)
    leader, (there, lost) = trio.leader, trio.followers
    term = leader.status().term
    lost.stop()
    wait_until(lambda: lost.config.node_id not in leader.node._raw.heard, "the leader knows that it is alone")
    code, details, _ = refusal_of(lambda: there.change(raft_pb2.RemoveNode, leader.config.node_id))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "too many are silent to be a majority" in details
    assert (leader.status().term, leader.status().leader_id) == (term, leader.config.node_id)


def test_a_leader_is_removed_by_way_of_another_node_although_it_leaves_no_majority_if_that_is_forced(
    trio: ServedCluster,
) -> None:
    leader, (there, lost) = trio.leader, trio.followers
    lost.end()
    wait_until(lambda: lost.config.node_id not in leader.node._raw.heard, "the leader knows that it is alone")
    request = raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=leader.config.node_id, force=True)
    code, _, outcome = refusal_of(lambda: there.raft.ChangeConfig(request, timeout=CALL_SECONDS))
    assert (code, outcome) == (grpc.StatusCode.DEADLINE_EXCEEDED, "unknown")
    assert leader.config.node_id not in roles(there)


@pytest.mark.parametrize("address", ["nowhere", "host:0", "host:99999", "a b:1", "http://host:1", ":1"])
@pytest.mark.parametrize("name", ["raft_address", "kv_address"])
def test_an_address_that_is_none_is_refused_by_name(alone: ServedNode, name: str, address: str) -> None:
    context = common_pb2.NodeAddress(kv_address=NOWHERE.kv_address, raft_address=NOWHERE.raft_address)
    setattr(context, name, address)
    code, details, outcome = refusal_of(lambda: alone.change(raft_pb2.AddNode, 2, context.SerializeToString()))
    assert (code, outcome) == (grpc.StatusCode.INVALID_ARGUMENT, "not-applied")
    assert details.startswith(f"{name}: {address!r} is not an address")


def test_a_voter_becomes_a_learner(trio: ServedCluster) -> None:
    leader, demoted = trio.leader, trio.followers[0]
    assert leader.change(raft_pb2.AddLearnerNode, demoted.config.node_id).state == common_pb2.OK
    assert roles(leader)[demoted.config.node_id] == "learner"
    assert demoted.put(b"k", b"v").state == common_pb2.OK
    assert demoted.get(b"k").value == b"v"
