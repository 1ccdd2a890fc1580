import hashlib
import io
import json
import zlib
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.errors import BackupDamaged
from meteora.kv.backup_file import MAGIC, MAX_RECORDS_BYTES, BackupReader, BackupWriter, Header, Pair, Summary
from meteora.raft.errors import InvariantViolation

HEADER = Header(cluster_id="00ab", node_id=2, release="1.2.3", created_at="2026-01-01T00:00:00+00:00")

pairs_of_keys = st.dictionaries(st.binary(min_size=1, max_size=20), st.binary(max_size=50), max_size=20)
pages = pairs_of_keys.flatmap(lambda pairs: st.tuples(st.just(sorted(pairs.items())), st.integers(1, 5)))


def written(pairs: list[Pair], page_records: int = 3, index: int = 7, term: int = 3) -> bytes:
    writer = BackupWriter()
    pieces = [writer.begin(HEADER)]
    pieces += [writer.add(pairs[first : first + page_records]) for first in range(0, len(pairs), page_records)]
    return b"".join([*pieces, writer.end(index, term)])


def read(content: bytes) -> tuple[list[Pair], Summary | None]:
    reader = BackupReader(io.BytesIO(content))
    return list(reader.records()), reader.summary


WHOLE = written([(b"a", b"1"), (b"b", b""), (b"c", b"3" * 30), (b"d", b"4")])


def frame(kind: bytes, payload: bytes) -> bytes:
    head = kind + len(payload).to_bytes(4, "big")
    return head + zlib.crc32(payload, zlib.crc32(head)).to_bytes(4, "big") + payload


def record(key: bytes, value: bytes) -> bytes:
    return len(key).to_bytes(4, "big") + len(value).to_bytes(4, "big") + key + value


def forged(*parts: bytes) -> bytes:
    """A file all of whose checksums are right."""
    content = MAGIC + b"".join(parts)
    return content + hashlib.sha256(content).digest()


HEAD = frame(b"H", b'{"cluster_id": "1", "node_id": 1, "release": "", "created_at": "", "format_version": 1}')


def end(records: int) -> bytes:
    return frame(b"E", json.dumps({"index": 1, "term": 1, "records": records}).encode())


@given(pages)
def test_what_is_written_is_read(written_pages: tuple[list[Pair], int]) -> None:
    pairs, page_records = written_pages
    reader = BackupReader(io.BytesIO(written(pairs, page_records)))
    assert (list(reader.records()), reader.header) == (pairs, HEADER)
    assert reader.summary == Summary(index=7, term=3, records=len(pairs))


def test_it_ends_with_the_digest_of_all_before_that_other_tools_know() -> None:
    assert hashlib.sha256(WHOLE[:-32]).digest() == WHOLE[-32:]


def test_fields_that_a_later_release_adds_mean_nothing() -> None:
    head = frame(b"H", HEAD[9:].replace(b"}", b', "later": [1]}'))
    assert read(forged(head, end(0)))[0] == []


def test_every_flipped_bit_is_found() -> None:
    for position in range(8 * len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(BackupDamaged):
            read(bytes(damaged))


def test_every_truncation_is_found() -> None:
    for size_bytes in range(len(WHOLE)):
        with pytest.raises(BackupDamaged):
            read(WHOLE[:size_bytes])


@given(st.integers(0, len(WHOLE)), st.integers(0, 40), st.binary(max_size=40))
def test_every_other_change_is_found(start: int, length: int, new: bytes) -> None:
    changed = WHOLE[:start] + new + WHOLE[start + length :]
    if changed != WHOLE:
        with pytest.raises(BackupDamaged):
            read(changed)


@given(st.binary(max_size=200))
def test_what_is_no_backup_is_refused(content: bytes) -> None:
    with pytest.raises(BackupDamaged):
        read(content)


@given(st.lists(st.tuples(st.sampled_from([b"H", b"R", b"E", b"?"]), st.binary(max_size=40)), max_size=5))
def test_parts_that_make_no_sense_are_refused_though_their_checksums_are_right(
    parts: list[tuple[bytes, bytes]],
) -> None:
    with pytest.raises(BackupDamaged):
        read(forged(HEAD, *(frame(*part) for part in parts)))


@pytest.mark.parametrize(
    "parts",
    [
        (HEAD, frame(b"R", record(b"b", b"") + record(b"a", b"")), end(2)),
        (HEAD, frame(b"R", record(b"a", b"")), frame(b"R", record(b"a", b"")), end(2)),
        (HEAD, frame(b"R", record(b"a", b"")), end(2)),
        (HEAD, frame(b"R", record(b"a", b"1")[:-1]), end(1)),
        (HEAD, frame(b"R", record(b"a", b"") + b"\0\0"), end(1)),
        (end(0),),
        (HEAD,),
        (HEAD, frame(b"E", b'{"index": -1, "term": 1, "records": 0}')),
        (HEAD, frame(b"E", b'{"index": true, "term": 1, "records": 0}')),
        (HEAD, frame(b"E", b'{"index": 4611686018427387905, "term": 1, "records": 0}')),
        (HEAD, frame(b"E", b"[" * 50_000)),
        (HEAD, frame(b"E", b"7")),
        (frame(b"H", HEAD[9:].replace(b'"format_version": 1', b'"format_version": 2')), end(0)),
    ],
    ids=[
        "unordered",
        "twice",
        "fewer",
        "cut",
        "rest",
        "headless",
        "endless",
        "negative",
        "bool",
        "huge",
        "deep",
        "list",
        "newer",
    ],
)
def test_contents_that_make_no_sense_are_refused(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(BackupDamaged):
        read(forged(*parts))


class Frugal(io.BytesIO):
    """A file that notes the most that was asked of it at once."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size >= 0
        self.most = max(self.most, size)
        return super().read(size)


@given(st.sampled_from([b"H", b"R", b"E", b"?"]), st.integers(0, (1 << 32) - 1), st.binary(max_size=20))
def test_no_more_memory_is_taken_than_a_part_may_have(kind: bytes, size_bytes: int, rest: bytes) -> None:
    file = Frugal(MAGIC + HEAD + kind + size_bytes.to_bytes(4, "big") + b"\0\0\0\0" + rest)
    reader = BackupReader(file)
    with pytest.raises(BackupDamaged):
        list(reader.records())
    assert file.most <= MAX_RECORDS_BYTES


def test_nothing_is_believed_before_the_end() -> None:
    reader = BackupReader(file_of(WHOLE[:-1] + b"\0" if WHOLE[-1] else WHOLE[:-1] + b"\1"))
    records = reader.records()
    with pytest.raises(BackupDamaged):
        list(records)
    assert reader.summary is None


def file_of(content: bytes) -> BinaryIO:
    return io.BytesIO(content)


def test_no_part_is_written_that_no_reader_would_take() -> None:
    writer = BackupWriter()
    writer.begin(HEADER)
    with pytest.raises(InvariantViolation, match="which nobody would read"):
        writer.add([(b"a", bytes(MAX_RECORDS_BYTES))])
    assert writer.records == 0
