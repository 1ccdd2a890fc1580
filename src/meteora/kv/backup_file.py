"""The backup file: all records of a state at one index, in a form that can be checked without a database.

    magic       17 bytes
    frames      one header, then records, then one end; each is its kind (one byte), the length of its payload and the
                CRC-32 of all three (big-endian, 4 bytes each), and the payload
    digest      SHA-256 of everything before it; nothing comes after

The payloads of the header and the end are JSON objects, in which fields that are not known mean nothing. That of a
frame of records is any number of records back to back: the lengths of key and value (big-endian, 4 bytes each), key,
value. The keys are those of the `kv/` database, ascending, each once: whatever a release keeps there is in its backups.

The CRCs tell where a file is damaged, and that nothing is parsed before it is known to be what was written; the digest
tells that the whole is. Both are against chance, not against forgers: who can write a backup can write any.

Rule: a reader needs no more memory than one frame takes, whatever the file says.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Final, TypeVar

from meteora.errors import BackupDamaged
from meteora.raft.errors import ensure

FORMAT_VERSION: Final = 1

MAGIC: Final = b"meteora-backup-1\n"

MAX_RECORDS_BYTES: Final = 64 << 20
"""The payload of a frame of records: one page, and the record that fills it, of 32 MiB at most."""

MAX_JSON_BYTES: Final = 64 << 10
"""Those of the header and the end."""

MAX_NUMBER: Final = 1 << 62
"""Of an index, a term or a count: what is above was never reached by counting."""

MAX_NODE_ID: Final = (1 << 64) - 1

DIGEST_BYTES: Final = hashlib.sha256().digest_size

_HEADER: Final = b"H"
_RECORDS: Final = b"R"
_END: Final = b"E"

_FRAME: Final = struct.Struct(">cII")
_RECORD: Final = struct.Struct(">II")

Pair = tuple[bytes, bytes]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Where a backup comes from; for people, but for the version."""

    cluster_id: str
    """In hexadecimal."""
    node_id: int
    """Which node wrote it."""
    release: str
    created_at: str
    """UTC, as ISO 8601 has it."""
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a backup holds; known at its end."""

    index: int
    """It is the state after this entry was applied."""
    term: int
    """Of that entry."""
    records: int


class BackupWriter:
    """Makes the bytes of one backup file, piece by piece."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.records = 0
        """Written so far."""

    def begin(self, header: Header) -> bytes:
        """The first piece."""
        return self._taken(MAGIC + _frame(_HEADER, _encode(header)))

    def add(self, pairs: Iterable[Pair]) -> bytes:
        """The piece for these records, which come after those before. Together they are at most `MAX_RECORDS_BYTES`."""
        parts: list[bytes] = []
        for key, value in pairs:
            parts += (_RECORD.pack(len(key), len(value)), key, value)
        payload = b"".join(parts)
        ensure(
            len(payload) <= MAX_RECORDS_BYTES, f"{len(payload)} bytes in one part of a backup, which nobody would read"
        )
        self.records += len(parts) // 3
        return self._taken(_frame(_RECORDS, payload))

    def end(self, index: int, term: int) -> bytes:
        """The last piece."""
        summary = Summary(index=index, term=term, records=self.records)
        end = self._taken(_frame(_END, _encode(summary)))
        return end + self._digest.digest()

    def _taken(self, piece: bytes) -> bytes:
        self._digest.update(piece)
        return piece


class BackupReader:
    """Reads one backup file from a stream, from where that is.

    Every method raises `BackupDamaged` if the file is none, damaged or cut off, or can't be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.position_bytes = 0
        """How much was read."""
        self._last_key = b""
        self._records = 0
        if self._read(len(MAGIC), "a file that begins as a backup does") != MAGIC:
            raise BackupDamaged("it does not begin as a backup of this release does: it is none, or of a newer release")
        kind, payload = self._frame()
        if kind != _HEADER:
            raise self._damaged("there is no header")
        self.header = self._decoded(Header, payload)
        self.summary: Summary | None = None
        """Set once all records were read, and the whole of the file is known to be as it was written."""

    def records(self) -> Iterator[Pair]:
        """All records, in their order. Only when it has ended by itself is any of them to be believed."""
        while True:
            kind, payload = self._frame()
            if kind == _END:
                break
            if kind != _RECORDS:
                raise self._damaged(f"a part of kind {kind!r} among the records")
            yield from self._records_in(payload)
        self._end(self._decoded(Summary, payload))

    def _records_in(self, payload: bytes) -> Iterator[Pair]:
        offset, end = 0, len(payload)
        while offset < end:
            if offset + _RECORD.size > end:
                raise self._damaged("a record is cut off")
            key_bytes, value_bytes = _RECORD.unpack_from(payload, offset)
            key_offset = offset + _RECORD.size
            value_offset = key_offset + key_bytes
            offset = value_offset + value_bytes
            if offset > end:
                raise self._damaged("a record is cut off")
            key = payload[key_offset:value_offset]
            if key <= self._last_key:
                raise self._damaged("its keys are not in order")
            self._last_key = key
            self._records += 1
            yield key, payload[value_offset:offset]

    def _end(self, summary: Summary) -> None:
        if summary.records != self._records:
            raise self._damaged(f"it has {self._records} records and says that it has {summary.records}")
        expected = self._digest.digest()
        if self._read(DIGEST_BYTES, "its checksum") != expected:
            raise BackupDamaged("its checksum does not match: it is damaged")
        if self._file.read(1):
            raise self._damaged("something comes after its end")
        self.summary = summary

    def _frame(self) -> tuple[bytes, bytes]:
        head = self._read(_FRAME.size, "the next part")
        kind, size_bytes, expected = _FRAME.unpack(head)
        if size_bytes > (MAX_RECORDS_BYTES if kind == _RECORDS else MAX_JSON_BYTES):
            raise self._damaged(f"a part of {size_bytes} bytes")
        payload = self._read(size_bytes, "the rest of a part")
        if _checksum(kind, payload) != expected:
            raise self._damaged("the checksum of a part does not match")
        return kind, payload

    def _read(self, size_bytes: int, what: str) -> bytes:
        try:
            data = self._file.read(size_bytes)
        except OSError as error:
            raise BackupDamaged(f"it can't be read at byte {self.position_bytes}: {error.strerror}") from error
        if len(data) < size_bytes:
            raise BackupDamaged(f"it ends at byte {self.position_bytes + len(data)}, where {what} should be")
        self.position_bytes += size_bytes
        self._digest.update(data)
        return data

    def _decoded(self, kind: type[T], payload: bytes) -> T:
        try:
            return _decode(kind, payload)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self._damaged(f"its {kind.__name__.lower()} can't be read: {error!r}") from error

    def _damaged(self, what: str) -> BackupDamaged:
        return BackupDamaged(f"it is damaged before byte {self.position_bytes}: {what}")


def _frame(kind: bytes, payload: bytes) -> bytes:
    return _FRAME.pack(kind, len(payload), _checksum(kind, payload)) + payload


def _checksum(kind: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(kind + len(payload).to_bytes(4, "big")))


def _encode(fields: Header | Summary) -> bytes:
    return json.dumps(asdict(fields)).encode()


def _decode(kind: type[T], payload: bytes) -> T:
    """The header or the summary in a payload. Raises `ValueError` and its like if there is none."""
    fields: dict[str, Any] = json.loads(payload)
    annotations = kind.__annotations__
    known = {name: _checked(name, fields[name], annotations[name]) for name in annotations}
    if known.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise ValueError(f"format {known['format_version']} is of a newer release")
    return kind(**known)


def _checked(name: str, value: object, kind: type) -> object:
    maximum = MAX_NODE_ID if name == "node_id" else MAX_NUMBER
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value <= maximum):
        raise ValueError(f"{name} is {value!r}")
    return value
