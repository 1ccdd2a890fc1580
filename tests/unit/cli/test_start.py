"""The options of `meteora start`, up to the settings of a node. What a node does with them is tested with processes."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from meteora.cli.start import start
from meteora.config import NodeConfig
from tests.unit.cli.conftest import Run

OPTIONS: list[tuple[list[str], str, str, str, Any]] = [
    (["-i", "--id"], "METEORA_ID", "7", "node_id", 7),
    (["-a", "--address"], "METEORA_ADDRESS", "10.0.0.1", "address", "10.0.0.1"),
    (["-r", "--raft-port"], "METEORA_RAFT_PORT", "7001", "raft_port", 7001),
    (["-k", "--kv-port"], "METEORA_KV_PORT", "5001", "kv_port", 5001),
    (["-d", "--data-directory"], "METEORA_DATA_DIRECTORY", "/tmp/d", "data_directory", Path("/tmp/d")),
    (["-p", "--peer-raft-address"], "METEORA_PEER_RAFT_ADDRESS", "a:7001", "peer_raft_address", "a:7001"),
    (["--initial-cluster"], "METEORA_INITIAL_CLUSTER", "a:1,b:2", "initial_cluster", ("a:1", "b:2")),
    (["--metrics-address"], "METEORA_METRICS_ADDRESS", "a:9000", "metrics_address", "a:9000"),
    (["--advertise-address"], "METEORA_ADVERTISE_ADDRESS", "a", "advertise_address", "a"),
    (["--max-request-bytes"], "METEORA_MAX_REQUEST_BYTES", "10", "max_request_bytes", 10),
    (["--quota-bytes"], "METEORA_QUOTA_BYTES", "0", "quota_bytes", 0),
    (["--min-free-bytes"], "METEORA_MIN_FREE_BYTES", "10", "min_free_bytes", 10),
    (["--max-connections"], "METEORA_MAX_CONNECTIONS", "7", "max_connections", 7),
    (["--max-concurrent-requests"], "METEORA_MAX_CONCURRENT_REQUESTS", "7", "max_concurrent_requests", 7),
    (["--max-buffered-bytes"], "METEORA_MAX_BUFFERED_BYTES", "10000000", "max_buffered_bytes", 10_000_000),
    (["--snapshot-catchup-entries"], "METEORA_SNAPSHOT_CATCHUP_ENTRIES", "7", "snapshot_catchup_entries", 7),
    (["--request-timeout-seconds"], "METEORA_REQUEST_TIMEOUT_SECONDS", "0.5", "request_timeout_seconds", 0.5),
    (["--auth-token-ttl-seconds"], "METEORA_AUTH_TOKEN_TTL_SECONDS", "60", "auth_token_ttl_seconds", 60.0),
    (["--cert-file"], "METEORA_CERT_FILE", "/tmp/f", "cert_file", Path("/tmp/f")),
    (["--key-file"], "METEORA_KEY_FILE", "/tmp/f", "key_file", Path("/tmp/f")),
    (["--trusted-ca-file"], "METEORA_TRUSTED_CA_FILE", "/tmp/f", "trusted_ca_file", Path("/tmp/f")),
    (["--peer-cert-file"], "METEORA_PEER_CERT_FILE", "/tmp/f", "peer_cert_file", Path("/tmp/f")),
    (["--peer-key-file"], "METEORA_PEER_KEY_FILE", "/tmp/f", "peer_key_file", Path("/tmp/f")),
    (["--peer-trusted-ca-file"], "METEORA_PEER_TRUSTED_CA_FILE", "/tmp/f", "peer_trusted_ca_file", Path("/tmp/f")),
    (["--peer-allowed-names"], "METEORA_PEER_ALLOWED_NAMES", "a, b,,a", "peer_allowed_names", ("a", "b")),
    (["--rpc-server"], "METEORA_RPC_SERVER", "grpcio", "rpc_server", "grpcio"),
    (["--log-format"], "METEORA_LOG_FORMAT", "json", "log_format", "json"),
    (["--log-level"], "METEORA_LOG_LEVEL", "debug", "log_level", "debug"),
]
FLAGS = [
    (["-l", "--enable-auto-leaving"], "METEORA_ENABLE_AUTO_LEAVING", "enable_auto_leaving"),
    (["--no-forward"], "METEORA_NO_FORWARD", "no_forward"),
    (["--lease-reads"], "METEORA_LEASE_READS", "lease_reads"),
    (["--client-cert-auth"], "METEORA_CLIENT_CERT_AUTH", "client_cert_auth"),
    (["--auto-tls"], "METEORA_AUTO_TLS", "auto_tls"),
    (["--peer-client-cert-auth"], "METEORA_PEER_CLIENT_CERT_AUTH", "peer_client_cert_auth"),
    (["--peer-auto-tls"], "METEORA_PEER_AUTO_TLS", "peer_auto_tls"),
]

NOT_OPTIONS = {"tick_seconds", "heartbeat_ticks", "election_ticks"}
"""Settings that users have not been promised."""


def settings(*arguments: str) -> NodeConfig:
    return NodeConfig(**start.make_context("start", list(arguments)).params)


def test_without_options_a_node_has_the_default_settings() -> None:
    assert settings() == NodeConfig()


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [(name, text, field, value) for names, _, text, field, value in OPTIONS for name in names],
)
def test_an_option_sets_its_setting_and_no_other(name: str, text: str, field: str, value: object) -> None:
    assert settings(name, text) == NodeConfig(**{field: value})


@pytest.mark.parametrize(("variable", "text", "field", "value"), [option[1:] for option in OPTIONS])
def test_a_variable_sets_its_setting_and_no_other(
    variable: str, text: str, field: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    assert settings() == NodeConfig(**{field: value})


@pytest.mark.parametrize(("name", "field"), [(name, field) for names, _, field in FLAGS for name in names])
def test_a_flag_sets_its_setting(name: str, field: str) -> None:
    assert settings(name) == NodeConfig(**{field: True})


@pytest.mark.parametrize(("variable", "field"), [flag[1:] for flag in FLAGS])
@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False)])
def test_a_variable_sets_its_flag(
    variable: str, field: str, text: str, value: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    assert settings() == NodeConfig(**{field: value})


@pytest.mark.parametrize("variable", [flag[1] for flag in FLAGS])
def test_a_variable_of_a_flag_that_is_neither_true_nor_false_is_named(
    run: Run, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "maybe")
    assert run("start") == (
        2,
        b"",
        f"meteora: error: Invalid value for {variable}: 'maybe' is neither true nor false."
        " (see `meteora start --help`)\n",
    )


def test_a_bad_value_of_a_variable_names_the_variable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METEORA_RAFT_PORT", "http")
    assert "Invalid value for METEORA_RAFT_PORT: 'http' is not a port" in run("start").err


def test_an_option_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METEORA_ID", "7")
    assert settings("-i", "8").node_id == 8


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METEORA_PEER_RAFT_ADDRESS", "")
    assert settings() == NodeConfig()


def test_every_setting_has_an_option_and_is_tested_here() -> None:
    tested = {option[3] for option in OPTIONS} | {flag[2] for flag in FLAGS}
    assert {field.name for field in fields(NodeConfig)} - NOT_OPTIONS == tested
    assert {each.name for each in start.params} == {*tested, "config"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-i", "0"], "'0' is not a node id"),
        (["-i", "-1"], "'-1' is not a node id"),
        (["-i", "one"], "'one' is not a node id"),
        (["-i", "18446744073709551616"], "is not a node id"),
        (["-r", "0"], "'0' is not a port"),
        (["-r", "65536"], "'65536' is not a port"),
        (["-k", "http"], "'http' is not a port"),
        (["-r", "5000"], "--raft-port and --kv-port are both 5000"),
        (["-p", "nonsense"], "--peer-raft-address 'nonsense' is not an address"),
        (["-p", "::1:7000"], "--peer-raft-address '::1:7000' is not an address"),
        (["-p", "0.0.0.0:7000"], "own Raft address"),
        (["--initial-cluster", "a:7000,b"], "--initial-cluster 'b' is not an address"),
        (["--initial-cluster", "a:7000", "-p", "b:7000"], "leave one of them out"),
        (["-a", "0.0.0.0:5000"], "--address '0.0.0.0:5000' is not a host"),
        (["--advertise-address", "a:5000"], "--advertise-address 'a:5000' is not a host"),
        (["--max-request-bytes", "0"], "'0' is not a number of bytes"),
        (["--max-request-bytes", "33554433"], "expected a number from 1 to 33554432 (32 MiB, "),
        (["--request-timeout-seconds", "0"], "'0' is not a number of seconds"),
        (["--rpc-server", "other"], "'other' is not one of"),
        (["--log-format", "xml"], "'xml' is not one of"),
        (["--log-level", "loud"], "'loud' is not one of"),
        (["-d", __file__], "is a file"),
        (["--cert-file", __file__], "--cert-file is given without --key-file"),
        (["--cert-file", "/tmp"], "is a directory"),
        (["--nonsense"], "--nonsense"),
        (["more"], "more"),
    ],
)
def test_bad_input_is_one_clear_line_and_a_usage_error(run: Run, arguments: list[str], named: str) -> None:
    status, out, err = run("start", *arguments)
    assert (status, out) == (2, b"")
    assert err.startswith("meteora: error: ")
    assert err.count("\n") == 1
    assert named in err


def test_a_bad_variable_is_one_clear_line_and_a_usage_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METEORA_RAFT_PORT", "http")
    status, _, err = run("start")
    assert (status, err.count("\n")) == (2, 1)
    assert "'http' is not a port" in err
