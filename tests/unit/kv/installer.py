"""A process that receives a snapshot and installs it, until it is done or killed, and says each step that it takes.

`python -m tests.unit.kv.installer ROOT SOURCE_ROOT`
"""

import asyncio
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meteora.kv import snapshots, state_machine
from meteora.kv.installation import INCOMING, OUTGOING, build, install
from meteora.raft.message import HardState
from meteora.storage.raft_log import RaftLog
from meteora.storage.rocks import Rocks
from meteora.storage.snapshot_files import read_manifest
from meteora.storage.snapshot_transfer import SnapshotReceiver, SnapshotSource
from tests.unit.kv.installations import Disk, opened

CHUNK_BYTES = 500


def say(step: str) -> None:
    sys.stdout.write(f"{step}\n")
    sys.stdout.flush()


def say_each(owner: Any, name: str) -> None:
    """Say when a function begins, and when it is done."""
    function: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(function)
    def told(*arguments: Any, **options: Any) -> Any:
        say(f"{name} begins")
        result = function(*arguments, **options)
        say(f"{name} is done")
        return result

    setattr(owner, name, told)


async def receive_and_install(disk: Disk, source_root: Path) -> None:
    manifest = read_manifest(source_root / OUTGOING)
    assert manifest is not None
    source = SnapshotSource(source_root / OUTGOING, manifest, disk.thread)
    receiver = SnapshotReceiver(disk.root / INCOMING, disk.thread)
    position = await receiver.begin(manifest)
    while (chunk := await source.read(position, CHUNK_BYTES)) is not None:
        position = await receiver.write(chunk)
        say(f"received to {position}")
    state = await build(disk.root, receiver.take(), disk.machine)
    assert state is not None
    await install(state, disk.machine, disk.log, HardState(2, 0, 0))


def say_each_cut() -> None:
    """As `say_each`, of the write that names the new state."""
    function = RaftLog._persist_base

    async def told(log: RaftLog, *arguments: Any) -> None:
        say("_persist_base begins")
        await function(log, *arguments)
        say("_persist_base is done")

    setattr(RaftLog, "_persist_base", told)  # noqa: B010  a type checker would have it be the same function


if __name__ == "__main__":
    say_each(Rocks, "ingest")
    say_each_cut()
    say_each(Rocks, "close")
    say_each(snapshots, "remove")
    say_each(state_machine, "remove")
    with opened(Path(sys.argv[1])) as opened_disk:
        asyncio.run(receive_and_install(opened_disk, Path(sys.argv[2])))
