"""A snapshot that is installed: whatever crashes on the way, state and log are the old ones or the new ones."""

import asyncio
import itertools
import random
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from meteora.errors import Corruption, DiskFailure, SnapshotDamaged
from meteora.kv.installation import INCOMING, build, current_state_path, install, remove_leftovers
from meteora.raft.errors import InvariantViolation
from meteora.raft.message import HardState
from meteora.storage.snapshot_files import Manifest, table_path
from tests.unit.kv.installations import Disk, apply, assert_state, bring_now, create, names_in, opened, snapshot_of
from tests.unit.kv.state_machines import Story
from tests.unit.storage.failing_fsyncs import make_fsyncs_fail

pytestmark = pytest.mark.usefixtures("no_leaks")

STORY = Story(seed=11, length=200)
OLD, NEW = 20, 150
"""Where the receiver is, and where the snapshot is."""


def prepare(tmp_path: Path) -> Manifest:
    """A node at `OLD` in tmp_path/node that has received the snapshot at `NEW` of the one in tmp_path/source."""
    (tmp_path / "source").mkdir()
    (tmp_path / "node").mkdir()
    manifest = snapshot_of(tmp_path / "source", STORY, NEW)
    with opened(tmp_path / "node") as disk:
        apply(disk, STORY, OLD)
    bring_now(tmp_path / "source", manifest, tmp_path / "node")
    return manifest


def install_now(disk: Disk, manifest: Manifest) -> bool:
    """False if the building was abandoned."""
    return asyncio.run(build_and_install(disk, manifest))


async def build_and_install(disk: Disk, manifest: Manifest) -> bool:
    state = await build(disk.root, manifest, disk.machine)
    if state is not None:
        await install(state, disk.machine, disk.log, HardState(2, 0, 0))
    return state is not None


def assert_whole(root: Path, index: int) -> None:
    """After a start the node is at `index`, nothing else is left, and it goes on to the end of the story."""
    with opened(root) as disk:
        assert names_in(root) in (["kv", "raft"], [f"kv-{index}", "raft"], ["kv", "raft", INCOMING])
        assert disk.log.first_index() <= index + 1 == disk.log.last_index() + 1
        assert disk.log.hard_state.commit == index
        apply(disk, STORY, 160)
    with opened(root) as disk:
        assert disk.log.last_index() == 160
        assert_state(disk.machine, STORY, 160)


# Whole


def test_an_installed_snapshot_is_the_state_and_the_log_goes_on_after_it(tmp_path: Path) -> None:
    manifest = prepare(tmp_path)
    with opened(tmp_path / "node") as disk:
        assert install_now(disk, manifest)
        assert (disk.log.first_index(), disk.log.last_index(), disk.log.term(NEW)) == (NEW + 1, NEW, 1)
        assert disk.log.hard_state == HardState(2, 0, NEW)
        assert disk.machine.applied_index == disk.machine.flushed_index == NEW
        assert names_in(tmp_path / "node") == [f"kv-{NEW}", "raft"]
    assert_whole(tmp_path / "node", NEW)


def test_one_snapshot_after_another_is_installed(tmp_path: Path) -> None:
    manifest = prepare(tmp_path)
    with opened(tmp_path / "node") as disk:
        assert install_now(disk, manifest)
        apply(disk, STORY, NEW + 10)
    later = snapshot_of(tmp_path / "source", STORY, NEW + 20)
    bring_now(tmp_path / "source", later, tmp_path / "node")
    with opened(tmp_path / "node") as disk:
        assert install_now(disk, later)
        assert names_in(tmp_path / "node") == [f"kv-{NEW + 20}", "raft"]
        assert_state(disk.machine, STORY, NEW + 20)


def test_a_snapshot_in_the_middle_of_the_log_keeps_what_follows_it(tmp_path: Path) -> None:
    manifest = prepare(tmp_path)
    with opened(tmp_path / "node") as disk:
        asyncio.run(disk.log.append(STORY.entries[OLD:160], HardState(1, 0, OLD)))
        assert install_now(disk, manifest)
        assert (disk.log.first_index(), disk.log.last_index()) == (NEW + 1, 160)
    with opened(tmp_path / "node") as disk:
        assert disk.log.read(NEW + 1, 161, 1 << 30) == STORY.entries[NEW:160]
        assert disk.machine.applied_index == NEW


def test_a_snapshot_that_is_being_made_gives_way_to_the_one_that_is_installed(tmp_path: Path) -> None:
    manifest = prepare(tmp_path)

    async def scenario(disk: Disk) -> tuple[Manifest | None, bool]:
        creating = asyncio.create_task(create(disk.machine, tmp_path / "out"))
        await asyncio.sleep(0)
        is_installed = await build_and_install(disk, manifest)
        return await creating, is_installed

    with opened(tmp_path / "node") as disk:
        assert asyncio.run(scenario(disk)) == (None, True)
    assert_whole(tmp_path / "node", NEW)


# Crashes


def copying(
    function: Callable[..., Awaitable[Any]], root: Path, before: str, after: str
) -> Callable[..., Awaitable[Any]]:
    """The function, with copies of what a crash before and after it would leave."""

    async def copied(*arguments: Any) -> Any:
        shutil.copytree(root, root.parent / before)
        result = await function(*arguments)
        shutil.copytree(root, root.parent / after)
        return result

    return copied


def test_a_crash_between_any_two_steps_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = prepare(tmp_path)
    root = tmp_path / "node"
    with opened(root) as disk:
        for owner, name in ((disk.machine, "build"), (disk.log, "reset"), (disk.machine, "discard")):
            monkeypatch.setattr(
                owner, name, copying(getattr(owner, name), root, f"before-{name}", f"after-{name}"), raising=True
            )
        assert install_now(disk, manifest)
    shutil.copytree(tmp_path / "after-reset", tmp_path / "within-discard")
    for file in sorted((tmp_path / "within-discard" / "kv").iterdir())[::2]:
        file.unlink()
    for name in ("before-build", "after-build", "before-reset"):
        assert_whole(tmp_path / name, OLD)
    for name in ("after-reset", "before-discard", "within-discard", "after-discard"):
        assert_whole(tmp_path / name, NEW)


def test_after_a_crash_before_the_log_was_reset_the_snapshot_is_received_and_installed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = prepare(tmp_path)
    with opened(tmp_path / "node") as disk:
        monkeypatch.setattr(disk.log, "reset", copying(disk.log.reset, tmp_path / "node", "crashed", "after"))
        assert install_now(disk, manifest)
    bring_now(tmp_path / "source", manifest, tmp_path / "crashed")
    with opened(tmp_path / "crashed") as disk:
        assert install_now(disk, manifest)
    assert_whole(tmp_path / "crashed", NEW)


def run_until_killed(root: Path, source_root: Path, kill_after: int) -> list[str]:
    """Let a process receive and install; kill it once it has said so many steps; all that it said."""
    command = [sys.executable, "-m", "tests.unit.kv.installer", str(root), str(source_root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            told = list(itertools.islice(process.stdout, kill_after))
        finally:
            process.kill()
        return told + list(process.stdout)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_node_has_the_old_or_the_new_and_gets_there_in_the_end(tmp_path: Path, seed: int) -> None:
    prepare(tmp_path)
    root = tmp_path / "node"
    shutil.rmtree(root / INCOMING)
    chance = random.Random(seed)
    while True:
        told = run_until_killed(root, tmp_path / "source", chance.randint(1, 50))
        with opened(root) as disk:
            index = disk.machine.applied_index
            is_reset = "_persist_base is done\n" in told
            assert index in ((NEW,) if is_reset else (OLD, NEW))
            assert disk.log.last_index() == index
        if index == NEW:
            break
    assert_whole(root, NEW)


# What is refused


@pytest.mark.parametrize("index", [NEW, 160])
def test_a_snapshot_that_the_node_has_reached_meanwhile_is_never_installed(tmp_path: Path, index: int) -> None:
    manifest = prepare(tmp_path)
    with opened(tmp_path / "node") as disk:
        state = asyncio.run(build(disk.root, manifest, disk.machine))
        assert state is not None
        apply(disk, STORY, index)
        with pytest.raises(InvariantViolation, match="can't be installed over"):
            asyncio.run(install(state, disk.machine, disk.log, None))
        asyncio.run(disk.machine.discard(state))
        assert names_in(tmp_path / "node") == ["kv", "raft"]
    assert_whole(tmp_path / "node", index)


def test_a_state_that_was_built_and_never_installed_is_removed_at_the_next_start(tmp_path: Path) -> None:
    manifest = prepare(tmp_path)
    with opened(tmp_path / "node") as disk:
        assert asyncio.run(build(disk.root, manifest, disk.machine)) is not None
    assert names_in(tmp_path / "node") == ["kv", f"kv-{NEW}", "raft"]
    assert_whole(tmp_path / "node", OLD)


def test_a_building_that_is_abandoned_changes_nothing(tmp_path: Path) -> None:
    manifest = prepare(tmp_path)

    async def scenario(disk: Disk) -> bool:
        building = asyncio.create_task(build_and_install(disk, manifest))
        await asyncio.sleep(0)
        disk.machine.abandon_snapshots()
        return await building

    with opened(tmp_path / "node") as disk:
        assert not asyncio.run(scenario(disk))
    assert_whole(tmp_path / "node", OLD)


def test_a_snapshot_that_is_damaged_changes_nothing(tmp_path: Path) -> None:
    manifest = prepare(tmp_path)
    table_path(tmp_path / "node" / INCOMING, 0).write_bytes(b"x" * 1000)
    with opened(tmp_path / "node") as disk, pytest.raises(SnapshotDamaged):
        install_now(disk, manifest)
    assert_whole(tmp_path / "node", OLD)


def test_a_log_that_cannot_be_reset_stops_the_node_with_the_old_or_the_new(tmp_path: Path) -> None:
    manifest = prepare(tmp_path)
    with opened(tmp_path / "node") as disk:
        make_fsyncs_fail(tmp_path / "node" / "raft")
        with pytest.raises(DiskFailure) as first:
            install_now(disk, manifest)
        with pytest.raises(DiskFailure) as second:
            asyncio.run(disk.log.append([], HardState(9, 0, 0)))
        assert first.value is second.value
        assert disk.machine.applied_index == OLD
    assert_whole(tmp_path / "node", OLD)


# Starts


def test_a_new_node_begins_with_the_first_state(tmp_path: Path) -> None:
    assert current_state_path(tmp_path) == tmp_path / "kv"
    assert names_in(tmp_path) == []


def test_a_state_that_the_log_names_and_that_is_gone_is_corruption(tmp_path: Path) -> None:
    manifest = prepare(tmp_path)
    with opened(tmp_path / "node") as disk:
        assert install_now(disk, manifest)
    shutil.rmtree(tmp_path / "node" / f"kv-{NEW}")
    with pytest.raises(Corruption, match=f"kv-{NEW}: this directory, which holds the state of this node, is gone"):
        current_state_path(tmp_path / "node")
    assert names_in(tmp_path / "node") == ["raft"]


def test_leftovers_are_states_that_are_not_named_and_what_was_made_to_be_sent(tmp_path: Path) -> None:
    for name in ("kv", "kv-7", "kv-8", "kv-other", "raft", "snapshot-in", "snapshot-out", "removed-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "identity").write_text("")
    remove_leftovers(tmp_path, tmp_path / "kv-7")
    assert names_in(tmp_path) == ["identity", "kv-7", "kv-other", "raft", "removed-1", "snapshot-in"]
