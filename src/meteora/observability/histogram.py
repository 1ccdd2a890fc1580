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

MEASURED_OF: Final = 16
"""Calls that come while others are measured: of so many the time of one is taken. A power of two."""


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

    All are counted by their status. The time is taken of each that comes while none is measured, so that a few are all
    measured, and of one in `MEASURED_OF` otherwise, so that many cost next to nothing: not of one at a time only, or a
    time in which all are slow would count as one slow call.
    """

    __slots__ = ("failed", "measured", "ok", "seconds", "seen")

    def __init__(self) -> None:
        self.seen = 0
        """How many have begun."""
        self.ok = 0
        self.failed: dict[int, int] = {}
        """By the number of the status."""
        self.seconds = Histogram(REQUEST_SECONDS)
        self.measured: dict[object, float] = {}
        """The calls that are being measured, and since when."""

    def begin(self, call: object) -> None:
        """Measures this call."""
        # The loop's own time stands still within a turn of it.
        self.measured[call] = perf_counter()

    def end(self, call: object) -> None:
        """A call that is being measured has ended."""
        self.seconds.observe(perf_counter() - self.measured.pop(call))

    def count(self, status: int) -> None:
        """A call has ended with this status."""
        if status == 0:
            self.ok += 1
        else:
            self.failed[status] = self.failed.get(status, 0) + 1
