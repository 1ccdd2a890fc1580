from pathlib import Path

import pytest

from meteora.cli.node_settings import checked
from meteora.config import NodeConfig
from meteora.errors import ConfigurationError


def test_the_default_settings_are_fine_as_they_are() -> None:
    assert checked(NodeConfig()) == NodeConfig()


@pytest.mark.parametrize(
    ("text", "host"),
    [("localhost", "localhost"), ("10.0.0.1", "10.0.0.1"), ("::1", "[::1]"), ("[::1]", "[::1]"), ("::", "[::]")],
)
def test_a_host_is_written_as_before_a_port(text: str, host: str) -> None:
    config = checked(NodeConfig(address=text, advertise_address=text))
    assert (config.address, config.raft_address) == (host, f"{host}:7000")


@pytest.mark.parametrize("text", ["", " ", "a:5000", "[::1]:5000", "a b", "http://a", "[::1", "a,b"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--address"):
        checked(NodeConfig(address=text))


def test_two_services_can_not_share_a_port() -> None:
    with pytest.raises(ConfigurationError, match="both 7000"):
        checked(NodeConfig(kv_port=7000))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("0.0.0.0:5000", "--metrics-address and --kv-port both have 5000: each service needs a port of its own"),
        ("[::1]:7000", "--metrics-address and --raft-port both have 7000: each service needs a port of its own"),
        ("9000", "--metrics-address '9000' is not an address: expected host:port"),
        ("", "--metrics-address '' is not an address: expected host:port"),
    ],
)
def test_metrics_need_an_address_of_their_own(address: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        checked(NodeConfig(metrics_address=address))
    assert str(refused.value).startswith(said)


def test_an_address_for_metrics_is_taken_as_it_is_usually_written() -> None:
    assert checked(NodeConfig(metrics_address=" [::1]:09000")).metrics_address == "[::1]:9000"


def test_an_address_is_in_the_list_once_however_it_is_spelled() -> None:
    assert checked(NodeConfig(initial_cluster=("a:7000", "b:7000", "a:07000"))).initial_cluster == ("a:7000", "b:7000")


@pytest.mark.parametrize("field", ["peer_raft_address", "advertise_address"])
def test_what_was_given_and_is_empty_is_not_as_if_it_was_not_given(field: str) -> None:
    option = f"--{field.replace('_', '-')}"
    with pytest.raises(ConfigurationError, match=f"{option} '' is not"):
        checked(NodeConfig(**{field: ""}))


@pytest.mark.parametrize(
    ("config", "peer"),
    [
        (NodeConfig(), "0.0.0.0:7000"),
        (NodeConfig(), "127.0.0.1:7000"),
        (NodeConfig(), "localhost:7000"),
        (NodeConfig(address="::"), "[::1]:7000"),
        (NodeConfig(address="10.0.0.1"), "10.0.0.1:7000"),
        (NodeConfig(advertise_address="node-1"), "node-1:7000"),
        (NodeConfig(address="::1", raft_port=7001), "[::1]:7001"),
    ],
)
def test_a_node_can_not_join_itself(config: NodeConfig, peer: str) -> None:
    settings = {field: getattr(config, field) for field in ("address", "advertise_address", "raft_port")}
    with pytest.raises(ConfigurationError, match="own Raft address"):
        checked(NodeConfig(**settings, peer_raft_address=peer))


@pytest.mark.parametrize(
    ("address", "peer"),
    [("0.0.0.0", "0.0.0.0:7001"), ("0.0.0.0", "10.0.0.1:7000"), ("10.0.0.1", "127.0.0.1:7000")],
)
def test_a_node_can_join_another(address: str, peer: str) -> None:
    assert checked(NodeConfig(address=address, peer_raft_address=peer)).peer_raft_address == peer


def test_what_is_kept_for_clients_has_room_for_some_requests() -> None:
    with pytest.raises(ConfigurationError, match="--max-buffered-bytes 4000000 is less than four requests"):
        checked(NodeConfig(max_buffered_bytes=4_000_000, max_request_bytes=1_000_001))
    checked(NodeConfig(max_buffered_bytes=4_000_000, max_request_bytes=1_000_000))


A, B, C = Path("a"), Path("b"), Path("c")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NodeConfig(cert_file=A), "--cert-file is given without --key-file: TLS needs both"),
        (NodeConfig(key_file=A), "--key-file is given without --cert-file: TLS needs both"),
        (NodeConfig(peer_cert_file=A), "--peer-cert-file is given without --peer-key-file: TLS needs both"),
        (NodeConfig(peer_key_file=A), "--peer-key-file is given without --peer-cert-file: TLS needs both"),
        (NodeConfig(cert_file=A, key_file=B, client_cert_auth=True), "--client-cert-auth needs --trusted-ca-file"),
        (NodeConfig(client_cert_auth=True), "--client-cert-auth needs --trusted-ca-file"),
        (NodeConfig(trusted_ca_file=A), "--trusted-ca-file needs TLS on the KV port"),
        (NodeConfig(peer_cert_file=A, peer_key_file=B), "--peer-cert-file needs --peer-trusted-ca-file"),
        (NodeConfig(peer_trusted_ca_file=A), "--peer-trusted-ca-file needs --peer-cert-file and --peer-key-file"),
        (NodeConfig(peer_client_cert_auth=True), "--peer-client-cert-auth needs --peer-cert-file and --peer-key-file"),
        (NodeConfig(peer_allowed_names=("a",)), "--peer-allowed-names needs --peer-cert-file and --peer-key-file"),
        (
            NodeConfig(peer_auto_tls=True, peer_allowed_names=("a",)),
            "--peer-allowed-names needs --peer-cert-file and --peer-key-file",
        ),
        (NodeConfig(cert_file=A, key_file=B, auto_tls=True), "--auto-tls makes a certificate, and --cert-file has one"),
        (
            NodeConfig(peer_cert_file=A, peer_key_file=B, peer_trusted_ca_file=C, peer_auto_tls=True),
            "--peer-auto-tls makes a certificate, and --peer-cert-file has one",
        ),
    ],
)
def test_tls_that_is_given_by_halves_is_refused_with_what_is_missing(config: NodeConfig, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        checked(config)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    "config",
    [
        NodeConfig(cert_file=A, key_file=B),
        NodeConfig(cert_file=A, key_file=B, trusted_ca_file=C),
        NodeConfig(cert_file=A, key_file=B, trusted_ca_file=C, client_cert_auth=True),
        NodeConfig(auto_tls=True, peer_auto_tls=True),
        NodeConfig(auto_tls=True, trusted_ca_file=C),
        NodeConfig(peer_cert_file=A, peer_key_file=B, peer_trusted_ca_file=C),
        NodeConfig(peer_cert_file=A, peer_key_file=B, peer_trusted_ca_file=C, peer_allowed_names=("a",)),
    ],
)
def test_tls_that_is_whole_is_fine(config: NodeConfig) -> None:
    assert checked(config) == config
