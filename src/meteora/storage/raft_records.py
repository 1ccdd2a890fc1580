"""The keys and records of the `raft/` database. Everything that defines its format is in this file.

    "e" index  ->  the entry, as `meteora.raft.entry` encodes it
    "t" term   ->  the index of the first entry of that term, if it has any after the base
    "h"        ->  the number of the write, the last index after it, term, vote, commit, base; part of every write
    "s"        ->  the name of the directory with the state that this log continues; none while that is the first one

The base is the index and term of the entry before the first: (0, 0) until the log is cut or replaced. A run of the
base's own term may still say where that term began, at or before the base.

Numbers are 64 bits, big-endian, so that keys sort as their numbers do. Records begin with a version and end with a
CRC-32 of all before it and of the key, so that neither a changed nor a misplaced one is believed. Version 1 of "h" had
no base; it is still read.
"""

import struct
import zlib
from typing import Final, NamedTuple

from meteora.raft.message import HardState

RECORD_VERSION: Final = 1

LOG_STATE_VERSION: Final = 2

LOG_STATE_KEY: Final = b"h"
STATE_DIRECTORY_KEY: Final = b"s"

_NUMBER = struct.Struct(">Q")
_CHECKSUM = struct.Struct(">I")
_TERM_RUN = struct.Struct(">BQ")
_LOG_STATE_WITHOUT_BASE = struct.Struct(">BQQQQQ")
_LOG_STATE = struct.Struct(">BQQQQQQQ")


class MalformedRecord(Exception):
    """A key or a record that no release writes, or that is not where it belongs."""


class Base(NamedTuple):
    """The entry before the first of a log: what came up to it is in the state machine only."""

    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a base
    term: int = 0


class LogState(NamedTuple):
    """What every write to the database carries, so that it says by itself what a whole log looks like after it."""

    write_number: int = 0
    """Writes count from 1."""
    last_index: int = 0
    hard_state: HardState = HardState()
    base: Base = Base()


def entry_key(index: int) -> bytes:
    """Where the entry at `index` is."""
    return b"e" + _NUMBER.pack(index)


def term_run_key(term: int) -> bytes:
    """Where the first index of `term` is."""
    return b"t" + _NUMBER.pack(term)


def key_number(key: bytes) -> int:
    """The index or term in a key. Raises `MalformedRecord` if it can't hold one."""
    if len(key) != 1 + _NUMBER.size:
        raise MalformedRecord(f"{key!r} is not a key of a raft log")
    (number,) = _NUMBER.unpack_from(key, 1)
    return int(number)


def encode_term_run(term: int, first_index: int) -> bytes:
    """The record under `term_run_key(term)`."""
    return _sealed(term_run_key(term), _TERM_RUN.pack(RECORD_VERSION, first_index))


def decode_term_run(key: bytes, record: bytes) -> tuple[int, int]:
    """The (term, first index) in a pair. Raises `MalformedRecord`."""
    _, first_index = _TERM_RUN.unpack(_unsealed(key, record, _TERM_RUN.size))
    return key_number(key), first_index


def encode_log_state(state: LogState) -> bytes:
    """The record under `LOG_STATE_KEY`."""
    write_number, last_index, hard_state, base = state
    return _sealed(LOG_STATE_KEY, _LOG_STATE.pack(LOG_STATE_VERSION, write_number, last_index, *hard_state, *base))


def decode_log_state(record: bytes | None) -> LogState:
    """The state in a record; that of an empty log if there is none. Raises `MalformedRecord`."""
    if record is None:
        return LogState()
    if record[:1] == bytes([LOG_STATE_VERSION]):
        content = _unsealed(LOG_STATE_KEY, record, _LOG_STATE.size, LOG_STATE_VERSION)
        _, write_number, last_index, term, vote, commit, base_index, base_term = _LOG_STATE.unpack(content)
        return LogState(write_number, last_index, HardState(term, vote, commit), Base(base_index, base_term))
    content = _unsealed(LOG_STATE_KEY, record, _LOG_STATE_WITHOUT_BASE.size)
    _, write_number, last_index, term, vote, commit = _LOG_STATE_WITHOUT_BASE.unpack(content)
    return LogState(write_number, last_index, HardState(term, vote, commit))


def encode_state_directory(name: str) -> bytes:
    """The record under `STATE_DIRECTORY_KEY`."""
    return _sealed(STATE_DIRECTORY_KEY, bytes([RECORD_VERSION]) + name.encode("ascii"))


def decode_state_directory(record: bytes | None) -> str | None:
    """The name in a record; None if there is none. Raises `MalformedRecord`."""
    if record is None:
        return None
    name = _unsealed(STATE_DIRECTORY_KEY, record, len(record) - _CHECKSUM.size)[1:]
    if not name.isascii():
        raise MalformedRecord(f"the record under {STATE_DIRECTORY_KEY!r} names a directory {name!r}")
    return name.decode("ascii")


def _sealed(key: bytes, content: bytes) -> bytes:
    return content + _CHECKSUM.pack(zlib.crc32(content, zlib.crc32(key)))


def _unsealed(key: bytes, record: bytes, size_bytes: int, version: int = RECORD_VERSION) -> bytes:
    content = record[:size_bytes]
    if record != _sealed(key, content):
        raise MalformedRecord(f"the record under {key!r} fails its checksum: {record.hex()}")
    if content[:1] != bytes([version]):
        raise MalformedRecord(
            f"the record under {key!r} has version {int.from_bytes(content[:1])}: it was written by another release"
        )
    return content
