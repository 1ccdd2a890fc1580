"""Clusters that form by themselves, started as the compose file and the StatefulSet start them, on loopback.

How else they may start, stop, start again and be told of one another is in `tests/server/test_founding.py`.
"""

import http.client
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import grpc
import pytest

from tests.certificates import Authority, Pair
from tests.cluster.processes import NodeProcess, get, meteora, node_status, put, wait_until
from tests.deploy.manifests import (
    compose,
    container,
    health_check,
    image_environment,
    pod_environment,
    secure_stateful_set,
)

pytestmark = pytest.mark.timeout(120)

PATIENCE_SECONDS = 30.0

MOUNTED = "/etc/meteora/tls/"
"""Where the pods have their certificates."""

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


class Shipped:
    """Nodes 1 to 3 with the environment that they are shipped with; only where they are found is another place."""

    def __init__(self, folder: Path, free_port: Callable[[], int], environments: list[dict[str, str]]) -> None:
        """`environments`: for each node, what the manifest sets. The folder has what Kubernetes mounts."""
        self.raft_ports = [free_port() for _ in environments]
        self.kv_ports = [free_port() for _ in environments]
        self.metrics_ports = [free_port() for _ in environments]
        self.credentials: grpc.ChannelCredentials | None = None
        self._folder = folder
        self._moved = {
            f"{each['METEORA_ADVERTISE_ADDRESS']}:{image_environment()['METEORA_RAFT_PORT']}": f"127.0.0.1:{port}"
            for each, port in zip(environments, self.raft_ports, strict=True)
        }
        self.directories = [folder / f"{place}" for place in range(1, len(environments) + 1)]
        self.environments = [self._on_loopback(place, each) for place, each in enumerate(environments)]
        self.nodes: list[NodeProcess] = []

    def _on_loopback(self, place: int, shipped: dict[str, str]) -> dict[str, str]:
        members = ",".join(self._moved[each] for each in shipped["METEORA_INITIAL_CLUSTER"].split(","))
        return {
            **image_environment(),
            **{name: value.replace(MOUNTED, f"{self._folder}/") for name, value in shipped.items()},
            "METEORA_ADVERTISE_ADDRESS": "127.0.0.1",
            "METEORA_INITIAL_CLUSTER": members,
            "METEORA_RAFT_PORT": str(self.raft_ports[place]),
            "METEORA_KV_PORT": str(self.kv_ports[place]),
            "METEORA_METRICS_ADDRESS": f"127.0.0.1:{self.metrics_ports[place]}",
            "METEORA_DATA_DIRECTORY": str(self.directories[place]),
        }

    def add(self, *wrapper: str) -> None:
        """One more node, that `wrapper` starts."""
        environment = self.environments[len(self.nodes)]
        log = self.directories[len(self.nodes)].with_suffix(".log")
        self.nodes.append(NodeProcess([], log, wrapper=wrapper, **environment))

    def start(self) -> None:
        """All that don't run, until they serve."""
        stopped = [node for node in self.nodes if not node.is_running]
        for node in stopped:
            node.start()
        for node in stopped:
            node.wait_until_serving()

    def clusters(self) -> set[str]:
        """The ids of all clusters that a node has said it is in."""
        return {
            word for node in self.nodes for word in node.output.split() if word.startswith(("cluster=", '"cluster":'))
        }

    def have_three_voters(self) -> bool:
        """Whether each node knows three voters and has applied what there is."""
        statuses = [node_status(port, credentials=self.credentials) or {} for port in self.kv_ports]
        members = [each.get("members", {}) for each in statuses]
        indexes = {each.get(name) for each in statuses for name in ("appliedIndex", "commitIndex")}
        return all(len(each) == 3 for each in members) and len(indexes) == 1

    def is_healthy(self, place: int) -> bool:
        """What the image's check says, run beside a node."""
        environment = {**self.environments[place], "PATH": PATH}
        return subprocess.run(health_check(), env=environment, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def probe(self, place: int, probe: str) -> int:
        """The status that Kubernetes gets of a pod."""
        asked: dict[str, Any] = container()[probe]["httpGet"]
        assert asked["port"] == "metrics"
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_ports[place], timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", asked["path"])
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def composed(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Shipped]:
    """The services of the compose file."""
    cluster = Shipped(tmp_path, free_port, [each["environment"] for each in compose()["services"].values()])
    for _ in cluster.environments:
        cluster.add()
    yield cluster
    for node in cluster.nodes:
        node.end()


def mount_certificates(folder: Path, name: str) -> grpc.ChannelCredentials:
    """What the secret has; the credentials of who shows the same to the nodes."""
    authority = Authority(folder)
    authority.ca.rename(folder / "ca.crt")
    pair = authority.issue("tls", name, "localhost", "127.0.0.1")
    own = Pair(pair.cert.rename(folder / "tls.crt"), pair.key)
    return grpc.ssl_channel_credentials((folder / "ca.crt").read_bytes(), own.key.read_bytes(), own.cert.read_bytes())


@pytest.fixture
def pods(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Shipped]:
    """The pods of the StatefulSet with TLS, started by its own line of shell, which finds out their ids."""
    secure = secure_stateful_set()
    shipped = [pod_environment(f"meteora-{ordinal}", "default", secure) for ordinal in range(3)]
    cluster = Shipped(tmp_path, free_port, shipped)
    cluster.credentials = mount_certificates(tmp_path, shipped[0]["METEORA_PEER_ALLOWED_NAMES"])
    for environment in cluster.environments:
        environment["PATH"] = PATH
        # What the test would run is no more than the line's positional arguments.
        cluster.add(*container(secure)["command"], *container(secure)["args"])
    yield cluster
    for node in cluster.nodes:
        node.end()


def test_the_composed_nodes_form_one_cluster(composed: Shipped) -> None:
    first = composed.nodes[0]
    # The first has heard from nobody, so it may have forgotten a cluster: it founds none, and can be stopped meanwhile.
    first.start().wait_for_line("can't join yet")
    assert not composed.is_healthy(0)
    assert first.stop() == 0
    composed.start()
    wait_until(composed.have_three_voters, "three voters", PATIENCE_SECONDS)
    assert composed.is_healthy(0)
    put(composed.kv_ports[1], b"greeting", b"hello")
    assert get(composed.kv_ports[2], b"greeting")["value"] == "aGVsbG8="
    assert len(composed.clusters()) == 1


def test_the_first_pod_that_lost_its_disk_founds_no_second_cluster(pods: Shipped) -> None:
    pods.start()
    wait_until(pods.have_three_voters, "three voters", PATIENCE_SECONDS)
    assert [pods.probe(2, f"{name}Probe") for name in ("startup", "liveness", "readiness")] == [200] * 3
    of_pod = {name: pods.environments[1][name] for name in ("METEORA_CACERT", "METEORA_CERT", "METEORA_KEY")}
    survivor = f"127.0.0.1:{pods.kv_ports[1]}"
    assert meteora("put", "-a", survivor, "greeting", "hello", **of_pod).stdout == "OK\n"
    first = pods.nodes[0]
    first.kill()
    rmtree(pods.directories[0])
    # It is told whose id it has, and what to do.
    assert first.start().wait(PATIENCE_SECONDS) == 1
    assert "remove it first: meteora leave -i 1" in first.output_since_start
    assert meteora("leave", "-a", survivor, "-i", "1", "--timeout", "20", **of_pod).stdout == "OK\n"
    pods.start()
    wait_until(pods.have_three_voters, "three voters again", PATIENCE_SECONDS)
    assert pods.probe(0, "readinessProbe") == 200
    assert meteora("get", "-a", f"127.0.0.1:{pods.kv_ports[0]}", "greeting", **of_pod).stdout == "hello"
    assert len(pods.clusters()) == 1
