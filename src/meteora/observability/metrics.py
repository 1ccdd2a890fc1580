"""Every metric that a node exports: its name, unit, labels and meaning, in one place; and their text form.

Rules:

- Names are etcd's where etcd has the same thing, with `meteora_` for `etcd_`.
- Nothing is kept here: the parts of a node count in plain integers, which are read when somebody asks. There is no
  global registry, because several nodes may live in one process.
- No key, value, user or address of a client is ever a label.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from meteora.observability.histogram import Histogram


class Kind(StrEnum):
    """What may be done with the numbers of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


_metrics: list[Metric] = []


def _counter(name: str, text: str, *labels: str) -> Metric:
    return _metric(Metric(f"meteora_{name}", Kind.COUNTER, text, labels))


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return _metric(Metric(f"meteora_{name}", Kind.GAUGE, text, labels))


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return _metric(Metric(f"meteora_{name}", Kind.HISTOGRAM, text, labels))


def _metric(metric: Metric) -> Metric:
    _metrics.append(metric)
    return metric


# The node's place in its cluster
BUILD_INFO: Final = _gauge("build_info", "1, with the versions that run as labels.", "version", "python")
HAS_LEADER: Final = _gauge("server_has_leader", "1 if this node knows a leader, else 0.")
IS_LEADER: Final = _gauge("server_is_leader", "1 if this node leads, else 0.")
IS_LEARNER: Final = _gauge("server_is_learner", "1 if this node is a learner, else 0.")
LEADER_CHANGES: Final = _counter(
    "server_leader_changes_seen_total", "Changes of the leader that this node has seen since it was started."
)
MEMBERS: Final = _gauge("cluster_members", "Members of the cluster, by what they are: voter or learner.", "role")
DIFFERING: Final = _gauge("cluster_differing_members", "Members whose state was seen to differ from this node's.")
TERM: Final = _gauge("raft_term", "The term that this node is in.")
COMMIT_INDEX: Final = _gauge("raft_commit_index", "Up to where this node knows the log to be committed.")
APPLIED_INDEX: Final = _gauge("raft_applied_index", "Up to where this node has applied the log.")
LAST_INDEX: Final = _gauge("raft_last_index", "The newest entry in this node's log.")
FIRST_INDEX: Final = _gauge("raft_first_index", "The oldest entry in this node's log: what was before is cut off.")

# Writes and reads
PROPOSALS_PENDING: Final = _gauge(
    "server_proposals_pending", "Writes of this node's clients that are not answered yet."
)
PROPOSALS_COMMITTED: Final = _counter(
    "server_proposals_committed_total", "Writes that were committed and applied here, of any node's clients."
)
PROPOSALS_FAILED: Final = _counter(
    "server_proposals_failed_total", "Writes of this node's clients that were refused, or given up."
)
READS_PENDING: Final = _gauge("server_reads_pending", "Reads of this node's clients that are not answered yet.")
READ_ROUNDS: Final = _counter(
    "server_read_index_rounds_total", "Questions to the leader by which this node's linearizable reads were confirmed."
)
REQUESTS: Final = _counter(
    "server_requests_total",
    "Requests that were answered, or given up, by port, method and gRPC code.",
    "port",
    "method",
    "code",
)
REQUEST_SECONDS: Final = _histogram(
    "server_request_duration_seconds",
    "How long requests took. A sample: where many come at a time, one in 16 is measured.",
    "port",
    "method",
)

# Disk
WAL_FSYNC_SECONDS: Final = _histogram(
    "disk_wal_fsync_duration_seconds",
    "How long writes to the log took, fsync included, each for all that came together.",
)
APPLY_SECONDS: Final = _histogram(
    "server_apply_duration_seconds", "How long batches of committed entries took to apply."
)
SLOW_APPLIES: Final = _counter("server_slow_apply_total", "Batches that took longer than 0.1 s to apply.")
UNFLUSHED_BYTES: Final = _gauge(
    "disk_unflushed_bytes", "How much of the log would have to be applied again after a crash now, in bytes."
)
KEYS_ESTIMATE: Final = _gauge("kv_keys_estimate", "RocksDB's estimate of how many keys are stored.")
LIVE_BYTES_ESTIMATE: Final = _gauge(
    "kv_live_bytes_estimate", "RocksDB's estimate of the data that are stored, in bytes."
)
STORED_BYTES: Final = _gauge(
    "kv_stored_bytes", "What the data take on this node's disk, in bytes; what was deleted counts until it is merged."
)
QUOTA_BYTES: Final = _gauge(
    "server_quota_backend_bytes", "What the data may take (--quota-bytes), in bytes; 0: no quota."
)
FREE_BYTES: Final = _gauge("disk_free_bytes", "What is free on this node's disk, in bytes. Only if the node looks.")
MIN_FREE_BYTES: Final = _gauge(
    "disk_min_free_bytes", "What has to stay free there (--min-free-bytes), in bytes. Only if the node looks."
)
ALARM: Final = _gauge(
    "server_alarm", "1 if puts are refused because that voter is short of that, else 0.", "member", "kind"
)
ROCKSDB: Final = _gauge(
    "rocksdb_property",
    "A property of RocksDB's own, by its name without rocksdb., of log and state.",
    "database",
    "name",
)

# Peers
PEER_CONNECTED: Final = _gauge("network_peer_connected", "1 if this node's stream to the peer is open, else 0.", "peer")
PEER_SENT_BYTES: Final = _counter(
    "network_peer_sent_bytes_total", "Sent to the peer, in bytes, snapshots aside.", "peer"
)
PEER_RECEIVED_BYTES: Final = _counter(
    "network_peer_received_bytes_total", "Received from the peer, in bytes, snapshots aside.", "peer"
)
PEER_ROUND_TRIP: Final = _gauge(
    "network_peer_round_trip_seconds",
    "The smoothed round trip time of the connection to the peer, as the system has it. Linux only.",
    "peer",
)
PEER_MATCH_INDEX: Final = _gauge(
    "raft_peer_match_index",
    "Up to where the peer is known to have the log. Only a leader knows, once it has heard the peer.",
    "peer",
)
PEER_LAG: Final = _gauge(
    "raft_peer_lag_entries",
    "How many entries of the log the peer is behind. Only a leader knows, once it has heard the peer.",
    "peer",
)
PEER_ACTIVE: Final = _gauge(
    "raft_peer_active",
    "1 if the leader has heard the peer within the last one to two election timeouts, else 0. Only a leader knows.",
    "peer",
)
SNAPSHOTS_CREATED: Final = _counter("snapshots_created_total", "Snapshots that this node has made for others.")
SNAPSHOTS_SENT: Final = _counter("snapshots_sent_total", "Snapshots that this node has sent, whole.")
SNAPSHOTS_FAILED: Final = _counter("snapshots_send_failures_total", "Snapshots that this node could not send.")
SNAPSHOTS_INSTALLED: Final = _counter(
    "snapshots_installed_total", "Snapshots that this node has received and taken over."
)

# HTTP
HTTP_CONNECTIONS: Final = _gauge(
    "http_connections", "Connections that are open on the KV port, by the version of HTTP.", "version"
)

HTTP_HELD_BYTES: Final = _gauge(
    "http_held_bytes",
    "Kept for clients of the port: of what they have sent half of, and of what they don't read, in bytes.",
    "port",
)
HTTP_REQUESTS_UNDER_WAY: Final = _gauge("http_requests_under_way", "HTTP/2 requests under way, by port.", "port")
HTTP_REFUSED_CONNECTIONS: Final = _counter(
    "http_refused_connections_total", "Connections that were closed because there were too many, by port.", "port"
)
HTTP_REFUSED_REQUESTS: Final = _counter(
    "http_refused_requests_total", "Requests that were refused because there were too many, by port.", "port"
)
HTTP_GIVEN_UP: Final = _counter(
    "http_given_up_total",
    "Requests and connections that were given up to make room for others, by port.",
    "port",
)

# TLS
TLS_HANDSHAKES: Final = _counter("tls_handshakes_total", "TLS connections that were let in, by port.", "port")
TLS_REFUSED: Final = _counter(
    "tls_refused_total",
    "TLS connections that did not come about, or were not let in, by port and reason.",
    "port",
    "reason",
)
TLS_RELOADS: Final = _counter("tls_reloads_total", "How often changed certificates were taken into use.", "port")
TLS_FAILED_RELOADS: Final = _counter(
    "tls_failed_reloads_total", "How often changed certificates could not be used, and the old ones stayed.", "port"
)
TLS_CERTIFICATE_EXPIRY: Final = _gauge(
    "tls_certificate_expiry_timestamp_seconds",
    "When the first certificate of the port's own chain expires, in seconds since 1970.",
    "port",
)

# Users
AUTH_LOGINS: Final = _counter(
    "auth_logins_total",
    "Logins at this node by result: succeeded; failed; refused without a look, because too many have failed.",
    "result",
)
AUTH_REFUSED: Final = _counter(
    "auth_refused_requests_total",
    "Requests and operations that were refused by reason: unauthenticated (no valid token); denied (no role permits).",
    "reason",
)

METRICS: Final = tuple(_metrics)
"""All of ours. Beside them are those of the process, by prometheus-client."""

Sample = tuple[Metric, tuple[str, ...], float | Histogram]
"""A metric, the values of its labels, and what it is now."""


class Form(StrEnum):
    """In which metrics are written, by what is accepted by who wants it."""

    PROMETHEUS = ""
    OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def form_for(accept: str) -> Form:
    """The one for a client that accepts this."""
    return Form.OPEN_METRICS if "application/openmetrics-text" in accept else Form.PROMETHEUS


class Exposition(Collector):
    """What one node exports. `read` gives what the metrics are now; all samples of a metric one after another."""

    def __init__(self, read: Callable[[], Iterable[Sample]]) -> None:
        self._read = read
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self, form: Form) -> tuple[bytes, str]:
        """All of them; and the content type."""
        encode, content_type = choose_encoder(form)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """Called by the registry."""
        samples: dict[Metric, list[tuple[tuple[str, ...], float | Histogram]]] = {metric: [] for metric in METRICS}
        for metric, labels, value in self._read():
            samples[metric].append((labels, value))
        for metric, values in samples.items():
            yield _family(metric, values)


def _family(
    metric: Metric, values: Iterable[tuple[tuple[str, ...], float | Histogram]]
) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    if metric.kind is Kind.HISTOGRAM:
        histograms = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in values:
            assert isinstance(value, Histogram)
            histograms.add_metric(labels, *_buckets(value))
        return histograms
    of_kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = of_kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in values:
        assert not isinstance(value, Histogram)
        family.add_metric(labels, value)
    return family


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """As Prometheus has them: each counts all that is not above its bound."""
    total, buckets = 0, []
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets, histogram.total
