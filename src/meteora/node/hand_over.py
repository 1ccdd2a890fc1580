"""How a leader lets another voter lead in its place: writes wait until that one does, or it is given up."""

import asyncio
from collections.abc import Callable

from meteora.errors import NotApplied, OutcomeUnknown
from meteora.node.life import Life
from meteora.raft import RawNode


class HandOver:
    """Of one node. Deadlines are in the loop's time, in seconds."""

    def __init__(self, node_id: int, raw: RawNode, life: Life, wake: Callable[[], None], heartbeat_ticks: int) -> None:
        """`wake` has the node look what its core has to do."""
        self._node_id = node_id
        self._raw = raw
        self._life = life
        self._wake = wake
        self._heartbeat_ticks = heartbeat_ticks

    def best_successor(self, is_fit: Callable[[int], bool] = lambda _: True) -> int:
        """The voter that is furthest ahead, of those that answer and are fit; 0 if there is none."""
        status = self._raw.status()
        others = status.configuration.voters - {self._node_id}
        alive = [peer for peer in sorted(others) if status.peers[peer].recent_active and is_fit(peer)]
        return max(alive, key=lambda peer: status.peers[peer].match_index, default=0)

    async def to_the_best(self, timeout_seconds: float) -> bool:
        """Hand leadership to the best successor; whether this node leads no more when this returns."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        patience_ticks = self._heartbeat_ticks + 2
        while self._raw.leads and loop.time() < deadline and not self._life.is_over:
            successor = self.best_successor()
            if successor and not self._raw.transferee:
                self._begin(successor)
            if not successor:
                # A leader that has just checked its quorum has yet to hear of anybody again.
                patience_ticks -= 1
                if patience_ticks < 0 or self._raw.configuration.voters == {self._node_id}:
                    return False
            await self._life.next_tick()
        return not self._raw.leads

    async def to(self, successor: int, deadline: float) -> None:
        """Let `successor`, another voter, lead in place of this node: it does when this returns.

        It is tried once, for an election timeout, because writes wait meanwhile. Raises `NotApplied` if this node
        doesn't lead (any more), `OutcomeUnknown` if `successor` did not take over by then: it may yet do so.
        """
        self._life.ensure_goes_on()
        if not self._raw.leads:
            raise NotApplied(f"node {self._node_id} doesn't lead; nothing was changed, try again")
        self._begin(successor)
        while self._raw.leader_id != successor:
            self._ensure_may_succeed(successor, deadline)
            await self._life.next_tick()

    def _begin(self, successor: int) -> None:
        with self._life.stops_on_error():
            self._raw.transfer_leader(successor)
        self._wake()

    def _ensure_may_succeed(self, successor: int, deadline: float) -> None:
        """Raises what `to` does, unless `successor` may be about to lead."""
        leader_id = self._raw.leader_id
        if self._life.is_over:
            raise OutcomeUnknown(f"node {self._node_id} is stopping: node {successor} may yet lead")
        if leader_id not in (0, self._node_id):
            raise NotApplied(f"node {leader_id} was elected meanwhile, and not node {successor}")
        has_given_up = self._raw.leads and self._raw.transferee != successor
        if has_given_up or asyncio.get_running_loop().time() >= deadline:
            raise OutcomeUnknown(f"node {successor} did not take over in time: it may be far behind, or just stopped")
