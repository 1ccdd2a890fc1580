"""Learners receive the log and count for nothing."""

import pytest

from meteora.raft import Change, ChangeKind, ConfChange, HardState, MessageKind, RoleName
from tests.raft_network import acknowledge, cluster, lead, log_of, lone_member

PROMOTE_3 = ConfChange((Change(ChangeKind.ADD_VOTER, 3),))


def test_a_learner_never_campaigns_by_time() -> None:
    network = cluster((1,), (2,))
    network.tick(100, 2)
    assert (network[2].role, network[2].raw.term) == (RoleName.FOLLOWER, 0)


def test_a_learner_never_campaigns_when_told_to() -> None:
    member = lone_member(3, voters=(1, 2), learners=(3,), hard_state=HardState(term=1))
    member.raw.campaign()
    assert member.work() == []
    assert member.heard(MessageKind.TIMEOUT_NOW, 1) == []
    assert (member.role, member.raw.term) == (RoleName.FOLLOWER, 1)


def test_a_learner_gets_the_log_and_applies_it() -> None:
    network = cluster((1, 2), (3,))
    network.campaign(1)
    network.propose(1, b"x")
    assert network[3].commands() == [b"x"]


def test_a_learners_acknowledgement_commits_nothing() -> None:
    network = cluster((1, 2), (3, 4))
    network.campaign(1)
    network.crash(2)
    network.propose(1, b"x")
    assert network[1].raw.status().peers[3].match_index == 2
    assert network[1].commit_index == 1


def test_a_learner_is_not_waited_for() -> None:
    member = lone_member(voters=(1,), learners=(2, 3))
    lead(member)
    member.propose(b"x")
    assert member.commands() == [b"x"]


def test_a_learner_is_not_asked_for_votes() -> None:
    member = lone_member(voters=(1, 2), learners=(3,))
    member.raw.campaign()
    assert {message.receiver for message in member.work()} == {2}


@pytest.mark.parametrize("kind", [MessageKind.VOTE, MessageKind.PRE_VOTE])
def test_a_learner_that_is_asked_votes(kind: MessageKind) -> None:
    """The candidate may know of its promotion before the learner does: else there might be no leader at all."""
    member = lone_member(3, voters=(1, 2), learners=(3,), entries=log_of(1))
    (answer,) = member.heard(kind, 1, term=2, index=1, log_term=1)
    assert not answer.reject


def test_a_learners_vote_does_not_count_for_who_knows_it_as_learner() -> None:
    member = lone_member(voters=(1, 2, 3), learners=(4, 5))
    member.raw.campaign()
    member.work()
    for learner in (4, 5):
        member.heard(MessageKind.PRE_VOTE_RESPONSE, learner, term=1)
    assert member.role is RoleName.PRE_CANDIDATE


def test_a_promoted_learner_can_be_elected() -> None:
    network = cluster((1, 2), (3,))
    network.campaign(1)
    network[1].raw.propose_conf_change(PROMOTE_3)
    network.settle()
    assert network[3].raw.configuration.voters == {1, 2, 3}
    network.crash(1)
    network.tick(10, 2, 3)
    network.campaign(3)
    assert network.leaders()[-1] == 3


def test_a_promoted_learner_counts_from_then_on() -> None:
    member = lone_member(voters=(1,), learners=(2,))
    lead(member)
    acknowledge(member, 2)
    member.raw.propose_conf_change(ConfChange((Change(ChangeKind.ADD_VOTER, 2),)))
    member.work()
    member.propose(b"x")
    assert member.commit_index == 2
    acknowledge(member, 2)
    assert member.commit_index == 3


def test_promotion_keeps_what_the_leader_knows_of_the_learner() -> None:
    member = lone_member(voters=(1,), learners=(2,))
    lead(member)
    acknowledge(member, 2)
    before = member.raw.status().peers[2]
    member.raw.propose_conf_change(ConfChange((Change(ChangeKind.ADD_VOTER, 2),)))
    member.work()
    assert member.raw.status().peers[2].match_index == before.match_index == 1


def test_a_voter_that_is_made_learner_keeps_getting_the_log() -> None:
    network = cluster()
    network.campaign(1)
    network[1].raw.propose_conf_change(ConfChange((Change(ChangeKind.ADD_LEARNER, 3),)))
    network.settle()
    network.propose(1, b"x")
    assert network[3].commands() == [b"x"]
    network.tick(100, 3)
    assert network[3].role is RoleName.FOLLOWER


def test_proposals_and_reads_can_be_made_at_a_learner() -> None:
    network = cluster((1, 2), (3,))
    network.campaign(1)
    network.propose(3, b"x")
    network[3].raw.read_index(b"r")
    network.settle()
    assert network[2].commands() == [b"x"]
    assert [state.context for state in network[3].read_states] == [b"r"]
