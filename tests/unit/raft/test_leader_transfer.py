"""Leadership is handed over to a member that has the whole log, or kept (thesis 3.10)."""

from collections.abc import Sequence

import pytest

from meteora.raft import Change, ChangeKind, ConfChange, MessageKind, RoleName
from meteora.raft.errors import ProposalDropped
from tests.raft_network import Network, acknowledge, cluster
from tests.unit.raft.leaders import replicating_leader

ELECTION_TICKS = 10


def led_by_1(voters: Sequence[int] = (1, 2, 3), learners: Sequence[int] = ()) -> Network:
    network = cluster(voters, learners)
    network.campaign(1)
    network.tick()
    return network


def transfer(network: Network, asked: int, node_id: int) -> None:
    network[asked].raw.transfer_leader(node_id)
    network.settle()


def pending_transfer_to_3() -> Network:
    """n1 hands over to n3, which can't hear it."""
    network = led_by_1()
    network.isolate(3)
    transfer(network, 1, 3)
    assert network[1].raw.transferee == 3
    return network


def test_leadership_goes_to_a_member_that_is_up_to_date() -> None:
    network = led_by_1()
    transfer(network, 1, 2)
    assert (network.leaders(), network[1].raw.leader_id, network[2].raw.term) == ([2], 2, 2)
    network.propose(1, b"x")
    transfer(network, 2, 1)
    assert network.leaders() == [1]


@pytest.mark.parametrize("asked", [2, 3])
def test_a_follower_that_is_asked_passes_it_on(asked: int) -> None:
    network = led_by_1()
    transfer(network, asked, 2)
    assert network.leaders() == [2]


def test_the_successor_needs_no_pre_votes_and_the_others_need_not_wait() -> None:
    """Although all of them hear a leader, and have heard it just now."""
    network = led_by_1()
    network.log.clear()
    transfer(network, 1, 3)
    kinds = {message.kind for message in network.log}
    assert MessageKind.PRE_VOTE not in kinds
    assert network.leaders() == [3]


def test_a_successor_that_is_pre_candidate_becomes_candidate() -> None:
    network = led_by_1()
    network[3].raw.campaign()
    network[3].work()
    assert network[3].role is RoleName.PRE_CANDIDATE
    transfer(network, 1, 3)
    assert network.leaders() == [3]


def test_a_slow_successor_is_brought_up_to_date_first() -> None:
    network = led_by_1()
    network.drop(lambda message: message.kind is MessageKind.APPEND and message.receiver == 3)
    network.propose(1, b"x")
    transfer(network, 1, 3)
    assert network.leaders() == [1]
    network.heal()
    network.tick(1, 1)
    assert network.leaders() == [3]
    assert network[3].commands() == [b"x"]


def test_leadership_is_not_handed_over_to_itself() -> None:
    network = led_by_1()
    transfer(network, 1, 1)
    assert (network.leaders(), network[1].raw.transferee, network[1].raw.term) == ([1], 0, 1)


@pytest.mark.parametrize("node_id", [4, 9, 0])
def test_leadership_is_not_handed_over_to_a_learner_or_a_stranger(node_id: int) -> None:
    network = led_by_1(learners=(4,))
    transfer(network, 1, node_id)
    assert (network.leaders(), network[1].raw.transferee) == ([1], 0)


def test_a_stranger_that_is_told_to_campaign_does_not() -> None:
    network = cluster((1, 2), newcomers=(3,))
    network[3].heard(MessageKind.TIMEOUT_NOW, 1, term=1)
    assert network[3].role is RoleName.FOLLOWER


def test_proposals_are_dropped_while_leadership_is_handed_over() -> None:
    network = pending_transfer_to_3()
    with pytest.raises(ProposalDropped, match="handed to n3"):
        network[1].raw.propose([b"x"])
    with pytest.raises(ProposalDropped):
        network[1].raw.propose_conf_change(ConfChange((Change(ChangeKind.ADD_VOTER, 4),)))
    assert network[1].raw.status().last_index == 1


def test_a_transfer_is_given_up_after_an_election_timeout() -> None:
    network = pending_transfer_to_3()
    network.tick(ELECTION_TICKS - 1, 1)
    assert network[1].raw.transferee == 3
    network.tick(1, 1)
    assert (network[1].raw.transferee, network.leaders()) == (0, [1])
    network.propose(1, b"x")
    assert network[2].commands() == [b"x"]


def test_a_leader_that_hands_over_still_votes_for_the_successor_only() -> None:
    """A vote request without the sign of a transfer does not unseat it; one with it does."""
    network = pending_transfer_to_3()
    network[1].heard(MessageKind.VOTE, 2, term=2, index=1, log_term=1)
    assert (network[1].role, network[1].raw.transferee) == (RoleName.LEADER, 3)
    network[1].heard(MessageKind.VOTE, 3, term=2, index=1, log_term=1, context=b"transfer")
    assert (network[1].role, network[1].raw.transferee) == (RoleName.FOLLOWER, 0)


@pytest.mark.parametrize("kind", [ChangeKind.REMOVE, ChangeKind.ADD_LEARNER])
def test_a_transfer_to_one_who_ceases_to_be_voter_is_given_up(kind: ChangeKind) -> None:
    network = led_by_1()
    network.drop(lambda message: message.kind is MessageKind.APPEND_RESPONSE)
    network[1].raw.propose_conf_change(ConfChange((Change(kind, 3),)))
    network.settle()
    network.isolate(3)
    transfer(network, 1, 3)
    assert network[1].raw.transferee == 3
    network.post(network[1].heard(MessageKind.APPEND_RESPONSE, 2, index=2))
    assert network[1].raw.configuration.voters == {1, 2}
    assert network[1].raw.transferee == 0
    network.propose(1, b"x")


def test_a_transfer_back_to_the_leader_itself_keeps_leadership() -> None:
    network = pending_transfer_to_3()
    transfer(network, 1, 1)
    assert (network.leaders(), network[1].raw.transferee) == ([1], 0)
    network.propose(1, b"x")


def test_a_second_transfer_to_another_replaces_the_first() -> None:
    network = pending_transfer_to_3()
    transfer(network, 1, 2)
    assert network.leaders() == [2]


def test_a_second_transfer_to_the_same_node_does_not_prolong_the_first() -> None:
    network = pending_transfer_to_3()
    network.tick(ELECTION_TICKS - 1, 1)
    transfer(network, 1, 3)
    network.tick(1, 1)
    assert network[1].raw.transferee == 0


def test_a_successor_is_told_to_campaign_once_it_has_acknowledged_all() -> None:
    member = replicating_leader()
    member.propose(b"x")
    member.raw.transfer_leader(3)
    assert {message.kind for message in member.work()} == {MessageKind.APPEND}
    assert {message.kind for message in acknowledge(member, 2)} == {MessageKind.APPEND}
    assert MessageKind.TIMEOUT_NOW in {message.kind for message in acknowledge(member, 3)}


def test_being_told_to_campaign_means_nothing_to_a_leader_or_a_candidate() -> None:
    member = replicating_leader()
    assert member.heard(MessageKind.TIMEOUT_NOW, 2) == []
    assert (member.role, member.raw.term) == (RoleName.LEADER, 1)
    member.raw._raft.become_follower(2, 0)
    member.raw._raft.become_candidate(is_pre_vote=False)
    member.work()
    assert member.heard(MessageKind.TIMEOUT_NOW, 2) == []
    assert (member.role, member.raw.term) == (RoleName.CANDIDATE, 3)
