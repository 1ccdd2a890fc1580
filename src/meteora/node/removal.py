"""How one node comes to know that it is no member any more, and when it may stop."""

import asyncio
from collections.abc import Callable
from enum import Enum

from meteora.node.parting import Parting
from meteora.observability.logs import get_logger
from meteora.raft import Configuration
from meteora.transport.interface import REMOVALS, Refusal

_log = get_logger("node")


class Removal(Enum):
    """How a node came to be no member any more."""

    WHILE_RUNNING = "while running"
    """It was a member in this run."""
    WHILE_DOWN = "while down"
    """It has not heard of a leader in this run: it was removed before."""


class OwnRemoval:
    """Of one node. Times are the loop's, in seconds."""

    def __init__(self, has_known_leader: Callable[[], bool]) -> None:
        """`has_known_leader`: whether the node has heard of a leader in this run."""
        self._has_known_leader = has_known_leader
        self._loop = asyncio.get_running_loop()
        self._parting: Parting | None = None
        self.over: asyncio.Future[Removal] = self._loop.create_future()
        """Done when the node is no longer a member, and the others can do without it."""

    @property
    def is_applied(self) -> bool:
        """Whether it is applied here."""
        return self._parting is not None

    def apply(self) -> None:
        """It is applied here."""
        self._parting = Parting(self._loop.time())

    def is_to_be_asked_about(self, now: float) -> bool:
        """Whether it is time to find out who knows it; once true, not again for some time."""
        return self._parting is not None and self._parting.asks(now)

    def refused_by(self, peer: int, refusal: Refusal, detail: str, members: Configuration) -> None:
        """A peer takes nothing from this node. `members` are those that this node knows."""
        if refusal not in REMOVALS or self.over.done():
            return
        if self._parting is None:
            _log.info("a member says that this node was removed from the cluster", member=peer, detail=detail)
            self.note()
            return
        self._parting.refused_by(peer)
        # Who of those who remained was removed itself meanwhile, and has stopped, refuses nobody any more.
        if refusal is Refusal.REMOVED_LONG_AGO or self._parting.is_over(members):
            self.note()

    def note(self, how: Removal | None = None) -> None:
        """This node is no longer a member; None: how is to be told from whether it has heard of a leader."""
        if not self.over.done():
            self.over.set_result(how or (Removal.WHILE_RUNNING if self._has_known_leader() else Removal.WHILE_DOWN))
