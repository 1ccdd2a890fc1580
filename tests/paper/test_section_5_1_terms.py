"""Paper 5.1: terms are a logical clock, and who sees a newer one believes it."""

from collections.abc import Callable

import pytest

from meteora.raft import Entry, HardState, MessageKind, RoleName
from tests.raft_network import Member, lead, log_of, lone_member, stand


def follower() -> Member:
    return lone_member(hard_state=HardState(term=1))


def candidate() -> Member:
    member = follower()
    stand(member)
    return member


def leader() -> Member:
    member = follower()
    lead(member)
    return member


@pytest.mark.parametrize("start", [follower, candidate, leader])
def test_a_node_updates_its_term_from_a_message(start: Callable[[], Member]) -> None:
    """5.1: if a server's term is out of date it takes over the larger one, and is a follower from then on."""
    member = start()
    newer = member.raw.term + 1
    member.heard(MessageKind.APPEND, 2, term=newer)
    assert (member.raw.term, member.role) == (newer, RoleName.FOLLOWER)


@pytest.mark.parametrize("start", [candidate, leader])
@pytest.mark.parametrize("kind", [MessageKind.VOTE_RESPONSE, MessageKind.APPEND_RESPONSE, MessageKind.HEARTBEAT])
def test_a_newer_term_in_any_message_ends_a_candidacy_or_leadership(
    start: Callable[[], Member], kind: MessageKind
) -> None:
    """5.1: a candidate or leader that finds out that its term is stale reverts to follower at once."""
    member = start()
    newer = member.raw.term + 3
    member.heard(kind, 2, term=newer, reject=kind is not MessageKind.HEARTBEAT)
    assert (member.raw.term, member.role) == (newer, RoleName.FOLLOWER)


def test_the_vote_of_an_older_term_does_not_bind_in_a_newer_one() -> None:
    """5.1, 5.2: one vote for each term."""
    member = lone_member(hard_state=HardState(term=1, vote=2))
    member.heard(MessageKind.APPEND, 3, term=2)
    assert member.disk.hard_state == HardState(term=2, vote=0)


@pytest.mark.parametrize(
    "kind",
    # The first two have no term; a snapshot is of what is committed, so it is good whatever its term.
    sorted(set(MessageKind) - {MessageKind.PROPOSE, MessageKind.READ_INDEX, MessageKind.SNAPSHOT}),
)
@pytest.mark.parametrize("start", [follower, candidate, leader])
def test_a_stale_term_message_is_rejected(start: Callable[[], Member], kind: MessageKind) -> None:
    """5.1: a request with a stale term changes nothing (it may be answered, so that its sender learns of the term)."""
    member = start()
    stale = member.raw.term - 1
    if stale == 0:
        member.heard(MessageKind.HEARTBEAT, 3, term=2)
        stale = 1
    before = (member.role, member.raw.term, member.raw.leader_id, member.log(), member.disk.hard_state)
    member.heard(kind, 2, term=stale, entries=(Entry(stale, 9, b"stale"),), context=b"stale")
    assert (member.role, member.raw.term, member.raw.leader_id, member.log(), member.disk.hard_state) == before


def test_a_stale_append_is_not_appended() -> None:
    """5.1: not even where it would fit."""
    member = lone_member(entries=log_of(1, 1), hard_state=HardState(term=3))
    member.heard(MessageKind.APPEND, 2, term=2, index=2, log_term=1, entries=(Entry(2, 3),))
    assert member.terms() == [1, 1]
