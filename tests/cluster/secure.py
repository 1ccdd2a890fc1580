"""A cluster of processes that all speak mutual TLS, as docs/security.md sets it up."""

from pathlib import Path

import grpc

from meteora.client import TlsConfig
from tests.certificates import Authority, Pair
from tests.cluster.processes import ClusterProcesses

NAMES = ("node1", "node2", "node3")


class SecureCluster(ClusterProcesses):
    """Each node has a certificate of its own; who is no node must not use the Raft ports."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.authority = Authority(folder / "certificates")
        super().__init__(folder, ports)
        self.client = self.authority.issue("client", "alice")
        self.credentials = grpc.ssl_channel_credentials(
            self.authority.ca.read_bytes(), self.client.key.read_bytes(), self.client.cert.read_bytes()
        )

    def arguments(self, number: int, folder: Path) -> list[str]:
        return [*super().arguments(number, folder), *self.tls_options(self.issue(number))]

    def issue(self, number: int) -> Pair:
        """The certificate of a node, made anew."""
        return self.authority.issue(f"node{number}", f"node{number}", "localhost", "127.0.0.1")

    def tls_options(self, pair: Pair) -> list[str]:
        cert, key, ca = str(pair.cert), str(pair.key), str(self.authority.ca)
        kv = ["--cert-file", cert, "--key-file", key, "--trusted-ca-file", ca, "--client-cert-auth"]
        peer = ["--peer-cert-file", cert, "--peer-key-file", key, "--peer-trusted-ca-file", ca]
        return [*kv, *peer, "--peer-client-cert-auth", "--peer-allowed-names", ",".join(NAMES)]

    @property
    def tls(self) -> TlsConfig:
        return TlsConfig(ca_file=self.authority.ca, cert_file=self.client.cert, key_file=self.client.key)

    @property
    def variables(self) -> dict[str, str]:
        """Of the commands, for who uses this cluster."""
        return {
            "METEORA_ENDPOINTS": ",".join(self.endpoints),
            "METEORA_CACERT": str(self.authority.ca),
            "METEORA_CERT": str(self.client.cert),
            "METEORA_KEY": str(self.client.key),
        }

    def of_grpcurl(self, pair: Pair) -> list[str]:
        return ["-cacert", str(self.authority.ca), "-cert", str(pair.cert), "-key", str(pair.key)]
