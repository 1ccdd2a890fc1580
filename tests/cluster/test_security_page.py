"""docs/security.md, followed word for word: certificates by openssl, three nodes, the commands, grpcurl, a rotation."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.processes import ROOT, START_SECONDS, NodeProcess, wait_until

PAGE = (ROOT / "docs" / "security.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

AUTHORITY, NODES, CLIENT = BLOCKS[:3]
STARTS = BLOCKS[3:6]
COMMANDS, GRPCURL_KV, GRPCURL_RAFT, ROTATION, LOOK = BLOCKS[6:]

pytestmark = [pytest.mark.usefixtures("contract_ports"), pytest.mark.xdist_group("contract ports")]


def shell(block: str, folder: Path) -> str:
    """What the lines of a block print, in `folder`. Fails if one of them does."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("METEORA_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    outcome = subprocess.run(
        ["sh", "-e", "-c", block],
        cwd=folder,
        env={**inherited, "PATH": path},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def node_of(block: str, folder: Path, number: int) -> NodeProcess:
    words = shlex.split(block.replace("\\\n", " "))
    assert words[:2] == ["meteora", "start"]
    return NodeProcess(words[2:], folder / f"node{number}.log", cwd=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page is followed: with certificates, and the proto files as in the repository."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "meteora-proto").symlink_to(ROOT / "meteora-proto")
    for block in (AUTHORITY, NODES, CLIENT):
        # The first goes into the folder of the certificates, where the next ones go on.
        shell(block if block is AUTHORITY else f"cd certs\n{block}", folder)
    return folder


@pytest.fixture(scope="module")
def nodes(contract_ports: None, folder: Path) -> Iterator[list[NodeProcess]]:
    nodes = [node_of(block, folder, number) for number, block in enumerate(STARTS, start=1)]
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_until_serving()
        wait_until(
            lambda: all('members="voters=(1 2 3)"' in node.output for node in nodes), "all are voters", START_SECONDS
        )
        yield nodes
    finally:
        for node in nodes:
            node.end()


@pytest.mark.usefixtures("nodes")
def test_what_the_page_says_to_type_works(folder: Path) -> None:
    put, status = shell(COMMANDS, folder).split("ID ")
    assert put == "OK\nhello"
    assert status.count("127.0.0.1:500") == 3
    assert '"value": "aGVsbG8="' in shell(GRPCURL_KV, folder)
    assert '"leaderId"' in shell(GRPCURL_RAFT, folder)


def test_a_certificate_is_rotated_as_the_page_says(nodes: list[NodeProcess], folder: Path) -> None:
    before = (folder / "certs" / "node1.crt").read_bytes()
    shell(ROTATION, folder)
    assert (folder / "certs" / "node1.crt").read_bytes() != before
    wait_until(
        lambda: nodes[0].output.count("new certificates are in use") == 2, "it is in use on both ports", START_SECONDS
    )
    assert "CN=node1" in shell(LOOK, folder).replace(" ", "")
