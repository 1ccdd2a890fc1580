"""How much of a database was durable: what tells a torn tail from a lost one.

After a crash the end of a write-ahead log may be unreadable. If nobody had been told that it was written, that is no
loss; if somebody had, going on without it would break Raft's promise (Alagappan et al., "Protocol-Aware Recovery for
Consensus-Based Storage", FAST 2018). RocksDB can't tell the two apart. So each write to the database carries its
number, and beside the database stands the number of the latest that was fsynced: a log that now ends below it has lost
what was acknowledged.

Rule: the mark is written only after the fsync that it tells of, so it is never too high, and a refusal never a false
alarm. It isn't fsynced itself, which would double the cost of every commit: after a kill it is exact; after a power
loss it is as old as the kernel's write-back (some 30 seconds), and damage to what was written since looks like a torn
tail.
"""

import os
import struct
import zlib
from pathlib import Path
from typing import Final

from meteora.errors import Corruption, DiskFailure
from meteora.storage.durable_files import make_directory
from meteora.storage.rocks import CORRUPTION_ADVICE

VERSION: Final = 1

_MARK = struct.Struct(">BQ")
_CHECKSUM = struct.Struct(">I")
_SIZE_BYTES = _MARK.size + _CHECKSUM.size


class Watermark:
    """The mark in the file at `path`."""

    def __init__(self, path: Path) -> None:
        """Read the mark; a file that isn't there is made, with the mark 0, and so is its directory.

        Raises `Corruption` if the file is not a mark, `DiskFailure` if it can't be read or made.
        """
        self._path = path
        try:
            make_directory(path.parent)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            content = os.pread(self._descriptor, _SIZE_BYTES + 1, 0)
        except OSError as error:
            raise DiskFailure(f"{path}: {error}. Check the disk, then start the node again.") from error
        try:
            self.number = _decode(path, content)
        except BaseException:
            self.close()
            raise

    def advance(self, number: int) -> None:
        """Note that everything up to the write `number` is durable. Raises `DiskFailure`."""
        # One write of less than a sector: it is there or it isn't.
        try:
            os.pwrite(self._descriptor, _encode(number), 0)
        except OSError as error:
            raise DiskFailure(f"{self._path}: {error}. Check the disk, then start the node again.") from error
        self.number = number

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def read_watermark(path: Path) -> int:
    """The mark in the file at `path`, 0 if there is none; changes nothing. Raises `Corruption` or `DiskFailure`."""
    try:
        return _decode(path, path.read_bytes())
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise DiskFailure(f"{path}: {error}. Check the disk.") from error


def _decode(path: Path, content: bytes) -> int:
    # A power loss soon after the file was made leaves it empty, or without its content.
    if not content.strip(b"\0"):
        return 0
    if len(content) == _SIZE_BYTES:
        version, number = _MARK.unpack_from(content)
        if content == _encode(number) and version == VERSION:
            return int(number)
    raise Corruption(f"{path}: {content[:_SIZE_BYTES].hex()} is not a watermark. {CORRUPTION_ADVICE}")


def _encode(number: int) -> bytes:
    mark = _MARK.pack(VERSION, number)
    return mark + _CHECKSUM.pack(zlib.crc32(mark))
