"""RocksDB as the rest of Meteora sees it: bytes in, bytes out, and every failure one of `meteora.errors`.

Rule: nothing else imports rocksdict, because rocksdict has edges that give wrong answers without an error. This module
knows them, and a test for each (tests/unit/storage/test_rocks.py) tells when a new version changes one:

- the bounds of an iterator are borrowed, not copied, and the lower one sets the upper: no bounds are ever set, scans
  compare keys;
- its own iterators end at a corrupt block as if there were no more: `Scan` asks for the status before it believes in
  an end;
- a database with a live iterator does not close, and says nothing: `Rocks` ends its scans first;
- opening again takes the options of the default column family from disk, not the ones given (and an 8 MiB cache with
  them): they are given by the column family's name;
- a table is written, and at its end fsynced, with the GIL held: `TableWriter` lets it be written to memory;
- a certain flipped bit makes opening hang: `meteora.storage.endless_records` looks for it first;
- every failure is a plain `Exception` with a text: `_classified` reads it, once.

`Rocks.write`, `get`, `ingest`, the opening and all of `TableWriter` hold the GIL while RocksDB works; `sync_wal`,
`flush`, `merge`, `close` and `get_many` release it. Opening and `ingest` wait for a few fsyncs of little data, some
10 ms. Any thread may call anything, but `close` wants to be alone, and a `Scan` belongs to one thread.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from weakref import WeakSet

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    CompactOptions,
    DBCompressionType,
    DBRecoveryMode,
    IngestExternalFileOptions,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    SstFileWriter,
    WriteOptions,
)
from rocksdict import WriteBatch as RawWriteBatch

from meteora.errors import Corruption, DiskFailure, DiskFull, StorageError
from meteora.raft.errors import InvariantViolation
from meteora.storage.durable_files import make_directory
from meteora.storage.endless_records import refuse_endless_records

MEBIBYTE: Final = 1024 * 1024

INFO_LOGS_KEPT: Final = 4
"""RocksDB's own text logs, one an opening. Its default of 1,000 makes every `ls` of a data directory unreadable."""

BACKGROUND_SYNC_BYTES: Final = MEBIBYTE
"""Flushes and compactions hand the kernel this much at a time: the log's fsync must not wait behind one large write."""

CORRUPTION_ADVICE: Final = (
    "The files are kept as they are. Remove this node from the cluster, and let it join anew with an empty directory; "
    "if it is the only one, restore a backup. A copy of this directory will do only if it was made after the node last "
    "ran: an older one has forgotten what the node promised since."
)
"""The way out, for every message about stored bytes that can't be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one database is set up."""

    write_ahead_log: bool
    """False: what is not flushed is gone after a crash. Another log must be able to bring it back."""
    memtable_bytes: int
    memtable_count: int
    """Writes stop when this many are full and not yet flushed."""
    block_cache_bytes: int
    bloom_bits_per_key: int
    """0: no filter."""
    compressed: bool


RAFT_LOG: Final = Profile(
    write_ahead_log=True,
    memtable_bytes=32 * MEBIBYTE,
    memtable_count=3,
    # Entries are read in long runs, and the recent ones are in memory anyway.
    block_cache_bytes=8 * MEBIBYTE,
    bloom_bits_per_key=0,
    # The CPU of the fsync path is worth more than the space of a log that gets cut.
    compressed=False,
)

KEY_VALUE: Final = Profile(
    write_ahead_log=False,
    memtable_bytes=64 * MEBIBYTE,
    memtable_count=4,
    block_cache_bytes=64 * MEBIBYTE,
    bloom_bits_per_key=10,
    compressed=True,
)


class Table(NamedTuple):
    """A file of pairs, sorted by key, that is part of a database."""

    level: int
    """What is in a table hides what tables of higher numbers have under the same key. 0: tables that may overlap."""
    size_bytes: int
    first_key: bytes
    last_key: bytes
    deletions: int
    """Of keys that lower levels may still have."""


class WriteBatch:
    """Changes that are written all or none, in the order in which they were added.

    Good for one `Rocks.write`, which consumes it.
    """

    __slots__ = ("_raw", "delete", "delete_range", "put")

    put: Callable[[bytes, bytes], None]
    """put(key, value)"""
    delete: Callable[[bytes], None]
    """delete(key)"""
    delete_range: Callable[[bytes, bytes], None]
    """delete_range(lower, upper): every key from lower up to, not including, upper."""

    def __init__(self) -> None:
        # The raw methods themselves: a method of ours around each costs a sixth of a put.
        raw = RawWriteBatch(raw_mode=True)
        self._raw: RawWriteBatch | None = raw
        self.put = raw.put
        self.delete = raw.delete
        self.delete_range = raw.delete_range

    def size_bytes(self) -> int:
        """The length of what would be written. Raises `InvariantViolation` once it was."""
        return self._unwritten().size_in_bytes()

    def consume(self) -> RawWriteBatch:
        """The raw batch, once. Raises `InvariantViolation` the second time."""
        raw = self._unwritten()
        self._raw = None
        return raw

    def _unwritten(self) -> RawWriteBatch:
        if self._raw is None:
            raise InvariantViolation("a batch was written twice")
        return self._raw


class Scan(Iterator[tuple[bytes, bytes]]):
    """The (key, value) pairs with lower <= key < upper, ascending, or descending if `backwards`.

    Sees the database as it was when the scan was made. Ends only where the data ends: anything unreadable raises.
    """

    __slots__ = ("__weakref__", "_backwards", "_exhausted", "_iterator", "_lower", "_path", "_upper")

    def __init__(self, path: Path, iterator: RdictIter, lower: bytes, upper: bytes, backwards: bool) -> None:
        self._path = path
        self._lower = lower
        self._upper = upper
        self._backwards = backwards
        self._exhausted = False
        self._iterator: RdictIter | None = iterator
        if not backwards:
            iterator.seek(lower)
            return
        iterator.seek_for_prev(upper)
        if iterator.valid() and iterator.key() == upper:
            iterator.prev()

    def __next__(self) -> tuple[bytes, bytes]:
        if self._exhausted:
            raise StopIteration
        iterator = self._iterator
        if iterator is None:
            raise InvariantViolation(f"a scan of {self._path} was closed before its end")
        if not iterator.valid():
            self._raise_unless_at_the_end(iterator)
        else:
            key: bytes = iterator.key()
            if self._lower <= key < self._upper:
                value: bytes = iterator.value()
                iterator.prev() if self._backwards else iterator.next()
                return key, value
        self._exhausted = True
        self.close()
        raise StopIteration

    def _raise_unless_at_the_end(self, iterator: RdictIter) -> None:
        try:
            iterator.status()
        except Exception as error:
            self.close()
            raise _classified(error, self._path) from error

    def close(self) -> None:
        """Let go of the database. Going on with a scan that was closed before its end raises `InvariantViolation`."""
        self._iterator = None


class TableWriter:
    """Writes one table, a file of pairs that `Rocks.ingest` takes in whole.

    To memory, where the system has files there (Linux), because RocksDB holds the GIL while it writes and fsyncs it;
    elsewhere to a file beside `path`, that is gone in the end. `contents` then has what is to become the file `path`.
    """

    def __init__(self, path: Path, profile: Profile) -> None:
        """Begin a table for databases of this profile. Raises `DiskFull` or `DiskFailure`."""
        self._path = path
        self._scratch: Path | None = None
        if sys.platform == "linux":
            self._descriptor = os.memfd_create(path.name)
            target = f"/proc/self/fd/{self._descriptor}"
        else:
            self._scratch = path.with_suffix(".scratch")
            self._descriptor = os.open(self._scratch, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
            target = str(self._scratch)
        self._raw = SstFileWriter(_options(profile))
        try:
            self._raw.open(target)
        except Exception as error:
            self.close()
            raise _classified(error, path) from error
        self._set = self._raw.__setitem__

    def put(self, key: bytes, value: bytes) -> None:
        """Add a pair; its key must be above the one before. Raises `DiskFull` or `DiskFailure`."""
        try:
            self._set(key, value)
        except Exception as error:
            raise _classified(error, self._path) from error

    def size_bytes(self) -> int:
        """How long the file is so far, within some kilobytes."""
        return self._raw.file_size()

    def contents(self) -> Iterator[bytes]:
        """Finish the table, which has a pair at least; its file, in pieces. Other threads run while one is read."""
        try:
            self._raw.finish()
        except Exception as error:
            raise _classified(error, self._path) from error
        offset = 0
        while piece := os.pread(self._descriptor, MEBIBYTE, offset):
            yield piece
            offset += len(piece)

    def close(self) -> None:
        """Give the memory back."""
        os.close(self._descriptor)
        if self._scratch is not None:
            self._scratch.unlink(missing_ok=True)


class Rocks:
    """One open database."""

    def __init__(self, path: Path, profile: Profile, *, read_only: bool = False) -> None:
        """Open the database at `path`, created if it isn't there.

        With `read_only` it must be there, and stays as it is, whereas opening it cuts its write-ahead log at the first
        record that can't be read. Raises `Corruption`, `DiskFull` or `DiskFailure`.
        """
        self._path = path
        self._scans: WeakSet[Scan] = WeakSet()
        options = _options(profile)
        access = AccessType.read_only(error_if_log_file_exist=False) if read_only else AccessType.read_write()
        try:
            if not read_only:
                make_directory(path)
            refuse_endless_records(path)
            self._database = Rdict(str(path), options, column_families={"default": options}, access_type=access)
        except StorageError:
            raise
        except Exception as error:
            raise _classified(error, path) from error
        write_options = WriteOptions()
        # Its stub says that this is a method.
        write_options.disable_wal = not profile.write_ahead_log  # type: ignore[method-assign, assignment]
        self._database.set_write_options(write_options)
        self._open = True

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None if there is none."""
        try:
            value: bytes | None = self._database.get(key)
        except Exception as error:
            raise _classified(error, self._path) from error
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`, in their order, all of one instant. Other threads run meanwhile."""
        try:
            values: list[bytes | None] | None = self._database.get(list(keys))
        except Exception as error:
            raise _classified(error, self._path) from error
        return values or []

    def write(self, batch: WriteBatch) -> None:
        """Write a batch, all or none. It survives a crash of the machine only after `sync_wal`, or `flush`."""
        raw = batch.consume()
        try:
            self._database.write(raw)
        except Exception as error:
            raise _classified(error, self._path) from error

    def sync_wal(self) -> None:
        """Return once everything written so far survives a crash of the machine. Other threads run meanwhile.

        If it raises, what was written since the last success may or may not be there: never call it again.
        """
        try:
            self._database.flush_wal(True)
        except Exception as error:
            raise _classified(error, self._path) from error

    def flush(self) -> None:
        """Return once everything written so far is in table files, fsynced. Other threads run meanwhile."""
        try:
            self._database.flush(True)
        except Exception as error:
            raise _classified(error, self._path) from error

    def ingest(self, table: Path) -> None:
        """Take in a table that `TableWriter` made, none of whose keys is here yet; durable when this returns.

        The file is taken over and not copied, if it is on the same file system: it must not be written to any more.
        Raises `Corruption` if it is no table, `DiskFull` or `DiskFailure`.
        """
        options = IngestExternalFileOptions()
        options.set_move_files(True)
        try:
            self._database.ingest_external_file([str(table)], options)
        except Exception as error:
            raise _classified(error, table) from error

    def scan(self, lower: bytes, upper: bytes, *, backwards: bool = False, fills_cache: bool = True) -> Scan:
        """The pairs with lower <= key < upper, ascending or `backwards`.

        A long one should not fill the cache: what others read is worth more there.
        """
        options = ReadOptions()
        # Its stub has no argument.
        options.fill_cache(fills_cache)  # type: ignore[call-arg]
        try:
            scan = Scan(self._path, self._database.iter(options), lower, upper, backwards)
        except Exception as error:
            raise _classified(error, self._path) from error
        self._scans.add(scan)
        return scan

    def merge(self, lower: bytes, upper: bytes) -> None:
        """Merge the tables with keys from lower up to upper into one level, so that what was deleted takes no room.

        Beside what RocksDB merges by itself. It can't be called off, and may take some seconds; other threads run
        meanwhile.
        """
        options = CompactOptions()
        options.set_exclusive_manual_compaction(False)
        try:
            self._database.compact_range(lower, upper, options)
        except Exception as error:
            raise _classified(error, self._path) from error

    def stored_bytes(self) -> int:
        """What the tables take on the disk, and what is yet to become tables, in memory. Quick."""
        return sum(self.property_value(name) or 0 for name in ("live-sst-files-size", "cur-size-all-mem-tables"))

    def has_unflushed_deletions(self) -> bool:
        """Whether anything was deleted since the last flush. Quick."""
        names = ("num-deletes-active-mem-table", "num-deletes-imm-mem-tables")
        return any(self.property_value(name) for name in names)

    def tables(self) -> list[Table]:
        """All tables."""
        return [
            Table(table["level"], table["size"], table["start_key"], table["end_key"], table["num_deletions"])
            for table in self._database.live_files()
        ]

    def table_bounds(self) -> list[bytes]:
        """The first and last keys of all tables, ascending: where a scan can go on after a table that is damaged."""
        tables = self._database.live_files()
        return sorted({table[end] for table in tables for end in ("start_key", "end_key")})

    def estimated_pairs(self) -> int:
        """About how many pairs there are: what was written over or deleted counts until it is merged."""
        return int(self._database.property_int_value("rocksdb.estimate-num-keys") or 0)

    def property_value(self, name: str) -> int | None:
        """A number of RocksDB's own, by its name without `rocksdb.`; None if it has no such. Quick."""
        return self._database.property_int_value(f"rocksdb.{name}")

    def write_delay_seconds(self, size_bytes: int) -> float:
        """How long RocksDB would make a write of this size wait, on purpose, because flushes or compactions lag.

        0 usually; infinite while it takes no writes at all. A `write` before that time has passed holds the GIL for
        the rest of it.
        """
        database = self._database
        if database.property_int_value("rocksdb.is-write-stopped"):
            return math.inf
        bytes_per_second = database.property_int_value("rocksdb.actual-delayed-write-rate")
        return size_bytes / bytes_per_second if bytes_per_second else 0.0

    def close(self) -> None:
        """Flush everything and let go of the files. Scans that are still open end with an error, not early."""
        if not self._open:
            return
        self._open = False
        for scan in list(self._scans):
            scan.close()
        try:
            self._database.close()
        except Exception as error:
            raise _classified(error, self._path) from error


def without_advice(error: Exception) -> str:
    """What an error says, for who is not starting a node."""
    return str(error).removesuffix(f". {CORRUPTION_ADVICE}")


def is_database(path: Path) -> bool:
    """Whether a database was ever made in the directory `path`: an empty one is not told from a new one by opening."""
    return (path / "CURRENT").exists()


def _options(profile: Profile) -> Options:
    options = Options(raw_mode=True)
    options.set_paranoid_checks(True)
    # After a power loss the end of the log that was never synced can look like anything: short, zeros, old blocks.
    # This mode takes all up to there. The stricter one takes a short end only: with zeros in it, nodes that lost power
    # together would all refuse to start. But this mode also takes all up to a damaged record that *had* been synced,
    # and forgets the rest: `meteora.storage.watermark` tells one from the other, before the log is opened.
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    options.set_write_buffer_size(profile.memtable_bytes)
    options.set_max_write_buffer_number(profile.memtable_count)
    options.set_bytes_per_sync(BACKGROUND_SYNC_BYTES)
    options.set_keep_log_file_num(INFO_LOGS_KEPT)
    options.set_stats_dump_period_sec(0)
    options.set_compression_type(DBCompressionType.lz4() if profile.compressed else DBCompressionType.none())
    options.set_block_based_table_factory(_table_options(profile))
    return options


def _table_options(profile: Profile) -> BlockBasedOptions:
    table = BlockBasedOptions()
    table.set_block_cache(Cache(profile.block_cache_bytes))
    if profile.bloom_bits_per_key:
        table.set_bloom_filter(profile.bloom_bits_per_key, block_based=False)
    return table


def _classified(error: Exception, path: Path) -> StorageError:
    """The error of ours for one of RocksDB's. Others (a wrong type, a closed database) are bugs and raised as is."""
    if type(error) is not Exception and not isinstance(error, OSError):
        raise error
    text = f"{path}: {error}"
    if str(error).startswith("Corruption"):
        return Corruption(f"{text}. {CORRUPTION_ADVICE}")
    if "No space left on device" in str(error):
        return DiskFull(f"{text}. Nothing that was acknowledged is lost: make room, then start the node again.")
    return DiskFailure(f"{text}. Check the disk, then start the node again.")
