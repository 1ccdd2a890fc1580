import pytest

from meteora.observability.histogram import MEASURED_OF, CallCounts, Histogram


@pytest.mark.parametrize(("value", "bucket"), [(0.0, 0), (1.0, 0), (1.5, 1), (2.0, 1), (3.0, 2)])
def test_a_value_is_counted_in_the_first_bucket_that_it_fits(value: float, bucket: int) -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(value)
    assert histogram.counts == [int(each == bucket) for each in range(3)]


def test_all_values_are_summed_up() -> None:
    histogram = Histogram((1.0,))
    for value in (0.5, 1.5, 3.0):
        histogram.observe(value)
    assert (histogram.total, sum(histogram.counts)) == (5.0, 3)


def test_calls_are_measured_apart_and_counted_by_their_status() -> None:
    counts, first, second = CallCounts(), object(), object()
    counts.begin(first)
    counts.begin(second)
    counts.end(second)
    assert list(counts.measured) == [first]
    counts.end(first)
    for status in (0, 14, 14):
        counts.count(status)
    assert (sum(counts.seconds.counts), counts.ok, counts.failed) == (2, 1, {14: 2})


def test_the_share_that_is_measured_is_a_power_of_two() -> None:
    assert MEASURED_OF & (MEASURED_OF - 1) == 0
