"""What stays in memory and what may go."""

import pytest

from meteora.raft.entry import Entry
from meteora.raft.errors import InvariantViolation
from meteora.storage.entry_cache import EntryCache

ENTRY_BYTES = Entry(1, 1, b"x" * 78).size_bytes()


def entry(index: int, term: int = 1) -> Entry:
    return Entry(term, index, b"x" * 78)


def cache_of(count: int, limit_bytes: int, released_index: int = 0) -> EntryCache:
    cache = EntryCache(limit_bytes, 0, released_index)
    for index in range(1, count + 1):
        cache.append(entry(index))
    return cache


def test_what_is_not_applied_stays_whatever_the_limit() -> None:
    cache = cache_of(10, limit_bytes=0)
    assert (cache.first_index, cache.size_bytes) == (1, 10 * ENTRY_BYTES)


def test_what_is_applied_stays_up_to_the_limit() -> None:
    cache = cache_of(10, limit_bytes=3 * ENTRY_BYTES)
    cache.release(10)
    assert (cache.first_index, cache.size_bytes) == (8, 3 * ENTRY_BYTES)


def test_only_what_is_applied_goes() -> None:
    cache = cache_of(10, limit_bytes=3 * ENTRY_BYTES)
    cache.release(4)
    assert cache.first_index == 5


def test_what_comes_pushes_out_what_is_applied() -> None:
    cache = cache_of(3, limit_bytes=3 * ENTRY_BYTES, released_index=3)
    cache.append(entry(4))
    assert cache.first_index == 2


def test_releasing_less_than_before_changes_nothing() -> None:
    cache = cache_of(10, limit_bytes=0)
    cache.release(5)
    cache.release(2)
    assert cache.first_index == 6


def test_truncated_entries_are_gone_and_no_longer_counted() -> None:
    cache = cache_of(10, limit_bytes=1000)
    cache.truncate(4)
    cache.append(entry(4, term=2))
    assert [(each.index, each.term) for each in cache.entries(1, 5, 10_000)] == [(1, 1), (2, 1), (3, 1), (4, 2)]
    assert cache.size_bytes == 4 * ENTRY_BYTES


def test_all_that_is_not_applied_may_be_truncated() -> None:
    cache = cache_of(10, limit_bytes=0)
    cache.release(6)
    cache.truncate(7)
    cache.append(entry(7, term=2))
    assert (cache.first_index, cache.size_bytes) == (7, ENTRY_BYTES)


def test_truncating_what_is_applied_is_a_bug() -> None:
    cache = cache_of(10, limit_bytes=0)
    cache.release(6)
    with pytest.raises(InvariantViolation, match="entry 6 is applied"):
        cache.truncate(6)


@pytest.mark.parametrize(
    ("max_bytes", "expected"),
    [(0, 1), (ENTRY_BYTES, 1), (2 * ENTRY_BYTES - 1, 1), (2 * ENTRY_BYTES, 2), (1 << 30, 4)],
)
def test_entries_are_cut_at_the_limit_but_never_to_nothing(max_bytes: int, expected: int) -> None:
    assert len(cache_of(10, limit_bytes=0).entries(3, 7, max_bytes)) == expected


def test_a_gap_is_a_bug() -> None:
    with pytest.raises(InvariantViolation, match="5 is not next"):
        cache_of(3, limit_bytes=0).append(entry(5))


def test_what_is_cut_off_goes_though_there_is_room() -> None:
    cache = cache_of(10, limit_bytes=1_000_000, released_index=6)
    cache.compact(6)
    assert (cache.first_index, cache.size_bytes) == (7, 4 * ENTRY_BYTES)
    assert [each.index for each in cache.entries(7, 11, 10_000)] == [7, 8, 9, 10]


def test_cutting_off_what_has_gone_already_changes_nothing() -> None:
    cache = cache_of(10, limit_bytes=0, released_index=6)
    cache.compact(4)
    assert cache.first_index == 7


def test_cutting_off_what_is_not_applied_is_a_bug() -> None:
    with pytest.raises(InvariantViolation):
        cache_of(10, limit_bytes=0, released_index=6).compact(7)
