"""What the tests of snapshots share: small ones of many tables, transfers, and a thread to do them on."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meteora.storage import snapshot_files
from meteora.storage.disk_thread import DiskThread
from meteora.storage.pace import Pace
from meteora.storage.rocks import KEY_VALUE, TableWriter
from meteora.storage.snapshot_files import Manifest, TablesWriter, make_empty, write_manifest
from meteora.storage.snapshot_transfer import Position, SnapshotReceiver, SnapshotSource

PAIRS = [(b"key%06d" % number, os.urandom(1000)) for number in range(200)]


def new_table(path: Path) -> TableWriter:
    return TableWriter(path, KEY_VALUE)


def write_snapshot(directory: Path, table_bytes: int = 50_000, pairs: list[tuple[bytes, bytes]] = PAIRS) -> Manifest:
    """A snapshot at 7@3 in several tables."""
    make_empty(directory)
    before, snapshot_files.TABLE_BYTES = snapshot_files.TABLE_BYTES, table_bytes
    try:
        writer = TablesWriter(directory, Pace(), new_table)
        writer.write(pairs)
    finally:
        snapshot_files.TABLE_BYTES = before
    manifest = Manifest(index=7, term=3, membership=b"members", tables=tuple(writer.tables))
    write_manifest(manifest, directory)
    return manifest


@contextmanager
def disk_thread() -> Iterator[DiskThread]:
    thread = DiskThread("snapshots")
    try:
        yield thread
    finally:
        thread.close()


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def receive(
    source: SnapshotSource, receiver: SnapshotReceiver, max_chunks: int = 1 << 30, chunk_bytes: int = 20_000
) -> Position:
    """Begin, and bring over as many chunks at most; what the receiver wants then."""

    async def transfer() -> Position:
        position = await receiver.begin(source.manifest)
        for _ in range(max_chunks):
            chunk = await source.read(position, chunk_bytes)
            if chunk is None:
                break
            position = await receiver.write(chunk)
        return position

    return asyncio.run(transfer())
