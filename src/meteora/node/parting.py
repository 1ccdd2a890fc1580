"""How a removed member knows that those who remain can do without it.

A removal takes effect at each member when that applies it. Until a majority of those who remain have applied it, they
may still need the vote of the removed one to elect the leader that tells them: gone too early, it leaves a cluster
behind that can't go on. Who has applied it takes nothing from the removed one any more, and says so: that is the sign.
So is, from any of them, that somebody else was removed since (`Members.was_removed_long_ago`).
"""

from meteora.raft import Configuration
from meteora.raft.quorum import VoteResult

FIRST_ASK_SECONDS = 0.2
"""To ask, streams are opened anew. What was just said, that the removal is committed, must be out by then."""

ASK_AGAIN_SECONDS = 1.0


class Parting:
    """The wait of one removed member."""

    def __init__(self, now: float) -> None:
        """`now` is in the loop's time, as everywhere here."""
        self._ask_at = now + FIRST_ASK_SECONDS
        self._refused_by: set[int] = set()

    def asks(self, now: float) -> bool:
        """Whether it is time to ask; once true, not again for some time."""
        if now < self._ask_at:
            return False
        self._ask_at = now + ASK_AGAIN_SECONDS
        return True

    def refused_by(self, peer: int) -> None:
        """This peer has applied the removal."""
        self._refused_by.add(peer)

    def is_over(self, remaining: Configuration) -> bool:
        """Whether a majority of those who remain have."""
        return remaining.vote_result(dict.fromkeys(self._refused_by, True)) is VoteResult.WON
