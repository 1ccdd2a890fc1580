import pytest

from meteora.server.recent import quantile

BOUNDS = (1.0, 2.0, 4.0)


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile(BOUNDS, [0, 0, 0, 0], 0.5) is None


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ([10, 0, 0, 0], 0.5, 0.5),
        ([0, 10, 0, 0], 0.5, 1.5),
        ([5, 0, 5, 0], 0.5, 1.0),
        ([5, 0, 5, 0], 1.0, 4.0),
        ([99, 0, 0, 1], 0.99, 1.0),
        ([0, 0, 0, 1], 0.5, 4.0),
    ],
)
def test_a_quantile_lies_where_its_bucket_says(counts: list[int], share: float, value: float) -> None:
    assert quantile(BOUNDS, counts, share) == pytest.approx(value)
