"""A node that is started from a file."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.processes import NodeProcess, get, meteora, node_status, put

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def kv_port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture
def file(tmp_path: Path, free_port: Callable[[], int], kv_port: int) -> Path:
    path = tmp_path / "meteora.toml"
    path.write_text(
        f'id = 7\naddress = "127.0.0.1"\nraft-port = {free_port()}\nkv-port = {kv_port}\n'
        f'data-directory = "{tmp_path / "data"}"\nlog-format = "json"\n'
    )
    return path


@pytest.fixture
def node(file: Path, tmp_path: Path) -> Iterator[NodeProcess]:
    node = NodeProcess(["--config", str(file), "-i", "8"], tmp_path / "log", METEORA_CLIENT_CERT_AHUT="true")
    yield node.start().wait_until_serving()
    node.end()


def test_a_node_runs_with_the_settings_of_a_file_and_an_option_over_it(node: NodeProcess, kv_port: int) -> None:
    put(kv_port, b"key", b"value")
    assert get(kv_port, b"key")["value"] == "dmFsdWU="
    assert node_status(kv_port)["nodeId"] == "8"
    first, *_ = [json.loads(line) for line in node.output.splitlines()]
    assert (first["level"], first["event"].partition(":")[0]) == (
        "warning",
        "METEORA_CLIENT_CERT_AHUT is set, and nobody reads it",
    )
    assert node.stop() == 0


def test_a_file_that_was_made_by_show_is_fine(file: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown.toml"
    shown.write_text(meteora("config", "show", "--config", str(file), "--format", "toml").stdout)
    assert meteora("config", "check", "--config", str(shown)).stdout == f"{shown} is fine.\n"
