import struct
import zlib

import pytest

from meteora.raft import Entry, EntryKind, decode_entry
from meteora.raft.entry import ENTRY_VERSION
from meteora.raft.errors import CorruptEntry

ENTRY = Entry(7, 1234567, b"some data", EntryKind.CONF_CHANGE)


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY,
        Entry(1, 1),
        Entry(0, 0, b"a proposal that was passed on"),
        Entry((1 << 64) - 1, (1 << 64) - 1, bytes(range(256)) * 100),
    ],
    ids=["conf change", "empty", "proposal", "largest"],
)
def test_an_entry_survives_its_encoding(entry: Entry) -> None:
    assert decode_entry(entry.encode()) == entry


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 1000])
def test_the_size_is_that_of_the_encoding(data: bytes) -> None:
    assert Entry(1, 1, data).size_bytes() == len(Entry(1, 1, data).encode())


def test_the_encoding_is_as_documented() -> None:
    """Other releases read it: it must not change by accident."""
    encoded = Entry(2, 3, b"abc").encode()
    header = struct.pack(">BBQQ", 1, 0, 2, 3)
    assert encoded == header + struct.pack(">I", zlib.crc32(header + b"abc")) + b"abc"


@pytest.mark.parametrize("position", range(len(ENTRY.encode())))
def test_a_change_of_any_byte_is_detected(position: int) -> None:
    encoded = bytearray(ENTRY.encode())
    for flip in range(1, 256):
        encoded[position] ^= flip
        with pytest.raises(CorruptEntry):
            decode_entry(bytes(encoded))
        encoded[position] ^= flip


@pytest.mark.parametrize("length", range(len(ENTRY.encode())))
def test_a_cut_at_any_byte_is_detected(length: int) -> None:
    with pytest.raises(CorruptEntry):
        decode_entry(ENTRY.encode()[:length])


def test_a_byte_too_many_is_detected() -> None:
    with pytest.raises(CorruptEntry, match=r"1234567@7: checksum [0-9a-f]{8}, expected [0-9a-f]{8}"):
        decode_entry(ENTRY.encode() + b"\0")


@pytest.mark.parametrize(("version", "kind"), [(ENTRY_VERSION + 1, 0), (ENTRY_VERSION, 200), (0, 0)])
def test_an_entry_of_another_release_is_refused_although_its_checksum_is_right(version: int, kind: int) -> None:
    header = struct.pack(">BBQQ", version, kind, 1, 1)
    encoded = header + struct.pack(">I", zlib.crc32(header + b"x")) + b"x"
    with pytest.raises(CorruptEntry, match=f"version {version}, kind {kind}"):
        decode_entry(encoded)
