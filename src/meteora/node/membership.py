"""Changes of the membership, at the leader: one after another, and each until it can't be forgotten any more.

A change takes effect when its entry is applied. It is called made once a majority of the members that it has led to has
on disk that it is committed: before, the others might count on who was removed, should this node be lost.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from meteora.errors import ChangeRefused, NotApplied, OutcomeUnknown, RequestError
from meteora.node.changes import PendingChanges
from meteora.node.life import Life
from meteora.node.members import Members, encode_context
from meteora.node.removal import OwnRemoval
from meteora.raft import Change, ChangeKind, ConfChange, RawNode
from meteora.raft.errors import InvalidConfChange, ProposalDropped
from meteora.raft.membership import Configuration

PROMOTION_LAG_ENTRIES = 100
"""A learner that is this close to the commit index has caught up: what it lacks is on its way."""


class MembershipChanges:
    """Those that are asked of one node, and those that it makes by itself. Deadlines are in the loop's time."""

    def __init__(
        self,
        raw: RawNode,
        life: Life,
        *,
        wake: Callable[[], None],
        removal: OwnRemoval,
        changed_at_index: int,
    ) -> None:
        """`wake` has the node look what its core has to do; `removal` is that of this node."""
        self._raw = raw
        self._life = life
        self._wake = wake
        self._removal = removal
        self._loop = asyncio.get_running_loop()
        self.pending = PendingChanges(self._loop)
        """Those that are proposed and not applied."""
        self.changed_at_index = changed_at_index
        """Where the membership changed last, or later."""

    async def make(self, change: ConfChange, deadline: float) -> None:
        """Make a change, here at the leader, once the changes before it are applied.

        When this returns, it can't be forgotten. Raises `ChangeRefused` if it makes no sense, or a voter of a node that
        has yet to catch up, `NotApplied` if this node doesn't lead or the change was not proposed in time,
        `OutcomeUnknown`.
        """
        await self.wait_for_others(deadline)
        self._ensure_know_themselves_in(self._after(change).voters - self._raw.configuration.voters)
        self._propose(change)
        await self._applied_here(deadline)
        await self._spread_commit(deadline)

    async def wait_for_others(self, deadline: float) -> None:
        """Until this node leads and no change is under way.

        What is decided then, and handed to `make` without another `await` between, is decided on the members as they
        are. Raises `NotApplied` if the time is over, or this node doesn't lead.
        """
        self._life.ensure_goes_on()
        while self._raw.has_pending_change:
            if self._loop.time() >= deadline:
                raise NotApplied("another membership change is still under way: try again later")
            await self._life.next_tick()
            self._life.ensure_goes_on()
        if not self._raw.leads:
            raise NotApplied("the change was not made: only the leader changes the membership")

    def silent_voters_after(self, change: ConfChange) -> frozenset[int]:
        """Those of the voters that `change` would leave whom this leader has not heard lately, if they matter.

        Empty if the others are a majority, or the voters stay the same. Raises `ChangeRefused` if the change can't be
        made at all.
        """
        after, heard = self._after(change), self._raw.heard
        is_same = after.voters == self._raw.configuration.voters
        return frozenset() if is_same or after.has_majority(heard) else after.voters - heard

    def promote_learners(self, members: Members) -> None:
        """Make a voter of a learner that asked for it and has caught up."""
        if not self._raw.leads or not members.configuration.learners:
            return
        status = self._raw.status()
        for learner in sorted(status.configuration.learners):
            member, peer = members.by_id[learner], status.peers[learner]
            if not (member.promote and peer.recent_active and self._knows_itself_in(learner)):
                continue
            if peer.match_index + PROMOTION_LAG_ENTRIES >= status.commit_index:
                context = encode_context({learner: member._replace(promote=False)})
                # Not now means at one of the next ticks.
                with suppress(InvalidConfChange, ProposalDropped):
                    self._raw.propose_conf_change(ConfChange((Change(ChangeKind.ADD_VOTER, learner),), context=context))
                return

    def _after(self, change: ConfChange) -> Configuration:
        try:
            return self._raw.configuration.after(change)
        except InvalidConfChange as error:
            raise ChangeRefused(str(error)) from error

    def _ensure_know_themselves_in(self, voters: frozenset[int]) -> None:
        """Raises `ChangeRefused` if one of them could not vote yet."""
        for each in sorted(voters):
            if not self._knows_itself_in(each):
                raise ChangeRefused(
                    f"node {each} has yet to learn that it was let in: as a learner it catches up first"
                )

    def _knows_itself_in(self, peer: int) -> bool:
        """Whether a peer has the entry that let it in: before that, it would be a voter that doesn't vote.

        See `Raft.is_stranger`. The entry of the last change stands for that one.
        """
        progress = self._raw.status().peers.get(peer)
        return progress is not None and progress.match_index >= self.changed_at_index

    def _propose(self, change: ConfChange) -> None:
        refusal: RequestError | None = None
        with self._life.stops_on_error():
            try:
                self._raw.propose_conf_change(change)
            except InvalidConfChange as error:
                refusal = ChangeRefused(str(error))
            except ProposalDropped as error:
                refusal = NotApplied(f"the change was not made: {error}")
        if refusal is not None:
            raise refusal

    def _applied_here(self, deadline: float) -> asyncio.Future[None]:
        """Until the newest entry is applied. Errors as `PendingChanges.add` tells them."""
        self._life.ensure_goes_on()
        status = self._raw.status()
        result = self.pending.add(status.last_index, status.term, deadline)
        self._wake()
        return result

    async def _spread_commit(self, deadline: float) -> None:
        """Until a majority of the members, as they are now, has on disk that the last change of them is committed.

        Whoever has the empty entry that comes after it has with it, by the same write, the commit index that came with
        it. Raises `OutcomeUnknown`.
        """
        # A leader that removed itself stays until as many know it.
        while not (self._removal.over.done() if self._removal.is_applied else self._proposed_nothing()):
            await self._life.next_tick()
            has_lost_lead = not self._raw.leads and not self._removal.is_applied
            if self._life.is_over or has_lost_lead or self._loop.time() >= deadline:
                me = self._raw.status().node_id
                raise OutcomeUnknown(f"node {me} can't tell whether the change will last: look at the status")
        if self._removal.is_applied:
            return
        try:
            await self._applied_here(deadline)
        except NotApplied as error:
            raise OutcomeUnknown("another leader took over, which may or may not know of the change") from error

    def _proposed_nothing(self) -> bool:
        """Whether an empty entry could be proposed here: not while this leader hands over, for one."""
        if not self._raw.leads:
            return False
        is_proposed = False
        with self._life.stops_on_error(), suppress(ProposalDropped):
            self._raw.propose([b""])
            is_proposed = True
        return is_proposed
