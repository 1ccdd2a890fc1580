"""The arithmetic of majorities: what is committed, and who has won, given what each voter said.

Pure functions over one majority (a set of voters) or two (a joint configuration, where both must agree; thesis 4.3).
A majority of nobody agrees to everything, so that an ordinary configuration is a joint one whose other half is empty.
"""

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Final

EVERYTHING: Final = (1 << 64) - 1
"""The index that an empty majority has committed."""


class VoteResult(Enum):
    """Where a vote stands."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def majority_committed(voters: Collection[int], matched: Mapping[int, int]) -> int:
    """The highest index that a majority of `voters` has; who is missing in `matched` has nothing."""
    if not voters:
        return EVERYTHING
    indexes = sorted(matched.get(voter, 0) for voter in voters)
    return indexes[(len(indexes) - 1) // 2]


def majority_vote(voters: Collection[int], votes: Mapping[int, bool]) -> VoteResult:
    """The result of one vote among `voters`; who is missing in `votes` has not answered."""
    granted = sum(1 for voter in voters if votes.get(voter) is True)
    refused = sum(1 for voter in voters if votes.get(voter) is False)
    needed = len(voters) // 2 + 1 if voters else 0
    if granted >= needed:
        return VoteResult.WON
    return VoteResult.LOST if len(voters) - refused < needed else VoteResult.PENDING


def joint_committed(incoming: Collection[int], outgoing: Collection[int], matched: Mapping[int, int]) -> int:
    """The highest index that a majority of each half has."""
    return min(majority_committed(incoming, matched), majority_committed(outgoing, matched))


def joint_vote(incoming: Collection[int], outgoing: Collection[int], votes: Mapping[int, bool]) -> VoteResult:
    """Won if both halves grant, lost as soon as one refuses."""
    results = (majority_vote(incoming, votes), majority_vote(outgoing, votes))
    if VoteResult.LOST in results:
        return VoteResult.LOST
    return VoteResult.PENDING if VoteResult.PENDING in results else VoteResult.WON
