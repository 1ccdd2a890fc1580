"""With lease reads a leader answers at once while a majority's promises last, and members keep what they promised."""

import pytest

from meteora.raft import Change, ChangeKind, ConfChange, HardState, Message, MessageKind, ReadState, RoleName, Settings
from meteora.raft.message import TRANSFER
from tests.raft_network import Member, Network, acknowledge, cluster, lead, lone_member
from tests.unit.raft.leaders import leader_of, replicating_leader

LEASES = Settings(lease_reads=True)
LEASE_TICKS = LEASES.election_ticks // 2


def answer(member: Member, heartbeats: list[Message], *peers: int) -> None:
    """These peers answer the heartbeats to them."""
    for message in heartbeats:
        if message.kind is MessageKind.HEARTBEAT and message.receiver in peers:
            member.heard(MessageKind.HEARTBEAT_RESPONSE, message.receiver, context=message.context)


def leader_with_lease() -> Member:
    member = replicating_leader(lease_reads=True)
    answer(member, member.tick(), 2)
    return member


def read(member: Member, context: bytes = b"r") -> list[Message]:
    member.read_states.clear()
    member.raw.read_index(context)
    return member.work()


# The leader


def test_a_leader_with_a_lease_answers_a_read_at_once() -> None:
    """etcd: read only option lease."""
    member = leader_with_lease()
    member.propose(b"x")
    acknowledge(member, 3)
    assert read(member) == []
    assert member.read_states == [ReadState(b"r", 2)]


def test_a_read_that_was_passed_on_is_answered_at_once_too() -> None:
    member = leader_with_lease()
    left = member.heard(MessageKind.READ_INDEX, 3, term=0, context=b"r")
    assert left == [Message(MessageKind.READ_INDEX_RESPONSE, 1, 3, 1, index=1, context=b"r")]


@pytest.mark.parametrize(("ticks", "by_lease"), [(LEASE_TICKS - 1, True), (LEASE_TICKS, False)])
def test_a_lease_lasts_half_an_election_timeout(ticks: int, by_lease: bool) -> None:
    member = leader_with_lease()
    member.tick(ticks)
    left = read(member)
    assert bool(member.read_states) is by_lease
    assert bool(left) is not by_lease


def test_without_the_quorums_answers_a_read_takes_a_round_as_without_leases() -> None:
    """raft-rs: lease read without check quorum."""
    member = replicating_leader(lease_reads=True)
    left = read(member)
    assert member.read_states == []
    answer(member, left, 3)
    assert member.read_states == [ReadState(b"r", 1)]


def test_without_the_setting_there_is_no_lease() -> None:
    member = replicating_leader()
    answer(member, member.tick(), 2, 3)
    assert read(member) != []
    assert member.read_states == []


def test_a_new_leader_answers_nothing_before_it_has_committed_in_its_term() -> None:
    member = lone_member(settings=LEASES)
    lead(member)
    answer(member, member.tick(), 2, 3)
    read(member)
    assert member.read_states == []
    acknowledge(member, 2)
    assert member.read_states == [ReadState(b"r", 1)]


def test_there_is_no_lease_while_leadership_is_handed_over() -> None:
    member = leader_with_lease()
    member.propose(b"x")
    member.raw.transfer_leader(3)
    read(member)
    assert member.read_states == []


def test_there_is_no_lease_any_more_once_somebody_was_told_to_campaign() -> None:
    """The message may be on its way for long, longer than the transfer is waited for."""
    member = leader_with_lease()
    member.raw.transfer_leader(2)
    member.raw.transfer_leader(1)
    answer(member, member.tick(), 2, 3)
    assert member.raw.transferee == 0
    read(member)
    assert member.read_states == []


def test_while_joint_a_lease_needs_both_majorities() -> None:
    member = leader_with_lease()
    changes = [Change(ChangeKind.REMOVE, 2), Change(ChangeKind.ADD_VOTER, 4), Change(ChangeKind.ADD_VOTER, 5)]
    member.raw.propose_conf_change(ConfChange(tuple(changes)))
    member.work()
    acknowledge(member, 2)
    assert member.raw.configuration.is_joint
    heartbeats = member.tick()
    read(member)
    assert member.read_states == []
    answer(member, heartbeats, 2, 4)
    read(member)
    assert member.read_states == []
    answer(member, heartbeats, 5)
    read(member, b"s")
    assert ReadState(b"s", member.commit_index) in member.read_states


def test_answers_of_learners_are_no_promises() -> None:
    member = lone_member(learners=(4,), settings=LEASES)
    lead(member)
    acknowledge(member, 2)
    answer(member, member.tick(), 4)
    read(member)
    assert member.read_states == []


def test_the_heartbeats_of_a_lease_are_heartbeats_like_others() -> None:
    """Their answers resume what is paused."""
    member = replicating_leader(lease_reads=True, max_inflight_messages=1)
    member.propose(b"x")
    heartbeats = member.tick()
    assert leader_of(member).progress[3].paused
    left = member.heard(MessageKind.HEARTBEAT_RESPONSE, 3, context=heartbeats[0].context)
    assert [message.kind for message in left] == [MessageKind.APPEND]


# Those who promise


def bound_follower(*, settings: Settings = LEASES) -> Member:
    member = lone_member(settings=settings, hard_state=HardState(term=1))
    member.heard(MessageKind.HEARTBEAT, 2, context=b"tick 7")
    return member


def test_who_has_leases_on_promises_and_who_has_not_does_not() -> None:
    for settings, context in ((LEASES, b"tick 7"), (Settings(), b"")):
        member = lone_member(settings=settings)
        (left,) = member.heard(MessageKind.HEARTBEAT, 2, term=1, context=b"tick 7")
        assert (left.kind, left.context) == (MessageKind.HEARTBEAT_RESPONSE, context)


@pytest.mark.parametrize("kind", [MessageKind.VOTE, MessageKind.PRE_VOTE])
@pytest.mark.parametrize(("ticks", "votes"), [(0, False), (9, False), (10, True)])
def test_a_promise_is_kept_for_an_election_timeout(kind: MessageKind, ticks: int, votes: bool) -> None:
    member = lone_member(settings=LEASES, random_below=lambda _: 9)
    member.heard(MessageKind.HEARTBEAT, 2, term=1)
    member.tick(ticks)
    assert bool(member.heard(kind, 3, term=2)) is votes


@pytest.mark.parametrize("kind", [MessageKind.VOTE, MessageKind.PRE_VOTE])
def test_a_promise_is_kept_although_a_newer_term_was_heard_of(kind: MessageKind) -> None:
    """By a late refusal of what this node had asked long ago, for example."""
    member = bound_follower()
    member.heard(MessageKind.PRE_VOTE_RESPONSE, 3, term=5, reject=True)
    assert (member.raw.term, member.raw.leader_id) == (5, 0)
    assert member.heard(kind, 3, term=5) == []
    assert member.heard(kind, 3, term=6) == []


@pytest.mark.parametrize("kind", [MessageKind.VOTE, MessageKind.PRE_VOTE])
def test_a_promise_outlives_a_restart(kind: MessageKind) -> None:
    member = bound_follower()
    member.crash()
    member.start()
    assert member.heard(kind, 3, term=2) == []
    member.tick(9)
    assert member.heard(kind, 3, term=2) == []


def test_who_has_never_heard_a_leader_has_promised_nothing() -> None:
    member = lone_member(settings=LEASES)
    assert member.heard(MessageKind.VOTE, 3, term=1) != []


def test_who_has_promised_does_not_campaign_either_unless_the_leader_wants_it() -> None:
    member = bound_follower()
    member.raw.campaign()
    member.work()
    assert member.role is RoleName.FOLLOWER
    member.heard(MessageKind.TIMEOUT_NOW, 2)
    assert member.role is RoleName.CANDIDATE


def test_a_promise_does_not_hold_against_whom_the_leader_has_chosen() -> None:
    member = bound_follower()
    (left,) = member.heard(MessageKind.VOTE, 3, term=2, context=TRANSFER)
    assert (left.kind, left.reject) == (MessageKind.VOTE_RESPONSE, False)


def test_a_leader_is_not_forgotten_by_those_who_have_promised() -> None:
    """etcd: forget leader, read only lease based."""
    member = bound_follower()
    member.raw.forget_leader()
    assert member.raw.leader_id == 2


# In a cluster


def test_an_old_leader_that_is_cut_off_has_no_lease_by_the_time_that_another_leads() -> None:
    network: Network = cluster(settings=LEASES)
    network.campaign(1)
    network.tick()
    network.isolate(1)
    for _ in range(40):
        network.tick()
        if network.leaders() != [1]:
            break
        assert network[1].raw.term == 1
    network.propose(2, b"x")
    read(network[1])
    assert network[1].read_states == []


def test_a_leader_of_leases_can_be_elected_and_hand_over() -> None:
    network = cluster(settings=LEASES)
    network.campaign(1)
    network[1].raw.transfer_leader(3)
    network.settle()
    assert network.leaders() == [3]
