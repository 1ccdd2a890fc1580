"""The parts of a node, started in order and stopped in the reverse.

1. The data directory is locked, and its identity looked at: a node that may not start must touch nothing else.
2. Certificates are read, and both ports are bound: if one is taken, nothing has been promised to anybody yet.
3. The disk is opened and made consistent; a new node creates its cluster, or joins one.
4. The node takes part; last, the ports begin to answer.

On the way down a node first leaves the cluster, if it was told to, or hands over leadership; then nothing new is taken
in; and the disk is closed when nobody can write to it any more.
"""

import asyncio
import random
import secrets
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from meteora.addresses import parse_address
from meteora.config import MAX_KEY_BYTES, NodeConfig
from meteora.errors import DataDirectoryError, StateDiverged
from meteora.features import OWN_RELEASE
from meteora.kv.installation import current_state_path, remove_leftovers
from meteora.kv.state_machine import StateMachine
from meteora.node import Member, Node, NodeSettings, Removal
from meteora.node.missed_ticks import seconds_awake_or_not
from meteora.node.recovery import create_cluster, replay
from meteora.node.snapshots import Snapshots
from meteora.observability.logs import get_logger
from meteora.pb.auth_pb2_grpc import add_AuthServiceServicer_to_server
from meteora.pb.kv_pb2_grpc import add_KvServiceServicer_to_server
from meteora.pb.maintenance_pb2_grpc import add_MaintenanceServiceServicer_to_server
from meteora.pb.peer_pb2_grpc import add_PeerServiceServicer_to_server
from meteora.pb.raft_pb2_grpc import add_RaftServiceServicer_to_server
from meteora.rpc import Bounds, RpcServer, create_rpc_server, longest_body_bytes
from meteora.server import file_handles
from meteora.server.access import Gate
from meteora.server.administration import Administration
from meteora.server.auth_service import AuthService
from meteora.server.cluster import Cluster
from meteora.server.founding import Former, Newcomer, meet
from meteora.server.guarded import GuardedServer
from meteora.server.joining import announce, ask_until_heard, join, join_request
from meteora.server.kv_service import KvService
from meteora.server.maintenance_service import MaintenanceService
from meteora.server.metrics import NodeMetrics
from meteora.server.passwords import Passwords
from meteora.server.peer_service import PeerService
from meteora.server.peer_statuses import PeerStatuses
from meteora.server.probes import Probes
from meteora.server.raft_service import RaftService
from meteora.server.recent import RecentWork
from meteora.server.replies import Replies
from meteora.server.status_page import StatusPage
from meteora.server.statuses import NOT_APPLIED_METADATA
from meteora.server.stepping_back import step_back
from meteora.server.tls import NodeTls, open_tls
from meteora.storage.data_directory import DataDirectory
from meteora.storage.data_directory import Identity as StoredIdentity
from meteora.storage.disk_space import disk_space
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from meteora.storage.rocks import is_database
from meteora.transport.dialler import Dialler
from meteora.transport.interface import Identity
from meteora.transport.outgoing import GrpcTransport
from meteora.web import WebApplication

MESSAGE_OVERHEAD_BYTES = 64 * 1024
"""Beside key and value in a request: generous, so that what is a little too long gets our error and not the host's."""

MAX_PEER_MESSAGE_BYTES = 64 << 20
"""A batch between peers: several appends, of which one may hold a single entry of the largest size."""

READ_BYTES = 128 << 20
"""Of values that are read from the disk together, if all of them are as long as they may be."""

RAFT_BOUNDS = Bounds(max_connections=256, max_requests=4_096, max_held_bytes=4 * MAX_PEER_MESSAGE_BYTES)
"""Of the Raft port: each peer has a connection or two, and other programs little to do there. What clients do on the KV
port takes nothing of it."""

METRICS_BOUNDS = Bounds(max_connections=128, max_requests=128, max_held_bytes=16 << 20)
"""Of the port of `--metrics-address`: a few scrapers and probes, each with a connection or two."""

GRACE_SECONDS = 1.0
"""For requests that are being answered when the node stops. Those that are not by then are given up."""

LAST_ANSWERS_SECONDS = 0.5
"""For those that were given up to be told so."""

STREAM_GRACE_SECONDS = 0.1
"""The same on the Raft port, where the peers' streams don't end by themselves."""

_KV_SERVICE = "meteora.kv.KvService"

_OF_RAFT_PORT = ("meteora.peer.PeerService",)
_OF_KV_PORT = (_KV_SERVICE, "meteora.auth.AuthService", "meteora.maintenance.MaintenanceService")

_SHARED_SERVICE = "meteora.raft.RaftService"
"""On both: clients know KV addresses only, and ask for the members there."""

_RESERVED_SERVICES = (_SHARED_SERVICE, health.SERVICE_NAME)
"""On the KV port: they tell what is going on when there is too much of it."""

_log = get_logger("server")


class Server:
    """A whole node: disk, peers, services."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._parts = AsyncExitStack()
        self._health = health.aio.HealthServicer()
        self._directory: DataDirectory
        self.tls: NodeTls
        """Of its two ports, with what was counted there."""
        self.kv_server: RpcServer
        """What listens for clients."""
        self._metrics_server: RpcServer | None = None
        """What answers scrapers and probes that have no certificate, if it is wanted."""
        self._dialler: Dialler
        self._has_just_joined = False
        """In this run."""
        self.node: Node
        self._transport: GrpcTransport
        self._cluster: Cluster
        self._gate: Gate

    async def start(self) -> None:
        """Start all parts. Raises a `MeteoraError` if one can't be; then, as when cancelled, none is left running."""
        try:
            await self._start()
        except BaseException:
            await self._parts.aclose()
            raise

    async def _start(self) -> None:
        config = self._config
        self._directory = DataDirectory.open(config.data_directory, config.node_id)
        self._parts.callback(self._directory.close)
        self._refuse_recovering()
        self._refuse_diverged()
        self._refuse_removed()
        self.tls = await self._open_tls()
        self._dialler = Dialler(self.tls.outgoing)
        raft_server, kv_server = self._bind()
        self._set_aside_removed()
        await self._know_cluster(raft_server)
        await self._start_node(*await self._open_disk())
        self._register(raft_server, kv_server)
        await raft_server.start()
        self._parts.push_async_callback(raft_server.stop, STREAM_GRACE_SECONDS)
        await kv_server.start()
        self._parts.push_async_callback(self._stop_answering, kv_server)
        if self._metrics_server is not None:
            await self._metrics_server.start()
            self._parts.push_async_callback(self._metrics_server.stop, 0.0)
        for service in ("", *_OF_RAFT_PORT, *_OF_KV_PORT, _SHARED_SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._tell_where()

    def _tell_where(self) -> None:
        config = self._config
        metrics = {} if config.metrics_address is None else {"metrics": config.metrics_address}
        cluster = f"{self._cluster.cluster_id:016x}"
        _log.info("serving", kv=config.kv_address, raft=config.raft_address, **metrics, cluster=cluster)

    async def _open_tls(self) -> NodeTls:
        tls = await asyncio.to_thread(open_tls, self._config, self._directory.path)
        for certificates in tls.certificates:
            self._run_beside(certificates.watch())
        return tls

    # Identity

    def _refuse_recovering(self) -> None:
        identity = self._directory.identity
        if identity is not None and identity.recovering:
            path = self._config.data_directory
            raise DataDirectoryError(
                f"data directory {path} was being made a new cluster, and that is not done: go on with it by meteora "
                f"recover --force-new-cluster -d {path}"
            )

    def _refuse_diverged(self) -> None:
        identity = self._directory.identity
        if identity is not None and identity.diverged:
            raise DataDirectoryError(f"data directory {self._config.data_directory}: {identity.diverged}")

    def _refuse_removed(self) -> None:
        identity = self._directory.identity
        if identity is not None and identity.removed and not self._config.peers_to_ask:
            raise self._removed_error(identity)

    def _set_aside_removed(self) -> None:
        identity = self._directory.identity
        if identity is not None and identity.removed:
            aside = self._directory.set_aside(datetime.now(UTC))
            _log.info("this node was removed from its cluster before: old state set aside", moved_to=aside)

    def _removed_error(self, identity: StoredIdentity) -> DataDirectoryError:
        known = f" (last known: {', '.join(identity.peers)})" if identity.peers else ""
        return DataDirectoryError(
            f"node {identity.node_id} was removed from cluster {identity.cluster_id:016x}; to join it anew, start it "
            f"with -p and the Raft address of a member{known}: its old state is then set aside, nothing is deleted; to "
            f"start a new cluster, choose another data directory than {self._config.data_directory}"
        )

    async def _know_cluster(self, raft_server: RpcServer) -> None:
        """Find out, once for a data directory, which cluster this node belongs to; create or join it if need be."""
        config, directory = self._config, self._directory
        identity = directory.identity or self._create_identity()
        if identity.cluster_id:
            self._refuse_lost_log()
            if config.peer_raft_address is not None or config.initial_cluster:
                option = "--initial-cluster" if config.initial_cluster else "-p"
                _log.info(f"already a member: {option} is not needed", cluster=f"{identity.cluster_id:016x}")
            return
        if identity.node_id != config.node_id:
            # It was never let in under that id. The other one gets an instance id of its own.
            self._make_log(identity.node_id)
            identity = self._create_identity()
        if peers := await self._whom_to_join(identity.instance_id, raft_server):
            self._make_log(identity.node_id)
            request = join_request(config.node_id, identity.instance_id, config.kv_address, config.raft_address)
            directory.set_cluster(await join(self._dialler, peers, request))
            self._has_just_joined = True
        else:
            await self._found_cluster(identity.instance_id)

    async def _whom_to_join(self, instance_id: int, raft_server: RpcServer) -> Sequence[str]:
        """Raft addresses of members; none if this node is to found a cluster."""
        config = self._config
        former = self._directory.former
        if not config.peers_to_ask and former is not None:
            raise self._removed_error(former)
        if not config.initial_cluster:
            return config.peers_to_ask
        # Others ask the same of this node meanwhile, at the port that it will have later.
        await raft_server.stop(0.0)
        reception = self._create_raft_server()
        left = None if former is None else Former(former.cluster_id, former.peers)
        add_PeerServiceServicer_to_server(Newcomer(instance_id, config.initial_cluster, left), reception)
        try:
            await reception.start()
            members = await meet(self._dialler, config.initial_cluster, config.raft_address, instance_id, left)
        finally:
            await reception.stop(STREAM_GRACE_SECONDS)
        raft_server.bind()
        return members

    def _create_identity(self) -> StoredIdentity:
        return self._directory.create_identity(self._config.node_id, secrets.randbits(63) + 1)

    async def _found_cluster(self, instance_id: int) -> None:
        config = self._config
        member = Member(config.kv_address, config.raft_address, instance_id)
        with self._opened_log() as log:
            await create_cluster(log, config.node_id, member)
        # Only now: until the identity says so, there is no cluster, and the next start does all of this again.
        cluster_id = secrets.randbits(63) + 1
        self._directory.set_cluster(cluster_id)
        _log.info("created a cluster", cluster=f"{cluster_id:016x}")

    def _make_log(self, node_id: int) -> None:
        """Make the log before there is a cluster: then a member without one has lost it."""
        with self._opened_log() as log:
            last_index = log.last_index()
        if last_index:
            raise DataDirectoryError(
                f"data directory {self._config.data_directory} is of node {node_id}, which was stopped while it "
                f"created a cluster of its own: start it with -i {node_id} and without -p or --initial-cluster to go "
                "on with that, or choose another directory with -d"
            )

    def _refuse_lost_log(self) -> None:
        if not is_database(self._directory.raft_path):
            # Without it, this node could vote twice, and deny what it has acknowledged.
            raise DataDirectoryError(
                f"data directory {self._config.data_directory} is of a member, but its log, raft/, is gone, and "
                "with it what the node has promised: let it join anew: meteora leave -i "
                f"{self._config.node_id} at another member, then start it with -p and an empty directory"
            )

    @contextmanager
    def _opened_log(self) -> Iterator[RaftLog]:
        disk = DiskThread("raft log")
        try:
            log = RaftLog.open(self._directory.raft_path, disk)
            try:
                yield log
            finally:
                log.close()
        finally:
            disk.close()

    # Disk

    async def _open_disk(self) -> tuple[RaftLog, StateMachine, Snapshots]:
        root, disk, snapshot_disk = self._directory.path, DiskThread("raft log"), DiskThread("snapshots")
        self._parts.callback(disk.close)
        self._parts.callback(snapshot_disk.close)
        state_path = current_state_path(root)
        state_machine = StateMachine.open(state_path)
        self._parts.callback(state_machine.close)
        log = RaftLog.open(self._directory.raft_path, disk, applied_index=state_machine.applied_index)
        self._parts.callback(log.close)
        replayed = await asyncio.to_thread(replay, log, state_machine)
        log.release(state_machine.applied_index)
        _log.info("disk opened", applied=state_machine.applied_index, last=log.last_index(), replayed=replayed)
        await asyncio.to_thread(remove_leftovers, root, state_path)
        return log, state_machine, Snapshots(root, log, state_machine, snapshot_disk)

    # Node and services

    async def _start_node(self, log: RaftLog, state_machine: StateMachine, snapshots: Snapshots) -> None:
        config, identity = self._config, self._identity
        settings = NodeSettings(
            node_id=config.node_id,
            instance_id=identity.instance_id,
            session_id=secrets.randbits(63) + 1,
            tick_seconds=config.tick_seconds,
            election_ticks=config.election_ticks,
            heartbeat_ticks=config.heartbeat_ticks,
            snapshot_catchup_entries=config.snapshot_catchup_entries,
            lease_reads=config.lease_reads,
            clock=seconds_awake_or_not,
            random_below=random.SystemRandom().randrange,
            reads_at_once=max(READ_BYTES // config.max_request_bytes, 1),
            quota_bytes=config.quota_bytes,
            min_free_bytes=config.min_free_bytes,
            disk_space=partial(disk_space, self._directory.path),
        )
        self.node = Node(settings, log, state_machine, snapshots)
        transport = self._transport = GrpcTransport(identity, self.node, self._dialler)
        self._parts.push_async_callback(transport.close)
        self._parts.push_async_callback(self.node.stop)
        self._gate = Gate(self.node)
        self._cluster = Cluster(
            self.node,
            identity.cluster_id,
            self._dialler,
            lambda: self._gate.member_authorization,
            has_proven_peers=self._config.peer_trusted_ca_file is not None,
        )
        self.node.failed.add_done_callback(self._note_divergence)
        self.node.start(transport)
        self._run_beside(self._keep_level_noted())
        self._announce_address(identity.instance_id)
        if not self.node.members.by_id and config.peers_to_ask:
            self._run_beside(self._stay_only_if_let_in(config.peers_to_ask, identity.instance_id))

    async def _keep_level_noted(self) -> None:
        """Have the data directory say which feature level its cluster has, for an older release that may open it."""
        while True:
            self.node.level_raised.clear()
            if self.node.level > self._stored_identity.level:
                noting = asyncio.ensure_future(asyncio.to_thread(self._directory.note_level, self.node.level))
                # What is begun must be over before the directory is closed.
                await asyncio.wait([noting])
                _log.info("the feature level was raised", level=noting.result().level)
            await self.node.level_raised.wait()

    @property
    def _stored_identity(self) -> StoredIdentity:
        identity = self._directory.identity
        assert identity is not None
        return identity

    @property
    def _identity(self) -> Identity:
        identity = self._stored_identity
        return Identity(
            identity.cluster_id, identity.node_id, identity.instance_id, self._config.raft_address, OWN_RELEASE
        )

    def _announce_address(self, instance_id: int) -> None:
        """Tell the others if this node came back under a new address."""
        config, known = self._config, self.node.members.by_id.get(self.node.node_id)
        if known is None or (known.kv_address, known.raft_address) == (config.kv_address, config.raft_address):
            return
        peers = [member.raft_address for member in self.node.members.by_id.values() if member is not known]
        request = join_request(config.node_id, instance_id, config.kv_address, config.raft_address)
        self._run_beside(announce(self._dialler, peers, request, self._cluster))

    async def _stay_only_if_let_in(self, peers: Sequence[str], instance_id: int) -> None:
        config = self._config
        request = join_request(config.node_id, instance_id, config.kv_address, config.raft_address)
        if not await ask_until_heard(self._dialler, self.node, peers, request):
            self.node.note_removal(Removal.WHILE_RUNNING if self._has_just_joined else Removal.WHILE_DOWN)

    def _run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._parts.push_async_callback(_cancel, task)

    @property
    def _kv_message_bytes(self) -> int:
        return self._config.max_request_bytes + MAX_KEY_BYTES + MESSAGE_OVERHEAD_BYTES

    def _bind(self) -> tuple[RpcServer, RpcServer]:
        config = self._config
        kv_bytes = self._kv_message_bytes
        kind, host = config.rpc_server, config.host
        raft_server = self._create_raft_server()
        kv_server = self.kv_server = create_rpc_server(
            kind,
            host,
            config.kv_port,
            max_message_bytes=kv_bytes,
            tls=self.tls.kv,
            bounds=self._kv_bounds(),
            reserved_services=_RESERVED_SERVICES,
            refusal_metadata=NOT_APPLIED_METADATA,
        )
        self._metrics_server = self._create_metrics_server()
        for server in (raft_server, kv_server, self._metrics_server):
            if server is not None:
                self._parts.push_async_callback(server.stop, 0.0)
                server.bind()
        return raft_server, kv_server

    def _create_raft_server(self) -> RpcServer:
        config = self._config
        return create_rpc_server(
            config.rpc_server,
            config.host,
            config.raft_port,
            max_message_bytes=MAX_PEER_MESSAGE_BYTES,
            tls=self.tls.raft,
            bounds=RAFT_BOUNDS,
            refusal_metadata=NOT_APPLIED_METADATA,
        )

    def _create_metrics_server(self) -> RpcServer | None:
        """Our own server whatever serves gRPC: no call is registered with it, and grpcio's knows nothing else."""
        if self._config.metrics_address is None:
            return None
        host, port = parse_address(self._config.metrics_address)
        return create_rpc_server("http2", host, port, max_message_bytes=0, bounds=METRICS_BOUNDS)

    def _kv_bounds(self) -> Bounds:
        config, handles = self._config, file_handles.limit()
        connections = file_handles.connections_within(handles, config.max_connections)
        if connections < config.max_connections:
            _log.warning(
                "fewer connections are taken than --max-connections says: this process may not open more files "
                "(ulimit -n, LimitNOFILE=)",
                max_connections=config.max_connections,
                taken=connections,
                files=handles,
            )
        return Bounds(
            max_connections=connections,
            max_requests=config.max_concurrent_requests,
            max_held_bytes=config.max_buffered_bytes,
        )

    def _register(self, raft_server: RpcServer, kv_server: RpcServer) -> None:
        config, node, cluster = self._config, self.node, self._cluster
        timeout_seconds = config.request_timeout_seconds
        replies, gate = Replies(node), self._gate
        passwords = Passwords()
        self._parts.push_async_callback(passwords.close)
        administration = Administration(node, passwords, token_ttl_seconds=config.auth_token_ttl_seconds)
        auth_service = AuthService(node, administration, gate, replies, timeout_seconds=timeout_seconds)
        raft_service = RaftService(node, cluster, replies, timeout_seconds=timeout_seconds)
        kv_service = KvService(
            node,
            replies,
            gate,
            max_value_bytes=config.max_request_bytes,
            timeout_seconds=timeout_seconds,
            forwards=not config.no_forward,
        )
        maintenance_service = MaintenanceService(node, cluster.cluster_id, gate, timeout_seconds=timeout_seconds)
        peer_service = PeerService(self._identity, node, cluster, timeout_seconds=timeout_seconds)
        raft_server = GuardedServer(raft_server, gate, timeout_seconds=timeout_seconds, is_of_members=True)
        kv_server = GuardedServer(kv_server, gate, timeout_seconds=timeout_seconds, is_of_members=False)
        add_PeerServiceServicer_to_server(peer_service, raft_server)
        add_KvServiceServicer_to_server(kv_service, kv_server)
        add_AuthServiceServicer_to_server(auth_service, kv_server)
        add_MaintenanceServiceServicer_to_server(maintenance_service, kv_server)
        kv_server.add_direct_methods(_KV_SERVICE, kv_service.direct_methods)
        for server, own_services in ((raft_server, _OF_RAFT_PORT), (kv_server, _OF_KV_PORT)):
            add_RaftServiceServicer_to_server(raft_service, server)
            add_HealthServicer_to_server(self._health, server)
            names = (*own_services, _SHARED_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        servers: dict[str, RpcServer] = {"kv": kv_server, "raft": raft_server}
        if self._metrics_server is not None:
            servers["metrics"] = self._metrics_server
        node_metrics = NodeMetrics(
            node=node,
            transport=self._transport,
            receiver=peer_service,
            servers=servers,
            tls=self.tls,
            gate=gate,
            logins=administration.logins,
        )
        self._serve_web(kv_server, node_metrics)

    def _serve_web(self, kv_server: RpcServer, node_metrics: NodeMetrics) -> None:
        """Plain HTTP, on the KV port and not on the Raft port, which is for nodes."""
        probes = Probes(self.node, self._cluster.cluster_id)
        self._parts.push_async_callback(probes.stop)
        if self._metrics_server is not None:
            in_the_clear = WebApplication(max_body_bytes=0)
            probes.add_to(in_the_clear)
            node_metrics.add_to(in_the_clear)
            self._metrics_server.serve_web(in_the_clear)
        application = WebApplication(longest_body_bytes(self._kv_message_bytes))
        if not kv_server.serve_web(application):
            _log.info("no HTTP beside gRPC: on its port, --rpc-server grpcio has no metrics, probes and JSON")
            return
        probes.add_to(application)
        node_metrics.add_to(application)
        peers = PeerStatuses(self._dialler, lambda: self._gate.member_authorization)
        recent = RecentWork(self.node, kv_server)
        page = StatusPage(self.node, self._cluster.cluster_id, self._transport, recent, peers)
        self._parts.push_async_callback(page.stop)
        page.add_to(application)

    # Stopping

    async def run_until(self, stopped: asyncio.Future[Any]) -> None:
        """Serve until `stopped` is done, or the node was removed, or has failed."""
        waits = (stopped, self.node.failed, self.node.removed)
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)

    async def stop(self) -> bool:
        """Stop all parts. True if the node is to be started again at once, to join anew after it had been removed.

        Raises what the node could not go on after, whenever that was, or `DataDirectoryError` if it had been removed
        while it was down and was not told whom to join.
        """
        await self._health.enter_graceful_shutdown()
        try:
            await step_back(self.node, self._cluster, leaves=self._config.enable_auto_leaving)
            removal = self._note_removal()
        finally:
            await self._parts.aclose()
        if self._failure is not None:
            raise self._failure
        if removal is Removal.WHILE_DOWN and not self._config.peers_to_ask:
            assert self._directory.identity is not None
            raise self._removed_error(self._directory.identity)
        _log.info("stopped")
        return removal is Removal.WHILE_DOWN

    @property
    def _failure(self) -> BaseException | None:
        """What the node could not go on after."""
        failed = self.node.failed
        return failed.exception() if failed.done() and not failed.cancelled() else None

    def _note_divergence(self, failed: asyncio.Future[Any]) -> None:
        """At once, however the process ends then: it must not start again with this state."""
        failure = None if failed.cancelled() else failed.exception()
        if isinstance(failure, StateDiverged):
            try:
                self._directory.mark_diverged(str(failure))
            except DataDirectoryError as error:
                _log.error("it can't be noted that the state differs: don't start this node again", cause=error)

    def _note_removal(self) -> Removal | None:
        """How this node came to be no member any more, noted on disk; None if it is one."""
        removed = self.node.removed
        if not removed.done():
            return None
        peers = [
            member.raft_address
            for node_id, member in self.node.members.by_id.items()
            if node_id != self.node.node_id and member.raft_address
        ]
        self._directory.mark_removed(peers)
        _log.info("this node is no longer a member; to join anew, start it with -p", members=", ".join(peers))
        return removed.result()

    async def _stop_answering(self, kv_server: RpcServer) -> None:
        """Take no more requests, and answer those that there are: at last, that they can't be finished.

        This server stops first, because what it still answers needs the peers, and then the disk.
        """
        stopping = asyncio.create_task(kv_server.stop(GRACE_SECONDS + LAST_ANSWERS_SECONDS))
        await asyncio.wait([stopping], timeout=GRACE_SECONDS)
        # On the Raft port, too, some may be waiting for the node.
        await self.node.stop()
        await stopping


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
