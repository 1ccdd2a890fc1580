"""The keys and records of the `raft/` database. Everything that defines its format is in this file.

    "e" index  ->  the entry, as `meteora.raft.entry` encodes it
    "t" term   ->  the index of the first entry of that term
    "h"        ->  the number of the write, term, vote, commit; part of every write

Numbers are 64 bits, big-endian, so that keys sort as their numbers do. Records begin with a version and end with a
CRC-32 of all before it and of the key, so that neither a changed nor a misplaced one is believed.
"""

import struct
import zlib
from typing import Final

from meteora.errors import Corruption
from meteora.raft.message import HardState

RECORD_VERSION: Final = 1

HARD_STATE_KEY: Final = b"h"

_NUMBER = struct.Struct(">Q")
_CHECKSUM = struct.Struct(">I")
_TERM_RUN = struct.Struct(">BQ")
_HARD_STATE = struct.Struct(">BQQQQ")


def entry_key(index: int) -> bytes:
    """Where the entry at `index` is."""
    return b"e" + _NUMBER.pack(index)


def term_run_key(term: int) -> bytes:
    """Where the first index of `term` is."""
    return b"t" + _NUMBER.pack(term)


def key_number(key: bytes) -> int:
    """The index or term in a key. Raises `Corruption` if it can't hold one."""
    if len(key) != 1 + _NUMBER.size:
        raise Corruption(f"{key!r} is not a key of a raft log")
    (number,) = _NUMBER.unpack_from(key, 1)
    return int(number)


def encode_term_run(term: int, first_index: int) -> bytes:
    """The record under `term_run_key(term)`."""
    return _sealed(term_run_key(term), _TERM_RUN.pack(RECORD_VERSION, first_index))


def decode_term_run(key: bytes, record: bytes) -> tuple[int, int]:
    """The (term, first index) in a pair. Raises `Corruption`."""
    _, first_index = _TERM_RUN.unpack(_unsealed(key, record, _TERM_RUN.size))
    return key_number(key), first_index


def encode_hard_state(write_number: int, state: HardState) -> bytes:
    """The record under `HARD_STATE_KEY`. Writes count from 1, each one more than the one before it."""
    return _sealed(HARD_STATE_KEY, _HARD_STATE.pack(RECORD_VERSION, write_number, *state))


def decode_hard_state(record: bytes | None) -> tuple[int, HardState]:
    """The write number and the state in a record; those of an empty log if there is none. Raises `Corruption`."""
    if record is None:
        return 0, HardState()
    _, write_number, term, vote, commit = _HARD_STATE.unpack(_unsealed(HARD_STATE_KEY, record, _HARD_STATE.size))
    return write_number, HardState(term, vote, commit)


def _sealed(key: bytes, content: bytes) -> bytes:
    return content + _CHECKSUM.pack(zlib.crc32(content, zlib.crc32(key)))


def _unsealed(key: bytes, record: bytes, size_bytes: int) -> bytes:
    content = record[:size_bytes]
    if record != _sealed(key, content):
        raise Corruption(f"the record under {key!r} fails its checksum: {record.hex()}")
    if content[0] != RECORD_VERSION:
        raise Corruption(f"the record under {key!r} has version {content[0]}: it was written by another release")
    return content
