"""Leadership goes where a user wants it, while clients go on."""

import subprocess
import sys

from meteora.client import Client
from tests.cluster.processes import START_SECONDS, ClusterProcesses, wait_until


def transfer(cluster: ClusterProcesses, asked: int, node_id: int) -> "subprocess.CompletedProcess[str]":
    """Run `meteora transfer` at one node."""
    command = [sys.executable, "-m", "meteora", "transfer", "-i", str(node_id), "-a", cluster.endpoints[asked - 1]]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_each_node_in_turn_leads_when_told_to_whoever_is_asked(three_nodes: ClusterProcesses) -> None:
    with Client(three_nodes.endpoints) as client:
        for asked, node_id in ((1, 2), (1, 3), (1, 1), (1, 1)):
            done = transfer(three_nodes, asked, node_id)
            assert (done.returncode, done.stdout, done.stderr) == (0, "OK\n", "")
            assert three_nodes.statuses()[node_id]["role"] == "LEADER"
            client.put(b"led by", str(node_id))
            assert client.get(b"led by") == str(node_id).encode()


def test_a_node_that_was_killed_is_refused_and_the_leader_goes_on(three_nodes: ClusterProcesses) -> None:
    leader = three_nodes.leader()
    silent = leader % 3 + 1
    three_nodes.node(silent).kill()

    def is_refused() -> bool:
        done = transfer(three_nodes, leader, silent)  # It was heard a moment ago, and may be tried at first.
        return done.returncode == 1 and f"node {silent} at 127.0.0.1:" in done.stderr and "is silent" in done.stderr

    wait_until(is_refused, "the leader knows that the node is silent", START_SECONDS)
    assert three_nodes.leader() == leader
