"""`/metrics`: what the parts of this node have counted, at the moment that somebody asks."""

import asyncio
import platform
from collections.abc import Iterator, Mapping
from typing import Final

import grpc

import meteora
from meteora.node.node import Node
from meteora.node.room import Shortage
from meteora.observability import metrics
from meteora.observability.metrics import Exposition, Form, Sample, form_for
from meteora.rpc import RpcServer
from meteora.server.access import Gate
from meteora.server.passwords import Logins
from meteora.server.recent import known_matches
from meteora.server.tls import NodeTls
from meteora.tls import Refusal, TlsCounters
from meteora.transport.incoming import PeerReceiver
from meteora.transport.outgoing import GrpcTransport
from meteora.web import Request, Response, WebApplication

DATABASE_PROPERTIES: Final = (
    "actual-delayed-write-rate",
    "block-cache-usage",
    "cur-size-all-mem-tables",
    "estimate-live-data-size",
    "estimate-num-keys",
    "estimate-pending-compaction-bytes",
    "estimate-table-readers-mem",
    "is-write-stopped",
    "live-sst-files-size",
    "num-files-at-level0",
    "num-immutable-mem-table",
    "num-running-compactions",
    "num-running-flushes",
    "num-snapshots",
)
"""Of RocksDB's own: what tells of stalls, memory and disk. All are numbers that it has at hand."""

_CODES: Final = {code.value[0]: code.name for code in grpc.StatusCode}


class NodeMetrics:
    """Reads one node."""

    def __init__(
        self,
        *,
        node: Node,
        transport: GrpcTransport,
        receiver: PeerReceiver,
        servers: Mapping[str, RpcServer],
        tls: NodeTls,
        gate: Gate,
        logins: Logins,
    ) -> None:
        """`servers`: by the name of the port."""
        self._node = node
        self._transport = transport
        self._receiver = receiver
        self._servers = servers
        self._tls = tls
        self._gate = gate
        self._logins = logins
        self._exposition = Exposition(self.read)
        self._reading: dict[Form, asyncio.Task[tuple[bytes, str]]] = {}
        """What is about to be read, for all who have asked by then: each by itself, many at a time would hold up the
        loop for seconds."""

    def add_to(self, application: WebApplication) -> None:
        """Serves them."""
        application.add("GET", "/metrics", self._serve)

    async def _serve(self, request: Request) -> Response:
        form = form_for((request.header(b"accept") or b"").decode("latin-1"))
        if form not in self._reading:
            self._reading[form] = asyncio.create_task(self._text(form))
        # Who goes takes the others' answer with it otherwise.
        text, content_type = await asyncio.shield(self._reading[form])
        return Response(200, [(b"content-type", content_type.encode()), (b"cache-control", b"no-store")], text)

    async def _text(self, form: Form) -> tuple[bytes, str]:
        # Who comes from now on waits for the next one.
        del self._reading[form]
        return self._exposition.text(form)

    def read(self) -> Iterator[Sample]:
        """What all metrics are now."""
        yield metrics.BUILD_INFO, (meteora.__version__, platform.python_version()), 1
        yield from self._place()
        yield from self._work()
        yield from self._databases()
        yield from self._peers()
        for port, server in self._servers.items():
            yield from _requests(port, server)
        for version, count in self._servers["kv"].connection_counts.items():
            yield metrics.HTTP_CONNECTIONS, (version,), count
        for port, server in self._servers.items():
            yield from _pressure(port, server)
        for port, incoming in (("kv", self._tls.kv), ("raft", self._tls.raft)):
            if incoming is not None:
                yield from _handshakes(port, incoming.counters)
        yield from self._users()

    def _place(self) -> Iterator[Sample]:
        node, status = self._node, self._node.status()
        configuration = node.members.configuration
        yield metrics.HAS_LEADER, (), status.leader_id != 0
        yield metrics.IS_LEADER, (), node.leads
        yield metrics.IS_LEARNER, (), node.node_id in configuration.learners
        yield metrics.LEADER_CHANGES, (), node.counts.leader_changes
        yield metrics.MEMBERS, ("voter",), len(configuration.voters)
        yield metrics.MEMBERS, ("learner",), len(configuration.learners)
        yield metrics.DIFFERING, (), len(node.differing)
        yield metrics.TERM, (), status.term
        yield metrics.COMMIT_INDEX, (), status.commit_index
        yield metrics.APPLIED_INDEX, (), status.applied_index
        yield metrics.LAST_INDEX, (), status.last_index

    def _work(self) -> Iterator[Sample]:
        load, counts = self._node.load, self._node.counts
        yield metrics.FIRST_INDEX, (), load.first_index
        yield metrics.PROPOSALS_PENDING, (), load.writes_pending
        yield metrics.PROPOSALS_COMMITTED, (), counts.applied_writes
        yield metrics.PROPOSALS_FAILED, (), load.writes_failed
        yield metrics.READS_PENDING, (), load.reads_pending
        yield metrics.READ_ROUNDS, (), load.read_rounds
        yield metrics.WAL_FSYNC_SECONDS, (), counts.log_write_seconds
        yield metrics.APPLY_SECONDS, (), counts.apply_seconds
        yield metrics.SLOW_APPLIES, (), counts.slow_applies
        yield metrics.UNFLUSHED_BYTES, (), load.unflushed_bytes
        yield metrics.SNAPSHOTS_CREATED, (), load.snapshots_created
        yield metrics.SNAPSHOTS_SENT, (), counts.snapshots_sent
        yield metrics.SNAPSHOTS_FAILED, (), counts.snapshots_not_sent
        yield metrics.SNAPSHOTS_INSTALLED, (), counts.snapshots_installed

    def _users(self) -> Iterator[Sample]:
        yield metrics.AUTH_LOGINS, ("succeeded",), self._logins.succeeded
        yield metrics.AUTH_LOGINS, ("failed",), self._logins.failed
        yield metrics.AUTH_LOGINS, ("refused",), self._logins.refused
        yield metrics.AUTH_REFUSED, ("unauthenticated",), self._gate.unauthenticated
        yield metrics.AUTH_REFUSED, ("denied",), self._gate.denied

    def _databases(self) -> Iterator[Sample]:
        node = self._node
        yield metrics.KEYS_ESTIMATE, (), node.database_property("state", "estimate-num-keys") or 0
        yield metrics.LIVE_BYTES_ESTIMATE, (), node.database_property("state", "estimate-live-data-size") or 0
        room = node.room
        yield metrics.STORED_BYTES, (), room.stored_bytes
        yield metrics.QUOTA_BYTES, (), room.quota_bytes
        if room.min_free_bytes:
            # Else nobody looks, and 0 would be a full disk.
            yield metrics.FREE_BYTES, (), room.free_bytes
            yield metrics.MIN_FREE_BYTES, (), room.min_free_bytes
        alarms = {alarm[:2] for alarm in node.alarms}
        for each in sorted(node.members.configuration.all_voters):
            for shortage in Shortage:
                yield metrics.ALARM, (str(each), shortage), (each, shortage) in alarms
        for database in ("log", "state"):
            for name in DATABASE_PROPERTIES:
                value = node.database_property(database, name)
                if value is not None:
                    yield metrics.ROCKSDB, (database, name), value

    def _peers(self) -> Iterator[Sample]:
        status = self._node.status()
        # There are links to others, too, who say that they are members; their ids have no end.
        links = {peer: link for peer, link in self._transport.links.items() if peer in self._node.members.by_id}
        for peer, link in links.items():
            yield metrics.PEER_CONNECTED, (str(peer),), link.is_connected
            yield metrics.PEER_SENT_BYTES, (str(peer),), link.sent_bytes
            yield metrics.PEER_RECEIVED_BYTES, (str(peer),), self._receiver.received_bytes.get(peer, 0)
            round_trip_seconds = link.round_trip_seconds()
            if round_trip_seconds is not None:
                yield metrics.PEER_ROUND_TRIP, (str(peer),), round_trip_seconds
        for peer, match_index in known_matches(self._node).items():
            yield metrics.PEER_MATCH_INDEX, (str(peer),), match_index
            yield metrics.PEER_LAG, (str(peer),), max(status.last_index - match_index, 0)
        for peer in status.peers.keys() - {self._node.node_id}:
            # Not `recent_active`, which is false for all of them just after each check of the quorum.
            yield metrics.PEER_ACTIVE, (str(peer),), self._node.hears(peer)


def _handshakes(port: str, counters: TlsCounters) -> Iterator[Sample]:
    yield metrics.TLS_HANDSHAKES, (port,), counters.handshakes
    # Those that never happened, too: what begins to happen is seen by that only.
    for reason in Refusal:
        yield metrics.TLS_REFUSED, (port, reason), counters.refused[reason]
    yield metrics.TLS_RELOADS, (port,), counters.reloads
    yield metrics.TLS_FAILED_RELOADS, (port,), counters.failed_reloads
    if counters.expires_at is not None:
        yield metrics.TLS_CERTIFICATE_EXPIRY, (port,), counters.expires_at.timestamp()


def _pressure(port: str, server: RpcServer) -> Iterator[Sample]:
    pressure = server.pressure
    yield metrics.HTTP_HELD_BYTES, (port,), pressure.held_bytes
    yield metrics.HTTP_REQUESTS_UNDER_WAY, (port,), pressure.requests
    yield metrics.HTTP_REFUSED_CONNECTIONS, (port,), pressure.refused_connections
    yield metrics.HTTP_REFUSED_REQUESTS, (port,), pressure.refused_requests
    yield metrics.HTTP_GIVEN_UP, (port,), pressure.given_up


def _requests(port: str, server: RpcServer) -> Iterator[Sample]:
    for path, counts in server.call_counts.items():
        method = path.removeprefix("/")
        yield metrics.REQUESTS, (port, method, "OK"), counts.ok
        for code, count in counts.failed.items():
            yield metrics.REQUESTS, (port, method, _CODES[code]), count
        if any(counts.seconds.counts):
            yield metrics.REQUEST_SECONDS, (port, method), counts.seconds
