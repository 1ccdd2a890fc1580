"""What the tests of snapshots of the state share: nodes without a core, and snapshots that were brought to them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from meteora.errors import StorageError
from meteora.kv.installation import INCOMING, OUTGOING, current_state_path, remove_leftovers
from meteora.kv.state_machine import StateMachine
from meteora.raft.entry import Entry
from meteora.raft.message import HardState
from meteora.storage import snapshot_files
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from meteora.storage.snapshot_files import Manifest, make_empty
from meteora.storage.snapshot_transfer import SnapshotReceiver, SnapshotSource
from tests.unit.kv.state_machines import Story, everything_in
from tests.unit.kv.state_machines import opened as opened_machine

TABLE_BYTES = 1_000
"""Small, so that small snapshots have many."""


class Disk(NamedTuple):
    """The state and the log of a node, opened as at a start."""

    root: Path
    machine: StateMachine
    log: RaftLog
    thread: DiskThread


@contextmanager
def opened(root: Path) -> Iterator[Disk]:
    """Open what is below `root`, in the order that a node does it."""
    path = current_state_path(root)
    thread = DiskThread("raft log")
    try:
        with opened_machine(path) as machine:
            log = RaftLog.open(root / "raft", thread, machine.applied_index)
            try:
                remove_leftovers(root, path)
                yield Disk(root, machine, log, thread)
            finally:
                # After a failure closing fails, too.
                with suppress(StorageError) if log._failure else nullcontext():
                    log.close()
    finally:
        thread.close()


def names_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def apply(disk: Disk, story: Story, index: int) -> None:
    """Append, commit and apply the entries of a story up to `index`."""
    entries: list[Entry] = story.entries[disk.log.last_index() : index]
    state = disk.log.hard_state
    asyncio.run(disk.log.append(entries, HardState(max(1, state.term), state.vote, index)))
    story.apply(disk.machine, index)
    disk.log.release(index)


def snapshot_of(root: Path, story: Story, index: int) -> Manifest:
    """Make a snapshot of a story at `index`, in root/snapshot-out."""
    with opened_machine(root / "kv") as machine:
        story.apply(machine, index)
        manifest = asyncio.run(create(machine, root / OUTGOING))
    assert manifest is not None
    return manifest


async def create(machine: StateMachine, directory: Path) -> Manifest | None:
    before, snapshot_files.TABLE_BYTES = snapshot_files.TABLE_BYTES, TABLE_BYTES
    try:
        return await machine.create_snapshot(directory)
    finally:
        snapshot_files.TABLE_BYTES = before


async def bring(source_root: Path, manifest: Manifest, root: Path, thread: DiskThread) -> Manifest:
    """Bring a snapshot from one node's disk to another's."""
    source = SnapshotSource(source_root / OUTGOING, manifest, thread)
    receiver = SnapshotReceiver(root / INCOMING, thread)
    position = await receiver.begin(manifest)
    while (chunk := await source.read(position)) is not None:
        position = await receiver.write(chunk)
    return receiver.take()


def bring_now(source_root: Path, manifest: Manifest, root: Path) -> None:
    thread = DiskThread("transfer")
    try:
        make_empty(root / INCOMING)
        asyncio.run(bring(source_root, manifest, root, thread))
    finally:
        thread.close()


def assert_state(machine: StateMachine, story: Story, index: int) -> None:
    """The machine is at `index` of the story: data, membership, and what its sessions answer from there on."""
    assert machine.applied_index == index
    assert everything_in(machine) == story.states[index]
    assert machine.membership == story.memberships[index]
    story.apply(machine, len(story.entries))
    assert everything_in(machine) == story.states[-1]
