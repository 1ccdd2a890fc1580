"""What a node did in the last minutes: a sample every two seconds, kept whether or not anybody looks.

A sample is what was counted since the one before, so it costs a few differences of short lists, and nothing where
requests are served.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meteora.node import Node
from meteora.observability.histogram import DISK_SECONDS, REQUEST_SECONDS
from meteora.rpc import RpcServer

SAMPLE_SECONDS: Final = 2.0

MAX_SAMPLES: Final = 150
"""Five minutes."""

_REQUESTS: Final = "/meteora.kv.KvService/"
"""Of clients, by the path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Two seconds. Rates are per second, times in seconds; a time is None if there was nothing to be measured."""

    at: float
    """Since 1970."""
    requests: float
    """Of clients, answered by this node, whatever the answer."""
    writes: float
    """Applied here, of any node's clients."""
    request_p50: float | None
    request_p99: float | None
    disk_p99: float | None
    """Of writes to the log."""
    slowest_disk: float
    """The longest that a write to the log took, as far as its bucket tells; 0 if there was none."""
    lags: Mapping[int, int]
    """Entries that each member has yet to get, as the leader knows it, and this node to apply."""


@dataclass(frozen=True, slots=True)
class _Counts:
    """What was counted up to one moment."""

    at: float
    requests: int
    writes: int
    request_seconds: Sequence[int]
    disk_seconds: Sequence[int]


class RecentWork:
    """The samples of one node."""

    def __init__(self, node: Node, kv_server: RpcServer) -> None:
        self._node = node
        self._kv_server = kv_server
        self._before = self._counts()
        self.samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        """Oldest first."""

    def take(self) -> None:
        """Takes a sample now."""
        before, now = self._before, self._counts()
        self._before = now
        seconds = max(now.at - before.at, 0.001)
        requests = _since(before.request_seconds, now.request_seconds)
        disk = _since(before.disk_seconds, now.disk_seconds)
        sample = Sample(
            at=time.time(),
            requests=(now.requests - before.requests) / seconds,
            writes=(now.writes - before.writes) / seconds,
            request_p50=quantile(REQUEST_SECONDS, requests, 0.5),
            request_p99=quantile(REQUEST_SECONDS, requests, 0.99),
            disk_p99=quantile(DISK_SECONDS, disk, 0.99),
            slowest_disk=quantile(DISK_SECONDS, disk, 1.0) or 0.0,
            lags=lags(self._node),
        )
        self.samples.append(sample)

    def _counts(self) -> _Counts:
        methods = [each for path, each in self._kv_server.call_counts.items() if path.startswith(_REQUESTS)]
        times = [each.seconds.counts for each in methods] or [[0] * (len(REQUEST_SECONDS) + 1)]
        counts = self._node.counts
        return _Counts(
            time.monotonic(),
            sum(each.ok + sum(each.failed.values()) for each in methods),
            counts.applied_writes,
            [sum(bucket) for bucket in zip(*times, strict=True)],
            tuple(counts.log_write_seconds.counts),
        )


def lags(node: Node) -> dict[int, int]:
    """How many entries this node has yet to apply; and, if it leads, how many each of the others has yet to get."""
    status = node.status()
    behind = {peer: max(status.last_index - match, 0) for peer, match in known_matches(node).items()}
    return {**behind, node.node_id: status.commit_index - status.applied_index}


def known_matches(node: Node) -> dict[int, int]:
    """Up to where each of the other members has the log, if this node leads, and as far as it knows.

    Of one that it has not heard since it leads it knows nothing, and not that it lacks all.
    """
    return {
        peer: each.match_index
        for peer, each in node.status().peers.items()
        if peer != node.node_id and (each.match_index or node.hears(peer))
    }


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """About the value that `share` of all values don't exceed; None if there are none.

    Within a bucket values are taken to lie evenly; beyond the last bound they are taken for that.
    """
    left = share * sum(counts)
    if not left:
        return None
    low = 0.0
    for high, count in zip(bounds, counts, strict=False):
        if count and left <= count:
            return low + (high - low) * left / count
        left -= count
        low = high
    return bounds[-1]


def _since(before: Sequence[int], now: Sequence[int]) -> list[int]:
    return [after - earlier for earlier, after in zip(before, now, strict=True)]
