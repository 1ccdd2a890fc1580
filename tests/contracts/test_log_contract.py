"""What the core may expect of a log, whether it is on disk or in memory."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from meteora.raft.entry import Entry
from meteora.raft.errors import Compacted, InvariantViolation
from meteora.raft.log_reader import LogReader
from meteora.raft.memory_log import MemoryLog
from tests.unit.storage.raft_logs import append as append_to_disk
from tests.unit.storage.raft_logs import compact as compact_on_disk
from tests.unit.storage.raft_logs import opened
from tests.unit.storage.raft_logs import reset as reset_on_disk

ENTRY_BYTES = 100


class LogUnderTest(NamedTuple):
    reader: LogReader
    append: Callable[[Sequence[Entry]], None]
    compact: Callable[[int], None]
    reset: Callable[[int, int], None]


@pytest.fixture(params=["memory", "disk"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogUnderTest]:
    if request.param == "memory":
        memory_log = MemoryLog()
        yield LogUnderTest(memory_log, memory_log.append, memory_log.compact, memory_log.reset)
    else:
        with opened(tmp_path / "raft") as raft_log:
            yield LogUnderTest(
                raft_log,
                lambda entries: append_to_disk(raft_log, entries),
                lambda index: compact_on_disk(raft_log, index),
                lambda index, term: reset_on_disk(raft_log, index, term),
            )


def entries_of(first: int, terms: Sequence[int]) -> list[Entry]:
    """Entries of `ENTRY_BYTES` each."""
    return [Entry(term, index, b"." * (ENTRY_BYTES - 22)) for index, term in enumerate(terms, first)]


def contents(log: LogUnderTest) -> list[tuple[int, int]]:
    """The log as (index, term) pairs, by all that it says."""
    first, last = log.reader.first_index(), log.reader.last_index()
    entries = log.reader.entries(first, last + 1, 1 << 30) if last >= first else []
    assert entries is not None
    pairs = [(entry.index, entry.term) for entry in entries]
    assert pairs == [(index, log.reader.term(index)) for index in range(first, last + 1)]
    return pairs


def test_an_entry_is_as_long_as_these_tests_say() -> None:
    assert entries_of(1, [1])[0].size_bytes() == ENTRY_BYTES


# FirstIndex, LastIndex


def test_an_empty_log_ends_before_it_begins(log: LogUnderTest) -> None:
    assert (log.reader.first_index(), log.reader.last_index()) == (1, 0)


def test_the_last_index_is_that_of_the_newest_entry(log: LogUnderTest) -> None:
    log.append(entries_of(1, [1, 1]))
    log.append(entries_of(3, [1]))
    assert (log.reader.first_index(), log.reader.last_index()) == (1, 3)


# Term


def test_the_term_before_the_first_entry_is_zero(log: LogUnderTest) -> None:
    assert log.reader.term(0) == 0


@pytest.mark.parametrize(("index", "term"), [(0, 0), (1, 3), (2, 3), (3, 4), (4, 7), (5, 7)])
def test_the_term_of_an_entry(log: LogUnderTest, index: int, term: int) -> None:
    log.append(entries_of(1, [3, 3, 4, 7, 7]))
    assert log.reader.term(index) == term


def test_the_term_after_the_last_entry_is_a_bug(log: LogUnderTest) -> None:
    log.append(entries_of(1, [3, 3]))
    with pytest.raises(InvariantViolation):
        log.reader.term(3)


# Entries


@pytest.mark.parametrize(
    ("low", "high", "max_bytes", "expected"),
    [
        pytest.param(1, 2, 1 << 30, [1], id="first"),
        pytest.param(5, 6, 1 << 30, [5], id="last"),
        pytest.param(1, 6, 1 << 30, [1, 2, 3, 4, 5], id="all"),
        pytest.param(2, 5, 1 << 30, [2, 3, 4], id="middle"),
        pytest.param(2, 5, 0, [2], id="at least one"),
        pytest.param(2, 5, ENTRY_BYTES, [2], id="exactly one"),
        pytest.param(2, 5, 2 * ENTRY_BYTES - 1, [2], id="almost two"),
        pytest.param(2, 5, 2 * ENTRY_BYTES, [2, 3], id="exactly two"),
        pytest.param(2, 5, 3 * ENTRY_BYTES, [2, 3, 4], id="exactly all"),
    ],
)
def test_entries_are_those_between_the_bounds_up_to_the_limit(
    log: LogUnderTest, low: int, high: int, max_bytes: int, expected: list[int]
) -> None:
    log.append(entries_of(1, [3, 3, 4, 7, 7]))
    entries = log.reader.entries(low, high, max_bytes)
    assert entries is not None
    assert [entry.index for entry in entries] == expected


def test_entries_are_those_that_were_appended(log: LogUnderTest) -> None:
    appended = entries_of(1, [3, 3, 4])
    log.append(appended)
    assert log.reader.entries(1, 4, 1 << 30) == appended


def test_entries_after_the_last_are_a_bug(log: LogUnderTest) -> None:
    log.append(entries_of(1, [3, 3]))
    with pytest.raises(InvariantViolation):
        log.reader.entries(2, 4, 1 << 30)


# Append


@pytest.mark.parametrize(
    ("first", "terms", "expected"),
    [
        pytest.param(1, [1, 2, 2], [(1, 1), (2, 2), (3, 2)], id="the same"),
        pytest.param(1, [3, 3, 3, 3], [(1, 3), (2, 3), (3, 3), (4, 3)], id="all, and more"),
        pytest.param(1, [3], [(1, 3)], id="all, by less"),
        pytest.param(2, [3, 3], [(1, 1), (2, 3), (3, 3)], id="the end"),
        pytest.param(2, [3], [(1, 1), (2, 3)], id="the end, by less"),
        pytest.param(3, [2, 3], [(1, 1), (2, 2), (3, 2), (4, 3)], id="the last by the same, and more"),
        pytest.param(4, [3, 4], [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4)], id="nothing"),
        pytest.param(4, [], [(1, 1), (2, 2), (3, 2)], id="nothing by nothing"),
    ],
)
def test_appended_entries_replace_what_is_at_and_after_their_first(
    log: LogUnderTest, first: int, terms: list[int], expected: list[tuple[int, int]]
) -> None:
    log.append(entries_of(1, [1, 2, 2]))
    log.append(entries_of(first, terms))
    assert contents(log) == expected


def test_a_gap_is_a_bug_and_changes_nothing(log: LogUnderTest) -> None:
    log.append(entries_of(1, [1, 2, 2]))
    with pytest.raises(InvariantViolation):
        log.append(entries_of(5, [3]))
    assert contents(log) == [(1, 1), (2, 2), (3, 2)]


# Compact


@pytest.mark.parametrize("index", [1, 2, 3, 4, 5])
def test_a_cut_takes_the_entries_up_to_its_index_and_leaves_the_term_there(log: LogUnderTest, index: int) -> None:
    terms = [3, 3, 4, 7, 7]
    log.append(entries_of(1, terms))
    log.compact(index)
    assert (log.reader.first_index(), log.reader.last_index()) == (index + 1, 5)
    assert log.reader.term(index) == terms[index - 1]
    assert contents(log) == list(enumerate(terms, 1))[index:]


def test_what_was_cut_off_cannot_be_asked_for(log: LogUnderTest) -> None:
    log.append(entries_of(1, [3, 3, 4, 7, 7]))
    log.compact(3)
    with pytest.raises(Compacted):
        log.reader.term(2)
    for low in (0, 1, 3):
        with pytest.raises(Compacted):
            log.reader.entries(low, 6, 1 << 30)


@pytest.mark.parametrize("index", [0, 1, 3])
def test_cutting_what_is_cut_off_already_changes_nothing(log: LogUnderTest, index: int) -> None:
    log.append(entries_of(1, [3, 3, 4, 7, 7]))
    log.compact(3)
    log.compact(index)
    assert (log.reader.first_index(), contents(log)) == (4, [(4, 7), (5, 7)])


def test_a_cut_beyond_the_last_entry_is_a_bug(log: LogUnderTest) -> None:
    log.append(entries_of(1, [3, 3]))
    with pytest.raises(InvariantViolation):
        log.compact(3)


@pytest.mark.parametrize("cut_at", [2, 3, 5])
@pytest.mark.parametrize("term", [7, 9])
def test_a_log_that_was_cut_goes_on(log: LogUnderTest, cut_at: int, term: int) -> None:
    log.append(entries_of(1, [3, 3, 4, 7, 7]))
    log.compact(cut_at)
    log.append(entries_of(6, [term]))
    assert contents(log) == [*[(3, 4), (4, 7), (5, 7)][cut_at - 2 :], (6, term)]


def test_entries_after_a_cut_are_replaced_as_any(log: LogUnderTest) -> None:
    log.append(entries_of(1, [3, 3, 4, 7, 7]))
    log.compact(3)
    log.append(entries_of(4, [8]))
    assert contents(log) == [(4, 8)]


# Reset


@pytest.mark.parametrize(
    ("index", "term"),
    [
        pytest.param(9, 7, id="beyond the end"),
        pytest.param(9, 9, id="beyond the end, of a newer term"),
        pytest.param(5, 8, id="within, of another term"),
    ],
)
def test_a_reset_to_an_entry_that_is_not_here_empties_the_log(log: LogUnderTest, index: int, term: int) -> None:
    log.append(entries_of(1, [3, 3, 4, 7, 7]))
    log.reset(index, term)
    assert (log.reader.first_index(), log.reader.last_index(), log.reader.term(index)) == (index + 1, index, term)
    with pytest.raises(Compacted):
        log.reader.term(index - 1)


@pytest.mark.parametrize(("index", "expected"), [(3, [(4, 7), (5, 7)]), (5, [])])
def test_a_reset_to_an_entry_that_is_here_keeps_what_follows_it(
    log: LogUnderTest, index: int, expected: list[tuple[int, int]]
) -> None:
    log.append(entries_of(1, [3, 3, 4, 7, 7]))
    log.reset(index, log.reader.term(index))
    assert (log.reader.first_index(), contents(log)) == (index + 1, expected)


@pytest.mark.parametrize("term", [7, 9])
def test_a_log_that_was_reset_goes_on(log: LogUnderTest, term: int) -> None:
    log.append(entries_of(1, [3, 3]))
    log.reset(9, 7)
    log.append(entries_of(10, [term, term]))
    log.append(entries_of(11, [10]))
    assert contents(log) == [(10, term), (11, 10)]


def test_a_log_that_was_reset_is_cut(log: LogUnderTest) -> None:
    log.reset(9, 7)
    log.append(entries_of(10, [7, 8]))
    log.compact(10)
    assert (contents(log), log.reader.term(10)) == ([(11, 8)], 7)
