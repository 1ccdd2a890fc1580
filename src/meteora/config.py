"""Everything that can be set about a node, in one frozen object; units are in the names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MAX_KEY_BYTES = 64 * 1024
"""Keys longer than this are refused: RocksDB keeps keys in its index blocks, which live in memory."""

DEFAULT_MAX_REQUEST_BYTES = 1_572_864
"""1.5 MiB, as etcd: one huge value must not delay heartbeats behind it on the same stream."""

HIGHEST_MAX_REQUEST_BYTES = 32 << 20
"""What `--max-request-bytes` may be set to: half of what a peer takes as one message, which also carries the key and
whatever small messages were waiting; and half of what may wait to be written."""

DEFAULT_KV_PORT = 5000
DEFAULT_RAFT_PORT = 7000

RpcServerKind = Literal["http2", "grpcio"]
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The settings of one node. `meteora start` has an option, and the environment a `METEORA_` name, for each."""

    node_id: int = 1
    address: str = "0.0.0.0"
    """The host to listen on."""
    raft_port: int = DEFAULT_RAFT_PORT
    kv_port: int = DEFAULT_KV_PORT
    data_directory: Path = Path("./data")
    peer_raft_address: str | None = None
    """host:port of any member of the cluster to join."""
    enable_auto_leaving: bool = False
    """On SIGINT or SIGTERM the node takes itself out of the cluster before it stops."""
    advertise_address: str | None = None
    """The host that the other nodes are told; `address` if None."""
    no_forward: bool = False
    """Answer WRONG_LEADER instead of passing requests on to the leader."""
    max_request_bytes: int = DEFAULT_MAX_REQUEST_BYTES
    """The longest value taken, in bytes."""
    request_timeout_seconds: float = 5.0
    """How long a request waits for its answer at most; less if its own deadline comes sooner."""
    lease_reads: bool = False
    """A leader that a majority has just answered serves reads without asking again. Relies on clocks: for as long as a
    leader's lease lasts (`election_ticks // 2` of its ticks), no member's clock may run nearly twice as fast."""
    snapshot_catchup_entries: int = 5_000
    """Applied entries that the log keeps for slow followers; who lacks more gets a snapshot."""
    tick_seconds: float = 0.1
    """The unit of the core's time."""
    heartbeat_ticks: int = 1
    election_ticks: int = 10
    """A follower that hears from no leader for this long, or up to twice as long, asks for an election."""
    cert_file: Path | None = None
    """Of the KV port: a certificate in PEM, with what leads from it to its CA. With one, the port speaks TLS only."""
    key_file: Path | None = None
    trusted_ca_file: Path | None = None
    """Who must have signed the certificates of clients. With one, clients must show theirs."""
    client_cert_auth: bool = False
    """Clients must show a certificate: this asks for a `trusted_ca_file`."""
    auto_tls: bool = False
    """The KV port speaks TLS with a certificate that the node makes by itself."""
    peer_cert_file: Path | None = None
    """Of the Raft port: shown to who connects to it, and to the peers that this node connects to."""
    peer_key_file: Path | None = None
    peer_trusted_ca_file: Path | None = None
    """Who must have signed the certificates of peers, at both ends."""
    peer_client_cert_auth: bool = False
    """Peers must show a certificate; with a `peer_trusted_ca_file` they must anyway."""
    peer_allowed_names: tuple[str, ...] = ()
    """Of these the certificate of each peer must bear one, as its CN or in its SAN."""
    peer_auto_tls: bool = False
    """The Raft port speaks TLS with a certificate that the node makes by itself. Nobody has to prove who he is then."""
    rpc_server: RpcServerKind = "http2"
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"

    @property
    def advertised_host(self) -> str:
        """The host that others are told to find this node at."""
        return self.advertise_address or self.address

    @property
    def raft_address(self) -> str:
        """host:port of this node's Raft service, as others are told."""
        return f"{self.advertised_host}:{self.raft_port}"

    @property
    def kv_address(self) -> str:
        """host:port of this node's KV service, as others are told."""
        return f"{self.advertised_host}:{self.kv_port}"
