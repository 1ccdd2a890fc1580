"""Paper 5.2: how a leader is elected, and how it keeps the others from trying.

Meteora always asks for pre-votes first (thesis 9.6). So where the paper has a follower become candidate by its timeout,
here it becomes pre-candidate, in its old term, and candidate once a majority has answered that it would be elected.
"""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from meteora.raft import HardState, Message, MessageKind, RoleName, Settings
from tests.raft_network import Member, cluster, lead, log_of, lone_member, stand

ELECTION_TICKS = 10
SETTINGS = Settings(election_ticks=ELECTION_TICKS)


def test_a_node_starts_as_follower() -> None:
    """5.2: when servers start up, they begin as followers."""
    member = lone_member()
    assert (member.role, member.raw.term, member.raw.leader_id) == (RoleName.FOLLOWER, 0, 0)


def test_a_node_starts_as_follower_after_a_crash_too() -> None:
    """5.2: whatever it was before."""
    member = lone_member()
    lead(member)
    member.crash()
    member.start()
    assert (member.role, member.raw.term) == (RoleName.FOLLOWER, 1)


def test_a_leader_broadcasts_heartbeats() -> None:
    """5.2: when the heartbeat interval is over, one goes to every peer, without entries or a place in the log."""
    member = lone_member(settings=Settings(heartbeat_ticks=2))
    lead(member)
    assert member.tick() == []
    assert member.tick() == [Message(MessageKind.HEARTBEAT, 1, 2, term=1), Message(MessageKind.HEARTBEAT, 1, 3, term=1)]


def test_a_follower_starts_an_election() -> None:
    """5.2: it hears nothing for the election timeout, asks for pre-votes, and then for votes in a new term."""
    member = lone_member(hard_state=HardState(term=1))
    asked = member.tick(ELECTION_TICKS)
    assert asked == [Message(MessageKind.PRE_VOTE, 1, 2, term=2), Message(MessageKind.PRE_VOTE, 1, 3, term=2)]
    assert (member.role, member.disk.hard_state) == (RoleName.PRE_CANDIDATE, HardState(term=1))

    asked = member.heard(MessageKind.PRE_VOTE_RESPONSE, 2, term=2)
    assert asked == [Message(MessageKind.VOTE, 1, 2, term=2), Message(MessageKind.VOTE, 1, 3, term=2)]
    assert (member.role, member.disk.hard_state) == (RoleName.CANDIDATE, HardState(term=2, vote=1))


def test_a_follower_that_hears_its_leader_starts_no_election() -> None:
    """5.2: it remains follower as long as it receives valid messages from a leader."""
    member = lone_member(hard_state=HardState(term=1))
    for _ in range(5):
        assert member.tick(ELECTION_TICKS - 1) == []
        member.heard(MessageKind.HEARTBEAT, 2)
    assert member.role is RoleName.FOLLOWER


def test_a_candidate_starts_a_new_election() -> None:
    """5.2: when an election comes to no result, the candidate times out and begins another one, in a new term."""
    member = lone_member(hard_state=HardState(term=1))
    stand(member)
    asked = member.tick(ELECTION_TICKS)
    assert [(message.kind, message.receiver, message.term) for message in asked] == [
        (MessageKind.PRE_VOTE, 2, 3),
        (MessageKind.PRE_VOTE, 3, 3),
    ]
    member.heard(MessageKind.PRE_VOTE_RESPONSE, 2, term=3)
    assert (member.role, member.disk.hard_state) == (RoleName.CANDIDATE, HardState(term=3, vote=1))


@pytest.mark.parametrize(
    ("size", "granted", "refused", "role"),
    [
        # A majority of grants wins.
        (1, [], [], RoleName.LEADER),
        (3, [2, 3], [], RoleName.LEADER),
        (3, [2], [], RoleName.LEADER),
        (3, [3], [2], RoleName.LEADER),
        (5, [2, 3, 4, 5], [], RoleName.LEADER),
        (5, [2, 3, 4], [], RoleName.LEADER),
        (5, [2, 3], [4, 5], RoleName.LEADER),
        # A majority of refusals loses.
        (3, [], [2, 3], RoleName.FOLLOWER),
        (5, [], [2, 3, 4, 5], RoleName.FOLLOWER),
        (5, [2], [3, 4, 5], RoleName.FOLLOWER),
        # Anything else decides nothing yet.
        (3, [], [], RoleName.CANDIDATE),
        (3, [], [2], RoleName.CANDIDATE),
        (5, [2], [], RoleName.CANDIDATE),
        (5, [], [2, 3], RoleName.CANDIDATE),
        (5, [2], [4, 5], RoleName.CANDIDATE),
    ],
)
def test_leader_election_in_one_round(size: int, granted: list[int], refused: list[int], role: RoleName) -> None:
    """5.2: a candidate wins with votes of a majority of the full cluster in the same term."""
    member = lone_member(voters=range(1, size + 1))
    stand(member)
    for voter in granted:
        member.heard(MessageKind.VOTE_RESPONSE, voter, term=1)
    for voter in refused:
        if member.role is RoleName.CANDIDATE:
            member.heard(MessageKind.VOTE_RESPONSE, voter, term=1, reject=True)
    assert (member.role, member.raw.term) == (role, 1)


@pytest.mark.parametrize(
    ("voted", "candidate", "granted"),
    [(0, 2, True), (0, 3, True), (2, 2, True), (3, 3, True), (2, 3, False), (3, 2, False)],
)
def test_a_follower_votes_for_one_candidate_a_term(voted: int, candidate: int, granted: bool) -> None:
    """5.2: first come, first served; the same candidate may ask again."""
    member = lone_member(hard_state=HardState(term=1, vote=voted))
    answer = member.heard(MessageKind.VOTE, candidate)
    assert answer == [Message(MessageKind.VOTE_RESPONSE, 1, candidate, term=1, reject=not granted)]
    assert member.disk.hard_state.vote == (candidate if granted else voted)


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_candidate_falls_back(ahead: int) -> None:
    """5.2: an append from a leader whose term is at least its own makes a candidate a follower of that leader."""
    member = lone_member()
    stand(member)
    member.heard(MessageKind.APPEND, 2, term=1 + ahead)
    assert (member.role, member.raw.term, member.raw.leader_id) == (RoleName.FOLLOWER, 1 + ahead, 2)


def waiting_follower(random: Random) -> Member:
    member = lone_member(voters=range(1, 6), hard_state=HardState(term=1), random_below=random.randrange)
    member.heard(MessageKind.APPEND, 2, term=member.raw.term + 1)
    return member


def waiting_candidate(random: Random) -> Member:
    member = waiting_follower(random)
    stand(member)
    return member


def ticks_until_it_campaigns(member: Member) -> int:
    for count in range(1, 2 * ELECTION_TICKS):
        if member.tick():
            return count
    raise AssertionError("no campaign within twice the election timeout")


@pytest.mark.parametrize("start", [waiting_follower, waiting_candidate])
def test_the_election_timeout_is_randomized(start: Callable[[Random], Member]) -> None:
    """5.2: every wait from the election timeout up to twice of it occurs, and no other."""
    random = Random(52)
    seen = Counter(ticks_until_it_campaigns(start(random)) for _ in range(50 * ELECTION_TICKS))
    assert sorted(seen) == list(range(ELECTION_TICKS, 2 * ELECTION_TICKS))


@pytest.mark.parametrize("start", [waiting_follower, waiting_candidate])
def test_election_timeouts_seldom_conflict(start: Callable[[Random], Member]) -> None:
    """5.2: in most rounds, one server times out alone, before the others."""
    random = Random(53)
    rounds = 1000
    conflicts = 0
    for _ in range(rounds):
        waits = sorted(start(random).raw._raft.election_timeout_ticks for _ in range(5))
        conflicts += waits[0] == waits[1]
    assert conflicts <= 0.3 * rounds


def test_a_cluster_elects_one_leader_by_time_alone() -> None:
    """5.2, as a whole."""
    network = cluster(range(1, 6), settings=SETTINGS)
    network.tick(2 * ELECTION_TICKS)
    assert network.leaders() == [1]
    assert {member.raw.leader_id for member in network.members.values()} == {1}


def test_a_vote_is_durable_before_it_is_given() -> None:
    """5.2, figure 2: persistent state is updated on stable storage before responding."""
    member = lone_member(entries=log_of(1))
    member.holds_writes = True
    assert member.heard(MessageKind.VOTE, 2, term=2, index=1, log_term=1) == []
    assert [message.kind for message in member.finish_write()] == [MessageKind.VOTE_RESPONSE]
    assert member.disk.hard_state == HardState(term=2, vote=2)
