"""What h2load is told and what it says: its command line, its output and its log, without running it.

Pure. Its own output has the least, greatest and mean latency only; percentiles are taken from its log, which has every
request. It counts a request as a success by its HTTP status, and with gRPC that says nothing: a call that failed is
answered without a message, so the bytes of the messages tell (see `answered_share`).
"""

import re
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
    """What h2load counted."""

    seconds: float
    succeeded: int
    failed: int
    message_bytes: int
    """Of the DATA frames that came back."""


_FINISHED = re.compile(
    r"^requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$", re.MULTILINE
)
_RATE = re.compile(r"^finished in .*?, ([\d.]+) req/s", re.MULTILINE)
_DATA = re.compile(r"^traffic: .*\((\d+)\) data$", re.MULTILINE)


def parse_output(output: str) -> Tally:
    """Raises `LoadFailed` if it isn't that of a finished run."""
    counts, rate, data = _FINISHED.search(output), _RATE.search(output), _DATA.search(output)
    if counts is None or rate is None or data is None:
        raise LoadFailed(f"h2load's output is not that of a finished run:\n{output}")
    done, succeeded, *failures = map(int, counts.groups())
    if not done or not float(rate[1]):
        raise LoadFailed(f"no request was answered:\n{output}")
    # It prints the time in units of its own choice, and its rate is of the measured time, without the warm-up.
    return Tally(done / float(rate[1]), succeeded, sum(failures), int(data[1]))


def answered_share(tally: Tally, least_reply_bytes: int) -> float:
    """How many of all requests were answered by a message, at least, if no message is shorter than this; 1 is all."""
    total = tally.succeeded + tally.failed
    return tally.message_bytes / ((least_reply_bytes + FRAME_BYTES) * total)


@dataclass(frozen=True, slots=True)
class Log:
    """The log of a run: of each request that was answered, how long it took; and how many were answered when."""

    latencies_ms: Sequence[float]
    """Ascending."""
    requests_in_second: tuple[int, ...]
    """Those answered in the first second, in the second one, and so on; the last, which was cut short, left out."""
    failed: int


def parse_log(lines: Iterable[str]) -> Log:
    """Reads tab-separated lines: start in microseconds, HTTP status, microseconds until the end."""
    latencies: list[float] = []
    ends: Counter[int] = Counter()
    failed = 0
    for line in lines:
        start, status, taken = map(int, line.split("\t")[:3])
        if status != 200:
            failed += 1
            continue
        latencies.append(taken / 1000)
        ends[(start + taken) // 10_000] += 1
    latencies.sort()
    return Log(latencies, _by_second(ends), failed)


def _by_second(ends: Counter[int]) -> tuple[int, ...]:
    """Counts by second after the first end, from counts by hundredth of a second."""
    if not ends:
        return ()
    first = min(ends)
    seconds = Counter[int]()
    for hundredth, count in ends.items():
        seconds[(hundredth - first) // 100] += count
    return tuple(seconds[number] for number in range(max(seconds)))


def command(url: str, body: str, shape: Shape, log: str) -> list[str]:
    """The command line but for how long: with `for_seconds` or `for_requests`."""
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    load = ["-c", str(shape.connections), "-m", str(shape.streams), "-t", "1"]
    if shape.requests_per_second is not None:
        load += ["--rps", f"{shape.requests_per_second / shape.connections:.1f}"]
    return ["h2load", *load, *headers, "-d", body, f"--log-file={log}", url]


def for_seconds(seconds: float, warm_up_seconds: float) -> list[str]:
    """The options for a run of this length; the warm-up comes before it and is not measured."""
    return ["-D", f"{round(seconds * 1000)}ms", "--warm-up-time", f"{round(warm_up_seconds * 1000)}ms"]


def for_requests(count: int) -> list[str]:
    """The options for a run of so many requests."""
    return ["-n", str(count)]
