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
    ),
    max_size=30,
)


@given(steps)
def test_the_term_of_every_index_is_that_of_a_plain_list(changes: list[tuple[str, int, int]]) -> None:
    runs, terms = TermRuns(), [0]
    for kind, number, count in changes:
        if kind == "append":
            added = [max(terms[-1] + number, 1)] * count
            terms += added
            for term in added:
                runs.append(term)
        else:
            del terms[max(number, 1) :]
            runs.truncate(number)
    assert runs.last_index == len(terms) - 1
    assert [runs.term(index) for index in range(len(terms))] == terms


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
