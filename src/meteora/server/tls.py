"""From the settings of a node to the TLS of its two ports."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from meteora.config import NodeConfig
from meteora.errors import DataDirectoryError
from meteora.observability.logs import get_logger
from meteora.tls import Certificates, IncomingTls, OutgoingTls, TlsFiles
from meteora.tls.contexts import HTTP1, HTTP2
from meteora.tls.self_signed import self_signed_files

AUTO_TLS_FOLDER = "auto-tls"
"""In the data directory: what the node has made by itself."""

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

_SPOKEN_ON_KV = (HTTP2, HTTP1)
"""gRPC's the first: a client that speaks both loses nothing by it."""

_log = get_logger("tls")


class NodeTls(NamedTuple):
    """What a node has; None where it speaks in the clear."""

    kv: IncomingTls | None = None
    raft: IncomingTls | None = None
    outgoing: OutgoingTls | None = None

    @property
    def certificates(self) -> Iterator[Certificates]:
        """To be watched."""
        return (incoming.certificates for incoming in (self.kv, self.raft) if incoming is not None)


def open_tls(config: NodeConfig, data_directory: Path) -> NodeTls:
    """Reads the certificates, and makes those that the node is to make; blocks.

    Raises `ConfigurationError` or `DataDirectoryError`.
    """
    kv, raft = _kv_files(config, data_directory), _raft_files(config, data_directory)
    incoming = IncomingTls(Certificates(kv, alpn=_SPOKEN_ON_KV), service="kv") if kv is not None else None
    if raft is None:
        return NodeTls(incoming)
    names = config.peer_allowed_names
    certificates = Certificates(raft, checks_address=not names)
    if not names and incoming is not None and _have_one_authority(incoming.certificates, certificates):
        _log.warning(
            "whoever has the certificate of a client can be a peer, because one CA has signed both: give "
            "--peer-allowed-names, or a CA of their own to peers"
        )
    return NodeTls(
        incoming,
        IncomingTls(certificates, service="raft", allowed_names=names),
        OutgoingTls(certificates, allowed_names=names),
    )


def _have_one_authority(one: Certificates, other: Certificates) -> bool:
    ca_pem = one.current.ca_pem
    return ca_pem is not None and ca_pem == other.current.ca_pem


def _kv_files(config: NodeConfig, data_directory: Path) -> TlsFiles | None:
    if config.cert_file is not None and config.key_file is not None:
        return TlsFiles(config.cert_file, config.key_file, config.trusted_ca_file, "--")
    if not config.auto_tls:
        return None
    cert, key = _self_signed(config, data_directory, "kv")
    _log.info("clients need the certificate that this node has made: --cacert", cert=cert)
    return TlsFiles(cert, key, config.trusted_ca_file, "--")


def _raft_files(config: NodeConfig, data_directory: Path) -> TlsFiles | None:
    if config.peer_cert_file is not None and config.peer_key_file is not None:
        return TlsFiles(config.peer_cert_file, config.peer_key_file, config.peer_trusted_ca_file, "--peer-")
    if not config.peer_auto_tls:
        return None
    _log.warning("--peer-auto-tls encrypts, but whoever reaches the Raft port can be a peer: only for a first try")
    return TlsFiles(*_self_signed(config, data_directory, "raft"), None, "--peer-")


def _self_signed(config: NodeConfig, data_directory: Path, service: str) -> tuple[Path, Path]:
    folder = data_directory / AUTO_TLS_FOLDER
    hosts = {host.strip("[]") for host in (config.address, config.advertised_host, socket.gethostname())}
    try:
        return self_signed_files(folder, service, hosts | set(_LOCAL_HOSTS))
    except OSError as error:
        raise DataDirectoryError(f"a certificate can't be written to {folder}: {error.strerror}") from error
