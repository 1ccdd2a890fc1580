"""Which endpoint to ask next: what a client has learned of its cluster.

Pure: the time is handed in. The rules:

- The leader comes first, because it need not forward; then who answered last, then what the user gave, then the other
  members.
- What failed lately comes last, but is never left out: it may be all that is left.
- What the user gave is never forgotten; members are those that the latest reply named.

Threads may share it without a lock: what a reply said is replaced as a whole, and that of another thread is as good.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from meteora.addresses import reachable_endpoint

DISTRUST_SECONDS: Final = 10.0
"""How long an endpoint that failed is asked last. Long enough that a member that is advertised under an address that
can't be reached from here costs one attempt in a while, short enough that a leader that was restarted is found."""


class _View(NamedTuple):
    """What a reply said, and what that means from here."""

    answered_by: str | None
    advertised: Mapping[int, str]
    leader_id: int
    members: Mapping[int, str]
    leader: str | None


class Routes:
    """What one client knows of the way to its cluster."""

    def __init__(self, seeds: tuple[str, ...]) -> None:
        self._seeds = seeds
        self._view = _View(None, {}, 0, {}, None)
        self._order: list[str] = list(seeds)
        """As long as nothing has failed."""
        self._latest: object = None
        self._failed_at_seconds: dict[str, float] = {}
        self._answering: set[str] = set()

    @property
    def members(self) -> Mapping[int, str]:
        """The endpoint of each member by its node id, as the latest reply had it."""
        return self._view.members

    def is_answering(self, endpoint: str) -> bool:
        """Whether the last that came of asking `endpoint` was an answer."""
        return endpoint in self._answering

    def order(self, now_seconds: float) -> list[str]:
        """All endpoints, the one to ask first at the front. Not to be changed."""
        if not self._failed_at_seconds:
            return self._order
        return sorted(self._order, key=lambda endpoint: self._is_distrusted(endpoint, now_seconds))

    def _is_distrusted(self, endpoint: str, now_seconds: float) -> bool:
        failed_at_seconds = self._failed_at_seconds.get(endpoint)
        return failed_at_seconds is not None and now_seconds - failed_at_seconds < DISTRUST_SECONDS

    def has_learned(self, answered_by: str, reply: object) -> bool:
        """Whether this very reply was the last that was learned from: those to the writes of a batch are one object."""
        return reply is self._latest and answered_by == self._view.answered_by and not self._failed_at_seconds

    def learn(self, answered_by: str, advertised: Mapping[int, str], leader_id: int, reply: object = None) -> None:
        """Takes over what a reply says: the KV addresses of the members by id, and who leads (0: nobody known)."""
        self._failed_at_seconds.pop(answered_by, None)
        self._answering.add(answered_by)
        self._latest = reply
        # Replies are alike for as long as nothing happens to the cluster, and this is on the way of each of them.
        if self._view[:3] != (answered_by, advertised, leader_id):
            members = _reachable(advertised, answered_by) or self._view.members
            leader = members.get(leader_id)
            self._view = _View(answered_by, advertised, leader_id, members, leader)
            known = (leader, answered_by, *self._seeds, *members.values())
            self._order = list(dict.fromkeys(endpoint for endpoint in known if endpoint is not None))

    def distrust(self, endpoint: str, now_seconds: float) -> None:
        """Asks `endpoint` last for a while: it could not be connected to, or did not answer."""
        self._failed_at_seconds[endpoint] = now_seconds
        self._answering.discard(endpoint)


def _reachable(advertised: Mapping[int, str], answered_by: str) -> Mapping[int, str]:
    endpoints = {node_id: reachable_endpoint(text, answered_by) for node_id, text in advertised.items()}
    return {node_id: endpoint for node_id, endpoint in endpoints.items() if endpoint is not None}
