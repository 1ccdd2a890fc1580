"""What only the log in memory does; that it is a `LogReader` like the other one is in `tests/contracts`."""

import pytest

from meteora.raft import Entry
from meteora.raft.errors import Compacted, InvariantViolation
from meteora.raft.memory_log import MemoryLog
from tests.raft_network import ALL_BYTES, log_of


def test_an_empty_log_has_no_entries_and_term_0_at_0() -> None:
    log = MemoryLog()
    assert (log.first_index(), log.last_index(), log.term(0)) == (1, 0, 0)


def test_terms_are_known_from_0_to_the_last_index_and_nowhere_else() -> None:
    log = MemoryLog(log_of(1, 1, 4))
    assert [log.term(index) for index in range(4)] == [0, 1, 1, 4]
    with pytest.raises(InvariantViolation):
        log.term(4)
    with pytest.raises(Compacted):
        log.term(-1)


@pytest.mark.parametrize(
    ("first", "terms", "after"),
    [
        (4, (3,), [1, 1, 2, 3]),
        (2, (3, 3), [1, 3, 3]),
        (1, (9,), [9]),
        (3, (2,), [1, 1, 2]),
    ],
)
def test_appending_replaces_what_was_there_and_beyond(first: int, terms: tuple[int, ...], after: list[int]) -> None:
    log = MemoryLog(log_of(1, 1, 2))
    log.append([Entry(term, first + offset) for offset, term in enumerate(terms)])
    assert [log.term(index) for index in range(1, log.last_index() + 1)] == after


def test_appending_nothing_changes_nothing() -> None:
    log = MemoryLog(log_of(1, 1))
    log.append([])
    assert log.last_index() == 2


@pytest.mark.parametrize("first", [0, 4])
def test_appending_beyond_the_end_or_before_the_beginning_is_refused(first: int) -> None:
    with pytest.raises(InvariantViolation, match=f"entry {first} in a log from 1 to 2"):
        MemoryLog(log_of(1, 1)).append([Entry(2, first)])


@pytest.mark.parametrize(("low", "high"), [(2, 2), (3, 2), (1, 5), (4, 5)])
def test_entries_that_are_not_there_are_not_given(low: int, high: int) -> None:
    with pytest.raises(InvariantViolation):
        MemoryLog(log_of(1, 1, 1)).entries(low, high, ALL_BYTES)


def test_entries_are_cut_short_at_the_limit_but_never_to_nothing() -> None:
    entries = log_of(1, 1, 1)
    log, size = MemoryLog(entries), entries[0].size_bytes()
    assert log.entries(1, 4, ALL_BYTES) == entries
    assert log.entries(1, 4, 2 * size) == entries[:2]
    assert log.entries(1, 4, 2 * size - 1) == entries[:1]
    assert log.entries(2, 4, 0) == entries[1:2]


def test_entries_before_the_first_are_compacted() -> None:
    with pytest.raises(Compacted):
        MemoryLog(log_of(1, 1, 1)).entries(0, 2, ALL_BYTES)


def test_a_cut_leaves_what_follows_it_and_the_term_at_it() -> None:
    log = MemoryLog(log_of(1, 1, 2, 4))
    log.compact(3)
    log.compact(2)
    assert (log.first_index(), log.last_index(), log.term(3), log.term(4)) == (4, 4, 2, 4)
    with pytest.raises(Compacted):
        log.term(2)


@pytest.mark.parametrize(("index", "term", "last_index"), [(2, 1, 3), (2, 2, 2), (7, 3, 7)])
def test_a_reset_keeps_what_follows_an_entry_that_is_here(index: int, term: int, last_index: int) -> None:
    log = MemoryLog(log_of(1, 1, 2))
    log.reset(index, term)
    assert (log.first_index(), log.last_index(), log.term(index)) == (index + 1, last_index, term)
