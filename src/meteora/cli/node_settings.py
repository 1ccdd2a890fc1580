"""From the options of `meteora start` to the settings of a node.

Pure. Each option was already checked by itself; what is checked here are addresses, and combinations that can't work.
Raises `ConfigurationError`, and names the option.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

from meteora.addresses import Address, is_ipv6, is_wildcard, parse_address
from meteora.config import NodeConfig
from meteora.errors import ConfigurationError

_LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def checked(config: NodeConfig) -> NodeConfig:
    """`config` with its addresses in their usual form: IPv6 hosts in brackets, because a port follows them.

    Raises `ConfigurationError` if it can't be the configuration of a node.
    """
    for step in _STEPS:
        config = step(config)
    return config


def problems_of(config: NodeConfig) -> list[str]:
    """All that is wrong with `config`, a sentence each."""
    problems: list[str] = []
    for step in _STEPS:
        try:
            config = step(config)
        except ConfigurationError as error:
            problems.append(str(error))
    return problems


def _with_address(config: NodeConfig) -> NodeConfig:
    return replace(config, address=_host("--address", config.address))


def _with_advertise_address(config: NodeConfig) -> NodeConfig:
    host = config.advertise_address
    return config if host is None else replace(config, advertise_address=_host("--advertise-address", host))


def _with_peer(config: NodeConfig) -> NodeConfig:
    peer = config.peer_raft_address
    return config if peer is None else replace(config, peer_raft_address=str(_address("--peer-raft-address", peer)))


def _with_initial_cluster(config: NodeConfig) -> NodeConfig:
    # Two spellings of one address are one node.
    addresses = tuple(dict.fromkeys(str(_address("--initial-cluster", each)) for each in config.initial_cluster))
    if config.peer_raft_address is not None and addresses:
        raise ConfigurationError(
            "--peer-raft-address joins a cluster that is there, --initial-cluster begins one: leave one of them out"
        )
    return replace(config, initial_cluster=addresses)


def _with_two_ports(config: NodeConfig) -> NodeConfig:
    if config.raft_port == config.kv_port:
        raise _same_port("--raft-port and --kv-port are both", config.raft_port)
    return config


def _with_metrics_address(config: NodeConfig) -> NodeConfig:
    if config.metrics_address is None:
        return config
    address = _address("--metrics-address", config.metrics_address)
    for option, port in (("--kv-port", config.kv_port), ("--raft-port", config.raft_port)):
        if address.port == port:
            raise _same_port(f"--metrics-address and {option} both have", port)
    return replace(config, metrics_address=str(address))


def _same_port(what: str, port: int) -> ConfigurationError:
    return ConfigurationError(f"{what} {port}: each service needs a port of its own")


def _host(option: str, text: str) -> str:
    host = f"[{text}]" if is_ipv6(text) else text
    try:
        # A host is what makes an address together with a port.
        return str(parse_address(f"{host}:1")).removesuffix(":1")
    except ConfigurationError:
        raise ConfigurationError(
            f"{option} {text!r} is not a host: expected a name or an IP address, without a port"
        ) from None


def _address(option: str, text: str) -> Address:
    try:
        return parse_address(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{option} {error}") from None


def _with_another_peer(config: NodeConfig) -> NodeConfig:
    if config.peer_raft_address is None:
        return config
    try:
        peer = parse_address(config.peer_raft_address)
        hosts = {parse_address(f"{host}:1").host for host in (config.address, config.advertised_host)}
    except ConfigurationError:
        # Another step has said so.
        return config
    if any(map(is_wildcard, hosts)):
        hosts |= _LOOPBACK_HOSTS
    if peer.port == config.raft_port and peer.host in hosts:
        raise ConfigurationError(
            f"--peer-raft-address {peer} is this node's own Raft address: expected that of another member;"
            " to start a new cluster, leave it out"
        )
    return config


def _with_tls(config: NodeConfig) -> NodeConfig:
    _check_pair("--", config.cert_file, config.key_file, is_auto=config.auto_tls)
    if config.client_cert_auth and config.trusted_ca_file is None:
        raise ConfigurationError(
            "--client-cert-auth needs --trusted-ca-file: the certificate of the CA that has signed those of clients"
        )
    if config.trusted_ca_file is not None and config.cert_file is None and not config.auto_tls:
        raise ConfigurationError(
            "--trusted-ca-file needs TLS on the KV port: give --cert-file and --key-file, or --auto-tls for a first try"
        )
    return config


def _with_peer_tls(config: NodeConfig) -> NodeConfig:
    cert, ca = config.peer_cert_file, config.peer_trusted_ca_file
    _check_pair("--peer-", cert, config.peer_key_file, is_auto=config.peer_auto_tls)
    if cert is not None and ca is None:
        raise ConfigurationError(
            "--peer-cert-file needs --peer-trusted-ca-file: peers prove by a certificate of that CA that they are some"
        )
    wants = {
        "--peer-trusted-ca-file": ca is not None,
        "--peer-client-cert-auth": config.peer_client_cert_auth,
        "--peer-allowed-names": bool(config.peer_allowed_names),
    }
    for option, is_wanted in wants.items():
        if is_wanted and cert is None:
            raise ConfigurationError(f"{option} needs --peer-cert-file and --peer-key-file: certificates of the peers")
    return config


def _check_pair(prefix: str, cert: Path | None, key: Path | None, *, is_auto: bool) -> None:
    if (cert is None) != (key is None):
        given, missing = ("key-file", "cert-file") if cert is None else ("cert-file", "key-file")
        raise ConfigurationError(f"{prefix}{given} is given without {prefix}{missing}: TLS needs both")
    if cert is not None and is_auto:
        raise ConfigurationError(
            f"{prefix}auto-tls makes a certificate, and {prefix}cert-file has one: leave one of them out"
        )


def _with_room_for_a_request(config: NodeConfig) -> NodeConfig:
    if config.max_buffered_bytes < 4 * config.max_request_bytes:
        raise ConfigurationError(
            f"--max-buffered-bytes {config.max_buffered_bytes} is less than four requests of --max-request-bytes "
            f"{config.max_request_bytes}: a few clients at a time have to be served"
        )
    return config


_STEPS: Final = (
    _with_address,
    _with_advertise_address,
    _with_peer,
    _with_initial_cluster,
    _with_two_ports,
    _with_metrics_address,
    _with_another_peer,
    _with_room_for_a_request,
    _with_tls,
    _with_peer_tls,
)
"""Each gives back the settings, in their usual form, or raises `ConfigurationError`."""
