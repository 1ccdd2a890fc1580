"""Where a setting's value is taken from: flag, environment, file, default."""

from pathlib import Path

import pytest

from meteora.cli.node_options import is_service_link, node_config
from meteora.cli.start import start
from meteora.config import NodeConfig
from tests.unit.cli.conftest import Run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "meteora.toml"
    path.write_text('raft-port = 7001\nkv-port = 5001\nid = 3\nlog-level = "debug"\nlease-reads = true\n')
    return path


def settings(*arguments: str) -> NodeConfig:
    return node_config(start.make_context("start", list(arguments)))


def test_a_file_wins_over_the_defaults_only(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METEORA_RAFT_PORT", "7002")
    monkeypatch.setenv("METEORA_KV_PORT", "5002")
    monkeypatch.setenv("METEORA_LEASE_READS", "false")
    assert settings("--config", str(file), "-k", "5003") == NodeConfig(
        kv_port=5003, raft_port=7002, node_id=3, log_level="debug"
    )


def test_a_file_can_be_named_in_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METEORA_CONFIG", str(file))
    assert settings().node_id == 3


def test_the_file_of_the_command_line_wins(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.toml"
    other.write_text("id = 4")
    monkeypatch.setenv("METEORA_CONFIG", str(file))
    assert settings("--config", str(other)) == NodeConfig(node_id=4)


def test_an_empty_variable_leaves_the_file_its_say(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METEORA_ID", "")
    assert settings("--config", str(file)).node_id == 3


def test_a_start_names_the_first_problem_and_where_the_others_are(run: Run, file: Path) -> None:
    file.write_text("raft-prot = 1\nid = 0\n")
    assert run("start", "--config", str(file)) == (
        2,
        b"",
        f'meteora: error: {file}:1: there is no setting "raft-prot": did you mean "raft-port"?;'
        f" `meteora config check --config {file}` lists 1 more\n",
    )


def test_what_does_not_fit_together_is_named_as_it_was_set(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METEORA_KV_PORT", "7001")
    said = run("start", "--config", str(file)).err
    assert said.startswith(f"meteora: error: {file}:1: raft-port and METEORA_KV_PORT are both 7001")


def test_a_file_that_is_not_there_is_a_usage_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("start", "--config", "/not/there")[0] == 2
    monkeypatch.setenv("METEORA_CONFIG", "/not/there")
    assert "Invalid value for METEORA_CONFIG" in run("start").err


LINK = {"METEORA_RAFT_PORT": "tcp://10.96.0.7:7000", "METEORA_RAFT_SERVICE_HOST": "10.96.0.7"}


def test_a_port_that_kubernetes_has_set_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LINK.items():
        monkeypatch.setenv(name, value)
    assert settings() == NodeConfig()


@pytest.mark.parametrize(
    "environment",
    [
        {"METEORA_RAFT_PORT": LINK["METEORA_RAFT_PORT"]},
        {**LINK, "METEORA_RAFT_PORT": "7001"},
        {**LINK, "METEORA_RAFT_PORT": "x"},
        {"METEORA_RAFT_SERVICE_HOST": "10.96.0.7"},
    ],
)
def test_what_kubernetes_has_not_set_is_ours(environment: dict[str, str]) -> None:
    assert not is_service_link("METEORA_RAFT_PORT", environment)
