"""All members are replaced one by one while clients go on: in the end none of the first is there, and all the data."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meteora.client import Client
from tests.cluster.histories import Histories
from tests.cluster.load import Load, assert_kept
from tests.cluster.processes import START_SECONDS, ClusterProcesses, node_status, wait_until

SOME_WRITES = 200

FIRST_NEW_ID = 4


class Newcomers(ClusterProcesses):
    """Nodes 4 to 6: the first of them joins `peer`, the others join it."""

    def __init__(self, folder: Path, ports: list[int], peer: str) -> None:
        self._peer = peer
        super().__init__(folder, ports)

    def arguments(self, number: int, folder: Path) -> list[str]:
        """The options of the newcomer `number`, counted from 1."""
        node_id = FIRST_NEW_ID - 1 + number
        raft, kv = self.raft_ports[number - 1], self.kv_ports[number - 1]
        data = str(folder / str(node_id) / "data")
        peer = self._peer if number == 1 else f"127.0.0.1:{self.raft_ports[0]}"
        return ["-i", str(node_id), "-a", "127.0.0.1", "-r", str(raft), "-k", str(kv), "-d", data, "-p", peer]


@pytest.fixture
def newcomers(
    three_nodes: ClusterProcesses, tmp_path: Path, free_port: Callable[[], int]
) -> Iterator[ClusterProcesses]:
    """Not started yet."""
    (tmp_path / "new").mkdir()
    nodes = Newcomers(tmp_path / "new", [free_port() for _ in range(6)], peer=f"127.0.0.1:{three_nodes.raft_ports[2]}")
    try:
        yield nodes
        for node in nodes.nodes:
            assert " ERROR " not in node.output
            assert "Traceback" not in node.output
    finally:
        nodes.end()


def is_voter(kv_port: int, node_id: int) -> bool:
    """Whether the node there says so of itself."""
    members = (node_status(kv_port) or {}).get("members", ())
    return any(each["id"] == str(node_id) and not each.get("learner") for each in members)


def test_replacing_all_three_members_one_by_one_under_load_loses_nothing(
    three_nodes: ClusterProcesses, newcomers: ClusterProcesses
) -> None:
    endpoints = three_nodes.endpoints + newcomers.endpoints
    with Histories(endpoints, seed=1) as histories, Load(three_nodes) as load:
        for number, (old, new) in enumerate(zip(three_nodes.nodes, newcomers.nodes, strict=True), start=1):
            load.wait_for_writes(SOME_WRITES)
            new.start().wait_until_serving()
            kv_port, new_id = newcomers.kv_ports[number - 1], FIRST_NEW_ID - 1 + number
            wait_until(lambda port=kv_port, node_id=new_id: is_voter(port, node_id), "it votes", START_SECONDS)
            with Client(endpoints) as client:
                assert client.leave(number)
            wait_until(lambda node=old: not node.is_running, "who was removed has stopped", START_SECONDS)
            histories.wait_for_new_write(START_SECONDS)
        wait_until(newcomers.is_whole, "the newcomers are the members, and nobody else", START_SECONDS)
        load.wait_for_writes(SOME_WRITES)
    assert_kept(newcomers, load)
