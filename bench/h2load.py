"""What h2load is told and what it says: its command line, its output and its log, without running it.

Pure. Its own output has the least, greatest and mean latency only, so all figures are taken from its log, which has
every request. The warm-up is cut off here and not by h2load, because its count of bytes would have the warm-up in it,
and its count of requests would not. It takes a request for a success by its HTTP status, which with gRPC says nothing:
a call that failed is answered without a message, so the bytes of the messages tell (see `answered_share`).
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.payloads import FRAME_BYTES


class LoadFailed(Exception):
    """h2load did not do what was asked, or the system did not answer it. The numbers of such a run mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How the load comes: closed loops, one for each stream of each connection."""

    connections: int
    streams: int
    requests_per_second: float | None = None
    """A fixed rate over all connections; as fast as answers come if None."""

    def __str__(self) -> str:
        return f"{self.connections} x {self.streams}"


@dataclass(frozen=True, slots=True)
class Tally:
    """What h2load counted, over the whole run."""

    succeeded: int
    failed: int
    message_bytes: int
    """Of the DATA frames that came back."""


_FINISHED = re.compile(
    r"^requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$", re.MULTILINE
)
_DATA = re.compile(r"^traffic: .*\((\d+)\) data$", re.MULTILINE)


def parse_output(output: str) -> Tally:
    """Raises `LoadFailed` if it isn't that of a finished run."""
    counts, data = _FINISHED.search(output), _DATA.search(output)
    if counts is None or data is None:
        raise LoadFailed(f"h2load's output is not that of a finished run:\n{output}")
    done, succeeded, *failures = map(int, counts.groups())
    if not done:
        raise LoadFailed(f"no request was answered:\n{output}")
    return Tally(succeeded, sum(failures), int(data[1]))


def answered_share(tally: Tally, least_reply_bytes: int) -> float:
    """How many of all requests were answered by a message, at least, if no message is shorter than this; 1 is all."""
    total = tally.succeeded + tally.failed
    return tally.message_bytes / ((least_reply_bytes + FRAME_BYTES) * total)


@dataclass(frozen=True, slots=True)
class Log:
    """What was answered in the measured time of a run."""

    seconds: float
    """How long that was."""
    latencies_ms: Sequence[float]
    """Of each request that was answered then, ascending."""
    requests_in_second: tuple[int, ...]
    """How many were answered in the first whole second of it, in the second one, and so on."""

    @property
    def requests_per_second(self) -> float:
        """The mean over the measured time."""
        return len(self.latencies_ms) / self.seconds


def parse_log(lines: Iterable[str], warm_up_seconds: float = 0.0, seconds: float | None = None) -> Log:
    """Reads tab-separated lines: start in microseconds, HTTP status, microseconds until the end.

    The measured time begins so long after the first request was sent, and lasts `seconds`, or until the last answer.
    Raises `LoadFailed` if nothing was answered then.
    """
    starts, durations = array("q"), array("q")
    for line in lines:
        start, status, taken = map(int, line.split("\t")[:3])
        if status == 200:
            starts.append(start)
            durations.append(taken)
    if not starts:
        raise LoadFailed("no request was answered")
    begin = min(starts) + round(warm_up_seconds * 1e6)
    last = max(start + taken for start, taken in zip(starts, durations, strict=True))
    end = last + 1 if seconds is None else begin + round(seconds * 1e6)
    return _measured(zip(starts, durations, strict=True), begin, end)


def _measured(requests: Iterable[tuple[int, int]], begin: int, end: int) -> Log:
    """Of requests by start and duration, those that were answered between two instants, all in microseconds."""
    latencies: list[float] = []
    by_second: Counter[int] = Counter()
    for start, taken in requests:
        if begin <= start + taken < end:
            latencies.append(taken / 1000)
            by_second[(start + taken - begin) // 1_000_000] += 1
    if not latencies:
        raise LoadFailed("no request was answered in the measured time")
    latencies.sort()
    whole_seconds = (end - begin) // 1_000_000
    return Log((end - begin) / 1e6, latencies, tuple(by_second[number] for number in range(whole_seconds)))


def command(url: str, body: str, shape: Shape, log: str) -> list[str]:
    """The command line but for how long: with `for_seconds` or `for_requests`."""
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    load = ["-c", str(shape.connections), "-m", str(shape.streams), "-t", "1"]
    if shape.requests_per_second is not None:
        load += ["--rps", f"{shape.requests_per_second / shape.connections:.1f}"]
    return ["h2load", *load, *headers, "-d", body, f"--log-file={log}", url]


def for_seconds(seconds: float) -> list[str]:
    """The options for a run of this length, connecting included."""
    return ["-D", f"{round(seconds * 1000)}ms"]


def for_requests(count: int) -> list[str]:
    """The options for a run of so many requests."""
    return ["-n", str(count)]
