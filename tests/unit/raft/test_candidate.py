"""Elections, beyond those of the paper (`tests/paper`): who wins against whom, and what is late."""

from collections.abc import Callable, Sequence

import pytest

from meteora.raft import Entry, HardState, Message, MessageKind, RoleName
from meteora.raft.errors import InvariantViolation, ProposalDropped
from tests.raft_network import Member, Network, acknowledge, cluster, lead, log_of, lone_member, stand

# Who wins


def without(size: int, *absent: int) -> Network:
    network = cluster(range(1, size + 1))
    for node_id in absent:
        network.crash(node_id)
    return network


@pytest.mark.parametrize(
    ("size", "absent", "role"),
    [
        (1, (), RoleName.LEADER),
        (3, (), RoleName.LEADER),
        (3, (2,), RoleName.LEADER),
        (3, (2, 3), RoleName.PRE_CANDIDATE),
        (4, (2,), RoleName.LEADER),
        (4, (2, 3), RoleName.PRE_CANDIDATE),
        (5, (2, 3), RoleName.LEADER),
        (5, (2, 3, 4), RoleName.PRE_CANDIDATE),
    ],
)
def test_a_leader_is_elected_if_a_majority_can_be_reached(size: int, absent: Sequence[int], role: RoleName) -> None:
    network = without(size, *absent)
    network.campaign(1)
    assert network[1].role is role


def test_a_node_that_reaches_no_majority_raises_no_term() -> None:
    """Unlike the paper's candidate: pre-votes come first, so it can come back without disturbing anybody."""
    network = without(3, 2, 3)
    network.tick(200)
    assert network[1].raw.term == 0


def test_a_node_whose_log_is_behind_a_majority_does_not_win() -> None:
    network = cluster(logs={2: log_of(1), 3: log_of(1, 1)})
    network.campaign(1)
    assert (network[1].role, network[1].raw.term) == (RoleName.FOLLOWER, 1)
    network.campaign(2)
    # Its own log, and that of n1, are a majority.
    assert network[2].role is RoleName.LEADER


def test_any_member_can_campaign_and_win_while_the_leader_is_up() -> None:
    """A cycle of leaders: each is unseated once the others have not heard it for an election timeout."""
    network = cluster((2, 3, 4))
    for term, candidate in enumerate((2, 3, 4, 2), start=1):
        before = network.leaders()
        network.isolate(*before)
        network.tick(10, *(network.members.keys() - set(before)))
        network.heal()
        network.campaign(candidate)
        assert (network[candidate].role, network[candidate].raw.term) == (RoleName.LEADER, term)
        network.tick()
        assert network.leaders() == [candidate]


def test_a_new_leader_may_overwrite_newer_entries_that_were_never_committed() -> None:
    """n1 has 2@1, n2 has 2@1 too, n4 and n5 have 2@2, n3 has voted: a higher last term alone wins nothing for ever."""
    network = cluster(
        range(1, 6),
        logs={1: log_of(1, 1), 2: log_of(1, 1), 3: log_of(1), 4: log_of(1, 2), 5: log_of(1, 2)},
        hard_states={node_id: HardState(term=2) for node_id in range(1, 6)},
    )
    network.isolate(1, 2, 3)
    network.campaign(1)
    network.propose(1, b"new")
    assert network[1].role is RoleName.LEADER
    network.heal()
    network.tick(3)
    assert {tuple(member.terms()) for member in network.members.values()} == {(1, 1, 3, 3)}
    assert all(member.commands() == [b"1@1", b"2@1", b"new"] for member in network.members.values())


def test_of_two_candidates_at_once_one_wins_and_the_other_follows() -> None:
    network = cluster()
    network.cut(1, 3)
    network.campaign(1)
    network.campaign(3)
    assert (network[1].role, network[3].role) == (RoleName.LEADER, RoleName.FOLLOWER)
    network.heal()
    network.tick()
    assert network.leaders() == [1]
    assert network[3].raw.leader_id == 1
    assert {member.raw.term for member in network.members.values()} == {1}


def test_a_pre_candidate_that_has_lost_ground_does_not_disturb_when_it_comes_back() -> None:
    network = cluster()
    network.cut(1, 3)
    network.campaign(1)
    network.propose(1, b"more than n3 has")
    network.campaign(3)
    network.heal()
    network.campaign(3)
    assert (network[1].role, network[1].raw.term) == (RoleName.LEADER, 1)
    network.tick()
    assert network[3].commands() == [b"more than n3 has"]


def test_two_candidates_of_one_term_split_the_votes_and_one_wins_the_next() -> None:
    network = cluster(range(1, 5))
    network.delay(lambda message: message.kind is MessageKind.VOTE)
    network.cut(1, 4)
    network.campaign(1)
    network.campaign(4)
    assert network[1].role is network[4].role is RoleName.CANDIDATE
    network.drop(lambda message: {message.sender, message.receiver} in ({1, 3}, {4, 2}, {1, 4}))
    network.release()
    assert network.leaders() == []
    network.heal()
    network.tick(20)
    assert network.leaders() == [1]
    assert {member.raw.term for member in network.members.values()} == {2}


def test_a_candidate_concedes_to_a_leader_of_its_term() -> None:
    network = cluster()
    network.isolate(1)
    stand(network[1])
    assert (network[1].role, network[1].raw.term) == (RoleName.CANDIDATE, 1)
    network.campaign(3)
    network.propose(3, b"x")
    network.heal()
    network.tick(1, 3)
    assert (network[1].role, network[1].raw.leader_id) == (RoleName.FOLLOWER, 3)
    assert network[1].commands() == [b"x"]


def test_a_heartbeat_of_its_own_term_ends_a_candidacy_too() -> None:
    member = lone_member()
    stand(member)
    (answer,) = member.heard(MessageKind.HEARTBEAT, 3)
    assert answer == Message(MessageKind.HEARTBEAT_RESPONSE, 1, 3, term=1)
    assert (member.role, member.raw.leader_id) == (RoleName.FOLLOWER, 3)


def test_a_single_node_elects_itself_once_its_disk_has_the_vote() -> None:
    member = lone_member(voters=(1,))
    member.holds_writes = True
    member.raw.campaign()
    member.work()
    member.finish_write()
    member.work()
    assert member.role is RoleName.CANDIDATE
    member.finish_write()
    assert (member.role, member.disk.hard_state) == (RoleName.LEADER, HardState(term=1, vote=1))


def test_a_single_node_elects_itself_by_time() -> None:
    member = lone_member(voters=(1,))
    member.tick(10)
    assert member.role is RoleName.LEADER


@pytest.mark.parametrize("start", [stand, lead])
def test_a_campaign_of_one_who_leads_or_stands_disturbs_nothing(start: Callable[[Member], object]) -> None:
    member = lone_member()
    start(member)
    before = member.raw.term
    member.raw.campaign()
    member.work()
    assert member.raw.term == before


# Votes


def follower() -> Member:
    return lone_member(hard_state=HardState(term=1))


def pre_candidate() -> Member:
    member = follower()
    member.raw.campaign()
    member.work()
    return member


def candidate() -> Member:
    member = follower()
    stand(member)
    return member


def leader_that_may_be_unseated() -> Member:
    member = follower()
    lead(member)
    return member


@pytest.mark.parametrize("start", [follower, pre_candidate, candidate])
def test_a_vote_of_a_higher_term_is_given_from_any_state(start: Callable[[], Member]) -> None:
    member = start()
    newer = member.raw.term + 1
    (answer,) = member.heard(MessageKind.VOTE, 2, term=newer)
    assert answer == Message(MessageKind.VOTE_RESPONSE, 1, 2, term=newer)
    assert (member.role, member.raw.term, member.disk.hard_state.vote) == (RoleName.FOLLOWER, newer, 2)


def test_a_leader_votes_for_another_only_if_leadership_was_handed_over() -> None:
    """Unlike the paper's: it hears itself, so to say (leader stickiness, thesis 4.2.3)."""
    member = leader_that_may_be_unseated()
    assert member.heard(MessageKind.VOTE, 2, term=9, index=9, log_term=8) == []
    assert member.role is RoleName.LEADER
    (answer,) = member.heard(MessageKind.VOTE, 2, term=9, index=9, log_term=8, context=b"transfer")
    assert (answer.kind, answer.reject) == (MessageKind.VOTE_RESPONSE, False)
    assert (member.role, member.raw.term) == (RoleName.FOLLOWER, 9)


@pytest.mark.parametrize("start", [follower, pre_candidate, candidate])
def test_a_pre_vote_is_granted_from_any_state_and_changes_nothing(start: Callable[[], Member]) -> None:
    member = start()
    before = (member.role, member.raw.term, member.disk.hard_state)
    (answer,) = member.heard(MessageKind.PRE_VOTE, 2, term=member.raw.term + 1)
    assert answer == Message(MessageKind.PRE_VOTE_RESPONSE, 1, 2, term=member.raw.term + 1)
    assert (member.role, member.raw.term, member.disk.hard_state) == before


def test_pre_votes_are_granted_to_any_number_of_nodes() -> None:
    member = follower()
    for sender in (2, 3):
        (answer,) = member.heard(MessageKind.PRE_VOTE, sender, term=2)
        assert not answer.reject


def test_a_pre_vote_of_the_current_term_is_bound_by_the_vote() -> None:
    """Whoever has voted in this term knows how an election in it would go."""
    member = lone_member(hard_state=HardState(term=2, vote=2))
    assert member.heard(MessageKind.PRE_VOTE, 3)[0].reject
    assert not member.heard(MessageKind.PRE_VOTE, 2)[0].reject


def test_a_second_answer_of_one_voter_is_a_duplicate() -> None:
    member = lone_member(voters=range(1, 6))
    stand(member)
    for _ in range(3):
        member.heard(MessageKind.VOTE_RESPONSE, 2)
    member.heard(MessageKind.VOTE_RESPONSE, 2, reject=True)
    assert member.role is RoleName.CANDIDATE


def test_the_answer_of_one_who_is_no_voter_does_not_count() -> None:
    member = lone_member(voters=(1, 2, 3), learners=(4,))
    stand(member)
    member.heard(MessageKind.VOTE_RESPONSE, 4)
    member.heard(MessageKind.VOTE_RESPONSE, 9)
    assert member.role is RoleName.CANDIDATE


def test_pre_votes_are_no_votes_and_votes_no_pre_votes() -> None:
    member = lone_member(hard_state=HardState(term=1))
    member.raw.campaign()
    member.work()
    member.heard(MessageKind.VOTE_RESPONSE, 2)
    assert member.role is RoleName.PRE_CANDIDATE
    member.heard(MessageKind.PRE_VOTE_RESPONSE, 2, term=2)
    assert member.role is RoleName.CANDIDATE
    member.heard(MessageKind.PRE_VOTE_RESPONSE, 3, term=2)
    assert member.role is RoleName.CANDIDATE


def test_a_pre_candidate_that_is_refused_by_a_majority_is_a_follower_again_in_its_term() -> None:
    member = lone_member(hard_state=HardState(term=1))
    member.raw.campaign()
    member.work()
    for voter in (2, 3):
        member.heard(MessageKind.PRE_VOTE_RESPONSE, voter, reject=True)
    assert (member.role, member.raw.term) == (RoleName.FOLLOWER, 1)


def test_a_refused_pre_vote_teaches_the_voters_term() -> None:
    member = lone_member(hard_state=HardState(term=1))
    member.raw.campaign()
    member.work()
    member.heard(MessageKind.PRE_VOTE_RESPONSE, 2, term=7, reject=True)
    assert (member.role, member.raw.term) == (RoleName.FOLLOWER, 7)


@pytest.mark.parametrize("term", [4, 5])
def test_a_refusal_teaches_how_far_the_log_is_committed_even_if_the_voters_term_is_lower(term: int) -> None:
    """What is missed may be a change of the voters: then this node may ask the wrong ones for ever.

    A voter that was removed raises its term by itself no more, and a pre-vote that it refuses does not raise it either.
    """
    member = lone_member(entries=log_of(1, 1, 1), hard_state=HardState(term=5))
    member.raw.campaign()
    member.work()
    member.heard(MessageKind.PRE_VOTE_RESPONSE, 2, term=term, reject=True, commit=2, hint=1)
    assert member.commit_index == 2


@pytest.mark.parametrize("kind", [MessageKind.VOTE, MessageKind.PRE_VOTE])
@pytest.mark.parametrize("term", [4, 5, 6])
def test_a_vote_request_teaches_how_far_the_log_is_committed_whatever_its_term(kind: MessageKind, term: int) -> None:
    """raft-rs: advance commit index by vote request, by direct vote request, by pre-vote request."""
    member = lone_member(entries=log_of(1, 1, 1), hard_state=HardState(term=5))
    member.heard(kind, 2, term=term, index=3, log_term=1, commit=2, hint=1)
    assert member.commit_index == 2


@pytest.mark.parametrize(("commit", "term"), [(2, 2), (4, 1), (0, 0)])
def test_a_refusal_teaches_nothing_where_the_logs_differ(commit: int, term: int) -> None:
    member = lone_member(entries=log_of(1, 1, 1))
    member.raw.campaign()
    member.work()
    member.heard(MessageKind.PRE_VOTE_RESPONSE, 2, reject=True, commit=commit, hint=term)
    assert member.commit_index == 0


# What is late


def test_a_vote_for_itself_that_is_durable_after_the_election_was_lost_is_ignored() -> None:
    member = lone_member()
    stand_without_disk(member)
    member.heard(MessageKind.APPEND, 2)
    assert member.role is RoleName.FOLLOWER
    settle_disk(member)
    assert (member.role, member.raw.leader_id) == (RoleName.FOLLOWER, 2)


def stand_without_disk(member: Member) -> list[Message]:
    """Make it a candidate whose vote for itself is not written yet: what leaves nevertheless."""
    member.raw.campaign()
    member.work()
    member.holds_writes = True
    leaving: list[Message] = []
    for voter in sorted(member.raw.configuration.all_voters - {member.node_id}):
        if member.role is RoleName.PRE_CANDIDATE:
            leaving += member.heard(MessageKind.PRE_VOTE_RESPONSE, voter, term=member.raw.term + 1)
    assert member.writing is not None
    return leaving


def settle_disk(member: Member) -> list[Message]:
    leaving: list[Message] = []
    while member.writing is not None:
        leaving += member.finish_write()
        leaving += member.work()
    return leaving


def test_a_pre_vote_for_itself_that_is_late_is_ignored_by_a_follower() -> None:
    member = lone_member()
    member.holds_writes = True
    member.raw.campaign()
    member.work()
    member.heard(MessageKind.APPEND, 2, term=1)
    settle_disk(member)
    assert (member.role, member.raw.leader_id) == (RoleName.FOLLOWER, 2)


def test_a_pre_vote_for_itself_that_is_late_is_no_vote() -> None:
    member = lone_member(voters=range(1, 6))
    member.holds_writes = True
    member.raw.campaign()
    member.work()
    for voter in (2, 3, 4):
        member.heard(MessageKind.PRE_VOTE_RESPONSE, voter, term=1)
    assert member.role is RoleName.CANDIDATE
    member.finish_write()
    member.work()
    assert member.raw._raft.role.votes == {}  # type: ignore[union-attr]


def test_a_leader_is_elected_by_the_others_although_its_own_disk_is_slow() -> None:
    """Its term is durable, or nobody had been asked; its own vote is then not waited for."""
    member = lone_member(voters=range(1, 6))
    stand(member)
    member.holds_writes = True
    for voter in (2, 3, 4):
        member.heard(MessageKind.VOTE_RESPONSE, voter)
    assert member.role is RoleName.LEADER


def test_votes_are_asked_for_only_once_the_term_is_durable() -> None:
    """Or this node could win the same term twice, with two logs: before a crash, and after it."""
    member = lone_member()
    assert stand_without_disk(member) == []
    assert member.role is RoleName.CANDIDATE
    asked = settle_disk(member)
    assert {message.kind for message in asked} == {MessageKind.VOTE}
    assert member.disk.hard_state == HardState(term=1, vote=1)


def test_no_term_is_won_twice_by_a_node_that_crashes_while_its_vote_is_written() -> None:
    """Found by reading and by seeds: n3 kept `x` where n1 and n2 applied `y`."""
    network = cluster()
    # The others vote, but n2 gets nothing of the new leader's log.
    network.drop(lambda message: message.kind is MessageKind.APPEND and message.receiver == 2)
    network.post(stand_without_disk(network[1]))
    network.settle()
    if network[1].role is RoleName.LEADER:
        network.propose(1, b"x")
    network.crash(1)
    network[1].holds_writes = False
    network.heal()
    # Now n3 is out of reach, until the same term has been won again.
    network.isolate(3)
    network.restart(1)
    network.campaign(1)
    network.propose(1, b"y")
    network.heal()
    network.tick(20)
    assert {tuple(member.commands()) for member in network.members.values()} == {(b"y",)}


def test_late_answers_of_another_role_change_nothing() -> None:
    kinds = [
        MessageKind.APPEND_RESPONSE,
        MessageKind.HEARTBEAT_RESPONSE,
        MessageKind.VOTE_RESPONSE,
        MessageKind.PRE_VOTE_RESPONSE,
    ]
    member = follower()
    for kind in kinds:
        assert member.heard(kind, 2) == []
    stand(member)
    for kind in kinds[:2]:
        assert member.heard(kind, 2) == []
    assert member.role is RoleName.CANDIDATE


def test_a_leader_ignores_votes_that_come_after_it_has_won() -> None:
    member = lone_member()
    lead(member)
    assert member.heard(MessageKind.VOTE_RESPONSE, 3) == []
    assert member.heard(MessageKind.PRE_VOTE_RESPONSE, 3) == []
    assert member.role is RoleName.LEADER


# What a candidate does not do


def test_a_candidate_takes_no_proposals() -> None:
    member = lone_member()
    stand(member)
    with pytest.raises(ProposalDropped, match="election"):
        member.raw.propose([b"x"])


def test_a_candidate_answers_no_reads_and_hands_over_nothing() -> None:
    member = lone_member()
    stand(member)
    member.raw.read_index(b"r")
    member.raw.transfer_leader(2)
    assert member.work() == []
    assert member.read_states == []


# What can't be


def test_only_a_candidate_becomes_leader() -> None:
    with pytest.raises(InvariantViolation, match="only a candidate"):
        lone_member().raw._raft.become_leader()


def test_a_term_never_falls() -> None:
    member = lone_member(hard_state=HardState(term=5))
    with pytest.raises(InvariantViolation, match="below the current one"):
        member.raw._raft.become_follower(4, 2)


def test_two_leaders_of_one_term_stop_a_follower() -> None:
    member = lone_member()
    member.heard(MessageKind.HEARTBEAT, 2, term=1)
    with pytest.raises(InvariantViolation, match="n2 and n3 both lead term 1"):
        member.heard(MessageKind.HEARTBEAT, 3, term=1)


@pytest.mark.parametrize("kind", [MessageKind.APPEND, MessageKind.HEARTBEAT])
def test_two_leaders_of_one_term_stop_a_leader(kind: MessageKind) -> None:
    member = lone_member()
    lead(member)
    with pytest.raises(InvariantViolation, match="n1 and n3 both lead term 1"):
        member.heard(kind, 3)


# All at once


@pytest.mark.parametrize("start", [follower, pre_candidate, candidate, leader_that_may_be_unseated])
@pytest.mark.parametrize("kind", [MessageKind.APPEND, MessageKind.HEARTBEAT])
def test_everybody_steps_down_for_a_leader_of_a_higher_term(start: Callable[[], Member], kind: MessageKind) -> None:
    member = start()
    log = member.log()
    member.heard(kind, 2, term=9, index=0)
    assert (member.role, member.raw.term, member.raw.leader_id) == (RoleName.FOLLOWER, 9, 2)
    assert member.log()[: len(log)] == log


def test_a_leader_that_was_unseated_replaces_what_nobody_else_had() -> None:
    member = lone_member()
    lead(member)
    acknowledge(member, 2, 3)
    member.propose(b"lost")
    member.heard(MessageKind.APPEND, 3, term=2, index=1, log_term=1, entries=(Entry(2, 2),))
    assert member.terms() == [1, 2]


# Another node under the id of a former member


def test_who_is_not_the_node_that_is_meant_by_its_id_does_not_campaign() -> None:
    network = cluster([1])
    raw = network[1].raw
    raw.set_stranger(is_stranger=True)
    network.campaign(1)
    assert raw.role is RoleName.FOLLOWER
    raw.set_stranger(is_stranger=False)
    network.campaign(1)
    assert raw.role is RoleName.LEADER


def test_who_is_not_the_node_that_is_meant_by_its_id_votes_for_nobody() -> None:
    network = cluster([1, 2, 3])
    network.crash(3)
    network[2].raw.set_stranger(is_stranger=True)
    network.campaign(1)
    assert network[1].role is RoleName.PRE_CANDIDATE
    network[2].raw.set_stranger(is_stranger=False)
    network.campaign(1)
    assert network[1].role is RoleName.LEADER
