import pytest

from bench.results import P50, THROUGHPUT, Results, Timeline, from_json, to_json


@pytest.fixture
def results() -> Results:
    found = Results({"processor": "two cores"}, {"etcd": "3.4"}, {"etcd": "as by default"})
    rounds = [{("put", THROUGHPUT): 10.0, ("put", P50): 1.0}, {("put", THROUGHPUT): 12.0, ("put", P50): 2.0}]
    found.add("throughput", {"meteora": rounds, "etcd": rounds[:1]})
    found.timelines.append(Timeline("meteora", "put", (3, 4)))
    return found


def test_the_samples_of_the_rounds_become_a_series_for_each_measure(results: Results) -> None:
    assert results.values("throughput", "put", "meteora", THROUGHPUT) == (10.0, 12.0)
    assert results.values("throughput", "put", "meteora", P50) == (1.0, 2.0)


def test_what_was_not_measured_has_no_values(results: Results) -> None:
    assert results.values("throughput", "get", "meteora", THROUGHPUT) == ()


def test_results_come_back_from_json_as_they_were(results: Results) -> None:
    assert from_json(to_json(results)) == results


def test_json_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format"):
        from_json("{}")
