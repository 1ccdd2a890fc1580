import pytest

from bench.figures import percentile, ratio, summary


def test_a_summary_is_the_median_between_the_lowest_and_the_highest() -> None:
    assert summary([5.0, 1.0, 3.0]) == (3.0, 1.0, 5.0)


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (99.9, 100), (100, 100), (0, 1)])
def test_a_percentile_is_the_lowest_value_that_so_many_do_not_exceed(percent: float, expected: int) -> None:
    assert percentile(range(1, 101), percent) == expected


def test_the_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 99.9) == 7.0


@pytest.mark.parametrize("call", [lambda: summary([]), lambda: percentile([], 50)])
def test_nothing_has_neither_a_summary_nor_a_percentile(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match="no "):
        call()


def test_a_ratio_is_of_the_medians_and_its_spread_of_the_rounds() -> None:
    assert ratio([10.0, 40.0, 30.0], [10.0, 20.0, 60.0]) == (30 / 20, 0.5, 2.0)
