"""What a node does about its room: looks how much there is, tells the others, and gives back what was deleted.

What follows from it, on this node and the others, `meteora.node.room` judges.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from meteora.kv.state_machine import StateMachine
from meteora.node.life import Life
from meteora.node.room import RoomWatch
from meteora.storage.disk_space import DiskSpace
from meteora.transport.interface import Room

RECLAIM_IDLE: Final = 9
"""How many times as long as it took nothing is given back afterwards, while puts are taken."""


class RoomUpkeep:
    """One look, and one giving back, is under way at most."""

    def __init__(
        self,
        watch: RoomWatch,
        state_machine: StateMachine,
        life: Life,
        disk_space: Callable[[], DiskSpace] | None,
    ) -> None:
        """`disk_space` looks at the disk, on a thread; None: nobody does."""
        self._watch = watch
        self._state_machine = state_machine
        self._life = life
        self._disk_space = disk_space
        self._is_looking = self._is_reclaiming = False

    def look_if_due(self, now: float, tell: Callable[[Room], None]) -> None:
        """Look, if it is time to, and `tell` what was seen; then give back what was deleted, if that is wanted."""
        if self._watch.is_due(now) and not self._is_looking:
            self._is_looking = True
            self._life.own(self._look(tell))

    async def _look(self, tell: Callable[[Room], None]) -> None:
        self._watch.looked(self._state_machine.stored_bytes, await self._space_on_disk())
        self._is_looking = False
        if self._life.is_over:
            return
        tell(self._watch.own)
        if self._watch.wants_reclaim and not self._is_reclaiming:
            self._is_reclaiming = True
            self._life.own(self._reclaim())

    async def _space_on_disk(self) -> DiskSpace | None:
        """None if nobody looks, or the disk does not say: that alone is no reason to stop, as a failed write is."""
        if self._disk_space is None or not self._watch.looks_at_disk:
            return None
        try:
            space = await asyncio.to_thread(self._disk_space)
        except OSError as error:
            self._watch.note_unseen(str(error))
            return None
        return space

    async def _reclaim(self) -> None:
        """Give back what was deleted: half of the time at most, and less while puts are taken, which go on with it."""
        if self._life.is_over:
            # What was abandoned is what had begun by then.
            return
        watch, loop = self._watch, asyncio.get_running_loop()
        began_at = loop.time()
        free_bytes = watch.own.free_bytes if watch.looks_at_disk else math.inf
        await self._state_machine.reclaim(
            is_urgent=watch.is_short, is_thorough=watch.take_news_of_shortage(), free_bytes=free_bytes
        )
        until = loop.time() + (loop.time() - began_at) * (1 if watch.is_short else RECLAIM_IDLE)
        while loop.time() < until and not self._life.is_over:
            await self._life.next_tick()
        self._is_reclaiming = False
