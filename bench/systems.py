"""What the benchmark needs of a system that it puts under load by gRPC, and the systems by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Final, Protocol

from bench.etcd_system import EtcdCluster
from bench.meteora_system import MeteoraCluster
from bench.processes import ServerProcess


class Cluster(Protocol):
    """Nodes of one system, each a real process with its data in a folder of its own."""

    @property
    def put_path(self) -> str:
        """The gRPC method that writes."""
        ...

    @property
    def get_path(self) -> str:
        """The gRPC method that reads, linearizable."""
        ...

    @property
    def nodes(self) -> Sequence[ServerProcess]:
        """The processes, in the order in which they were started."""
        ...

    @property
    def addresses(self) -> Sequence[str]:
        """host:port of each node's API, in the same order."""
        ...

    def start(self) -> None:
        """Starts every node that doesn't run, and returns once each serves and knows the leader."""
        ...

    def leader(self) -> int:
        """The place of the leader in `nodes`. Raises `NotReady` if there is none for long."""
        ...

    def term(self) -> int:
        """The highest term that a node knows."""
        ...

    def add_node(self) -> int:
        """Starts one more node, which joins, and returns its place in `nodes` without waiting for it."""
        ...

    def put(self, key: bytes, value: bytes) -> None:
        """Writes one key."""
        ...

    def has_locally(self, place: int, key: bytes) -> bool:
        """Whether the node itself, without asking another one, has the key. False if it doesn't answer yet."""
        ...

    def stop(self) -> None:
        """Stops all nodes."""
        ...


SYSTEMS: Final[Mapping[str, Callable[[int, Path], Cluster]]] = {"meteora": MeteoraCluster, "etcd": EtcdCluster}
"""Those that take turns, in their order."""


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder inside this one, for the data of one turn."""
    made = Path(mkdtemp(dir=folder))
    try:
        yield made
    finally:
        rmtree(made)


@contextmanager
def running(system: str, nodes: int, folder: Path) -> Iterator[Cluster]:
    """A fresh cluster that serves; afterwards it is stopped and its data are gone."""
    with new_folder(folder) as data:
        cluster = SYSTEMS[system](nodes, data)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def leader_address(cluster: Cluster) -> str:
    """host:port of the leader's API."""
    return cluster.addresses[cluster.leader()]


def follower_address(cluster: Cluster) -> str:
    """host:port of the API of a node that doesn't lead, the first one."""
    leader = cluster.leader()
    return next(address for place, address in enumerate(cluster.addresses) if place != leader)


def memory_mib(cluster: Cluster) -> float:
    """Of the node that needs the most."""
    return max(node.memory_mib for node in cluster.nodes)
