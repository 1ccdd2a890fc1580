"""How often something took how long, in plain integers: cheap to count, and read when somebody asks."""

from bisect import bisect_left
from collections.abc import Sequence
from time import perf_counter
from typing import Final

DISK_SECONDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.002,
    0.004,
    0.008,
    0.016,
    0.032,
    0.064,
    0.128,
    0.256,
    0.512,
    1.0,
    2.0,
    4.0,
    8.0,
)
"""Bounds for what waits for a disk: from NVMe that lies to one that is about to fail."""

REQUEST_SECONDS: Final = (
    0.00025,
    0.0005,
    0.001,
    0.002,
    0.004,
    0.008,
    0.016,
    0.032,
    0.064,
    0.128,
    0.256,
    0.512,
    1.0,
    2.0,
    5.0,
    10.0,
)
"""Bounds for requests: the last ones are about the time-out."""


class Histogram:
    """Counts values by buckets."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        """The highest value of each bucket but the last, which has none."""
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """Of all values."""

    def observe(self, value: float) -> None:
        """Counts a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class CallCounts:
    """What became of the calls of one method.

    All are counted by their status; the time is taken of one at a time, so that it costs a busy node next to nothing:
    the first that comes while none is measured.
    """

    __slots__ = ("began_at", "failed", "measured", "ok", "seconds")

    def __init__(self) -> None:
        self.ok = 0
        self.failed: dict[int, int] = {}
        """By the number of the status."""
        self.seconds = Histogram(REQUEST_SECONDS)
        self.measured: object | None = None
        """The call that is being measured."""
        self.began_at = 0.0

    def begin(self, call: object) -> None:
        """Measures this call. Only if none is being measured."""
        # The loop's own time stands still within a turn of it.
        self.measured, self.began_at = call, perf_counter()

    def end(self) -> None:
        """The call that is being measured has ended."""
        self.measured = None
        self.seconds.observe(perf_counter() - self.began_at)

    def count(self, status: int) -> None:
        """A call has ended with this status."""
        if status == 0:
            self.ok += 1
        else:
            self.failed[status] = self.failed.get(status, 0) + 1
