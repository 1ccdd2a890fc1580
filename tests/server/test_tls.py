"""Whole nodes with TLS on both ports, and our own clients; in `tests/cluster/test_tls.py` they are processes."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meteora.client import AsyncClient, Client, TlsConfig
from meteora.config import NodeConfig, RpcServerKind
from meteora.errors import ConfigurationError, NotApplied
from meteora.server.assembly import Server
from meteora.tls import Refusal
from tests.certificates import Authority, Pair
from tests.server.served import PATIENCE_SECONDS, LoopThread, ServedCluster, config_of, served_cluster, wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secure(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], kind: RpcServerKind, authority: Authority
) -> Iterator[ServedCluster]:
    """Three voters that speak TLS only, and ask everybody for a certificate."""
    with served_cluster(tmp_path_factory.mktemp("three"), free_port, 3, kind, **settings(authority)) as cluster:
        yield cluster


def settings(authority: Authority) -> dict[str, Any]:
    kv, peer = authority.issue("kv"), authority.issue("peer", "node", "127.0.0.1")
    return {
        "cert_file": kv.cert,
        "key_file": kv.key,
        "trusted_ca_file": authority.ca,
        "client_cert_auth": True,
        "peer_cert_file": peer.cert,
        "peer_key_file": peer.key,
        "peer_trusted_ca_file": authority.ca,
        "peer_allowed_names": ("node",),
    }


def tls_of(authority: Authority, **others: Any) -> TlsConfig:
    pair = authority.issue("client", "client")
    return TlsConfig(**{"ca_file": authority.ca, "cert_file": pair.cert, "key_file": pair.key, **others})


def endpoints(cluster: ServedCluster) -> list[str]:
    return [node.config.kv_address for node in cluster.nodes]


def test_the_blocking_client_is_served_by_any_node(secure: ServedCluster, authority: Authority) -> None:
    for endpoint in endpoints(secure):
        with Client(endpoint, tls=tls_of(authority)) as client:
            client.put("key", endpoint)
            assert client.get("key") == endpoint.encode()
            assert len(client.status().members) == 3


def test_the_client_for_asyncio_is_served_too(secure: ServedCluster, authority: Authority) -> None:
    async def story() -> list[bytes | None]:
        async with AsyncClient(endpoints(secure), tls=tls_of(authority)) as client:
            await asyncio.gather(*(client.put(f"a{each}", f"{each}") for each in range(50)))
            return await asyncio.gather(*(client.get(f"a{each}") for each in range(50)))

    assert asyncio.run(story()) == [b"%d" % each for each in range(50)]


def test_a_change_of_the_leader_is_passed_on_by_tls(secure: ServedCluster, authority: Authority) -> None:
    successor, asked = secure.followers
    with Client(asked.config.kv_address, tls=tls_of(authority)) as client:
        client.transfer(successor.config.node_id)
    wait_until(lambda: successor.node.leads, "the successor leads")


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"cert_file": None, "key_file": None}, ""),
        ({"server_name": "other.example"}, "its certificate is for another host"),
        ({"ca_file": None}, "its certificate is not accepted"),
    ],
    ids=["no certificate", "another name", "another authority"],
)
def test_who_is_refused_or_refuses_is_told_why(
    secure: ServedCluster, authority: Authority, others: dict[str, Any], reason: str
) -> None:
    tls = tls_of(authority, **others)
    with (
        Client(endpoints(secure)[0], tls=tls, timeout_seconds=0.5) as client,
        pytest.raises(NotApplied, match=f"can't be connected to: {reason}"),
    ):
        client.put("key", "value")


def test_who_speaks_no_tls_is_not_served(secure: ServedCluster) -> None:
    with (
        Client(endpoints(secure)[0], timeout_seconds=0.5) as client,
        pytest.raises(NotApplied, match="can't be connected to"),
    ):
        client.put("key", "value")


def test_what_became_of_handshakes_can_be_exported(
    secure: ServedCluster, authority: Authority, kind: RpcServerKind
) -> None:
    node = secure.nodes[1]
    with (
        Client(
            node.config.kv_address, tls=tls_of(authority, cert_file=None, key_file=None), timeout_seconds=0.5
        ) as client,
        pytest.raises(NotApplied),
    ):
        client.get("key")
    kv, raft = node._server.tls.kv, node._server.tls.raft
    assert kv is not None
    assert raft is not None
    assert kv.counters.expires_at is not None
    # grpcio tells nothing of its own.
    assert (kv.counters.refused[Refusal.NO_CERTIFICATE] > 0) is (kind == "http2")
    assert (raft.counters.handshakes > 0) is (kind == "http2")


# Nodes that are not let in


class Newcomer:
    """A node that would join, with settings that differ from those of the others."""

    def __init__(self, thread: LoopThread, caplog: pytest.LogCaptureFixture, config: NodeConfig) -> None:
        self._thread = thread
        self._caplog = caplog
        self._config = config

    def cause(self, **changes: Any) -> str:
        """Why it can't join, by its log; it is stopped then."""
        self._thread.run(self._try_to_start(Server(replace(self._config, **changes))))
        return self._causes()[0]

    async def _try_to_start(self, server: Server) -> None:
        starting = asyncio.create_task(server.start())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not self._causes():
                    await asyncio.sleep(0.01)
        finally:
            starting.cancel()
            await asyncio.wait([starting])

    def _causes(self) -> list[str]:
        return [each.getMessage() for each in self._caplog.records if "can't join yet" in each.getMessage()]


@pytest.fixture
def newcomer(
    secure: ServedCluster,
    authority: Authority,
    tmp_path: Path,
    loop_thread: LoopThread,
    caplog: pytest.LogCaptureFixture,
) -> Newcomer:
    config = replace(
        secure.nodes[0].config,
        node_id=4,
        raft_port=0,
        kv_port=0,
        data_directory=tmp_path / "newcomer",
        peer_raft_address=secure.nodes[0].config.raft_address,
    )
    return Newcomer(loop_thread, caplog, config)


def peer_pair(pair: Pair) -> dict[str, Path]:
    return {"peer_cert_file": pair.cert, "peer_key_file": pair.key}


def test_a_node_that_speaks_in_the_clear_does_not_join(newcomer: Newcomer, kind: RpcServerKind) -> None:
    cause = newcomer.cause(peer_cert_file=None, peer_key_file=None, peer_trusted_ca_file=None, peer_allowed_names=())
    assert ("this port speaks TLS only" if kind == "http2" else "the connection was lost") in cause


def test_a_node_that_does_not_trust_the_members_does_not_join(newcomer: Newcomer) -> None:
    cause = newcomer.cause(peer_allowed_names=("other",))
    assert "the names in its certificate are not among --peer-allowed-names: node, 127.0.0.1" in cause


def test_a_node_that_is_not_on_the_list_does_not_join(newcomer: Newcomer, authority: Authority) -> None:
    cause = newcomer.cause(**peer_pair(authority.issue("stranger", "127.0.0.1", "node9")))
    assert "the names in this certificate are not allowed here: 127.0.0.1, node9" in cause


def test_a_node_of_another_authority_does_not_join(newcomer: Newcomer, authority: Authority, tmp_path: Path) -> None:
    foreign = Authority(tmp_path / "foreign").issue("peer", "node", "127.0.0.1")
    cause = newcomer.cause(**peer_pair(foreign))
    assert "it refused the certificate of this end: unknown ca" in cause or "the connection was lost" in cause


def test_members_of_another_authority_are_not_joined(newcomer: Newcomer, tmp_path: Path) -> None:
    foreign = Authority(tmp_path / "foreign")
    pair = foreign.issue("peer", "node", "127.0.0.1")
    assert "its certificate is not accepted" in newcomer.cause(**peer_pair(pair), peer_trusted_ca_file=foreign.ca)


def test_certificates_that_can_not_be_used_keep_a_node_from_starting(
    authority: Authority, tmp_path: Path, free_port: Callable[[], int], loop_thread: LoopThread
) -> None:
    own = {**settings(authority), "key_file": authority.issue("other").key}
    config = config_of(tmp_path, free_port, 1, "http2", **own)
    with pytest.raises(ConfigurationError, match=r"--key-file .*other.key does not belong to --cert-file .*kv.pem"):
        loop_thread.run(Server(config).start())


# For a first try


def test_a_node_can_make_certificates_by_itself(
    tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind
) -> None:
    with served_cluster(tmp_path, free_port, 2, kind, auto_tls=True, peer_auto_tls=True) as cluster:
        node = cluster.nodes[1]
        ca = node.config.data_directory / "auto-tls" / "kv-cert.pem"
        with Client(f"https://{node.config.kv_address}", tls=TlsConfig(ca_file=ca)) as client:
            client.put("key", "value")
            assert client.get("key") == b"value"
