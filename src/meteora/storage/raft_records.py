"""The keys and records of the `raft/` database. Everything that defines its format is in this file.

    "e" index  ->  the entry, as `meteora.raft.entry` encodes it
    "t" term   ->  the index of the first entry of that term
    "h"        ->  the number of the write, the last index after it, term, vote, commit; part of every write

Numbers are 64 bits, big-endian, so that keys sort as their numbers do. Records begin with a version and end with a
CRC-32 of all before it and of the key, so that neither a changed nor a misplaced one is believed.
"""

import struct
import zlib
from typing import Final, NamedTuple

from meteora.raft.message import HardState

RECORD_VERSION: Final = 1

LOG_STATE_KEY: Final = b"h"

_NUMBER = struct.Struct(">Q")
_CHECKSUM = struct.Struct(">I")
_TERM_RUN = struct.Struct(">BQ")
_LOG_STATE = struct.Struct(">BQQQQQ")


class MalformedRecord(Exception):
    """A key or a record that no release writes, or that is not where it belongs."""


class LogState(NamedTuple):
    """What every write to the database carries, so that it says by itself what a whole log looks like after it."""

    write_number: int = 0
    """Writes count from 1."""
    last_index: int = 0
    hard_state: HardState = HardState()


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
    write_number, last_index, hard_state = state
    return _sealed(LOG_STATE_KEY, _LOG_STATE.pack(RECORD_VERSION, write_number, last_index, *hard_state))


def decode_log_state(record: bytes | None) -> LogState:
    """The state in a record; that of an empty log if there is none. Raises `MalformedRecord`."""
    if record is None:
        return LogState()
    content = _unsealed(LOG_STATE_KEY, record, _LOG_STATE.size)
    _, write_number, last_index, term, vote, commit = _LOG_STATE.unpack(content)
    return LogState(write_number, last_index, HardState(term, vote, commit))


def _sealed(key: bytes, content: bytes) -> bytes:
    return content + _CHECKSUM.pack(zlib.crc32(content, zlib.crc32(key)))


def _unsealed(key: bytes, record: bytes, size_bytes: int) -> bytes:
    content = record[:size_bytes]
    if record != _sealed(key, content):
        raise MalformedRecord(f"the record under {key!r} fails its checksum: {record.hex()}")
    if content[0] != RECORD_VERSION:
        raise MalformedRecord(f"the record under {key!r} has version {content[0]}: it was written by another release")
    return content
