"""The write to the log that is under way, of which there is one at most, and how long it takes."""

from time import perf_counter
from typing import Final

from meteora.observability.histogram import Histogram
from meteora.observability.logs import get_logger

SLOW_DISK_SECONDS: Final = 1.0
"""A write to the log that takes longer is logged; a leader then hands over, after an election timeout at least."""

_log = get_logger("node")


class LogWrite:
    """Times are the loop's, in seconds."""

    def __init__(self, seconds: Histogram) -> None:
        """`seconds`: where it is counted how long they take."""
        self._seconds = seconds
        self._began_at = 0.0
        self.is_under_way = False
        self._began = 0.0
        self._is_slowness_told = False

    def begin(self, now: float) -> None:
        """One begins."""
        self.is_under_way = True
        self._began = now
        # Finer than the loop's.
        self._began_at = perf_counter()
        self._is_slowness_told = False

    def end(self, now: float) -> None:
        """It is durable. Tells of it if it took long."""
        self.is_under_way = False
        self._seconds.observe(perf_counter() - self._began_at)
        took_seconds = now - self._began
        if took_seconds > SLOW_DISK_SECONDS:
            tell = _log.info if self._is_slowness_told else _log.warning
            tell("slow disk: writing the log took long", seconds=round(took_seconds, 3))

    def seconds(self, now: float) -> float:
        """How long the one that is under way has taken so far; 0 if none is."""
        return now - self._began if self.is_under_way else 0.0

    def slow_seconds(self, now: float) -> float:
        """How long it has taken so far, if that is long; else 0. Tells of it, once."""
        took_seconds = now - self._began
        if not self.is_under_way or took_seconds <= SLOW_DISK_SECONDS:
            return 0.0
        if not self._is_slowness_told:
            self._is_slowness_told = True
            _log.warning("slow disk: a write to the log does not end", seconds=round(took_seconds, 3))
        return took_seconds
