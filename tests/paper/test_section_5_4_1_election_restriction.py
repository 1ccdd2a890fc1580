"""Paper 5.4.1: a candidate whose log lacks what is committed can't win."""

import pytest

from meteora.raft import HardState, Message, MessageKind, RoleName
from tests.raft_network import cluster, log_of, lone_member, stand


@pytest.mark.parametrize("terms", [(1,), (1, 2), (1, 1, 3)])
def test_a_vote_request_carries_the_candidates_log(terms: tuple[int, ...]) -> None:
    """5.4.1: its last index and term, to all other voters."""
    member = lone_member(entries=log_of(*terms))
    term = terms[-1] + 1
    assert stand(member) == [
        Message(MessageKind.VOTE, 1, voter, term=term, index=len(terms), log_term=terms[-1]) for voter in (2, 3)
    ]


VOTERS = [
    # The voter's terms; the candidate's last term and index; whether it gets the vote.
    # The same last term: the longer log, or an equal one.
    ((1,), (1, 1), True),
    ((1,), (1, 2), True),
    ((1, 1), (1, 1), False),
    # A higher last term of the candidate: whatever the length.
    ((1,), (2, 1), True),
    ((1,), (2, 2), True),
    ((1, 1), (2, 1), True),
    # A higher last term of the voter: whatever the length.
    ((2,), (1, 1), False),
    ((2,), (1, 2), False),
    ((1, 2), (1, 1), False),
    # A voter without a log.
    ((), (1, 1), True),
]


@pytest.mark.parametrize("kind", [MessageKind.VOTE, MessageKind.PRE_VOTE])
@pytest.mark.parametrize(("terms", "last", "granted"), VOTERS)
def test_a_voter_denies_its_vote_if_its_own_log_is_more_up_to_date(
    kind: MessageKind, terms: tuple[int, ...], last: tuple[int, int], granted: bool
) -> None:
    """5.4.1: higher last term, or the same term and longer. A pre-vote obeys the same rule (thesis 9.6)."""
    member = lone_member(entries=log_of(*terms), hard_state=HardState(term=2))
    (answer,) = member.heard(kind, 2, term=3, log_term=last[0], index=last[1])
    assert answer.reject is not granted


def test_a_node_without_the_committed_entries_does_not_become_leader() -> None:
    """5.4.1: it must have contacted a majority, one of which has every committed entry."""
    network = cluster(
        logs={1: log_of(1), 2: log_of(1, 1), 3: log_of(1, 1)}, hard_states={2: HardState(term=1, commit=2)}
    )
    network.campaign(1)
    assert network[1].role is not RoleName.LEADER
    network.campaign(3)
    assert network[3].role is RoleName.LEADER
    assert network[1].log() == network[3].log()
