"""The walk over RocksDB's log records."""

import struct
from pathlib import Path

import pytest

from meteora.errors import Corruption
from meteora.storage.endless_records import BLOCK_BYTES, refuse_endless_records


def record(length_bytes: int, record_type: int) -> bytes:
    return struct.pack("<IHB", 0, length_bytes, record_type) + b"\1" * length_bytes


def block(*records: bytes) -> bytes:
    return b"".join(records).ljust(BLOCK_BYTES, b"\0")


@pytest.mark.parametrize("name", ["000012.log", "MANIFEST-000004"])
@pytest.mark.parametrize("record_type", [5, 6, 7, 8])
def test_an_endless_record_is_found_with_its_place(tmp_path: Path, name: str, record_type: int) -> None:
    (tmp_path / name).write_bytes(block(record(100, 1)) + block(record(0, 1), record(9, 1), record(10, record_type)))
    with pytest.raises(Corruption, match=f"{name}: the record at {BLOCK_BYTES + 23} is of a type"):
        refuse_endless_records(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(record(100, 1) + record(0, 2) + record(9, 130), id="other types"),
        pytest.param(record(100, 1) + record(9, 5)[:6], id="a header that is cut short"),
        pytest.param(record(100, 1)[:50], id="a record that is cut short"),
        pytest.param(block(record(100, 1)) + block(record(100, 4)), id="zeros at the end of a block"),
        pytest.param(record(BLOCK_BYTES, 1), id="a length beyond the block"),
    ],
)
def test_other_logs_pass(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "000012.log").write_bytes(content)
    refuse_endless_records(tmp_path)


def test_other_files_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "000012.sst").write_bytes(record(9, 5))
    (tmp_path / "LOG").write_bytes(record(9, 5))
    refuse_endless_records(tmp_path)


def test_a_database_that_is_not_there_passes(tmp_path: Path) -> None:
    refuse_endless_records(tmp_path / "absent")
