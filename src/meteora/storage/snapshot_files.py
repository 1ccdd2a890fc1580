"""A snapshot as files: tables of RocksDB, and a manifest that says what they are.

    000000, 000001, ...     tables, each of some `TABLE_BYTES`, sorted, no key twice
    manifest                written last, as JSON: position, membership, size and digest of each table, and a checksum

The snapshot's id is the digest of its manifest, in which are the digests of its tables: the same id, the same bytes.
(Two snapshots of the same state differ: RocksDB writes into each table when it was made.)

Nothing here is fsynced: who makes a snapshot can make another, and who receives one checks it.
"""

import base64
import binascii
import errno
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from meteora.errors import DiskFailure, DiskFull, SnapshotDamaged, StorageError
from meteora.storage.durable_files import make_directory
from meteora.storage.pace import Pace
from meteora.storage.rocks import MEBIBYTE, TableWriter

FORMAT_VERSION: Final = 1

TABLE_BYTES: Final = 16 * MEBIBYTE
"""One table is in memory while it is written; and finishing it holds the GIL, some 4 ms if its pairs are small."""

MAX_TABLES: Final = 1 << 20
"""Of 32 TiB together. A manifest that says more is none."""

RESERVED_BYTES: Final = 1 << 30
RESERVED_SHARE: Final = 20
"""So much of a disk, at most one part in so many, is not for snapshots: the log must not find it full because of one.
"""

DIGEST_BYTES: Final = 16
"""BLAKE2b with 128 bits: against chance; who can send a snapshot is trusted."""

_MANIFEST: Final = "manifest"


class Table(NamedTuple):
    """One table of a snapshot."""

    size_bytes: int
    digest: str
    """Of its bytes, in hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a snapshot is."""

    index: int
    """It is the state after this entry was applied."""
    term: int
    """Of that entry."""
    membership: bytes
    """The record of the state machine, for those who must know it before they have the tables."""
    tables: tuple[Table, ...]

    @property
    def size_bytes(self) -> int:
        """Of all tables."""
        return sum(table.size_bytes for table in self.tables)

    @property
    def snapshot_id(self) -> str:
        """The digest of all of it, in hexadecimal."""
        return _digest_of(self._fields())

    def encode(self) -> bytes:
        """The bytes for disk and wire."""
        fields = self._fields()
        return json.dumps({**fields, "checksum": _digest_of(fields)}, indent=1).encode()

    def _fields(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "index": self.index,
            "term": self.term,
            "membership": base64.b64encode(self.membership).decode(),
            "tables": [list(table) for table in self.tables],
        }


def decode_manifest(encoded: bytes) -> Manifest:
    """The manifest in these bytes. Raises `SnapshotDamaged` if they are none, or one of a newer release."""
    try:
        fields = json.loads(encoded)
        if fields.pop("checksum") != _digest_of(fields):
            raise ValueError("its checksum does not match")
        if fields["format_version"] != FORMAT_VERSION:
            raise SnapshotDamaged(
                f"the snapshot has format {fields['format_version']}, and this release knows {FORMAT_VERSION}: update "
                "this node"
            )
        return Manifest(
            index=_natural(fields["index"]),
            term=_natural(fields["term"]),
            membership=base64.b64decode(fields["membership"], validate=True),
            tables=_decode_tables(fields["tables"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error) as error:
        raise SnapshotDamaged(f"the manifest of a snapshot can't be read: {error!r}") from error


def _decode_tables(tables: list[tuple[int, str]]) -> tuple[Table, ...]:
    if not 0 < len(tables) <= MAX_TABLES:
        raise ValueError(f"{len(tables)} tables")
    return tuple(Table(_natural(size_bytes), str(digest)) for size_bytes, digest in tables)


def _natural(number: int) -> int:
    if type(number) is not int or not 0 < number < 1 << 63:
        raise ValueError(f"{number!r} where a positive number should be")
    return number


def _digest_of(fields: dict[str, Any]) -> str:
    return new_digest(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def new_digest(content: bytes = b"") -> "hashlib.blake2b":
    """A digest as the manifest has them, of `content` so far. Other threads run while it takes in more than 2 KiB."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES)


# Writing


class TablesWriter:
    """Writes pairs as tables into a directory; on a thread, at a pace, for long."""

    def __init__(
        self,
        directory: Path,
        pace: Pace,
        new_table: Callable[[Path], TableWriter],
        noticed_keys: Collection[bytes] = (),
    ) -> None:
        self.tables: list[Table] = []
        """Those that are written."""
        self.noticed: dict[bytes, bytes] = {}
        """Those of the pairs that have one of `noticed_keys`."""
        self._directory = directory
        self._pace = pace
        self._new_table = new_table
        self._noticed_keys = noticed_keys

    def write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Write all pairs, which are sorted. Raises `Abandoned`, `DiskFull` or `DiskFailure`."""
        remaining = iter(pairs)
        for first in remaining:
            refuse_without_room(self._directory, TABLE_BYTES)
            path = table_path(self._directory, len(self.tables))
            writer = self._new_table(path)
            try:
                self._fill(writer, itertools.chain((first,), remaining))
                self._pace.pause()
                self.tables.append(self._store(writer.contents(), path))
            finally:
                writer.close()

    def _fill(self, writer: TableWriter, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Put pairs into a table until it is full, or there are no more."""
        # A snapshot spends its time here.
        put, size_bytes, step, noticed_keys = writer.put, writer.size_bytes, self._pace.step, self._noticed_keys
        for key, value in pairs:
            put(key, value)
            if key in noticed_keys:
                self.noticed[key] = value
            if size_bytes() >= TABLE_BYTES:
                return
            step()

    def _store(self, contents: Iterable[bytes], path: Path) -> Table:
        digest = new_digest()
        size_bytes = 0
        with disk_errors(path), path.open("wb", buffering=0) as file:
            for piece in contents:
                file.write(piece)
                digest.update(piece)
                size_bytes += len(piece)
                self._pace.step()
        return Table(size_bytes, digest.hexdigest())


def write_manifest(manifest: Manifest, directory: Path) -> None:
    """Finish the snapshot in `directory`. Raises `DiskFull` or `DiskFailure`."""
    path = directory / _MANIFEST
    with disk_errors(path):
        temporary = path.with_suffix(".new")
        temporary.write_bytes(manifest.encode())
        temporary.replace(path)


# Reading


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of the snapshot in `directory`; None if there is no whole one. Raises `DiskFailure`."""
    try:
        return decode_manifest((directory / _MANIFEST).read_bytes())
    except (FileNotFoundError, SnapshotDamaged):
        return None
    except OSError as error:
        raise classified(error, directory) from error


def table_path(directory: Path, number: int) -> Path:
    """Where the table with this number, from 0, is."""
    return directory / f"{number:06d}"


# Both


def make_empty(directory: Path) -> None:
    """Make `directory` an empty one. Raises `DiskFull` or `DiskFailure`."""
    remove(directory)
    with disk_errors(directory):
        make_directory(directory)


def remove(directory: Path) -> None:
    """Remove a directory with all that is in it, if it is there. Raises `DiskFailure`."""
    with disk_errors(directory):
        if directory.exists():
            shutil.rmtree(directory)


def refuse_without_room(directory: Path, wanted_bytes: int) -> None:
    """Raise `DiskFull` unless the disk has room for so much more, and something to spare; `DiskFailure`."""
    with disk_errors(directory):
        total_bytes, _, free_bytes = shutil.disk_usage(directory)
    reserved_bytes = min(RESERVED_BYTES, total_bytes // RESERVED_SHARE)
    if wanted_bytes + reserved_bytes > free_bytes:
        raise DiskFull(
            f"{directory}: {wanted_bytes} bytes of a snapshot are to be written, and {free_bytes} are free, of which "
            f"{reserved_bytes} are reserved. Make room."
        )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise `DiskFull` or `DiskFailure` for what the system says about `path`."""
    try:
        yield
    except OSError as error:
        raise classified(error, path) from error


def classified(error: OSError, path: Path) -> StorageError:
    """The error of ours for one of the system's."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"{path}: {error}. Nothing that was acknowledged is lost: make room, then start the node again."
        )
    return DiskFailure(f"{path}: {error}. Check the disk, then start the node again.")
