"""The four functions of a quorum, against slow ones that are written from the definition instead of the arithmetic.

All cases of small configurations, some 36,000; and examples of larger ones.
"""

from collections.abc import Collection, Mapping
from functools import cache
from itertools import combinations, product

import hypothesis
from hypothesis import strategies

from meteora.raft.quorum import (
    EVERYTHING,
    VoteResult,
    joint_committed,
    joint_vote,
    majority_committed,
    majority_vote,
)

MAX_NODE = 9
EXAMPLES = 300
"""Of larger configurations, for each of the four."""

SMALL = [frozenset(chosen) for size in range(4) for chosen in combinations(range(1, 5), size)]
"""All sets of up to three voters out of four."""

many = hypothesis.settings(max_examples=EXAMPLES)
voter_sets = strategies.frozensets(strategies.integers(1, MAX_NODE), max_size=7)
# Few different indexes, so that many of them are equal.
acknowledgements = strategies.dictionaries(strategies.integers(1, MAX_NODE), strategies.integers(0, 12))
votings = strategies.dictionaries(strategies.integers(1, MAX_NODE), strategies.booleans())


@cache
def quorums(voters: frozenset[int]) -> list[tuple[int, ...]]:
    """All sets of voters that are more than half of them; of nobody, the empty one."""
    return [
        chosen
        for size in range(len(voters) + 1)
        for chosen in combinations(sorted(voters), size)
        if 2 * size > len(voters) or not voters
    ]


def slow_committed(halves: Collection[frozenset[int]], matched: Mapping[int, int]) -> int:
    """The highest index for which some quorum of each half has acknowledged it, by trying all."""
    for index in range(max(matched.values(), default=0), 0, -1):
        if all(any(all(matched.get(one, 0) >= index for one in quorum) for quorum in quorums(half)) for half in halves):
            return index
    return 0


def slow_vote(halves: Collection[frozenset[int]], votes: Mapping[int, bool]) -> VoteResult:
    """Won if a quorum of each half has granted; lost if that can't come about any more, whatever the others say."""

    def is_won(ballots: Mapping[int, bool]) -> bool:
        return all(any(all(ballots.get(one, False) for one in quorum) for quorum in quorums(half)) for half in halves)

    if is_won(votes):
        return VoteResult.WON
    everybody = {one for half in halves for one in half}
    return VoteResult.PENDING if is_won(dict.fromkeys(everybody, True) | dict(votes)) else VoteResult.LOST


@many
@hypothesis.given(voter_sets, acknowledgements)
def test_majority_committed(voters: frozenset[int], matched: dict[int, int]) -> None:
    expected = slow_committed([voters], matched) if voters else EVERYTHING
    assert majority_committed(voters, matched) == expected


@many
@hypothesis.given(voter_sets, votings)
def test_majority_vote(voters: frozenset[int], votes: dict[int, bool]) -> None:
    assert majority_vote(voters, votes) is slow_vote([voters], votes)


@many
@hypothesis.given(voter_sets, voter_sets, acknowledgements)
def test_joint_committed(incoming: frozenset[int], outgoing: frozenset[int], matched: dict[int, int]) -> None:
    expected = slow_committed([incoming, outgoing], matched) if incoming or outgoing else EVERYTHING
    assert joint_committed(incoming, outgoing, matched) == expected


@many
@hypothesis.given(voter_sets, voter_sets, votings)
def test_joint_vote(incoming: frozenset[int], outgoing: frozenset[int], votes: dict[int, bool]) -> None:
    assert joint_vote(incoming, outgoing, votes) is slow_vote([incoming, outgoing], votes)


def test_what_is_committed_in_all_small_configurations() -> None:
    for indexes in product(range(3), repeat=4):
        matched = {voter: index for voter, index in enumerate(indexes, start=1) if index}
        for incoming, outgoing in product(SMALL, SMALL):
            halves = [incoming, outgoing]
            expected = slow_committed(halves, matched) if incoming or outgoing else EVERYTHING
            assert joint_committed(incoming, outgoing, matched) == expected, (halves, matched)


def test_the_vote_in_all_small_configurations() -> None:
    for answers in product((None, True, False), repeat=4):
        votes = {voter: answer for voter, answer in enumerate(answers, start=1) if answer is not None}
        for incoming, outgoing in product(SMALL, SMALL):
            halves = [incoming, outgoing]
            assert joint_vote(incoming, outgoing, votes) is slow_vote(halves, votes), (halves, votes)
