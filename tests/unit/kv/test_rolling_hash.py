"""What goes into the rolling hash, what does not, and what of it can be compared."""

import pytest

from meteora.kv.rolling_hash import (
    CHAIN_ENTRIES,
    CHECKPOINT_ENTRIES,
    REMEMBERED_CHECKPOINTS,
    ROLLING_HASH_VERSION,
    Checkpoint,
    RollingHash,
    decode_checkpoints,
    decode_rolling_hash,
    encode_checkpoints,
)
from meteora.raft.entry import Entry, EntryKind


def taken(*steps: tuple[Entry, bytes], after: RollingHash | None = None) -> RollingHash:
    rolling_hash = after or RollingHash()
    for entry, effects in steps:
        rolling_hash.take(entry, effects)
    return rolling_hash


def filled(first: int, last: int, after: RollingHash | None = None) -> RollingHash:
    return taken(*((Entry(1, index, b"data %d" % index), b"") for index in range(first, last + 1)), after=after)


FIRST = (Entry(1, 1, b"a"), b"")


@pytest.mark.parametrize(
    "other",
    [
        (Entry(2, 1, b"a"), b""),
        (Entry(1, 1, b"b"), b""),
        (Entry(1, 1, b"a", EntryKind.CONF_CHANGE), b""),
        (Entry(1, 1, b"a"), b"\x01"),
    ],
    ids=["term", "data", "kind", "effects"],
)
def test_whatever_differs_in_one_entry_differs_ever_after(other: tuple[Entry, bytes]) -> None:
    mine, others = taken(FIRST), taken(other)
    for last in (2, 50, 500):
        filled(mine.checkpoints()[-1].index + 1, last, after=mine)
        filled(others.checkpoints()[-1].index + 1, last, after=others)
        assert mine.checkpoints()[-1].checksum != others.checkpoints()[-1].checksum


def test_nothing_is_known_before_the_first_entry() -> None:
    assert RollingHash().checkpoints() == []
    assert RollingHash().record() is None


def test_the_newest_checkpoints_at_agreed_indexes_are_remembered_and_the_last_one() -> None:
    last = CHECKPOINT_ENTRIES * (REMEMBERED_CHECKPOINTS + 2) + 1
    indexes = [each.index for each in filled(1, last).checkpoints()]
    assert indexes == [*range(3 * CHECKPOINT_ENTRIES, last, CHECKPOINT_ENTRIES), last]


def test_a_checkpoint_is_told_once() -> None:
    assert [each.index for each in filled(1, CHECKPOINT_ENTRIES).checkpoints()] == [CHECKPOINT_ENTRIES]


def test_what_was_stored_is_gone_on_with() -> None:
    record = filled(1, 50).record()
    resumed = filled(51, 60, after=decode_rolling_hash(record, 50))
    assert resumed.checkpoints() == filled(1, 60).checkpoints()


@pytest.mark.parametrize("what", ["absent", "cut", "of another version", "of another index"])
def test_without_a_record_of_its_index_a_state_has_no_chain(what: str) -> None:
    whole = filled(1, 50).record()
    assert whole is not None
    newer = bytes([ROLLING_HASH_VERSION + 1]) + whole[1:]
    record = {"absent": None, "cut": whole[:-1], "of another version": newer, "of another index": whole}[what]
    without = filled(61, 70, after=decode_rolling_hash(record, 60))
    assert without.checkpoints() == []
    assert without.record() is None


def test_where_a_chain_begins_anew_those_without_one_have_the_same_as_the_others() -> None:
    had, had_not = RollingHash(Checkpoint(CHAIN_ENTRIES - 2, 0, 0xABCD)), decode_rolling_hash(None, CHAIN_ENTRIES - 2)
    for each in (had, had_not):
        filled(CHAIN_ENTRIES - 1, CHAIN_ENTRIES + 5, after=each)
    assert had_not.checkpoints() == had.checkpoints()[-1:]
    assert had.checkpoints()[-1][:2] == (CHAIN_ENTRIES + 5, CHAIN_ENTRIES)


def test_the_last_of_a_chain_can_be_compared() -> None:
    rolling_hash = filled(CHAIN_ENTRIES - 1, CHAIN_ENTRIES + 1, after=RollingHash(Checkpoint(CHAIN_ENTRIES - 2, 0, 7)))
    assert [each[:2] for each in rolling_hash.checkpoints()] == [
        (CHAIN_ENTRIES, 0),
        (CHAIN_ENTRIES + 1, CHAIN_ENTRIES),
    ]


def test_a_report_comes_back() -> None:
    checkpoints = filled(1, 250).checkpoints()
    assert decode_checkpoints(encode_checkpoints(checkpoints)) == checkpoints
    assert decode_checkpoints(encode_checkpoints([])) == []


def test_a_report_with_a_flipped_bit_or_of_another_version_says_nothing() -> None:
    report = encode_checkpoints(filled(1, 250).checkpoints())
    for position in range(len(report)):
        damaged = bytearray(report)
        damaged[position] ^= 1
        assert decode_checkpoints(bytes(damaged)) == []


def test_every_cut_of_a_report_says_nothing() -> None:
    report = encode_checkpoints(filled(1, 250).checkpoints())
    assert not any(decode_checkpoints(report[:length]) for length in range(len(report)))
