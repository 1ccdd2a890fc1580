"""Everything that can be set about a node, in one frozen object; units are in the names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from meteora.addresses import MAX_PORT
from meteora.settings import Choice, Count, Directory, File, Flag, Names, Seconds, Text, WholeNumber, declared, setting

MAX_KEY_BYTES = 64 * 1024
"""Keys longer than this are refused: RocksDB keeps keys in its index blocks, which live in memory."""

DEFAULT_MAX_REQUEST_BYTES = 1_572_864
"""1.5 MiB, as etcd: one huge value must not delay heartbeats behind it on the same stream."""

HIGHEST_MAX_REQUEST_BYTES = 32 << 20
"""What `--max-request-bytes` may be set to: half of what a peer takes as one message, which also carries the key and
whatever small messages were waiting; and half of what may wait to be written."""

DEFAULT_KV_PORT = 5000
DEFAULT_RAFT_PORT = 7000

MAX_NODE_ID: Final = (1 << 64) - 1
"""Ids are uint64 on the wire; 0 is nobody's."""

RpcServerKind = Literal["http2", "grpcio"]
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

NODE_ID: Final = WholeNumber("ID", "node id", MAX_NODE_ID)
_PORT = WholeNumber("PORT", "port", MAX_PORT)
_REQUEST_BYTES = WholeNumber(
    "BYTES", "number of bytes", HIGHEST_MAX_REQUEST_BYTES, reason="32 MiB, what members pass on to others"
)

_CONNECTIONS = WholeNumber("COUNT", "number of connections", 1_000_000)
_REQUESTS = WholeNumber("COUNT", "number of requests", 1_000_000)
_BUFFERED_BYTES = WholeNumber("BYTES", "number of bytes", 1 << 40, minimum=1 << 20, reason="1 MiB to 1 TiB")
_ROOM_BYTES = WholeNumber("BYTES", "number of bytes", (1 << 63) - 1, minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The settings of one node. A field made by `setting` is set by users: that declaration is all there is to do."""

    node_id: int = setting(1, "-i", "--id", kind=NODE_ID, meaning="This node's number, its own in the cluster.")
    address: str = setting("0.0.0.0", "-a", "--address", kind=Text("HOST"), meaning="Host to listen on.")
    raft_port: int = setting(
        DEFAULT_RAFT_PORT, "-r", "--raft-port", kind=_PORT, meaning="Port that other nodes connect to."
    )
    kv_port: int = setting(DEFAULT_KV_PORT, "-k", "--kv-port", kind=_PORT, meaning="Port that clients connect to.")
    data_directory: Path = setting(
        Path("./data"),
        "-d",
        "--data-directory",
        kind=Directory(),
        meaning="Where this node keeps its data; made if it is not there.",
    )
    peer_raft_address: str | None = setting(
        None,
        "-p",
        "--peer-raft-address",
        kind=Text("HOST:PORT"),
        meaning="Raft address of any member of the cluster to join. Ignored once this node has joined.",
    )
    initial_cluster: tuple[str, ...] = setting(
        (),
        "--initial-cluster",
        kind=Names("HOST:PORT[,...]"),
        meaning="Raft addresses of the nodes that begin a cluster together, the same on all of them: the first founds "
        "it once all others say that they are new, too, and they join it. Ignored once this node has joined.",
    )
    enable_auto_leaving: bool = setting(
        False,
        "-l",
        "--enable-auto-leaving",
        kind=Flag(),
        meaning="Leave the cluster when stopped by SIGINT or SIGTERM.",
    )
    advertise_address: str | None = setting(
        None,
        "--advertise-address",
        kind=Text("HOST"),
        meaning="Host that the other nodes and clients are told.",
        default_meaning="--address",
    )
    metrics_address: str | None = setting(
        None,
        "--metrics-address",
        kind=Text("HOST:PORT"),
        meaning="Where metrics and probes are answered by plain HTTP besides, without TLS: for those who have no "
        "certificate to show on the KV port. Nothing else is served there.",
    )
    no_forward: bool = setting(
        False,
        "--no-forward",
        kind=Flag(),
        meaning="Answer WRONG_LEADER instead of passing requests on to the leader.",
    )
    lease_reads: bool = setting(
        False,
        "--lease-reads",
        kind=Flag(),
        meaning="Serve reads without asking a majority each time, for half a second after one has answered the leader. "
        "On all members or none. Only where clocks can be trusted: were a member's to run nearly twice as fast as the "
        "leader's, reads could be old.",
    )
    """For as long as a leader's lease lasts (`election_ticks // 2` of its ticks), no member's clock may run nearly
    twice as fast."""
    snapshot_catchup_entries: int = setting(
        5_000,
        "--snapshot-catchup-entries",
        kind=Count(),
        meaning="Applied log entries that are kept for slow nodes; who lacks more gets a snapshot.",
    )
    max_request_bytes: int = setting(
        DEFAULT_MAX_REQUEST_BYTES,
        "--max-request-bytes",
        kind=_REQUEST_BYTES,
        meaning="Longest value that is taken.",
    )
    quota_bytes: int = setting(
        8 << 30,
        "--quota-bytes",
        kind=_ROOM_BYTES,
        meaning="What the data may take on this node's disk. Beyond, puts are refused on all nodes until there is room "
        "again; 0: no quota.",
    )
    min_free_bytes: int | None = setting(
        None,
        "--min-free-bytes",
        kind=_ROOM_BYTES,
        meaning="What has to stay free on this node's disk. Below, puts are refused on all nodes until there is room "
        "again; 0: nothing. Unless it is set, it is 5 % of the disk, but from 256 MiB to 1 GiB, and a quarter at most.",
    )
    max_connections: int = setting(
        10_000,
        "--max-connections",
        kind=_CONNECTIONS,
        meaning="Connections to the KV port at a time; one more is closed. Fewer if this process may not open so many "
        "files.",
    )
    max_concurrent_requests: int = setting(
        16_384,
        "--max-concurrent-requests",
        kind=_REQUESTS,
        meaning="Requests at a time on all connections to the KV port; one more is refused.",
    )
    max_buffered_bytes: int = setting(
        256 << 20,
        "--max-buffered-bytes",
        kind=_BUFFERED_BYTES,
        meaning="What is kept in memory for all clients together, of requests that have not come whole and of answers "
        "that are not read. Beyond, who has kept the node waiting for longest is cut off.",
    )
    request_timeout_seconds: float = setting(
        5.0,
        "--request-timeout-seconds",
        kind=Seconds(),
        meaning="How long a request waits for its answer at most; less if its own deadline comes sooner.",
    )
    auth_token_ttl_seconds: float = setting(
        300.0,
        "--auth-token-ttl-seconds",
        kind=Seconds(),
        meaning="How long a login lasts, once users are enabled.",
    )
    tick_seconds: float = 0.1
    """The unit of the core's time."""
    heartbeat_ticks: int = 1
    election_ticks: int = 10
    """A follower that hears from no leader for this long, or up to twice as long, asks for an election."""
    cert_file: Path | None = setting(
        None,
        "--cert-file",
        kind=File(),
        meaning="The KV port's certificate, in PEM: with it, the port speaks TLS only.",
    )
    key_file: Path | None = setting(None, "--key-file", kind=File(), meaning="The key of that certificate.")
    trusted_ca_file: Path | None = setting(
        None,
        "--trusted-ca-file",
        kind=File(),
        meaning="The CA that clients' certificates are signed by: with it, they must show one.",
    )
    client_cert_auth: bool = setting(
        False,
        "--client-cert-auth",
        kind=Flag(),
        meaning="Clients must show a certificate; needs --trusted-ca-file.",
    )
    auto_tls: bool = setting(
        False,
        "--auto-tls",
        kind=Flag(),
        meaning="TLS on the KV port with a certificate that is made in the data directory: for a first try.",
    )
    peer_cert_file: Path | None = setting(
        None, "--peer-cert-file", kind=File(), meaning="The certificate that this node shows its peers."
    )
    peer_key_file: Path | None = setting(None, "--peer-key-file", kind=File(), meaning="The key of that certificate.")
    peer_trusted_ca_file: Path | None = setting(
        None,
        "--peer-trusted-ca-file",
        kind=File(),
        meaning="The CA that peers' certificates are signed by, and must be.",
    )
    peer_client_cert_auth: bool = setting(
        False,
        "--peer-client-cert-auth",
        kind=Flag(),
        meaning="Peers must show a certificate. With --peer-trusted-ca-file they must anyway.",
    )
    peer_allowed_names: tuple[str, ...] = setting(
        (),
        "--peer-allowed-names",
        kind=Names("NAME[,...]"),
        meaning="Names of which the certificate of each peer must bear one, as its CN or in its SAN.",
    )
    peer_auto_tls: bool = setting(
        False,
        "--peer-auto-tls",
        kind=Flag(),
        meaning="TLS between peers with certificates that nobody checks: for a first try.",
    )
    rpc_server: RpcServerKind = setting(
        "http2", "--rpc-server", kind=Choice(get_args(RpcServerKind)), meaning="What serves gRPC to clients."
    )
    log_format: LogFormat = setting(
        "text", "--log-format", kind=Choice(get_args(LogFormat)), meaning="Log lines for people, or for programs."
    )
    log_level: LogLevel = setting(
        "info", "--log-level", kind=Choice(get_args(LogLevel)), meaning="The least of what is logged."
    )

    @property
    def advertised_host(self) -> str:
        """The host that others are told to find this node at."""
        return self.advertise_address or self.address

    @property
    def host(self) -> str:
        """The host to listen on, as the system takes it: an IPv6 address without brackets."""
        return self.address.removeprefix("[").removesuffix("]")

    @property
    def raft_address(self) -> str:
        """host:port of this node's Raft service, as others are told."""
        return f"{self.advertised_host}:{self.raft_port}"

    @property
    def peers_to_ask(self) -> tuple[str, ...]:
        """host:port of the Raft services that may let this node into a cluster; none if it founds one by itself."""
        if self.peer_raft_address is not None:
            return (self.peer_raft_address,)
        return tuple(address for address in self.initial_cluster if address != self.raft_address)

    @property
    def kv_address(self) -> str:
        """host:port of this node's KV service, as others are told."""
        return f"{self.advertised_host}:{self.kv_port}"


SETTINGS: Final = declared(NodeConfig)
"""What users can set about a node."""
