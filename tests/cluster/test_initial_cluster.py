"""Clusters that form by themselves, started as the compose file and the StatefulSet start them, on loopback."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree

import pytest

from tests.cluster.processes import NodeProcess, meteora, node_status, wait_until
from tests.deploy.manifests import compose, container, image_environment, pod_environment

pytestmark = pytest.mark.timeout(120)

PATIENCE_SECONDS = 30.0


class Shipped:
    """Nodes 1 to 3 with the environment that they are shipped with; only where they are found is another place."""

    def __init__(self, folder: Path, free_port: Callable[[], int], environments: list[dict[str, str]]) -> None:
        """`environments`: for each node, what the manifest sets."""
        self.raft_ports = [free_port() for _ in environments]
        self.kv_ports = [free_port() for _ in environments]
        self._moved = {
            f"{each['METEORA_ADVERTISE_ADDRESS']}:{image_environment()['METEORA_RAFT_PORT']}": f"127.0.0.1:{port}"
            for each, port in zip(environments, self.raft_ports, strict=True)
        }
        self.directories = [folder / each["METEORA_ID"] for each in environments]
        self.environments = [self._on_loopback(place, each) for place, each in enumerate(environments)]
        self.nodes: list[NodeProcess] = []

    def _on_loopback(self, place: int, shipped: dict[str, str]) -> dict[str, str]:
        members = ",".join(self._moved[each] for each in shipped["METEORA_INITIAL_CLUSTER"].split(","))
        return {
            **image_environment(),
            **shipped,
            "METEORA_ADVERTISE_ADDRESS": "127.0.0.1",
            "METEORA_INITIAL_CLUSTER": members,
            "METEORA_RAFT_PORT": str(self.raft_ports[place]),
            "METEORA_KV_PORT": str(self.kv_ports[place]),
            "METEORA_DATA_DIRECTORY": str(self.directories[place]),
        }

    def add(self, *wrapper: str) -> None:
        """One more node, that `wrapper` starts."""
        environment = self.environments[len(self.nodes)]
        log = self.directories[len(self.nodes)].with_suffix(".log")
        self.nodes.append(NodeProcess([], log, wrapper=wrapper, **environment))

    def clusters(self) -> set[str]:
        """The ids of all clusters that a node has said it is in."""
        return {
            word for node in self.nodes for word in node.output.split() if word.startswith(("cluster=", '"cluster":'))
        }

    def have_three_voters(self) -> bool:
        """Whether each node knows three voters and has applied what there is."""
        statuses = [node_status(port) or {} for port in self.kv_ports]
        members = [each.get("members", {}) for each in statuses]
        indexes = {each.get(name) for each in statuses for name in ("appliedIndex", "commitIndex")}
        return all(len(each) == 3 for each in members) and len(indexes) == 1


@pytest.fixture
def composed(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Shipped]:
    """The services of the compose file."""
    cluster = Shipped(tmp_path, free_port, [each["environment"] for each in compose()["services"].values()])
    for _ in cluster.environments:
        cluster.add()
    yield cluster
    for node in cluster.nodes:
        node.end()


@pytest.fixture
def pods(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Shipped]:
    """The pods of the StatefulSet, started by its own line of shell."""
    shipped = [
        {**pod_environment(f"meteora-{ordinal}", "default"), "METEORA_ID": str(ordinal + 1)} for ordinal in range(3)
    ]
    cluster = Shipped(tmp_path, free_port, shipped)
    for environment in cluster.environments:
        del environment["METEORA_ID"]  # That is for the line to find out.
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        # What the test would run is no more than the line's positional arguments.
        cluster.add(*container()["command"], *container()["args"])
    yield cluster
    for node in cluster.nodes:
        node.end()


def test_the_composed_nodes_form_one_cluster_and_find_each_other_again(composed: Shipped) -> None:
    first, *others = composed.nodes
    # The first has heard from nobody, so it may have forgotten a cluster: it founds none, and can be stopped meanwhile.
    assert first.start().wait_for_line("can't join yet").stop() == 0
    first.start()
    for node in others:
        node.start()
    for node in composed.nodes:
        node.wait_until_serving()
    wait_until(composed.have_three_voters, "three voters", PATIENCE_SECONDS)
    assert meteora("put", "-a", f"127.0.0.1:{composed.kv_ports[1]}", "greeting", "hello").stdout == "OK\n"
    # Down, and up again.
    for node in composed.nodes:
        node.stop()
    for node in composed.nodes:
        node.start()
    for node in composed.nodes:
        node.wait_until_serving()
    assert meteora("get", "-a", f"127.0.0.1:{composed.kv_ports[2]}", "greeting").stdout == "hello"
    assert len(composed.clusters()) == 1


def test_the_first_pod_that_lost_its_disk_founds_no_second_cluster(pods: Shipped) -> None:
    for node in pods.nodes:
        node.start()
    for node in pods.nodes:
        node.wait_until_serving()
    wait_until(pods.have_three_voters, "three voters", PATIENCE_SECONDS)
    assert meteora("put", "-a", f"127.0.0.1:{pods.kv_ports[0]}", "greeting", "hello").stdout == "OK\n"
    first, *others = pods.nodes
    first.kill()
    rmtree(pods.directories[0])
    # While nobody else is there, it waits: they may be members, and they are.
    for node in others:
        node.stop()
    first.start().wait_for_line("can't join yet")
    for node in others:
        node.start().wait_until_serving()
    # Then it is told whose id it has, and what to do.
    assert first.wait(PATIENCE_SECONDS) == 1
    assert "remove it first: meteora leave -i 1" in first.output_since_start
    survivor = f"127.0.0.1:{pods.kv_ports[1]}"
    assert meteora("leave", "-a", survivor, "-i", "1", "--timeout", "20").stdout == "OK\n"
    first.start().wait_until_serving()
    wait_until(pods.have_three_voters, "three voters again", PATIENCE_SECONDS)
    assert meteora("get", "-a", f"127.0.0.1:{pods.kv_ports[0]}", "greeting").stdout == "hello"
    assert len(pods.clusters()) == 1
