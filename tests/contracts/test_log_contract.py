"""What the core may expect of a log, whether it is on disk or in memory."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from meteora.raft.entry import Entry
from meteora.raft.errors import InvariantViolation
from meteora.raft.log_reader import LogReader
from meteora.raft.memory_log import MemoryLog
from tests.unit.storage.raft_logs import append as append_to_disk
from tests.unit.storage.raft_logs import opened

ENTRY_BYTES = 100


class LogUnderTest(NamedTuple):
    reader: LogReader
    append: Callable[[Sequence[Entry]], None]


@pytest.fixture(params=["memory", "disk"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogUnderTest]:
    if request.param == "memory":
        memory_log = MemoryLog()
        yield LogUnderTest(memory_log, memory_log.append)
    else:
        with opened(tmp_path / "raft") as raft_log:
            yield LogUnderTest(raft_log, lambda entries: append_to_disk(raft_log, entries))


def entries_of(first: int, terms: Sequence[int]) -> list[Entry]:
    """Entries of `ENTRY_BYTES` each."""
    return [Entry(term, index, b"." * (ENTRY_BYTES - 22)) for index, term in enumerate(terms, first)]


def contents(log: LogUnderTest) -> list[tuple[int, int]]:
    """The log as (index, term) pairs, by all that it says."""
    last = log.reader.last_index()
    entries = log.reader.entries(1, last + 1, 1 << 30) if last else []
    assert entries is not None
    pairs = [(entry.index, entry.term) for entry in entries]
    assert pairs == [(index, log.reader.term(index)) for index in range(1, last + 1)]
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
