"""Records that are believed only if they are whole and where they belong."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.raft.message import HardState
from meteora.storage.raft_records import (
    LOG_STATE_KEY,
    STATE_DIRECTORY_KEY,
    Base,
    LogState,
    MalformedRecord,
    decode_log_state,
    decode_state_directory,
    decode_term_run,
    encode_log_state,
    encode_state_directory,
    encode_term_run,
    entry_key,
    key_number,
    term_run_key,
)

numbers = st.integers(0, (1 << 64) - 1)


@given(numbers, numbers, st.builds(HardState, numbers, numbers, numbers), st.builds(Base, numbers, numbers))
def test_a_log_state_comes_back(write_number: int, last_index: int, hard_state: HardState, base: Base) -> None:
    state = LogState(write_number, last_index, hard_state, base)
    assert decode_log_state(encode_log_state(state)) == state


@given(numbers, numbers)
def test_a_term_run_comes_back(term: int, first_index: int) -> None:
    assert decode_term_run(term_run_key(term), encode_term_run(term, first_index)) == (term, first_index)


@given(numbers, numbers)
def test_keys_sort_as_their_numbers(one: int, other: int) -> None:
    assert (entry_key(one) < entry_key(other)) == (one < other)


def test_no_record_is_the_state_of_an_empty_log() -> None:
    assert decode_log_state(None) == LogState()


def test_a_log_state_without_a_base_comes_back_with_the_first() -> None:
    content = struct.pack(">BQQQQQ", 1, 9, 4, 3, 2, 1)
    record = content + zlib.crc32(content, zlib.crc32(LOG_STATE_KEY)).to_bytes(4, "big")
    assert decode_log_state(record) == LogState(9, 4, HardState(3, 2, 1), Base(0, 0))


def test_the_name_of_a_state_directory_comes_back() -> None:
    assert decode_state_directory(encode_state_directory("kv-42")) == "kv-42"
    assert decode_state_directory(None) is None


def test_every_flipped_bit_of_the_name_of_a_state_directory_is_noticed() -> None:
    whole = encode_state_directory("kv-42")
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MalformedRecord):
            decode_state_directory(bytes(damaged))


def test_a_state_directory_of_another_release_is_noticed() -> None:
    content = b"\x02kv-42"
    record = content + zlib.crc32(content, zlib.crc32(STATE_DIRECTORY_KEY)).to_bytes(4, "big")
    with pytest.raises(MalformedRecord, match="has version 2"):
        decode_state_directory(record)


@pytest.mark.parametrize("content", [b"", b"\x01kv-\xff"], ids=["nothing", "no ASCII"])
def test_a_state_directory_that_has_no_name_is_noticed(content: bytes) -> None:
    record = content + zlib.crc32(content, zlib.crc32(STATE_DIRECTORY_KEY)).to_bytes(4, "big")
    with pytest.raises(MalformedRecord):
        decode_state_directory(record)


@pytest.mark.parametrize("length", range(5))
def test_a_state_directory_that_was_cut_is_noticed(length: int) -> None:
    with pytest.raises(MalformedRecord):
        decode_state_directory(encode_state_directory("")[:length])


def test_every_flipped_bit_of_a_log_state_is_noticed() -> None:
    whole = encode_log_state(LogState(9, 4, HardState(3, 2, 1), Base(2, 1)))
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MalformedRecord):
            decode_log_state(bytes(damaged))


def test_every_cut_of_a_log_state_is_noticed() -> None:
    whole = encode_log_state(LogState(9, 4, HardState(3, 2, 1)))
    for length in range(len(whole)):
        with pytest.raises(MalformedRecord):
            decode_log_state(whole[:length])


def test_a_record_under_another_key_is_noticed() -> None:
    with pytest.raises(MalformedRecord, match="fails its checksum"):
        decode_term_run(term_run_key(8), encode_term_run(7, 100))


@pytest.mark.parametrize("key", [LOG_STATE_KEY, b"e1234567", b"e123456789"])
def test_a_key_without_a_number_is_noticed(key: bytes) -> None:
    with pytest.raises(MalformedRecord, match="not a key"):
        key_number(key)


def test_a_record_of_another_release_is_noticed() -> None:
    content = b"\x02" + bytes(8)
    record = content + zlib.crc32(content, zlib.crc32(term_run_key(7))).to_bytes(4, "big")
    with pytest.raises(MalformedRecord, match="has version 2: it was written by another release"):
        decode_term_run(term_run_key(7), record)
