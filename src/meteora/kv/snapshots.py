"""From a state to a snapshot, and back; on a thread beside the loop, at a pace.

Data, sessions, membership and position are in one column family, so one scan of it is the state at one applied index:
the one that the scan comes upon.

Bounds on the disk, in each case for as long as it takes: a snapshot that is being made or kept takes as much as the
state does; and a scan keeps RocksDB from removing what it merges meanwhile, which is as much as the state again, at
most, and what is written. A state that is built takes over the tables of its snapshot.
"""

from collections.abc import Callable
from pathlib import Path

from meteora.errors import Corruption, SnapshotDamaged
from meteora.kv.state import APPLIED_KEY, END, MEMBERSHIP_KEY, State, decode_position, load_state
from meteora.storage.durable_files import sync_directory
from meteora.storage.pace import Pace
from meteora.storage.rocks import Rocks, TableWriter, without_advice
from meteora.storage.snapshot_files import (
    Manifest,
    TablesWriter,
    disk_errors,
    make_empty,
    remove,
    table_path,
    write_manifest,
)


def write_snapshot(pace: Pace, database: Rocks, directory: Path, new_table: Callable[[Path], TableWriter]) -> Manifest:
    """Write what is in `database` now as a snapshot into `directory`, emptied first; blocks, long.

    Raises `Abandoned`, `Corruption`, `DiskFull` or `DiskFailure`; then nothing is left of it.
    """
    make_empty(directory)
    scan = database.scan(b"", END, fills_cache=False)
    try:
        writer = TablesWriter(directory, pace, new_table, (APPLIED_KEY, MEMBERSHIP_KEY))
        writer.write(scan)
        index, term = decode_position(directory, writer.noticed.get(APPLIED_KEY))
        membership = writer.noticed.get(MEMBERSHIP_KEY, b"")
        manifest = Manifest(index=index, term=term, membership=membership, tables=tuple(writer.tables))
        write_manifest(manifest, directory)
    except BaseException:
        remove(directory)
        raise
    finally:
        scan.close()
    return manifest


def build_state(
    pace: Pace, snapshot: Path, manifest: Manifest, target: Path, new_database: Callable[[Path], Rocks]
) -> State:
    """Make a database in `target`, durably, of the snapshot in the directory `snapshot`, which is then no more; blocks.

    Raises `SnapshotDamaged` if it can't be one, `Abandoned`, `DiskFull` or `DiskFailure`; then nothing is left in
    `target`, and of the snapshot what was not taken over yet.
    """
    remove(target)
    database = new_database(target)
    try:
        state = _fill(pace, database, snapshot, manifest, target)
        with disk_errors(target):
            sync_directory(target)
            sync_directory(target.parent)
    except BaseException:
        database.close()
        remove(target)
        raise
    remove(snapshot)
    return state


def _fill(pace: Pace, database: Rocks, snapshot: Path, manifest: Manifest, target: Path) -> State:
    try:
        for number in range(len(manifest.tables)):
            pace.pause()
            database.ingest(table_path(snapshot, number))
        state = load_state(target, database)
    except Corruption as error:
        raise SnapshotDamaged(f"no state can be made of it: {without_advice(error)}") from error
    if (state.index, state.term, state.membership) != (manifest.index, manifest.term, manifest.membership):
        raise SnapshotDamaged(
            f"a snapshot at {manifest.index}@{manifest.term} holds the state at {state.index}@{state.term}"
        )
    return state
