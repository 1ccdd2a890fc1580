"""Finds the one damage that RocksDB 9.8 never comes back from, before it is opened.

RocksDB's logs (write-ahead and MANIFEST) are blocks of records, each with a type. Types 5 to 8 are for log files that
are used again, which Meteora never asks for. Where one stands in any other file, for instance by one flipped bit in a
type 1, opening the database reads that record again and again without end, holding the GIL.
"""

from pathlib import Path
from typing import Final

from meteora.errors import Corruption

BLOCK_BYTES: Final = 32 * 1024

_HEADER_BYTES: Final = 7
_ENDLESS_TYPES: Final = range(5, 9)


def refuse_endless_records(database: Path) -> None:
    """Raise `Corruption` if opening the database in the directory `database` would not end; `OSError`."""
    for path in (*database.glob("*.log"), *database.glob("MANIFEST-*")):
        with path.open("rb") as file:
            position = 0
            while block := file.read(BLOCK_BYTES):
                offset = _endless_record(block)
                if offset is not None:
                    raise Corruption(f"{path}: the record at {position + offset} is of a type that is never written")
                position += len(block)


def _endless_record(block: bytes) -> int | None:
    """Where in the block the first such record begins, as far as the block can be read at all."""
    offset = 0
    while offset + _HEADER_BYTES <= len(block):
        length_bytes = block[offset + 4] | block[offset + 5] << 8
        record_type = block[offset + 6]
        if record_type in _ENDLESS_TYPES:
            return offset
        if record_type == length_bytes == 0:
            return None
        offset += _HEADER_BYTES + length_bytes
    return None
