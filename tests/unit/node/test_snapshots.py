import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from meteora.errors import SnapshotDamaged
from meteora.kv.command import Command, Operation, encode_batch
from meteora.kv.installation import OUTGOING
from meteora.kv.state import State
from meteora.kv.state_machine import StateMachine
from meteora.node.snapshots import (
    KEEP_SECONDS,
    IncomingSnapshots,
    Outgoing,
    OutgoingSnapshots,
    Snapshots,
    SnapshotUnwanted,
)
from meteora.raft import Entry, Message, MessageKind, RawNode
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from meteora.storage.snapshot_files import Manifest
from meteora.storage.snapshot_transfer import Position
from meteora.transport.interface import OutgoingSnapshot, SnapshotNotSent, SnapshotPosition, SnapshotUnusable
from tests.unit.node.nodes import Network, Running, Trio, running, three, until

CATCHUP_ENTRIES = 10


# Those that are made here


class Maker:
    """A state machine that some entries were applied to, and what lends its snapshots."""

    def __init__(self, folder: Path, state_machine: StateMachine, disk: DiskThread) -> None:
        self.state_machine = state_machine
        self.directory = folder / OUTGOING
        self.snapshots = OutgoingSnapshots(folder, state_machine, disk)

    def apply(self) -> None:
        index = self.state_machine.applied_index + 1
        command = Command(Operation.PUT, 0, 1, 1, False, b"key%d" % index, b"value")
        self.state_machine.apply([Entry(1, index, encode_batch([command]))])


def with_maker(folder: Path, story: Callable[[Maker], Awaitable[None]]) -> None:
    async def run() -> None:
        async with maker(folder) as one:
            await story(one)

    asyncio.run(run())


@asynccontextmanager
async def maker(folder: Path) -> AsyncIterator[Maker]:
    disk, state_machine = DiskThread("snapshots"), StateMachine.open(folder / "kv")
    try:
        one = Maker(folder, state_machine, disk)
        one.apply()
        yield one
    finally:
        state_machine.close()
        disk.close()


def test_a_snapshot_serves_all_for_whom_it_is_new_enough(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        async with one.snapshots.lent(1) as first:
            one.apply()
            async with one.snapshots.lent(1) as second:
                assert first is not None
                assert second is not None
                assert first.manifest is second.manifest

    with_maker(tmp_path, story)


def test_for_whom_it_is_too_old_another_one_is_made(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        async with one.snapshots.lent(1):
            pass
        one.apply()
        async with one.snapshots.lent(2) as newer:
            assert newer is not None
            assert newer.manifest.index == 2

    with_maker(tmp_path, story)


def test_another_one_is_made_only_when_nobody_uses_the_one_before(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        async with one.snapshots.lent(1) as older:
            one.apply()
            newer = asyncio.create_task(_index_of_lent(one, 2))
            await asyncio.sleep(0)
            assert older is not None
            assert await older.read(Position(0, 0)) is not None
            assert not newer.done()
        assert await newer == 2

    with_maker(tmp_path, story)


async def _index_of_lent(one: Maker, least_index: int) -> int:
    async with one.snapshots.lent(least_index) as source:
        assert source is not None
        return source.manifest.index


def test_a_snapshot_that_was_of_no_use_is_lent_to_nobody_else(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        await _index_of_lent(one, 1)
        one.apply()
        one.snapshots.doubt()
        assert await _index_of_lent(one, 1) == 2

    with_maker(tmp_path, story)


def test_a_snapshot_that_is_abandoned_is_lent_to_nobody(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        one.state_machine.apply(
            [Entry(1, 2, encode_batch(Command(Operation.PUT, 0, 1, 1, False, b"%d" % n, b"v") for n in range(20_000)))]
        )

        lending = asyncio.create_task(_lends(one, 1))
        while not one.directory.exists():
            await asyncio.sleep(0)
        one.state_machine.abandon_snapshots()
        assert not await lending
        assert one.snapshots.held_index == inf

    with_maker(tmp_path, story)


def test_the_log_is_held_for_as_long_as_the_snapshot_is_kept(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        assert one.snapshots.held_index == inf
        await _index_of_lent(one, 1)
        assert one.snapshots.held_index == 1
        now = asyncio.get_running_loop().time()
        await one.snapshots.drop_unused(now + KEEP_SECONDS - 1)
        assert one.snapshots.held_index == 1
        await one.snapshots.drop_unused(now + KEEP_SECONDS + 1)
        assert one.snapshots.held_index == inf
        assert not one.directory.exists()

    with_maker(tmp_path, story)


def test_a_snapshot_in_use_is_not_dropped(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        async with one.snapshots.lent(1) as source:
            await one.snapshots.drop_unused(inf)
            assert source is not None
            assert await source.read(Position(0, 0)) is not None

    with_maker(tmp_path, story)


def test_what_is_sent_says_where_its_next_part_begins(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        async with one.snapshots.lent(1) as source:
            assert source is not None
            outgoing = Outgoing(7, source)
            found = await outgoing.read(SnapshotPosition(0, 0))
            assert found is not None
            assert found[1] == SnapshotPosition(1, 0)
            assert await outgoing.read(found[1]) is None

    with_maker(tmp_path, story)


def test_a_snapshot_that_can_not_be_read_any_more_had_better_be_another_one(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        async with one.snapshots.lent(1) as source:
            assert source is not None
            shutil.rmtree(one.directory)
            with pytest.raises(SnapshotUnusable, match="not there any more"):
                await Outgoing(7, source).read(SnapshotPosition(0, 0))

    with_maker(tmp_path, story)


@pytest.mark.parametrize("place", [SnapshotPosition(0, 1 << 40), SnapshotPosition(1, 1), SnapshotPosition(9, 0)])
def test_a_peer_that_asks_for_a_place_that_there_is_not_gets_nothing(tmp_path: Path, place: SnapshotPosition) -> None:
    async def story(one: Maker) -> None:
        async with one.snapshots.lent(1) as source:
            assert source is not None
            with pytest.raises(SnapshotNotSent, match="which the snapshot does not have"):
                await Outgoing(7, source).read(place)

    with_maker(tmp_path, story)


def test_the_log_is_held_from_the_moment_at_which_a_snapshot_is_begun(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        one.apply()
        lending = asyncio.create_task(_lends(one, 1))
        await asyncio.sleep(0)
        one.apply()
        assert one.snapshots.held_index == 2
        await lending

    with_maker(tmp_path, story)


async def _lends(one: Maker, least_index: int) -> bool:
    async with one.snapshots.lent(least_index) as source:
        return source is not None


# Those that are received


async def manifest_of(one: Maker) -> Manifest:
    async with one.snapshots.lent(1) as source:
        assert source is not None
        return source.manifest


async def nobody(_: Manifest) -> None:
    raise AssertionError("nothing was received")


def test_a_snapshot_of_what_is_committed_here_is_not_wanted(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        encoded, disk = (await manifest_of(one)).encode(), DiskThread("in")
        with pytest.raises(SnapshotUnwanted, match="the log is committed up to 1 here, beyond 1"):
            IncomingSnapshots(tmp_path, disk).open(2, 7, encoded, 1, nobody)
        disk.close()

    with_maker(tmp_path, story)


def test_a_manifest_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    disk = DiskThread("in")
    with pytest.raises(SnapshotDamaged):
        IncomingSnapshots(tmp_path, disk).open(2, 7, b"none", 0, nobody)
    disk.close()


def test_a_manifest_with_a_membership_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        disk, manifest = DiskThread("in"), await manifest_of(one)
        snapshots = IncomingSnapshots(tmp_path, disk)
        with pytest.raises(SnapshotDamaged, match="the membership record can't be read"):
            snapshots.open(2, 7, replace(manifest, membership=b"none").encode(), 0, nobody)
        # Nor is it in the way of another one.
        snapshots.open(2, 7, manifest.encode(), 0, nobody)
        disk.close()

    with_maker(tmp_path, story)


def test_that_of_an_earlier_leader_is_not_received_beside_that_of_a_later_one(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        encoded, disk = (await manifest_of(one)).encode(), DiskThread("in")
        snapshots = IncomingSnapshots(tmp_path, disk)
        first = snapshots.open(2, 8, encoded, 0, nobody)
        with pytest.raises(SnapshotUnwanted, match="another snapshot is being received here"):
            snapshots.open(3, 7, encoded, 0, nobody)
        first.close()
        snapshots.open(3, 7, encoded, 0, nobody)
        disk.close()

    with_maker(tmp_path, story)


@pytest.mark.parametrize(("sender", "term"), [(2, 7), (3, 8)], ids=["same leader", "later leader"])
def test_one_that_stands_still_gives_way_to_another_one(tmp_path: Path, sender: int, term: int) -> None:
    async def story(one: Maker) -> None:
        disk = DiskThread("in")
        snapshots = IncomingSnapshots(tmp_path, disk)
        received: list[Manifest] = []

        async def take(manifest: Manifest) -> None:
            received.append(manifest)

        async with one.snapshots.lent(1) as source:
            assert source is not None
            outgoing = Outgoing(term, source)
            found = await outgoing.read(SnapshotPosition(0, 0))
            assert found is not None
            still = snapshots.open(2, 7, outgoing.manifest, 0, nobody)
            await still.begin()
            later = snapshots.open(sender, term, outgoing.manifest, 0, take)
            with pytest.raises(SnapshotUnwanted, match="another one has come in its place"):
                await still.write(found[0])
            still.close()
            assert await later.begin() == SnapshotPosition(0, 0)
            await later.write(found[0])
            assert (later.is_complete, still.is_complete) == (True, False)
            await later.finish()
            assert received == [source.manifest]
            # What is whole is not thrown away for another one.
            with pytest.raises(SnapshotUnwanted, match="another snapshot is being received here"):
                snapshots.open(2, 9, outgoing.manifest, 0, nobody)
        disk.close()

    with_maker(tmp_path, story)


def test_a_snapshot_that_is_whole_is_told_and_keeps_its_place_until_it_is_settled(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        disk = DiskThread("in")
        snapshots = IncomingSnapshots(tmp_path, disk)
        received: list[Manifest] = []
        async with one.snapshots.lent(1) as source:
            assert source is not None
            outgoing = Outgoing(7, source)

            async def take(manifest: Manifest) -> None:
                received.append(manifest)

            incoming = snapshots.open(2, 7, outgoing.manifest, 0, take)
            found = await outgoing.read(await incoming.begin())
            assert found is not None
            await incoming.write(found[0])
            await incoming.finish()
            incoming.close()
            assert received == [source.manifest]
            with pytest.raises(SnapshotUnwanted):
                snapshots.open(2, 7, outgoing.manifest, 0, nobody)
            snapshots.settled()
            snapshots.open(2, 7, outgoing.manifest, 0, nobody)
        disk.close()

    with_maker(tmp_path, story)


def test_a_snapshot_of_which_no_state_is_made_keeps_its_place_no_longer(tmp_path: Path) -> None:
    async def story(one: Maker) -> None:
        disk, raft_disk = DiskThread("in"), DiskThread("raft log")
        log = RaftLog.open(tmp_path / "raft", raft_disk)
        snapshots = Snapshots(tmp_path, log, one.state_machine, disk)
        async with one.snapshots.lent(1) as source:
            assert source is not None
            outgoing = Outgoing(7, source)
            built: list[State | None] = []

            async def take(manifest: Manifest) -> None:
                building = asyncio.create_task(snapshots.build(manifest))
                await asyncio.sleep(0)
                snapshots.abandon()
                built.append(await building)

            incoming = snapshots.incoming.open(2, 7, outgoing.manifest, 0, take)
            found = await outgoing.read(await incoming.begin())
            assert found is not None
            await incoming.write(found[0])
            await incoming.finish()
            incoming.close()
            assert built == [None]
            snapshots.incoming.open(2, 7, outgoing.manifest, 0, nobody)
        log.close()
        raft_disk.close()
        disk.close()

    with_maker(tmp_path, story)


# A node with both


def with_three(folder: Path, story: Callable[[Trio], Awaitable[None]]) -> None:
    async def run() -> None:
        async with three(folder, snapshot_catchup_entries=CATCHUP_ENTRIES) as trio:
            await story(trio)

    asyncio.run(run())


async def _cut_off_and_leave_behind(trio: Trio) -> Running:
    """A follower that hears nothing while the others go so far that their logs begin after all that it has."""
    late = trio.followers[0]
    trio.network.cut_off.add(late.node.node_id)
    for number in range(5 * CATCHUP_ENTRIES):
        await trio.leader.put(b"key%d" % number)
    for other in trio.nodes:
        if other is not late:
            await other.state_machine.flush()
            await until(lambda other=other: other.log.first_index() > late.log.last_index() + 1)
    return late


def test_the_log_is_cut_behind_what_the_state_has_durably_and_keeps_what_is_set(tmp_path: Path) -> None:
    async def story(trio: Trio) -> None:
        leader = trio.leader
        for number in range(5 * CATCHUP_ENTRIES):
            await leader.put(b"key%d" % number)
        assert leader.log.first_index() == 1
        await leader.state_machine.flush()
        flushed_index = leader.state_machine.flushed_index
        await until(lambda: leader.log.first_index() > 1)
        assert leader.log.first_index() == flushed_index - CATCHUP_ENTRIES + 1

    with_three(tmp_path, story)


def test_the_log_keeps_no_more_than_a_few_flushes_whatever_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meteora.kv.state_machine.REPLAY_BOUND_BYTES", 2)

    async def run() -> None:
        async with running(tmp_path, Network(), snapshot_catchup_entries=1_000_000) as one:
            await one.until_leading()
            while one.log.first_index() == 1:
                await one.put(b"key")

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_follower_that_lacks_what_the_log_no_longer_has_catches_up_and_stays(tmp_path: Path) -> None:
    async def story(trio: Trio) -> None:
        late = await _cut_off_and_leave_behind(trio)
        trio.network.cut_off.clear()
        await until(lambda: late.node.status().applied_index == trio.leader.node.status().applied_index)
        await trio.leader.put(b"after")
        await until(lambda: late.node.status().applied_index == trio.leader.node.status().applied_index)
        assert await late.get(b"key0") == b"value"
        assert await late.get(b"after") == b"value"
        assert late.node.members == trio.leader.node.members

    with_three(tmp_path, story)


def test_what_waits_at_a_node_that_gets_a_snapshot_is_answered(tmp_path: Path) -> None:
    async def story(trio: Trio) -> None:
        late = await _cut_off_and_leave_behind(trio)
        waiting = [asyncio.create_task(late.put(b"own")), asyncio.create_task(late.get(b"key0"))]
        await asyncio.sleep(0)
        trio.network.cut_off.clear()
        assert await asyncio.gather(*waiting) == [None, b"value"]
        assert await trio.leader.get(b"own") == b"value"

    with_three(tmp_path, story)


def test_a_snapshot_that_does_not_get_through_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meteora.node.snapshot_traffic.PAUSE_SECONDS", 0.01)

    async def story(trio: Trio) -> None:
        late = await _cut_off_and_leave_behind(trio)
        send, attempts = trio.leader.line.send_snapshot, []

        async def fail_first(peer: int, snapshot: Outgoing) -> None:
            attempts.append(peer)
            if len(attempts) == 1:
                raise SnapshotNotSent("the line broke")
            await send(peer, snapshot)

        monkeypatch.setattr(trio.leader.line, "send_snapshot", fail_first)
        trio.network.cut_off.clear()
        await until(lambda: late.node.status().applied_index == trio.leader.node.status().applied_index)
        assert attempts == [late.node.node_id] * 2

    with_three(tmp_path, story)


def test_a_peer_that_answers_a_heartbeat_just_when_a_snapshot_has_failed_gets_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meteora.node.snapshot_traffic.PAUSE_SECONDS", 0.01)
    finished = RawNode.snapshot_finished

    async def story(trio: Trio) -> None:
        late = await _cut_off_and_leave_behind(trio)
        leader = trio.leader
        send, attempts = leader.line.send_snapshot, []

        async def fail_first(peer: int, snapshot: Outgoing) -> None:
            attempts.append(peer)
            if len(attempts) == 1:
                raise SnapshotNotSent("the line broke")
            await send(peer, snapshot)

        def finish_and_hear(raw: RawNode, peer: int, *, ok: bool) -> None:
            finished(raw, peer, ok=ok)
            answer = Message(MessageKind.HEARTBEAT_RESPONSE, peer, leader.node.node_id, leader.node.status().term)
            leader.node.receive(peer, [answer])

        monkeypatch.setattr(leader.line, "send_snapshot", fail_first)
        monkeypatch.setattr(RawNode, "snapshot_finished", finish_and_hear)
        trio.network.cut_off.clear()
        await until(lambda: late.node.status().applied_index == leader.node.status().applied_index)

    with_three(tmp_path, story)


def test_a_node_that_stops_does_not_wait_for_a_snapshot_to_be_sent(tmp_path: Path) -> None:
    async def story(trio: Trio) -> None:
        late = await _cut_off_and_leave_behind(trio)
        leader, is_sending = trio.leader, asyncio.Event()

        async def never(peer: int, snapshot: Outgoing) -> None:
            is_sending.set()
            await asyncio.Event().wait()

        leader.line.send_snapshot = never  # type: ignore[method-assign]
        trio.network.cut_off.clear()
        await is_sending.wait()
        async with asyncio.timeout(5):
            await leader.node.stop()
        assert late.log.first_index() == 1

    with_three(tmp_path, story)


def test_a_node_that_has_stopped_makes_no_state_of_a_snapshot_that_is_whole_only_then(tmp_path: Path) -> None:
    async def story(trio: Trio) -> None:
        late = await _cut_off_and_leave_behind(trio)
        leader, is_over = trio.leader, asyncio.Event()

        async def send(peer: int, snapshot: OutgoingSnapshot) -> None:
            incoming = trio.network.offer(leader.node.node_id, peer, snapshot)
            position = await incoming.begin()
            while (found := await snapshot.read(position)) is not None:
                position = await incoming.write(found[0])
            await late.node.stop()
            await incoming.finish()
            is_over.set()

        leader.line.send_snapshot = send  # type: ignore[method-assign]
        trio.network.cut_off.clear()
        await is_over.wait()
        assert not list((tmp_path / str(late.node.node_id)).glob("kv-*"))

    with_three(tmp_path, story)


def test_a_snapshot_of_a_term_that_is_over_is_not_wanted(tmp_path: Path) -> None:
    async def story(trio: Trio) -> None:
        follower = trio.followers[0].node
        with pytest.raises(SnapshotUnwanted, match="term 1 is over"):
            follower.offered(trio.leader.node.node_id, 1, b"")

    with_three(tmp_path, story)


def test_a_leader_that_offers_what_is_here_already_is_told_how_far_this_log_is(tmp_path: Path) -> None:
    async def story(trio: Trio) -> None:
        leader, follower = trio.leader, trio.followers[0]
        await leader.put(b"key")
        await until(lambda: follower.node.status().commit_index == leader.node.status().commit_index)
        term, told = leader.node.status().term, len(acknowledged_by(trio, follower))
        async with leader.node._snapshots.outgoing.lent(1) as source:
            assert source is not None
            with pytest.raises(SnapshotUnwanted, match="the log is committed up to"):
                follower.node.offered(leader.node.node_id, term, source.manifest.encode())
            await until(lambda: len(acknowledged_by(trio, follower)) > told)
            assert acknowledged_by(trio, follower)[-1] >= source.manifest.index

    with_three(tmp_path, story)


def acknowledged_by(trio: Trio, one: Running) -> list[int]:
    return [message.index for message in trio.network.sent_by(one.node.node_id, MessageKind.APPEND_RESPONSE)]
