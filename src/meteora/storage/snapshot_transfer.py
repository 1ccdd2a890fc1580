"""Snapshots on their way from one disk to another: chunks that are read here, and put together there.

A transfer begins with the manifest. The receiver says from where on it wants the tables; the sender sends chunks from
there on, in order; the receiver says after each what it wants next. What it says is always the truth about its disk, so
whatever was lost, damaged or cut off on the way, both go on from there: after a break, or after a restart of either, as
long as the sender has that snapshot.

Verified are each chunk as it comes, and each table once it is whole: only then is it fsynced, and believed.

Bounds: one snapshot is received at a time, and takes what its manifest says, which must be free before it begins; what
was left of another one is removed first.
"""

import hashlib
import os
import zlib
from pathlib import Path
from typing import Final, NamedTuple

from meteora.errors import SnapshotDamaged
from meteora.raft.errors import ensure
from meteora.storage.disk_thread import DiskThread
from meteora.storage.durable_files import sync_directory
from meteora.storage.rocks import MEBIBYTE
from meteora.storage.snapshot_files import (
    Manifest,
    disk_errors,
    make_empty,
    new_digest,
    read_manifest,
    refuse_without_room,
    table_path,
    write_manifest,
)

CHUNK_BYTES: Final = MEBIBYTE // 4
"""What one message carries: large enough for the disk, small enough not to hold up the messages behind it."""


class Position(NamedTuple):
    """A place in a snapshot: so many whole tables, and so many bytes of the next."""

    table_number: int
    offset_bytes: int


class Chunk(NamedTuple):
    """Bytes of a snapshot, with where they belong."""

    position: Position
    data: bytes
    checksum: int
    """CRC-32 of the data."""


class SnapshotSource:
    """A snapshot in a directory, to be read from any place."""

    def __init__(self, directory: Path, manifest: Manifest, disk: DiskThread) -> None:
        self.manifest = manifest
        self._directory = directory
        self._disk = disk

    def has(self, position: Position) -> bool:
        """Whether this is a place in the snapshot, its end among them."""
        number, offset_bytes = position
        tables = self.manifest.tables
        if position == (len(tables), 0):
            return True
        return 0 <= number < len(tables) and 0 <= offset_bytes < tables[number].size_bytes

    async def read(self, position: Position, max_bytes: int = CHUNK_BYTES) -> Chunk | None:
        """The bytes at `position`, to the end of their table at most; None at the end of the snapshot.

        Raises `InvariantViolation` if there is no such place, `SnapshotDamaged` if the file isn't there as it was,
        `DiskFailure`.
        """
        ensure(self.has(position), f"{position} of a snapshot of {len(self.manifest.tables)} tables")
        if position.table_number == len(self.manifest.tables):
            return None
        return await self._disk.run(self._read, position, max_bytes)

    def _read(self, position: Position, max_bytes: int) -> Chunk:
        path = table_path(self._directory, position.table_number)
        wanted = min(max_bytes, self.manifest.tables[position.table_number].size_bytes - position.offset_bytes)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise SnapshotDamaged(f"{path} is not there any more") from error
        try:
            with disk_errors(path):
                data = os.pread(descriptor, wanted, position.offset_bytes)
        finally:
            os.close(descriptor)
        if len(data) < wanted:
            raise SnapshotDamaged(f"{path} ends at {position.offset_bytes + len(data)}")
        return Chunk(position, data, zlib.crc32(data))


class SnapshotReceiver:
    """Puts one snapshot together in `directory`, which is its own. To be used by one task at a time."""

    def __init__(self, directory: Path, disk: DiskThread) -> None:
        """Work on the disk is done on `disk`; nothing is done yet."""
        self._directory = directory
        self._disk = disk
        self._manifest: Manifest | None = None
        self._position = Position(0, 0)
        self._digest: hashlib.blake2b = new_digest()
        """Of what is here of the table that `_position` is in."""

    async def begin(self, manifest: Manifest) -> Position:
        """Receive this snapshot, and go on if some of it is here already: from where on it is wanted.

        What is here of another one is removed. Raises `DiskFull`, before anything is removed or written, if there is
        not the room for all of it; `DiskFailure`.
        """
        if self._manifest is None or self._manifest.snapshot_id != manifest.snapshot_id:
            self._manifest = None
            await self._disk.run(self._begin, manifest)
            self._manifest = manifest
        return self._position

    async def write(self, chunk: Chunk) -> Position:
        """Take in a chunk; from where on the snapshot is wanted now.

        A chunk that is not the next, or fails its checksum, changes nothing. Raises `SnapshotDamaged` if a table is not
        what the manifest says: it is then wanted once more from its beginning, and the sender had better make another
        snapshot. Raises `DiskFull` or `DiskFailure`; then `begin` must come next.
        """
        manifest = self._manifest
        ensure(manifest is not None, "a chunk of a snapshot that has not begun")
        assert manifest is not None
        if chunk.position == self._position and zlib.crc32(chunk.data) == chunk.checksum and not self.is_complete:
            try:
                await self._disk.run(self._write, chunk.data, manifest)
            except BaseException as error:
                if not isinstance(error, SnapshotDamaged):
                    self._manifest = None
                raise
        return self._position

    @property
    def is_complete(self) -> bool:
        """Whether all of it is here, verified and fsynced."""
        return self._manifest is not None and self._position.table_number == len(self._manifest.tables)

    @property
    def received_bytes(self) -> int:
        """How much is here of the snapshot that is being received; 0 if there is none."""
        if self._manifest is None:
            return 0
        number, offset_bytes = self._position
        return sum(table.size_bytes for table in self._manifest.tables[:number]) + offset_bytes

    def take(self) -> Manifest:
        """Hand over the snapshot, which is complete: what becomes of its files is the caller's from now on."""
        ensure(self.is_complete, "a snapshot that is not complete was taken")
        manifest, self._manifest = self._manifest, None
        assert manifest is not None
        return manifest

    # On the disk thread.

    def _begin(self, manifest: Manifest) -> None:
        found = read_manifest(self._directory)
        is_known = found is not None and found.snapshot_id == manifest.snapshot_id
        with disk_errors(self._directory):
            here_bytes = sum(file.stat().st_size for file in self._directory.glob("*"))
        refuse_without_room(self._directory.parent, manifest.size_bytes - here_bytes)
        if not is_known:
            make_empty(self._directory)
            write_manifest(manifest, self._directory)
        self._position, self._digest = self._verified_position(manifest)

    def _verified_position(self, manifest: Manifest) -> "tuple[Position, hashlib.blake2b]":
        """How far what is here can be believed, and the digest of the table that is not whole."""
        for number, table in enumerate(manifest.tables):
            path = table_path(self._directory, number)
            digest, size_bytes = _digest_of_file(path)
            if size_bytes < table.size_bytes:
                return Position(number, size_bytes), digest
            if (size_bytes, digest.hexdigest()) != table:
                self._drop(path)
                return Position(number, 0), new_digest()
            _sync_table(path)
        return Position(len(manifest.tables), 0), new_digest()

    def _write(self, data: bytes, manifest: Manifest) -> None:
        number, offset_bytes = self._position
        table = manifest.tables[number]
        path = table_path(self._directory, number)
        end_bytes = offset_bytes + len(data)
        if end_bytes > table.size_bytes:
            raise SnapshotDamaged(f"table {number} of a snapshot goes beyond the {table.size_bytes} bytes that it has")
        with disk_errors(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                _write_all(descriptor, data, offset_bytes)
            finally:
                os.close(descriptor)
        self._digest.update(data)
        self._position = Position(number, end_bytes)
        if end_bytes == table.size_bytes:
            self._finish_table(path, number, table.digest)

    def _finish_table(self, path: Path, number: int, digest: str) -> None:
        found, self._digest = self._digest.hexdigest(), new_digest()
        if found != digest:
            self._position = Position(number, 0)
            self._drop(path)
            raise SnapshotDamaged(f"table {number} of a snapshot has the digest {found}, and not {digest}")
        _sync_table(path)
        self._position = Position(number + 1, 0)

    def _drop(self, path: Path) -> None:
        with disk_errors(path):
            path.unlink(missing_ok=True)


def _digest_of_file(path: Path) -> "tuple[hashlib.blake2b, int]":
    """The digest and the length of a file; that of an empty one if it isn't there."""
    digest = new_digest()
    size_bytes = 0
    with disk_errors(path):
        if path.exists():
            with path.open("rb", buffering=0) as file:
                while piece := file.read(MEBIBYTE):
                    digest.update(piece)
                    size_bytes += len(piece)
    return digest, size_bytes


def _sync_table(path: Path) -> None:
    with disk_errors(path):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sync_directory(path.parent)


def _write_all(descriptor: int, data: bytes, offset_bytes: int) -> None:
    remaining = memoryview(data)
    while remaining:
        written = os.pwrite(descriptor, remaining, offset_bytes)
        remaining, offset_bytes = remaining[written:], offset_bytes + written
