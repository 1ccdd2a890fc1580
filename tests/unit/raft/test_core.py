"""The rules that hold whatever the role: pre-votes, check-quorum and stickiness, which are always on in Meteora."""

import pytest

from meteora.raft import Configuration, Entry, EntryKind, HardState, Message, MessageKind, RoleName, Settings
from meteora.raft.errors import InvariantViolation
from tests.raft_network import Network, cluster, lead, log_of, lone_member, stand
from tests.unit.raft.leaders import replicating_leader

ELECTION_TICKS = 10


def led_by_1(size: int = 3) -> Network:
    network = cluster(range(1, size + 1))
    network.campaign(1)
    network.tick()
    assert network.leaders() == [1]
    return network


# Settings


@pytest.mark.parametrize(("heartbeat", "election"), [(0, 10), (10, 10), (11, 10)])
def test_a_leader_must_be_heard_within_an_election_timeout(heartbeat: int, election: int) -> None:
    with pytest.raises(InvariantViolation, match="heard within"):
        Settings(heartbeat_ticks=heartbeat, election_ticks=election)


def test_a_lease_must_outlast_a_heartbeat() -> None:
    """raft-rs: bad configurations are refused."""
    Settings(heartbeat_ticks=2, election_ticks=5)
    Settings(heartbeat_ticks=2, election_ticks=6, lease_reads=True)
    with pytest.raises(InvariantViolation, match="outlast a heartbeat"):
        Settings(heartbeat_ticks=2, election_ticks=5, lease_reads=True)


def test_0_is_no_nodes_id() -> None:
    with pytest.raises(InvariantViolation, match="no node's id"):
        lone_member(0)


def test_a_node_is_described_in_one_line() -> None:
    member = lone_member(entries=log_of(1))
    assert repr(member) == "n1@1 follower applied=0 committed=0 stable=1 last=1"
    member.raw.campaign()
    assert repr(member).startswith("n1@1 pre-candidate ")
    stand(member)
    assert repr(member).startswith("n1@2 candidate ")
    lead(member)
    assert repr(member).startswith("n1@3 leader ")
    member.heard(MessageKind.HEARTBEAT, 2, term=4)
    assert repr(member).startswith("n1@4 follower of n2 ")


# The election timeout


@pytest.mark.parametrize(("wait", "campaigns"), [(9, False), (10, False), (13, False), (14, True)])
def test_a_follower_campaigns_past_its_own_election_timeout(wait: int, campaigns: bool) -> None:
    member = lone_member(random_below=lambda _: 4)
    member.tick(wait)
    assert (member.role is RoleName.PRE_CANDIDATE) is campaigns


def test_a_vote_that_is_given_starts_the_wait_anew_and_one_that_is_refused_in_the_same_term_does_not() -> None:
    member = lone_member(entries=log_of(1), hard_state=HardState(term=1))
    member.tick(9)
    member.heard(MessageKind.VOTE, 2)
    assert member.tick() != []
    member = lone_member(entries=log_of(1), hard_state=HardState(term=1))
    member.tick(9)
    member.heard(MessageKind.VOTE, 2, index=1, log_term=1)
    assert member.tick(9) == []


# Check-quorum: a leader that reaches no majority steps down


def test_a_leader_that_hears_a_majority_stays() -> None:
    member = replicating_leader()
    for _ in range(10):
        member.heard(MessageKind.HEARTBEAT_RESPONSE, 2)
        member.tick(ELECTION_TICKS)
    assert member.role is RoleName.LEADER


def test_a_leader_that_hears_no_majority_for_an_election_timeout_steps_down() -> None:
    member = replicating_leader()
    member.tick(ELECTION_TICKS)
    assert member.role is RoleName.LEADER
    member.tick(ELECTION_TICKS)
    assert (member.role, member.raw.leader_id, member.raw.term) == (RoleName.FOLLOWER, 0, 1)


def test_learners_are_not_enough_for_a_leader_to_stay() -> None:
    member = lone_member(voters=(1, 2, 3), learners=(4, 5))
    lead(member)
    for learner in (4, 5):
        member.heard(MessageKind.HEARTBEAT_RESPONSE, learner)
    member.tick(ELECTION_TICKS)
    assert member.role is RoleName.FOLLOWER


def test_a_leader_that_is_cut_off_steps_down_and_another_is_elected() -> None:
    network = led_by_1()
    network.isolate(1)
    network.tick(3 * ELECTION_TICKS)
    assert network.leaders() == [2]
    network.heal()
    network.tick()
    assert {member.raw.leader_id for member in network.members.values()} == {2}


# Stickiness: who hears a leader does not vote


@pytest.mark.parametrize("kind", [MessageKind.VOTE, MessageKind.PRE_VOTE])
def test_a_node_that_hears_a_leader_ignores_vote_requests(kind: MessageKind) -> None:
    member = lone_member()
    member.heard(MessageKind.HEARTBEAT, 2, term=1)
    member.tick(ELECTION_TICKS - 1)
    assert member.heard(kind, 3, term=2) == []
    assert member.raw.term == 1


@pytest.mark.parametrize("kind", [MessageKind.VOTE, MessageKind.PRE_VOTE])
def test_a_node_that_has_not_heard_its_leader_for_the_shortest_election_timeout_votes(kind: MessageKind) -> None:
    member = lone_member(random_below=lambda _: 5)
    member.heard(MessageKind.HEARTBEAT, 2, term=1)
    member.tick(ELECTION_TICKS)
    (answer,) = member.heard(kind, 3, term=2)
    assert not answer.reject


def test_a_candidate_supersedes_a_leader_only_when_the_others_hear_it_no_more() -> None:
    network = led_by_1()
    network.isolate(1)
    network.campaign(3)
    assert network[3].role is RoleName.PRE_CANDIDATE
    network.tick(ELECTION_TICKS, 2, 3)
    network.campaign(3)
    assert network[3].role is RoleName.LEADER


def test_an_election_needs_only_that_those_who_vote_hear_no_leader() -> None:
    """After its own start, a node knows no leader, and needn't wait for a timeout to vote."""
    network = cluster()
    network.campaign(3)
    assert network.leaders() == [3]


def test_a_node_that_was_cut_off_does_not_disturb_when_it_comes_back() -> None:
    network = led_by_1()
    network.isolate(3)
    network.tick(10 * ELECTION_TICKS)
    assert (network[3].role, network[3].raw.term) == (RoleName.PRE_CANDIDATE, 1)
    network.heal()
    network.tick(3)
    assert (network.leaders(), network[1].raw.term) == ([1], 1)
    assert network[3].raw.leader_id == 1


def test_a_node_that_is_stuck_in_a_higher_term_frees_itself() -> None:
    """It can win nothing there, as the others are deaf for it; its answer to the leader makes the leader step down."""
    network = led_by_1()
    network.isolate(3)
    network[3].raw._raft.become_candidate(is_pre_vote=False)
    network[3].raw._raft.become_candidate(is_pre_vote=False)
    network[3].work()
    network.heal()
    network.tick(2 * ELECTION_TICKS)
    assert len(network.leaders()) == 1
    assert {member.raw.term for member in network.members.values()} == {network[network.leaders()[0]].raw.term}
    assert network[1].raw.term > 3
    network.propose(network.leaders()[0], b"x")
    assert network[3].commands() == [b"x"]


@pytest.mark.parametrize("kind", [MessageKind.APPEND, MessageKind.HEARTBEAT])
def test_a_leader_of_a_lower_term_is_told_of_the_higher_one(kind: MessageKind) -> None:
    member = lone_member(hard_state=HardState(term=5))
    (answer,) = member.heard(kind, 2, term=4)
    assert (answer.kind, answer.term, answer.reject) == (MessageKind.APPEND_RESPONSE, 5, True)


def test_a_pre_candidate_of_a_lower_term_is_told_of_the_higher_one() -> None:
    member = lone_member(hard_state=HardState(term=5))
    assert member.heard(MessageKind.PRE_VOTE, 2, term=4) == [
        Message(MessageKind.PRE_VOTE_RESPONSE, 1, 2, term=5, reject=True)
    ]


def test_a_candidate_of_a_lower_term_is_told_nothing() -> None:
    assert lone_member(hard_state=HardState(term=5)).heard(MessageKind.VOTE, 2, term=4) == []


def test_a_node_with_a_lower_term_can_be_elected_if_its_log_is_the_newest() -> None:
    """n3 has the higher term but an empty log; n1 and n2 must not wait for each other for ever."""
    network = cluster(
        logs={1: log_of(1, 1), 2: log_of(1, 1)},
        hard_states={3: HardState(term=9)},
    )
    network.crash(2)
    network.tick(5 * ELECTION_TICKS)
    assert network.leaders() == [1]
    assert network[1].raw.term > 9
    assert network[3].log() == network[1].log()


def test_a_split_of_votes_among_pre_candidates_is_over_at_the_next_timeout() -> None:
    network = led_by_1()
    network.crash(1)
    network.cut(2, 3)
    network.tick(3 * ELECTION_TICKS)
    assert network[2].role is network[3].role is RoleName.PRE_CANDIDATE
    assert network[2].raw.term == network[3].raw.term == 1
    network.heal()
    network.tick(3 * ELECTION_TICKS)
    assert network.leaders() == [2]


def test_a_pre_candidate_finds_the_leader_of_a_cluster_that_has_gone_on_without_it() -> None:
    network = led_by_1()
    network.isolate(1)
    network.tick(3 * ELECTION_TICKS)
    network.propose(2, b"x")
    network.heal()
    network.campaign(1)
    network.tick(2)
    assert network[1].commands() == [b"x"]
    assert network.leaders() == [2]


def test_a_leader_that_can_send_but_not_hear_steps_down() -> None:
    """One half of every link is broken: the others still hear it, and so elect nobody, until it gives up by itself."""
    network = led_by_1()
    network.cuts = {(2, 1), (3, 1)}
    network.tick(5 * ELECTION_TICKS)
    assert network[1].role is not RoleName.LEADER
    assert network.leaders() in ([2], [3])


# Who may campaign


@pytest.mark.parametrize(
    ("configuration", "is_promotable"),
    [
        (Configuration.of({1}), True),
        (Configuration.of({1, 2, 3}), True),
        (Configuration(), False),
        (Configuration.of({2, 3}), False),
        (Configuration.of({2, 3}, {1}), False),
        (Configuration.of({2})._replace(outgoing=frozenset({1})), True),
    ],
)
def test_only_voters_campaign(configuration: Configuration, is_promotable: bool) -> None:
    member = lone_member()
    member.disk.configuration = configuration
    member.start()
    assert member.raw._raft.is_promotable is is_promotable
    member.tick(5 * ELECTION_TICKS)
    assert (member.role is not RoleName.FOLLOWER) is is_promotable


@pytest.mark.parametrize("is_applied", [False, True])
def test_a_node_campaigns_only_once_it_has_applied_the_changes_of_membership_that_are_committed(
    is_applied: bool,
) -> None:
    """Who the voters are is not sure before. What is not committed, or is no such change, is no hindrance."""
    change = Entry(1, 2, b"", EntryKind.CONF_CHANGE)
    member = lone_member(entries=[Entry(1, 1), change, Entry(1, 3), Entry(1, 4, b"", EntryKind.CONF_CHANGE)])
    member.holds_applies = not is_applied
    member.heard(MessageKind.HEARTBEAT, 2, term=1, commit=3)
    member.tick(2 * ELECTION_TICKS)
    assert (member.role is RoleName.PRE_CANDIDATE) is is_applied


def test_what_is_only_committed_but_no_change_of_membership_is_no_hindrance() -> None:
    member = lone_member(entries=log_of(1, 1, 1), settings=Settings(max_apply_bytes=1))
    member.holds_applies = True
    member.heard(MessageKind.HEARTBEAT, 2, term=1, commit=3)
    member.tick(ELECTION_TICKS)
    assert member.role is RoleName.PRE_CANDIDATE


def test_what_is_committed_but_not_in_memory_may_be_a_change_of_membership() -> None:
    member = lone_member(entries=log_of(1, 1, 1))
    member.holds_applies = True
    member.heard(MessageKind.HEARTBEAT, 2, term=1, commit=3)
    member.disk.log.first_in_memory = 3
    member.tick(2 * ELECTION_TICKS)
    assert member.role is RoleName.FOLLOWER


def test_a_candidate_that_wins_its_pre_vote_but_learned_of_a_change_meanwhile_waits() -> None:
    member = lone_member(entries=[Entry(1, 1), Entry(1, 2, b"", EntryKind.CONF_CHANGE)])
    member.raw.campaign()
    member.work()
    member.raw._raft.log.commit_to(2)
    member.heard(MessageKind.PRE_VOTE_RESPONSE, 2, term=2)
    assert (member.role, member.raw.term) == (RoleName.PRE_CANDIDATE, 1)


def test_a_candidate_that_is_no_voter_any_more_does_not_start_again() -> None:
    member = lone_member()
    stand(member)
    member.raw._raft.switch_to(Configuration.of({2, 3}))
    member.tick(3 * ELECTION_TICKS)
    assert (member.role, member.raw.term) == (RoleName.CANDIDATE, 1)


def test_a_node_that_may_not_campaign_does_not_hold_up_those_who_may() -> None:
    """It has not heard its leader for its own election timeout, and so must not refuse votes for its sake."""
    member = lone_member(entries=[Entry(1, 1, b"", EntryKind.CONF_CHANGE)])
    member.holds_applies = True
    member.heard(MessageKind.HEARTBEAT, 2, term=1, commit=1)
    member.tick(ELECTION_TICKS)
    assert (member.role, member.raw.leader_id) == (RoleName.FOLLOWER, 0)
    (left,) = member.heard(MessageKind.PRE_VOTE, 3, term=2, index=1, log_term=1)
    assert not left.reject


def test_a_leader_that_is_forgotten_is_known_again_by_its_next_word() -> None:
    """etcd: forget leader."""
    member = lone_member()
    member.heard(MessageKind.HEARTBEAT, 2, term=1)
    member.raw.forget_leader()
    assert (member.raw.leader_id, member.raw.term) == (0, 1)
    member.heard(MessageKind.HEARTBEAT, 2)
    assert member.raw.leader_id == 2


def test_to_forget_a_leader_does_not_put_off_the_election() -> None:
    member = lone_member()
    member.heard(MessageKind.HEARTBEAT, 2, term=1)
    member.tick(ELECTION_TICKS - 1)
    member.raw.forget_leader()
    member.tick()
    assert member.role is RoleName.PRE_CANDIDATE
