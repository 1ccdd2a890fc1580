import pytest

from bench.__main__ import DEFAULT_PARTS, PARTS, chosen_parts, chosen_plan, parser
from bench.plan import DEFAULT, FULL, QUICK, Plan


def plan(*arguments: str) -> Plan:
    return chosen_plan(parser().parse_args(arguments))


def test_without_words_the_default_parts_are_run() -> None:
    assert chosen_parts([]) == list(DEFAULT_PARTS)


def test_parts_are_run_in_their_own_order_each_once() -> None:
    assert chosen_parts(["half-load", "throughput", "half-load"]) == ["throughput", "half-load"]


def test_all_parts_can_be_asked_for() -> None:
    assert chosen_parts(["all"]) == list(PARTS)


def test_an_unknown_part_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="no part nonsense: choose from throughput"):
        chosen_parts(["nonsense"])


def test_the_plan_is_chosen_by_name() -> None:
    assert [plan(), plan("--full"), plan("--quick")] == [DEFAULT, FULL, QUICK]


def test_a_size_that_is_given_changes_the_plan() -> None:
    changed = plan("--values", "64,1024", "--rounds", "7")
    assert (changed.value_sizes_bytes, changed.rounds, changed.keys) == ((64, 1024), 7, DEFAULT.keys)
