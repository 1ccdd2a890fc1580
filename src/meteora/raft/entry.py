"""Log entries, and the one encoding that they have on disk and on the wire.

An entry is encoded once, by the leader that appends it; followers check, store and pass on the same bytes.

Layout, big-endian: version (u8), kind (u8), term (u64), index (u64), CRC-32 (u32) of everything else, data.
"""

import struct
import zlib
from enum import IntEnum
from typing import NamedTuple

from meteora.raft.errors import CorruptEntry

ENTRY_VERSION = 1

_HEADER = struct.Struct(">BBQQ")
_CHECKSUM = struct.Struct(">I")
_DATA_OFFSET = _HEADER.size + _CHECKSUM.size


class EntryKind(IntEnum):
    """What an entry's data means to those who apply it."""

    COMMAND = 0
    """Opaque bytes for the state machine; empty in the entry with which a leader opens its term."""
    CONF_CHANGE = 1
    """An encoded `meteora.raft.membership.ConfChange`."""


_KINDS = {kind.value: kind for kind in EntryKind}


class Entry(NamedTuple):
    """One entry of the log."""

    term: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of an entry
    data: bytes = b""
    kind: EntryKind = EntryKind.COMMAND

    def encode(self) -> bytes:
        """The bytes for disk and wire."""
        header = _HEADER.pack(ENTRY_VERSION, self.kind, self.term, self.index)
        checksum = zlib.crc32(self.data, zlib.crc32(header))
        return b"".join((header, _CHECKSUM.pack(checksum), self.data))

    def size_bytes(self) -> int:
        """The length of `encode()`, without encoding."""
        return _DATA_OFFSET + len(self.data)


def decode_entry(encoded: bytes) -> Entry:
    """The entry that these bytes encode.

    Raises `CorruptEntry` if they are too short, fail their checksum, or have a version or kind that this release
    doesn't know.
    """
    if len(encoded) < _DATA_OFFSET:
        raise CorruptEntry(f"an entry of {len(encoded)} bytes is shorter than its {_DATA_OFFSET} byte header")
    version, kind, term, index = _HEADER.unpack_from(encoded)
    (expected,) = _CHECKSUM.unpack_from(encoded, _HEADER.size)
    data = encoded[_DATA_OFFSET:]
    actual = zlib.crc32(data, zlib.crc32(encoded[: _HEADER.size]))
    if actual != expected:
        raise CorruptEntry(f"entry {index}@{term}: checksum {actual:08x}, expected {expected:08x}")
    if version != ENTRY_VERSION or kind not in _KINDS:
        raise CorruptEntry(f"entry {index}@{term}: version {version}, kind {kind} was written by another release")
    return Entry(term, index, data, _KINDS[kind])
