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
