"""`make cluster`: three nodes in one terminal, of which one may be killed, and which one Ctrl-C stops."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.processes import ROOT, START_SECONDS, get, node_status, put, wait_until

KV_PORTS = (5001, 5002, 5003)

pytestmark = [pytest.mark.usefixtures("contract_ports"), pytest.mark.xdist_group("contract ports")]


class MadeCluster:
    """The process of `make cluster`, and what it and its nodes print."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("METEORA_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, ROOT / "tools" / "cluster.py", "--folder", folder],
                stdout=log,
                stderr=log,
                env=environment,
            )
        wait_until(lambda: len(self.nodes()) == len(KV_PORTS), "it names its nodes", START_SECONDS)

    @property
    def output(self) -> str:
        return self._log.read_text()

    def nodes(self) -> dict[int, int]:
        """The process ids that it names, by the ids of the nodes."""
        found = re.findall(r"^  node (\d): .*, process (\d+)$", self.output, re.MULTILINE)
        return {int(node_id): int(process_id) for node_id, process_id in found}

    def end(self) -> None:
        """Stop it if it runs."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[MadeCluster]:
    made = MadeCluster(tmp_path)
    try:
        wait_until(is_whole, "all nodes are voters", START_SECONDS)
        yield made
    finally:
        made.end()


def is_whole() -> bool:
    statuses = [node_status(port) or {} for port in KV_PORTS]
    voters = [[each for each in status.get("members", ()) if not each.get("learner")] for status in statuses]
    return all(len(each) == len(KV_PORTS) for each in voters)


def ended(process_id: int) -> bool:
    return not Path(f"/proc/{process_id}").exists()


def test_a_node_that_is_killed_leaves_the_others_and_can_be_started_again_and_one_ctrl_c_stops_all(
    made: MadeCluster,
) -> None:
    nodes = made.nodes()
    put(5002, b"key", b"value")
    os.kill(nodes[1], signal.SIGKILL)
    wait_until(lambda: "Node 1 was ended by SIGKILL; the others go on." in made.output, "it says so", START_SECONDS)
    wait_until(lambda: "leaderId" in (node_status(5003) or {}), "another node leads", START_SECONDS)
    assert get(5003, b"key")["state"] == "OK"
    made.process.send_signal(signal.SIGINT)
    assert made.process.wait(START_SECONDS) == 0
    assert all(map(ended, nodes.values()))


def test_a_node_that_fails_stops_the_others(tmp_path: Path) -> None:
    (tmp_path / "3").write_text("no folder")
    made = MadeCluster(tmp_path)
    try:
        assert made.process.wait(START_SECONDS) == 1
        assert "Node 3 failed with status" in made.output
        assert all(map(ended, made.nodes().values()))
    finally:
        made.end()
