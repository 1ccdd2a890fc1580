"""What many numbers come to: median, spread, percentiles, ratios.

Pure. Percentiles are of the nearest rank: each is a value that was measured.
"""

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Summary(NamedTuple):
    """The runs of one system under one load."""

    median: float
    lowest: float
    highest: float


def summary(values: Sequence[float]) -> Summary:
    """Raises `ValueError` if there are none."""
    if not values:
        raise ValueError("no runs to sum up")
    return Summary(median(values), min(values), max(values))


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The lowest value that `percent` of the values do not exceed. Raises `ValueError` if there are none."""
    if not ascending:
        raise ValueError("no values to take a percentile of")
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Summary:
    """Our median over theirs; lowest and highest are those of the rounds, each against the same round of theirs."""
    of_medians = median(ours) / median(theirs)
    of_rounds = [our / their for our, their in zip(ours, theirs, strict=False)]
    return Summary(of_medians, min(of_rounds), max(of_rounds))
