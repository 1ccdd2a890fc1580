"""When puts are refused for want of room, and when they are taken again; on one node, and on three."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from meteora.errors import NO_ROOM, DiskFailure, NoRoom
from meteora.node import room as module
from meteora.node.room import FORGOTTEN_SECONDS, LOOK_SECONDS, RoomWatch, Shortage, size_text
from meteora.storage.disk_space import DiskSpace
from meteora.transport.interface import Room
from tests.unit.node.nodes import Network, Running, running, soon, three, until

pytestmark = pytest.mark.usefixtures("no_leaks")

MIB, GIB = 1 << 20, 1 << 30


def watch(quota_bytes: int = 100, min_free_bytes: int | None = 0) -> RoomWatch:
    return RoomWatch(1, quota_bytes, min_free_bytes)


def shortages(room: RoomWatch, voters: frozenset[int] = frozenset({1, 2, 3}), now: float = 0.0) -> dict[int, Shortage]:
    room.judge(voters, now)
    return {alarm.node_id: alarm.shortage for alarm in room.alarms}


# The quota


@pytest.mark.parametrize(
    ("looks", "is_over"),
    [
        ([100], False),
        ([101], True),
        ([101, 96], True),
        ([101, 95], False),
        ([101, 95, 100], False),
    ],
)
def test_the_quota_s_alarm_begins_above_it_and_ends_somewhat_below(looks: list[int], is_over: bool) -> None:
    room = watch(quota_bytes=100)
    for stored_bytes in looks:
        room.looked(stored_bytes, None)
    assert shortages(room) == ({1: Shortage.QUOTA} if is_over else {})


def test_without_a_quota_there_is_no_end() -> None:
    room = watch(quota_bytes=0)
    room.looked(1 << 60, None)
    assert shortages(room) == {}


# The disk


@pytest.mark.parametrize(
    ("looks", "is_low"),
    [([100], False), ([99], True), ([99, 124], True), ([99, 125], False), ([99, 125, 100], False)],
)
def test_the_disk_s_alarm_begins_below_what_has_to_stay_free_and_ends_somewhat_above(
    looks: list[int], is_low: bool
) -> None:
    room = watch(min_free_bytes=100)
    for free_bytes in looks:
        room.looked(0, DiskSpace(free_bytes, 1000))
    assert shortages(room) == ({1: Shortage.DISK_SPACE} if is_low else {})


@pytest.mark.parametrize(
    ("size_bytes", "least_bytes"),
    [
        (100 * MIB, 25 * MIB),
        (GIB, 256 * MIB),
        (4 * GIB, 256 * MIB),
        (10 * GIB, 10 * GIB // 20),
        (1000 * GIB, GIB),
    ],
)
def test_what_has_to_stay_free_depends_on_the_disk_if_it_is_not_set(size_bytes: int, least_bytes: int) -> None:
    room = watch(min_free_bytes=None)
    room.looked(0, DiskSpace(least_bytes, size_bytes))
    assert (room.own.min_free_bytes, shortages(room)) == (least_bytes, {})
    room.looked(0, DiskSpace(least_bytes - 1, size_bytes))
    assert shortages(room) == {1: Shortage.DISK_SPACE}


def test_a_disk_that_can_t_be_looked_at_changes_nothing() -> None:
    room = watch(min_free_bytes=100)
    room.looked(0, DiskSpace(99, 1000))
    room.looked(0, None)
    assert shortages(room) == {1: Shortage.DISK_SPACE}


# When to look, and what to do


def test_nobody_looks_where_nothing_is_bounded() -> None:
    assert not watch(quota_bytes=0, min_free_bytes=0).is_due(1000.0)


@pytest.mark.parametrize(("quota_bytes", "min_free_bytes"), [(1, 0), (0, 1), (0, None)])
def test_who_has_a_bound_looks_now_and_then(quota_bytes: int, min_free_bytes: int | None) -> None:
    room = watch(quota_bytes, min_free_bytes)
    assert room.is_due(1000.0)
    assert not room.is_due(1000.0 + LOOK_SECONDS / 2)
    assert room.is_due(1000.0 + LOOK_SECONDS)


@pytest.mark.parametrize(("stored_bytes", "wants"), [(90, False), (91, True), (101, True)])
def test_what_was_deleted_is_given_back_once_the_quota_is_near(stored_bytes: int, wants: bool) -> None:
    room = watch(quota_bytes=100)
    room.looked(stored_bytes, None)
    assert room.wants_reclaim is wants


def test_running_short_is_news_once() -> None:
    room = watch(quota_bytes=100)
    room.looked(101, None)
    room.looked(102, None)
    assert [room.take_news_of_shortage() for _ in range(2)] == [True, False]
    room.looked(50, None)
    assert not room.take_news_of_shortage()
    room.looked(101, None)
    assert room.take_news_of_shortage()


# The others

FULL = Room(stored_bytes=11, quota_bytes=10, is_over_quota=True)


def test_another_voter_that_is_short_of_room_counts() -> None:
    room = watch()
    room.told(2, FULL, now=0.0)
    assert shortages(room) == {2: Shortage.QUOTA}


def test_who_is_no_voter_does_not_count() -> None:
    room = watch()
    room.looked(101, None)
    room.told(2, FULL, now=0.0)
    assert shortages(room, frozenset({3})) == {}


def test_a_member_that_has_room_again_counts_no_more() -> None:
    room = watch()
    room.told(2, FULL, now=0.0)
    room.told(2, Room(stored_bytes=9, quota_bytes=10), now=1.0)
    assert shortages(room, now=1.0) == {}


def test_what_a_silent_member_said_is_forgotten() -> None:
    room = watch()
    room.told(2, FULL, now=0.0)
    assert shortages(room, now=FORGOTTEN_SECONDS - 0.1) == {2: Shortage.QUOTA}
    assert shortages(room, now=FORGOTTEN_SECONDS) == {}


def test_only_what_changes_is_news() -> None:
    room, voters = watch(), frozenset({1, 2})
    assert not room.judge(voters, 0.0)
    room.told(2, FULL, now=0.0)
    assert room.judge(voters, 0.0)
    assert not room.judge(voters, 1.0)
    assert room.judge(voters, FORGOTTEN_SECONDS)


def test_the_refusal_names_the_member_the_numbers_and_the_option() -> None:
    room = RoomWatch(1, 10 * MIB, 5 * MIB)
    room.looked(11 * MIB, DiskSpace(4 * MIB, 100 * MIB))
    room.told(2, FULL, now=0.0)
    room.judge(frozenset({1, 2}), 0.0)
    assert room.refusal.startswith("node 1 stores 11.0 MiB, and its quota is 10.0 MiB: ")
    assert "--quota-bytes" in room.refusal
    assert room.refusal.endswith("(and so it is with 1 more)")
    assert room.alarms[1].message.startswith("the disk of node 1 has 4.0 MiB free, and 5.0 MiB have to stay free")


def test_there_is_no_refusal_where_there_is_room() -> None:
    assert watch().refusal == ""


@pytest.mark.parametrize(("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (GIB, "1.0 GiB")])
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size_text(count) == text


# Nodes


class Gauge:
    """A disk, as far as its room goes."""

    def __init__(self) -> None:
        self.free_bytes = 1000
        self.failure: Exception | None = None
        self.looks = 0

    def look(self) -> DiskSpace:
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        return DiskSpace(self.free_bytes, 1000)


def looks(gauges: dict[int, Gauge]) -> dict[int, Callable[[], DiskSpace]]:
    return {node_id: gauge.look for node_id, gauge in gauges.items()}


def alone(
    folder: Path,
    story: Callable[[Running, Gauge], Awaitable[None]],
    *,
    quota_bytes: int = 0,
    min_free_bytes: int = 0,
) -> None:
    async def run() -> None:
        gauge, network = Gauge(), Network()
        async with running(
            folder, network, disk_space=gauge.look, quota_bytes=quota_bytes, min_free_bytes=min_free_bytes
        ) as one:
            await one.until_leading()
            await story(one, gauge)

    asyncio.run(run())


async def fill(one: Running) -> list[bytes]:
    """Puts until that is refused; the keys."""
    keys: list[bytes] = []
    async with asyncio.timeout(30):
        while True:
            try:
                await one.put(b"key%d" % len(keys), bytes(range(256)) * 400)
            except NoRoom:
                return keys
            keys.append(b"key%d" % len(keys))


def test_at_its_quota_a_node_refuses_puts_and_nothing_else_and_deletes_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)

    async def story(one: Running, _: Gauge) -> None:
        keys = await fill(one)
        assert [alarm.shortage for alarm in one.node.alarms] == [Shortage.QUOTA]
        assert await one.get(keys[0]) == bytes(range(256)) * 400
        for key in keys:
            await one.node.delete(key, soon())
        await until(lambda: not one.node.alarms)
        await one.put(b"key")

    alone(tmp_path, story, quota_bytes=3 << 20)


def test_while_its_disk_is_nearly_full_a_node_refuses_puts_and_nothing_else(tmp_path: Path) -> None:
    async def story(one: Running, gauge: Gauge) -> None:
        gauge.free_bytes = 0
        await until(lambda: one.node.alarms)
        with pytest.raises(NoRoom, match=NO_ROOM):
            await one.put(b"key")
        await one.node.delete(b"key", soon())
        gauge.free_bytes = 1000
        await until(lambda: not one.node.alarms)
        await one.put(b"key")

    alone(tmp_path, story, min_free_bytes=500)


@pytest.mark.parametrize("was_low", [False, True])
def test_a_disk_that_does_not_say_what_is_free_stops_nobody_and_is_taken_to_be_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, was_low: bool
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    caplog.set_level("INFO", "meteora.node")

    def told(text: str) -> int:
        return len([record for record in caplog.records if text in record.getMessage()])

    async def story(one: Running, gauge: Gauge) -> None:
        gauge.free_bytes = 0 if was_low else 1000
        await until(lambda: bool(one.node.alarms) is was_low)
        gauge.failure = OSError(errno.EIO, "Input/output error")
        await until(lambda: told("the disk does not say how much is free"))
        looks = gauge.looks
        await until(lambda: gauge.looks > looks + 1)
        assert bool(one.node.alarms) is was_low
        await one.node.delete(b"key", soon())
        gauge.failure, gauge.free_bytes = None, 1000
        await until(lambda: told("the disk says again") and not one.node.alarms)
        assert told("the disk does not say") == 1

    alone(tmp_path, story, min_free_bytes=500)


def test_a_data_directory_that_is_gone_stops_the_node(tmp_path: Path) -> None:
    async def story(one: Running, gauge: Gauge) -> None:
        gauge.failure = DiskFailure("gone")
        await until(one.node.failed.done)
        assert one.node.failed.exception() is gauge.failure

    alone(tmp_path, story, min_free_bytes=500)


def test_while_one_voter_s_disk_is_nearly_full_no_node_takes_puts_and_another_one_leads(tmp_path: Path) -> None:
    gauges = {node_id: Gauge() for node_id in (1, 2, 3)}

    async def story() -> None:
        async with three(tmp_path, disk_spaces=looks(gauges), min_free_bytes=500) as trio:
            leader = trio.leader
            gauges[leader.node.node_id].free_bytes = 0
            await until(lambda: all(each.node.alarms for each in trio.nodes))
            await trio.until_replaced(leader)
            for each in trio.nodes:
                with pytest.raises(NoRoom, match=f"node {leader.node.node_id}"):
                    await each.put(b"key")
                await each.node.delete(b"key", soon())
            gauges[leader.node.node_id].free_bytes = 1000
            await until(lambda: not any(each.node.alarms for each in trio.nodes))
            await leader.put(b"key")

    asyncio.run(story())


def test_puts_are_taken_again_once_a_member_without_room_is_silent_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORGOTTEN_SECONDS", 1.5)
    gauges = {node_id: Gauge() for node_id in (1, 2, 3)}

    async def story() -> None:
        async with three(tmp_path, disk_spaces=looks(gauges), min_free_bytes=500) as trio:
            silent, *others = reversed(trio.nodes)
            gauges[silent.node.node_id].free_bytes = 0
            await until(lambda: all(each.node.alarms for each in others))
            trio.network.cut_off.add(silent.node.node_id)
            await until(lambda: not any(each.node.alarms for each in others))
            await others[0].put(b"key")

    asyncio.run(story())
