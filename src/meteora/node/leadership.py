"""Who leads, as one node comes to know it, and what it tells of that.

It is one line when a leader is lost, with the reason, and one when there is another.
"""

from meteora.node.counts import NodeCounts
from meteora.observability.events import RecentEvents
from meteora.observability.logs import get_logger
from meteora.raft import RoleName

Leadership = tuple[int, int, RoleName]
"""Term, leader (0: none is known), and what this node is."""

_log = get_logger("node")


class LeadershipWatch:
    """What one node has known of it so far."""

    def __init__(self, counts: NodeCounts, events: RecentEvents, term: int) -> None:
        """`counts` and `events`: where it is told, too."""
        self._counts = counts
        self._events = events
        self.seen: Leadership = (term, 0, RoleName.FOLLOWER)
        """As of the last look."""
        self.has_known_leader = False
        """Whether there ever was one in this run."""
        self._is_search_told = False
        """That no leader is known, and why."""

    def saw(self, now: Leadership) -> bool:
        """It is another one than was seen before; whether there is a leader that was elected since."""
        before, self.seen = self.seen, now
        is_elected = now[1] != 0 and now[:2] != before[:2]
        self.has_known_leader |= now[1] != 0
        self._counts.leader_changes += is_elected
        if now[1:] != before[1:]:
            self._tell(before, now)
        return is_elected

    def _tell(self, before: Leadership, now: Leadership) -> None:
        term, leader_id, role = now
        if role is RoleName.LEADER:
            _log.info("became leader", term=term)
            self._events.note(f"this node became leader in term {term}")
        elif leader_id:
            _log.info("following a leader", leader=leader_id, term=term)
            self._events.note(f"node {leader_id} leads in term {term}")
        elif not self._is_search_told:
            why = _why_no_leader(before, now)
            _log.info(why, role=role.value, term=term)
            self._events.note(f"{why} (term {term})")
        self._is_search_told = leader_id == 0


def _why_no_leader(before: Leadership, now: Leadership) -> str:
    (old_term, old_leader_id, old_role), (term, _, role) = before, now
    if role is RoleName.CANDIDATE and old_role is RoleName.FOLLOWER and old_leader_id:
        return "asking for votes: the leader hands over"
    if role is not RoleName.FOLLOWER:
        return "asking for votes: no leader was heard"
    if term > old_term:
        return "no leader is known: an election has begun"
    if old_role is RoleName.LEADER:
        return "no longer leading: no majority of the voters was heard, or this node is none of them any more"
    return "no leader is known"
