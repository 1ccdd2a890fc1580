"""Whether there is room for more: the quota of the state, and what has to stay free on the disk.

Each member looks at its own disk once a second, and tells the others. While a voter is short of room, puts are refused
on all members; everything else goes on.

Rules:

- A put is judged where its client is, before it is proposed. What is in the log is applied everywhere, whatever room
  there is, so that replicas can't part.
- An alarm ends by itself, once there is somewhat more room than where it began, so that it doesn't come and go.
- A disk that does not say what is free is taken to be as it was: whether it fails shows when it is written to.
- What a member said is forgotten after `FORGOTTEN_SECONDS`: one that is down needs no room.
"""

from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Final, NamedTuple

from meteora.observability.logs import get_logger
from meteora.storage.disk_space import DiskSpace
from meteora.transport.interface import Room

LOOK_SECONDS: Final = 1.0
"""Between two looks at the disk. What may be written meanwhile is less than what has to stay free."""

FORGOTTEN_SECONDS: Final = 10.0
"""After the last that was heard of a member: some looks may get lost."""

QUOTA_CLEARED_AT: Final = 0.95
"""Of the quota: at or below that, the alarm ends."""

DISK_CLEARED_AT: Final = 1.25
"""Times what has to stay free."""

RECLAIM_FROM: Final = 0.9
"""Of the quota: above that, what was deleted is given back before RocksDB would do it by itself."""

LEAST_FREE_BYTES: Final = 256 << 20
MOST_FREE_BYTES: Final = 1 << 30
"""What has to stay free if nothing else is set: a twentieth of the disk, but no less and no more than these. A node
writes some 200 MiB at once, whoever asks for nothing more: accepted writes, a flush, the merging of tables; and more
than that is of no use to it."""

SMALL_DISK_SHARE: Final = 4
"""Of a disk that is smaller than four times the least, it is a quarter."""

_log = get_logger("node")


class Shortage(StrEnum):
    """What there is too little of."""

    QUOTA = "quota"
    DISK_SPACE = "disk space"


class Alarm(NamedTuple):
    """A voter is short of room."""

    node_id: int
    shortage: Shortage
    message: str
    """What is wrong, and what to do about it."""


class RoomWatch:
    """What one member knows of its own room, and that of the others."""

    def __init__(self, node_id: int, quota_bytes: int, min_free_bytes: int | None) -> None:
        """0: no bound. `min_free_bytes` is None if it depends on the disk."""
        self._node_id = node_id
        self._min_free_bytes = min_free_bytes
        self.own = Room(quota_bytes=quota_bytes, min_free_bytes=min_free_bytes or 0)
        self.alarms: tuple[Alarm, ...] = ()
        """Why puts are refused, of all voters; none if they aren't."""
        self._told: dict[int, tuple[float, Room]] = {}
        """By the member: when it was heard, and what it said."""
        self._due_at = 0.0
        self._is_news = False
        """Whether this node has run short of room since somebody asked."""
        self._is_unseen = False
        """Whether the disk has not said lately how much is free."""

    @property
    def looks_at_disk(self) -> bool:
        """Whether it matters how much is free there."""
        return self._min_free_bytes != 0

    def is_due(self, now: float) -> bool:
        """Whether it is time to look; if so, it is not for a while. `now` in seconds."""
        if now < self._due_at or not (self.own.quota_bytes or self.looks_at_disk):
            return False
        self._due_at = now + LOOK_SECONDS
        return True

    def looked(self, stored_bytes: int, space: DiskSpace | None) -> None:
        """What was seen; of the disk, None if that is not known, and then what was seen before stands."""
        own = self.own._replace(stored_bytes=stored_bytes)
        if own.quota_bytes:
            bound = own.quota_bytes * (QUOTA_CLEARED_AT if own.is_over_quota else 1)
            own = own._replace(is_over_quota=stored_bytes > bound)
        if space is not None:
            self._note_seen()
            least = _min_free_bytes(space) if self._min_free_bytes is None else self._min_free_bytes
            bound = least * (DISK_CLEARED_AT if own.is_disk_low else 1)
            own = own._replace(free_bytes=space.free_bytes, min_free_bytes=least, is_disk_low=space.free_bytes < bound)
        self._is_news |= own.is_over_quota > self.own.is_over_quota or own.is_disk_low > self.own.is_disk_low
        self.own = own

    def note_unseen(self, cause: str) -> None:
        """The disk did not say how much is free. Tells of it, once until it does again."""
        if not self._is_unseen:
            self._is_unseen = True
            _log.warning("the disk does not say how much is free: --min-free-bytes guards nothing", cause=cause)

    def _note_seen(self) -> None:
        if self._is_unseen:
            self._is_unseen = False
            _log.info("the disk says again how much is free")

    @property
    def is_short(self) -> bool:
        """Whether this node has too little room."""
        return self.own.is_over_quota or self.own.is_disk_low

    def take_news_of_shortage(self) -> bool:
        """Whether this node has run short of room since this was asked last."""
        is_news, self._is_news = self._is_news, False
        return is_news

    def told(self, member: int, room: Room, now: float) -> None:
        """A member has said what room it has."""
        self._told[member] = (now, room)

    def judge(self, voters: AbstractSet[int], now: float) -> bool:
        """Find out who is short of room; True if that is news."""
        self._told = {
            member: told
            for member, told in self._told.items()
            if member in voters and now - told[0] < FORGOTTEN_SECONDS
        }
        rooms = {member: room for member, (_, room) in self._told.items()}
        if self._node_id in voters:
            rooms[self._node_id] = self.own
        before, self.alarms = (
            self.alarms,
            tuple(alarm for each in sorted(rooms) for alarm in _alarms(each, rooms[each])),
        )
        self._tell(before)
        return self.alarms != before

    def _tell(self, before: tuple[Alarm, ...]) -> None:
        old = {alarm[:2] for alarm in before}
        new = {alarm[:2] for alarm in self.alarms}
        for alarm in self.alarms:
            if alarm[:2] not in old:
                _log.warning("puts are refused", member=alarm.node_id, reason=alarm.message)
        for node_id, shortage in sorted(old - new):
            _log.info("a member has room again", member=node_id, alarm=shortage.value)
        if old and not new:
            _log.info("puts are taken again")

    @property
    def refusal(self) -> str:
        """What is said to those who put; empty if there is room."""
        if not self.alarms:
            return ""
        more = len({alarm.node_id for alarm in self.alarms}) - 1
        return self.alarms[0].message + (f" (and so it is with {more} more)" if more else "")

    def has_disk(self, member: int) -> bool:
        """Whether another member is known to have room on its disk."""
        return member in self._told and not self._told[member][1].is_disk_low

    @property
    def wants_reclaim(self) -> bool:
        """Whether what was deleted had better be given back now."""
        return self.is_short or self.own.stored_bytes > self.own.quota_bytes * RECLAIM_FROM > 0


def _min_free_bytes(space: DiskSpace) -> int:
    usual = min(max(space.size_bytes // 20, LEAST_FREE_BYTES), MOST_FREE_BYTES)
    return min(usual, space.size_bytes // SMALL_DISK_SHARE)


def _alarms(node_id: int, room: Room) -> list[Alarm]:
    alarms = []
    if room.is_over_quota:
        message = (
            f"node {node_id} stores {size_text(room.stored_bytes)}, and its quota is {size_text(room.quota_bytes)}: "
            "delete what is not needed, or start the nodes with a higher --quota-bytes"
        )
        alarms.append(Alarm(node_id, Shortage.QUOTA, message))
    if room.is_disk_low:
        message = (
            f"the disk of node {node_id} has {size_text(room.free_bytes)} free, and {size_text(room.min_free_bytes)} "
            "have to stay free (--min-free-bytes): make room there, or delete keys that are not needed"
        )
        alarms.append(Alarm(node_id, Shortage.DISK_SPACE, message))
    return alarms


def size_text(count: int) -> str:
    """So many bytes, for people."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
