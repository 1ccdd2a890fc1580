"""States that become snapshots, and snapshots that become states."""

import asyncio
import shutil
from pathlib import Path

import pytest

from meteora.errors import Corruption, DiskFailure, DiskFull, SnapshotDamaged
from meteora.kv.state_machine import StateMachine
from meteora.raft.errors import InvariantViolation
from meteora.storage.snapshot_files import Manifest, make_empty, read_manifest, table_path
from tests.unit.kv.installations import assert_state, create, snapshot_of
from tests.unit.kv.state_machines import Story, entry_of, everything_in, opened, put, value_of

pytestmark = pytest.mark.usefixtures("no_leaks")

STORY = Story(seed=7, length=200)
HALF = 100


def built(snapshot: Path, manifest: Manifest, path: Path) -> None:
    """Make a state of a snapshot, and close it."""

    async def build() -> None:
        machine = StateMachine.open(path / "unused")
        state = await machine.build(snapshot, manifest, path / "kv")
        assert state is not None
        state.database.close()
        machine.close()

    asyncio.run(build())


# Whole


@pytest.mark.parametrize("index", [1, HALF, 200])
def test_a_state_that_was_built_of_a_snapshot_is_the_state_that_it_was_made_of(tmp_path: Path, index: int) -> None:
    manifest = snapshot_of(tmp_path, STORY, index)
    assert (manifest.index, manifest.term, manifest.membership) == (index, 1, STORY.memberships[index])
    built(tmp_path / "snapshot-out", manifest, tmp_path / "other")
    with opened(tmp_path / "other" / "kv") as machine:
        assert_state(machine, STORY, index)


def test_the_rolling_hash_comes_with_a_snapshot(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)
    built(tmp_path / "snapshot-out", manifest, tmp_path / "other")
    with opened(tmp_path / "whole") as whole, opened(tmp_path / "other" / "kv") as machine:
        for each in (whole, machine):
            STORY.apply(each, HALF + 20)
        assert machine.checkpoints()[-1] == whole.checkpoints()[-1]


def test_a_snapshot_of_many_tables_is_told_by_its_manifest(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)
    assert len(manifest.tables) > 1
    assert read_manifest(tmp_path / "snapshot-out") == manifest
    assert len(list((tmp_path / "snapshot-out").iterdir())) == len(manifest.tables) + 1


def test_a_snapshot_holds_what_was_not_flushed_yet_and_not_what_was_removed(tmp_path: Path) -> None:
    with opened(tmp_path / "kv") as machine:
        STORY.apply(machine, HALF)
        asyncio.run(machine.flush())
        STORY.apply(machine, 200)
        manifest = asyncio.run(create(machine, tmp_path / "out"))
    assert manifest is not None
    built(tmp_path / "out", manifest, tmp_path / "other")
    with opened(tmp_path / "other" / "kv") as machine:
        assert_state(machine, STORY, 200)


def test_a_snapshot_is_of_one_instant_whatever_is_applied_meanwhile(tmp_path: Path) -> None:
    async def create_while_applying(machine: StateMachine) -> Manifest:
        creating = asyncio.create_task(create(machine, tmp_path / "out"))
        for index in range(HALF + 1, 201):
            await asyncio.sleep(0.0005)
            STORY.apply(machine, index)
        manifest = await creating
        assert manifest is not None
        return manifest

    with opened(tmp_path / "kv") as machine:
        STORY.apply(machine, HALF)
        manifest = asyncio.run(create_while_applying(machine))
        assert everything_in(machine) == STORY.states[200]
    built(tmp_path / "out", manifest, tmp_path / "other")
    with opened(tmp_path / "other" / "kv") as machine:
        assert_state(machine, STORY, manifest.index)


def test_a_snapshot_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    snapshot_of(tmp_path, STORY, HALF)
    (tmp_path / "snapshot-out" / "999999").write_text("of the one before")
    manifest = snapshot_of(tmp_path, STORY, 200)
    assert read_manifest(tmp_path / "snapshot-out") == manifest
    assert len(list((tmp_path / "snapshot-out").iterdir())) == len(manifest.tables) + 1


def test_a_state_that_nothing_was_applied_to_has_no_snapshot(tmp_path: Path) -> None:
    with opened(tmp_path / "kv") as machine, pytest.raises(InvariantViolation):
        asyncio.run(machine.create_snapshot(tmp_path / "out"))


# In use


def test_an_adopted_state_is_in_use_from_that_instant_and_the_old_one_is_removed(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)

    async def scenario(machine: StateMachine) -> None:
        machine.apply([entry_of(1, put(b"old", b"1"))])
        state = await machine.build(tmp_path / "snapshot-out", manifest, tmp_path / "new")
        assert state is not None
        assert machine.applied_index == 1
        adopting = asyncio.create_task(machine.adopt(state))
        await asyncio.sleep(0)
        assert (machine.applied_index, machine.flushed_index, machine.unflushed_bytes) == (HALF, HALF, 0)
        await adopting

    with opened(tmp_path / "old") as machine:
        asyncio.run(scenario(machine))
        assert value_of(machine, b"old") is None
        assert_state(machine, STORY, HALF)
    assert not (tmp_path / "old").exists()
    with opened(tmp_path / "new") as machine:
        assert (machine.applied_index, everything_in(machine)) == (200, STORY.states[200])


def test_a_read_that_is_under_way_is_answered_from_the_old_state(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)

    async def scenario(machine: StateMachine) -> list[bytes | None]:
        state = await machine.build(tmp_path / "snapshot-out", manifest, tmp_path / "new")
        assert state is not None
        reading = asyncio.create_task(machine.get_many([b"old"]))
        await asyncio.sleep(0)
        await machine.adopt(state)
        return await reading

    with opened(tmp_path / "old") as machine:
        machine.apply([entry_of(1, put(b"old", b"1"))])
        assert asyncio.run(scenario(machine)) == [b"1"]


def test_a_flush_that_is_under_way_says_nothing_of_the_new_state(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)

    async def scenario(machine: StateMachine) -> None:
        machine.apply([entry_of(1, put(b"old", b"1"))])
        state = await machine.build(tmp_path / "snapshot-out", manifest, tmp_path / "new")
        assert state is not None
        flushing = asyncio.create_task(machine.flush())
        await asyncio.sleep(0)
        await machine.adopt(state)
        await flushing
        STORY.apply(machine, HALF + 1)
        assert machine.flushed_index == HALF
        assert machine.unflushed_bytes == STORY.entries[HALF].size_bytes()

    with opened(tmp_path / "old") as machine:
        asyncio.run(scenario(machine))


def test_a_state_that_is_older_is_never_adopted(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)

    async def scenario(machine: StateMachine) -> None:
        state = await machine.build(tmp_path / "snapshot-out", manifest, tmp_path / "new")
        assert state is not None
        STORY.apply(machine, HALF + 1)
        with pytest.raises(InvariantViolation, match="a state at 100 can't replace the one at 101"):
            await machine.adopt(state)
        await machine.discard(state)

    with opened(tmp_path / "old") as machine:
        asyncio.run(scenario(machine))
        assert_state(machine, STORY, HALF + 1)
    assert not (tmp_path / "new").exists()


# Abandoned


def test_a_snapshot_that_is_abandoned_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(machine: StateMachine) -> None:
        creating = asyncio.create_task(create(machine, tmp_path / "out"))
        await asyncio.sleep(0)
        machine.abandon_snapshots()
        assert await creating is None

    with opened(tmp_path / "kv") as machine:
        STORY.apply(machine, HALF)
        asyncio.run(scenario(machine))
        assert not (tmp_path / "out").exists()
        assert_state(machine, STORY, HALF)


def test_all_that_is_under_way_is_abandoned_together(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)

    async def scenario(machine: StateMachine) -> list[object]:
        creating = asyncio.create_task(create(machine, tmp_path / "out"))
        building = asyncio.create_task(machine.build(tmp_path / "snapshot-out", manifest, tmp_path / "new"))
        await asyncio.sleep(0)
        machine.abandon_snapshots()
        return await asyncio.gather(creating, building)

    with opened(tmp_path / "old") as machine:
        STORY.apply(machine, HALF)
        assert asyncio.run(scenario(machine)) == [None, None]
    assert not (tmp_path / "new").exists()


def test_a_snapshot_of_a_state_that_is_replaced_meanwhile_is_abandoned(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)

    async def scenario(machine: StateMachine) -> None:
        state = await machine.build(tmp_path / "snapshot-out", manifest, tmp_path / "new")
        assert state is not None
        creating = asyncio.create_task(create(machine, tmp_path / "out"))
        await asyncio.sleep(0)
        await machine.adopt(state)
        assert await creating is None

    with opened(tmp_path / "old") as machine:
        machine.apply([entry_of(1, put(b"old", b"1"))])
        asyncio.run(scenario(machine))


def test_closing_abandons_what_is_under_way(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = StateMachine.open(tmp_path / "kv")
        STORY.apply(machine, HALF)
        creating = asyncio.create_task(create(machine, tmp_path / "out"))
        await asyncio.sleep(0)
        machine.close()
        assert await creating is None

    asyncio.run(scenario())
    assert not (tmp_path / "out").exists()


def test_closing_closes_what_was_built_and_not_adopted(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)
    with opened(tmp_path / "old") as machine:
        assert asyncio.run(machine.build(tmp_path / "snapshot-out", manifest, tmp_path / "new")) is not None
    with opened(tmp_path / "new") as machine:
        assert_state(machine, STORY, HALF)


# Failures, none of which hurts the state


def test_a_snapshot_that_has_no_room_leaves_nothing_and_the_state_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_full(directory: Path) -> None:
        make_empty(directory)
        table_path(directory, 1).symlink_to("/dev/full")

    monkeypatch.setattr("meteora.kv.snapshots.make_empty", make_full)
    with opened(tmp_path / "kv") as machine:
        STORY.apply(machine, HALF)
        with pytest.raises(DiskFull):
            asyncio.run(create(machine, tmp_path / "out"))
        assert not (tmp_path / "out").exists()
        assert_state(machine, STORY, HALF)


def test_a_state_that_is_corrupt_makes_no_snapshot(tmp_path: Path) -> None:
    with opened(tmp_path / "kv") as machine:
        machine.apply([entry_of(1, *(put(b"key%06d" % number, b"v" * 100) for number in range(3000)))])
    (table,) = (tmp_path / "kv").glob("*.sst")
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    with opened(tmp_path / "kv") as machine, pytest.raises(Corruption):
        asyncio.run(create(machine, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def refused(tmp_path: Path, manifest: Manifest, error: type[Exception], message: str) -> None:
    """Building of it fails, and leaves nothing."""
    with opened(tmp_path / "unused") as machine, pytest.raises(error, match=message):
        asyncio.run(machine.build(tmp_path / "snapshot-out", manifest, tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_snapshot_that_is_of_another_index_than_it_says_is_damaged(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)
    other = Manifest(index=HALF + 1, term=1, membership=manifest.membership, tables=manifest.tables)
    refused(tmp_path, other, SnapshotDamaged, "a snapshot at 101@1 holds the state at 100@1")


def test_a_snapshot_whose_tables_are_none_is_damaged(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)
    table_path(tmp_path / "snapshot-out", 1).write_bytes(b"x" * 1000)
    refused(tmp_path, manifest, SnapshotDamaged, "no state can be made of it")


def test_a_snapshot_whose_tables_are_not_there_cannot_be_read(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)
    table_path(tmp_path / "snapshot-out", 1).unlink()
    refused(tmp_path, manifest, DiskFailure, "No such file")


def test_what_an_earlier_attempt_left_is_not_built_upon(tmp_path: Path) -> None:
    manifest = snapshot_of(tmp_path, STORY, HALF)
    shutil.copytree(tmp_path / "kv", tmp_path / "other" / "kv")
    (tmp_path / "other" / "kv" / "CURRENT").write_text("half")
    built(tmp_path / "snapshot-out", manifest, tmp_path / "other")
    with opened(tmp_path / "other" / "kv") as machine:
        assert_state(machine, STORY, HALF)
