"""Membership changes that somebody waits for, by the entry that holds them."""

import asyncio

from meteora.errors import NotApplied, OutcomeUnknown


class PendingChanges:
    """Proposed changes that are not applied yet. The core lets one be under way at a time, so there are few."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: dict[int, tuple[int, float, asyncio.Future[None]]] = {}

    def add(self, index: int, term: int, deadline: float) -> asyncio.Future[None]:
        """The future that is done when the entry (index, term) is applied.

        It gets `NotApplied` if another entry takes its place, `OutcomeUnknown` if neither happens before the deadline
        (in the loop's time), or if this node proposes another change at the same index before.
        """
        displaced = self._pending.pop(index, None)
        if displaced is not None:
            _leave_in_doubt(displaced[2], "this node lost the lead meanwhile")
        result: asyncio.Future[None] = self._loop.create_future()
        self._pending[index] = (term, deadline, result)
        return result

    def applied(self, index: int, term: int) -> None:
        """The entry at `index` is applied, and is of `term`."""
        if index not in self._pending:
            return
        proposed_term, _, result = self._pending.pop(index)
        if result.done():
            return
        if proposed_term == term:
            result.set_result(None)
        else:
            result.set_exception(NotApplied("another leader's entry took the change's place: try again"))

    def skipped(self, index: int) -> None:
        """Entries up to `index` came here in a snapshot: which ones they were is not known."""
        for each, (_, _, result) in list(self._pending.items()):
            if each <= index:
                del self._pending[each]
                if not result.done():
                    result.set_exception(OutcomeUnknown("the change may be applied: look at the status"))

    def expire(self, now: float, why: str) -> None:
        """Answer what waits beyond its deadline."""
        for index, (_, deadline, result) in list(self._pending.items()):
            if deadline <= now or result.done():
                del self._pending[index]
                _leave_in_doubt(result, why)

    def give_up_all(self, why: str) -> None:
        """Answer everything: the node stops."""
        self.expire(float("inf"), why)


def _leave_in_doubt(result: asyncio.Future[None], why: str) -> None:
    if not result.done():
        result.set_exception(OutcomeUnknown(f"{why}: the change may yet be applied, look at the status"))
