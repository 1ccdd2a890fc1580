"""What is told of who leads."""

import pytest

from meteora.node.counts import NodeCounts
from meteora.node.leadership import Leadership, LeadershipWatch
from meteora.observability.events import RecentEvents
from meteora.raft import RoleName

LEADER, FOLLOWER, CANDIDATE = RoleName.LEADER, RoleName.FOLLOWER, RoleName.CANDIDATE
PRE_CANDIDATE = RoleName.PRE_CANDIDATE


def watched(*seen: Leadership) -> tuple[LeadershipWatch, NodeCounts, list[str]]:
    """What has come of these; the node began in term 1."""
    counts, events = NodeCounts(), RecentEvents()
    watch = LeadershipWatch(counts, events, 1)
    for each in seen:
        watch.saw(each)
    return watch, counts, [event.text for event in reversed(events.newest_first())]


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ([(2, 1, LEADER)], "this node became leader in term 2"),
        ([(2, 3, FOLLOWER)], "node 3 leads in term 2"),
        ([(1, 0, PRE_CANDIDATE)], "asking for votes: no leader was heard (term 1)"),
        ([(2, 3, FOLLOWER), (3, 0, CANDIDATE)], "asking for votes: the leader hands over (term 3)"),
        ([(2, 3, FOLLOWER), (3, 0, FOLLOWER)], "no leader is known: an election has begun (term 3)"),
        ([(2, 3, FOLLOWER), (2, 0, FOLLOWER)], "no leader is known (term 2)"),
        ([(2, 1, LEADER), (2, 0, FOLLOWER)], "no longer leading: no majority of the voters was heard"),
    ],
)
def test_it_is_told_who_leads_and_why_nobody_does(seen: list[Leadership], told: str) -> None:
    _, _, events = watched(*seen)
    assert events[-1].startswith(told)


def test_that_no_leader_is_known_is_told_once_until_there_is_one() -> None:
    search: list[Leadership] = [(2, 0, PRE_CANDIDATE), (3, 0, CANDIDATE), (3, 0, FOLLOWER)]
    _, _, events = watched(*search, (4, 2, FOLLOWER), *search)
    assert len(events) == 3


def test_a_leader_that_is_elected_again_counts_and_the_loss_of_one_does_not() -> None:
    watch, counts, _ = watched((2, 3, FOLLOWER), (2, 0, FOLLOWER))
    assert counts.leader_changes == 1
    assert watch.saw((3, 3, FOLLOWER))
    assert not watch.saw((3, 0, FOLLOWER))
    assert counts.leader_changes == 2


def test_it_is_remembered_that_there_was_a_leader() -> None:
    assert not watched((1, 0, PRE_CANDIDATE))[0].has_known_leader
    assert watched((2, 3, FOLLOWER), (2, 0, FOLLOWER))[0].has_known_leader
