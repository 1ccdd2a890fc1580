import pytest

from bench import report
from bench.results import DURATION, ELECTIONS, THROUGHPUT, Measure, Results


def results(what: Measure, ours: list[float], theirs: list[float]) -> Results:
    found = Results({"processor": "two cores"}, {"etcd": "3.4"}, {"etcd": "as by default"})
    samples = {"meteora": [{("a load", what): value} for value in ours]}
    found.add("a part", {**samples, "etcd": [{("a load", what): value} for value in theirs]})
    return found


def row(text: str, title: str) -> list[str]:
    """The cells of the one row that begins with this title."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_has_each_median_with_its_spread_and_the_ratio() -> None:
    text = report.markdown(results(THROUGHPUT, [300.0, 100.0, 200.0], [100.0, 100.0, 100.0]))
    assert row(text, "a load")[1:] == [
        "throughput, requests/s",
        "200 (100 to 300)",
        "100",
        "2 (1 to 3)",
        "meteora",
    ]


@pytest.mark.parametrize(
    ("what", "ours", "theirs", "ahead"),
    [
        (THROUGHPUT, 2.0, 1.0, "meteora"),
        (THROUGHPUT, 1.0, 2.0, "etcd"),
        (DURATION, 2.0, 1.0, "etcd"),
        (DURATION, 1.0, 2.0, "meteora"),
        (DURATION, 1.0, 1.0, "neither"),
    ],
)
def test_who_is_ahead_is_said_whoever_it_is(what: Measure, ours: float, theirs: float, ahead: str) -> None:
    assert row(report.markdown(results(what, [ours], [theirs])), "a load")[-1] == ahead


def test_what_is_nothing_at_the_other_is_not_compared() -> None:
    assert row(report.markdown(results(ELECTIONS, [1.0], [0.0])), "a load")[1:] == ["elections", "1", "0", "", ""]


def test_machine_settings_and_versions_are_in_the_report() -> None:
    text = report.markdown(results(THROUGHPUT, [1.0], [1.0]))
    assert row(text, "processor")[1] == "two cores"
    assert {cell for line in text.splitlines() for cell in map(str.strip, line.split("|"))} >= {"3.4", "as by default"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(12345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.0, "0"), (3.0, "3")],
)
def test_a_number_has_about_three_digits_that_mean_something(value: float, expected: str) -> None:
    assert report.number(value) == expected


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert report.table(("a", "b"), [("long cell", "c|d")]).splitlines() == [
        "| a         | b    |",
        "|-----------|------|",
        "| long cell | c\\|d |",
    ]
