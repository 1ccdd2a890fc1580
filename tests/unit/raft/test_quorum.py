"""The arithmetic of majorities, by tables. Against a second implementation: `tests/properties/test_quorum.py`."""

import pytest

from meteora.raft.quorum import (
    EVERYTHING,
    VoteResult,
    joint_committed,
    joint_vote,
    majority_committed,
    majority_vote,
)

# The voters, what each of them has acknowledged, and what is committed. Who is not listed has not been heard from.
MAJORITY_COMMITTED = [
    # Nobody agrees to everything.
    ((), {}, EVERYTHING),
    ((), {1: 7}, EVERYTHING),
    # One voter decides alone.
    ((4,), {}, 0),
    ((4,), {4: 9}, 9),
    # Two must both have it.
    ((4, 6), {}, 0),
    ((4, 6), {4: 9}, 0),
    ((4, 6), {4: 9, 6: 5}, 5),
    ((4, 6), {4: 5, 6: 5}, 5),
    # Of three, the second largest.
    ((1, 2, 3), {}, 0),
    ((1, 2, 3), {2: 9}, 0),
    ((1, 2, 3), {2: 9, 3: 4}, 4),
    ((1, 2, 3), {1: 1, 2: 9, 3: 4}, 4),
    ((1, 2, 3), {1: 12, 2: 9, 3: 4}, 9),
    ((1, 2, 3), {1: 9, 2: 9, 3: 4}, 9),
    # Of four the third, of five the third, of seven the fourth.
    ((1, 2, 3, 4), {1: 40, 2: 30, 3: 20, 4: 10}, 20),
    ((1, 2, 3, 4, 5), {1: 50, 3: 30, 5: 20}, 20),
    ((1, 2, 3, 4, 5), {1: 50, 3: 30}, 0),
    ((1, 2, 3, 4, 5, 6, 7), {1: 70, 2: 10, 3: 60, 4: 20, 5: 50, 6: 30, 7: 40}, 40),
    # Others than the voters don't count.
    ((1, 2, 3), {1: 9, 4: 9, 5: 9}, 0),
]


@pytest.mark.parametrize(("voters", "matched", "committed"), MAJORITY_COMMITTED)
def test_a_majority_commits_the_largest_index_that_enough_voters_have(
    voters: tuple[int, ...], matched: dict[int, int], committed: int
) -> None:
    assert majority_committed(voters, matched) == committed


WON, LOST, PENDING = VoteResult.WON, VoteResult.LOST, VoteResult.PENDING

# The voters, those who grant, those who refuse, and where the vote stands.
MAJORITY_VOTE = [
    ((), (), (), WON),
    ((), (), (1,), WON),
    ((9,), (), (), PENDING),
    ((9,), (), (9,), LOST),
    ((9,), (9,), (), WON),
    # Both of two must grant, so one refusal is enough.
    ((2, 4), (), (), PENDING),
    ((2, 4), (2,), (), PENDING),
    ((2, 4), (), (4,), LOST),
    ((2, 4), (2,), (4,), LOST),
    ((2, 4), (2, 4), (), WON),
    ((1, 2, 3), (), (), PENDING),
    ((1, 2, 3), (2,), (), PENDING),
    ((1, 2, 3), (), (3,), PENDING),
    ((1, 2, 3), (2,), (3,), PENDING),
    ((1, 2, 3), (), (1, 3), LOST),
    ((1, 2, 3), (2,), (1, 3), LOST),
    ((1, 2, 3), (1, 2), (), WON),
    ((1, 2, 3), (1, 2), (3,), WON),
    # Three of four.
    ((1, 2, 3, 4), (1, 2), (), PENDING),
    ((1, 2, 3, 4), (1, 2), (3,), PENDING),
    ((1, 2, 3, 4), (1, 2), (3, 4), LOST),
    ((1, 2, 3, 4), (1, 2, 4), (3,), WON),
    # Four of seven.
    ((1, 2, 3, 4, 5, 6, 7), (1, 3, 5), (2, 4, 6), PENDING),
    ((1, 2, 3, 4, 5, 6, 7), (1, 3, 5), (2, 4, 6, 7), LOST),
    ((1, 2, 3, 4, 5, 6, 7), (1, 3, 5, 7), (2, 4), WON),
    # Others than the voters don't count.
    ((1, 2, 3), (1, 4, 5), (6,), PENDING),
    ((1, 2, 3), (4, 5, 6), (1, 2), LOST),
]


def votes_of(granted: tuple[int, ...], refused: tuple[int, ...]) -> dict[int, bool]:
    return dict.fromkeys(granted, True) | dict.fromkeys(refused, False)


@pytest.mark.parametrize(("voters", "granted", "refused", "result"), MAJORITY_VOTE)
def test_a_majority_votes(
    voters: tuple[int, ...], granted: tuple[int, ...], refused: tuple[int, ...], result: VoteResult
) -> None:
    assert majority_vote(voters, votes_of(granted, refused)) is result


# Both halves, what each voter has acknowledged, and what is committed.
JOINT_COMMITTED = [
    ((), (), {}, EVERYTHING),
    # One voter each.
    ((1,), (2,), {}, 0),
    ((1,), (2,), {1: 8}, 0),
    ((1,), (2,), {1: 8, 2: 5}, 5),
    # A pair and one that is not in it.
    ((1, 2), (3,), {}, 0),
    ((1, 2), (3,), {1: 8}, 0),
    ((1, 2), (3,), {1: 8, 2: 6}, 0),
    ((1, 2), (3,), {1: 8, 2: 6, 3: 4}, 4),
    ((1, 2), (3,), {1: 8, 2: 6, 3: 9}, 6),
    # A pair and one of it.
    ((1, 2), (1,), {1: 8}, 0),
    ((1, 2), (1,), {2: 8}, 0),
    ((1, 2), (1,), {1: 8, 2: 6}, 6),
    ((1, 2), (1,), {1: 4, 2: 6}, 4),
    # Two pairs, apart and overlapping.
    ((1, 2), (3, 4), {1: 8, 2: 6, 3: 4}, 0),
    ((1, 2), (3, 4), {1: 8, 2: 6, 3: 4, 4: 7}, 4),
    ((1, 2), (2, 3), {1: 8, 2: 6}, 0),
    ((1, 2), (2, 3), {1: 8, 2: 6, 3: 3}, 3),
    ((1, 2), (2, 3), {1: 8, 2: 6, 3: 9}, 6),
    # Two threes apart: the lower of the two majorities.
    ((1, 2, 3), (4, 5, 6), {1: 30, 2: 20, 3: 10}, 0),
    ((1, 2, 3), (4, 5, 6), {1: 30, 2: 20, 4: 25}, 0),
    ((1, 2, 3), (4, 5, 6), {1: 30, 2: 20, 4: 25, 6: 15}, 15),
    ((1, 2, 3), (4, 5, 6), {1: 30, 2: 20, 4: 25, 5: 28, 6: 15}, 20),
    ((1, 2, 3), (4, 5, 6), {1: 30, 2: 20, 3: 27, 4: 25, 5: 28, 6: 15}, 25),
    # Two threes that share one, and two.
    ((1, 2, 3), (3, 4, 5), {3: 30}, 0),
    ((1, 2, 3), (3, 4, 5), {2: 20, 3: 30}, 0),
    ((1, 2, 3), (3, 4, 5), {2: 20, 3: 30, 5: 10}, 10),
    ((1, 2, 3), (3, 4, 5), {1: 25, 2: 20, 3: 30, 4: 28, 5: 10}, 25),
    ((1, 2, 3), (2, 3, 4), {2: 20}, 0),
    ((1, 2, 3), (2, 3, 4), {2: 20, 3: 15}, 15),
    ((1, 2, 3), (2, 3, 4), {1: 30, 4: 30}, 0),
    ((1, 2, 3), (2, 3, 4), {1: 30, 2: 20, 4: 10}, 10),
    # Growing from three to five: the outgoing three alone don't suffice, nor do the incoming.
    ((1, 2, 3, 4, 5), (1, 2, 3), {1: 30, 2: 20}, 0),
    ((1, 2, 3, 4, 5), (1, 2, 3), {1: 30, 4: 20, 5: 20}, 0),
    ((1, 2, 3, 4, 5), (1, 2, 3), {1: 30, 2: 20, 5: 10}, 10),
    ((1, 2, 3, 4, 5), (1, 2, 3), {1: 30, 2: 20, 4: 25}, 20),
]


@pytest.mark.parametrize(("incoming", "outgoing", "matched", "committed"), JOINT_COMMITTED)
def test_both_halves_must_have_what_is_committed(
    incoming: tuple[int, ...], outgoing: tuple[int, ...], matched: dict[int, int], committed: int
) -> None:
    assert joint_committed(incoming, outgoing, matched) == committed


@pytest.mark.parametrize(("incoming", "outgoing", "matched", "committed"), JOINT_COMMITTED)
def test_swapping_the_halves_changes_nothing_that_is_committed(
    incoming: tuple[int, ...], outgoing: tuple[int, ...], matched: dict[int, int], committed: int
) -> None:
    assert joint_committed(outgoing, incoming, matched) == committed


@pytest.mark.parametrize(("voters", "matched", "committed"), MAJORITY_COMMITTED)
def test_joining_with_itself_or_nobody_changes_nothing_that_is_committed(
    voters: tuple[int, ...], matched: dict[int, int], committed: int
) -> None:
    assert joint_committed(voters, voters, matched) == committed
    assert joint_committed(voters, (), matched) == committed
    assert joint_committed((), voters, matched) == committed


# Both halves, those who grant, those who refuse, and where the vote stands.
JOINT_VOTE = [
    ((), (), (), (), WON),
    # One voter each.
    ((1,), (2,), (), (), PENDING),
    ((1,), (2,), (1,), (), PENDING),
    ((1,), (2,), (1, 2), (), WON),
    ((1,), (2,), (1,), (2,), LOST),
    ((1,), (2,), (), (1,), LOST),
    # A pair and one that is not in it.
    ((1, 2), (3,), (1, 2), (), PENDING),
    ((1, 2), (3,), (1, 3), (), PENDING),
    ((1, 2), (3,), (1, 2, 3), (), WON),
    ((1, 2), (3,), (1, 2), (3,), LOST),
    ((1, 2), (3,), (1, 3), (2,), LOST),
    # A pair and one of it.
    ((1, 2), (1,), (1,), (), PENDING),
    ((1, 2), (1,), (2,), (), PENDING),
    ((1, 2), (1,), (), (1,), LOST),
    ((1, 2), (1,), (1, 2), (), WON),
    # Two pairs.
    ((1, 2), (3, 4), (1, 2, 3), (), PENDING),
    ((1, 2), (3, 4), (1, 2, 3, 4), (), WON),
    ((1, 2), (3, 4), (1, 2, 3), (4,), LOST),
    ((1, 2), (2, 3), (1, 2), (), PENDING),
    ((1, 2), (2, 3), (1, 2, 3), (), WON),
    ((1, 2), (2, 3), (), (2,), LOST),
    # Two threes apart.
    ((1, 2, 3), (4, 5, 6), (1, 2), (), PENDING),
    ((1, 2, 3), (4, 5, 6), (1, 2, 3), (4,), PENDING),
    ((1, 2, 3), (4, 5, 6), (1, 2, 3), (4, 5), LOST),
    ((1, 2, 3), (4, 5, 6), (1, 2, 4), (3, 5), PENDING),
    ((1, 2, 3), (4, 5, 6), (1, 2, 4, 6), (3, 5), WON),
    # Two threes that share one, and two.
    ((1, 2, 3), (3, 4, 5), (3,), (), PENDING),
    ((1, 2, 3), (3, 4, 5), (2, 3), (1,), PENDING),
    ((1, 2, 3), (3, 4, 5), (2, 3, 4), (1, 5), WON),
    ((1, 2, 3), (3, 4, 5), (2, 3), (4, 5), LOST),
    ((1, 2, 3), (2, 3, 4), (2, 3), (), WON),
    ((1, 2, 3), (2, 3, 4), (2, 3), (1, 4), WON),
    ((1, 2, 3), (2, 3, 4), (2,), (1, 4), PENDING),
    ((1, 2, 3), (2, 3, 4), (), (2, 3), LOST),
    # Growing from three to five.
    ((1, 2, 3, 4, 5), (1, 2, 3), (1, 2), (), PENDING),
    ((1, 2, 3, 4, 5), (1, 2, 3), (3, 4, 5), (1, 2), LOST),
    ((1, 2, 3, 4, 5), (1, 2, 3), (2, 3, 4), (1, 5), WON),
]


@pytest.mark.parametrize(("incoming", "outgoing", "granted", "refused", "result"), JOINT_VOTE)
def test_both_halves_must_grant(
    incoming: tuple[int, ...],
    outgoing: tuple[int, ...],
    granted: tuple[int, ...],
    refused: tuple[int, ...],
    result: VoteResult,
) -> None:
    assert joint_vote(incoming, outgoing, votes_of(granted, refused)) is result


@pytest.mark.parametrize(("incoming", "outgoing", "granted", "refused", "result"), JOINT_VOTE)
def test_swapping_the_halves_changes_no_vote(
    incoming: tuple[int, ...],
    outgoing: tuple[int, ...],
    granted: tuple[int, ...],
    refused: tuple[int, ...],
    result: VoteResult,
) -> None:
    assert joint_vote(outgoing, incoming, votes_of(granted, refused)) is result


@pytest.mark.parametrize(("voters", "granted", "refused", "result"), MAJORITY_VOTE)
def test_joining_with_itself_or_nobody_changes_no_vote(
    voters: tuple[int, ...], granted: tuple[int, ...], refused: tuple[int, ...], result: VoteResult
) -> None:
    votes = votes_of(granted, refused)
    assert joint_vote(voters, voters, votes) is result
    assert joint_vote(voters, (), votes) is result
    assert joint_vote((), voters, votes) is result
