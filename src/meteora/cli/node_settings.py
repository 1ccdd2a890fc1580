"""From the options of `meteora start` to the settings of a node.

Pure. Each option was already checked by itself; what is checked here are addresses, and combinations that can't work.
Raises `ConfigurationError`, and names the option.
"""

from dataclasses import replace
from typing import Final

from meteora.addresses import Address, is_ipv6, is_wildcard, parse_address
from meteora.config import NodeConfig
from meteora.errors import ConfigurationError

_LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def checked(config: NodeConfig) -> NodeConfig:
    """`config` with its addresses in their usual form: IPv6 hosts in brackets, because a port follows them.

    Raises `ConfigurationError` if it can't be the configuration of a node.
    """
    config = replace(
        config,
        address=_host("--address", config.address),
        advertise_address=config.advertise_address and _host("--advertise-address", config.advertise_address),
        peer_raft_address=config.peer_raft_address and str(_peer("--peer-raft-address", config.peer_raft_address)),
        initial_cluster=tuple(str(_peer("--initial-cluster", each)) for each in config.initial_cluster),
    )
    if config.raft_port == config.kv_port:
        raise ConfigurationError(
            f"--raft-port and --kv-port are both {config.raft_port}: each service needs a port of its own"
        )
    if config.peer_raft_address is not None and config.initial_cluster:
        raise ConfigurationError(
            "--peer-raft-address joins a cluster that is there, --initial-cluster begins one: leave one of them out"
        )
    _check_peer_is_another(config)
    return config


def _host(option: str, text: str) -> str:
    host = f"[{text}]" if is_ipv6(text) else text
    try:
        # A host is what makes an address together with a port.
        return str(parse_address(f"{host}:1")).removesuffix(":1")
    except ConfigurationError:
        raise ConfigurationError(
            f"{option} {text!r} is not a host: expected a name or an IP address, without a port"
        ) from None


def _peer(option: str, text: str) -> Address:
    try:
        return parse_address(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{option} {error}") from None


def _check_peer_is_another(config: NodeConfig) -> None:
    if config.peer_raft_address is None:
        return
    peer = parse_address(config.peer_raft_address)
    hosts = {parse_address(f"{host}:1").host for host in (config.address, config.advertised_host)}
    if any(map(is_wildcard, hosts)):
        hosts |= _LOOPBACK_HOSTS
    if peer.port == config.raft_port and peer.host in hosts:
        raise ConfigurationError(
            f"--peer-raft-address {peer} is this node's own Raft address: expected that of another member;"
            " to start a new cluster, leave it out"
        )
