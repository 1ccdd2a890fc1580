"""Terms by index, against a plain list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.raft.errors import InvariantViolation
from meteora.storage.term_runs import TermRuns

steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 3), st.integers(1, 5)),
        st.tuples(st.just("truncate"), st.integers(1, 30), st.just(0)),
        st.tuples(st.just("compact"), st.integers(0, 30), st.just(0)),
    ),
    max_size=30,
)


@given(steps)
def test_the_term_of_every_index_is_that_of_a_plain_list(changes: list[tuple[str, int, int]]) -> None:
    runs, terms, base = TermRuns(), [0], 0
    for kind, number, count in changes:
        if kind == "append":
            added = [max(terms[-1] + number, 1)] * count
            terms += added
            for term in added:
                runs.append(term)
        elif kind == "truncate":
            del terms[max(number, base + 1) :]
            runs.truncate(max(number, base + 1))
        else:
            base = min(max(number, base), len(terms) - 1)
            runs.compact(base)
    assert (runs.base_index, runs.base_term, runs.last_index) == (base, terms[base], len(terms) - 1)
    assert [runs.term(index) for index in range(base, len(terms))] == terms[base:]


def test_the_terms_that_begin_at_or_after_an_index() -> None:
    runs = TermRuns([(2, 1), (3, 4), (7, 9)], 12)
    assert [list(runs.beginning_from(index)) for index in (1, 2, 4, 5, 9, 10)] == [
        [2, 3, 7],
        [3, 7],
        [3, 7],
        [7],
        [7],
        [],
    ]


def test_the_terms_that_end_before_an_index() -> None:
    runs = TermRuns([(2, 1), (3, 4), (7, 9)], 12)
    assert [list(runs.ending_before(index)) for index in (1, 3, 4, 8, 9, 12)] == [
        [0],
        [0],
        [0, 2],
        [0, 2],
        [0, 2, 3],
        [0, 2, 3],
    ]


def test_the_run_of_the_term_of_the_base_may_begin_before_it() -> None:
    runs = TermRuns([(2, 1), (3, 9)], 12, base_index=5, base_term=2)
    assert [runs.term(index) for index in (5, 8, 9, 12)] == [2, 2, 3, 3]


def test_a_log_that_begins_with_the_term_of_the_base_needs_no_run() -> None:
    assert TermRuns([], 12, base_index=5, base_term=2).term(12) == 2


@pytest.mark.parametrize("index", [4, 13])
def test_the_term_outside_a_log_that_was_cut_is_a_bug(index: int) -> None:
    with pytest.raises(InvariantViolation):
        TermRuns([], 12, base_index=5, base_term=2).term(index)


@pytest.mark.parametrize("index", [4, 13])
def test_a_cut_outside_the_log_is_a_bug(index: int) -> None:
    with pytest.raises(InvariantViolation):
        TermRuns([], 12, base_index=5, base_term=2).compact(index)


@pytest.mark.parametrize(
    ("runs", "last_index"),
    [
        pytest.param([(1, 2), (2, 3)], 12, id="a run that was cut off"),
        pytest.param([(2, 6)], 12, id="the term of the base begins again"),
        pytest.param([(1, 7)], 12, id="terms fall after the base"),
        pytest.param([], 4, id="ends before the base"),
    ],
)
def test_runs_that_cannot_follow_a_base_are_refused(runs: list[tuple[int, int]], last_index: int) -> None:
    with pytest.raises(InvariantViolation):
        TermRuns(runs, last_index, base_index=5, base_term=2)


@pytest.mark.parametrize("index", [-1, 3])
def test_the_term_outside_the_log_is_a_bug(index: int) -> None:
    with pytest.raises(InvariantViolation):
        TermRuns([(1, 1)], 2).term(index)


def test_a_term_that_falls_is_a_bug() -> None:
    runs = TermRuns([(2, 1)], 1)
    with pytest.raises(InvariantViolation, match="falls from 2 to 1"):
        runs.append(1)


@pytest.mark.parametrize(
    ("runs", "last_index"),
    [
        pytest.param([(1, 2)], 5, id="does not begin at 1"),
        pytest.param([(1, 1), (2, 1)], 5, id="two runs at one index"),
        pytest.param([(1, 1), (3, 4), (2, 5)], 5, id="terms fall"),
        pytest.param([(0, 1)], 5, id="term 0"),
        pytest.param([(1, 1), (2, 7)], 5, id="a run begins beyond the end"),
        pytest.param([], 5, id="no runs for entries"),
        pytest.param([(1, 1)], 0, id="runs without entries"),
    ],
)
def test_runs_that_cannot_be_are_refused(runs: list[tuple[int, int]], last_index: int) -> None:
    with pytest.raises(InvariantViolation):
        TermRuns(runs, last_index)
