"""Meteora as the README starts it: the first node alone, the others join it; all settings as they are by default."""

import sys
from pathlib import Path
from typing import Final

import grpc

from bench.processes import NotReady, ServerProcess, free_port, stop_all, wait_until
from meteora import __version__
from meteora.client import Client, ClusterStatus
from meteora.errors import MeteoraError
from meteora.pb import kv_pb2, kv_pb2_grpc

START_SECONDS: Final = 60.0
ASK_SECONDS: Final = 2.0

SETTINGS: Final = "all as by default"


class MeteoraCluster:
    """Nodes of Meteora on the loopback interface."""

    put_path = "/meteora.kv.KvService/Put"
    get_path = "/meteora.kv.KvService/Get"

    def __init__(self, nodes: int, folder: Path) -> None:
        """Starts nothing yet."""
        self._folder = folder
        self._raft_ports: list[int] = []
        self.nodes: list[ServerProcess] = []
        self.addresses: list[str] = []
        for _ in range(nodes):
            self._prepare_node()

    @staticmethod
    def version() -> str:
        """That of the source at hand."""
        return __version__

    def start(self) -> None:
        """The nodes come up side by side: who joins asks until it is let in."""
        for node in self.nodes:
            if not node.is_running:
                node.start()
        wait_until(self._is_whole, f"all nodes of Meteora serve; the first one said {self._complaint()}", START_SECONDS)

    def leader(self) -> int:
        """The place of the node that says that it leads."""
        leaders: list[str] = []

        def one_leads() -> bool:
            status = self._status()
            leaders[:] = [each.kv_address for each in status.members if each.role == "leader"] if status else []
            return bool(leaders)

        wait_until(one_leads, "a node of Meteora leads", START_SECONDS)
        return self.addresses.index(leaders[0])

    def term(self) -> int:
        """The highest that a node answers."""
        status = self._status()
        if status is None:
            raise NotReady("no node of Meteora answers")
        return max(each.progress.term for each in status.members if each.progress is not None)

    def add_node(self) -> int:
        """It joins as a learner, and becomes a voter by itself."""
        place = self._prepare_node()
        self.nodes[place].start()
        return place

    def put(self, key: bytes, value: bytes) -> None:
        """Through any node."""
        with Client(self.addresses) as client:
            client.put(key, value)

    def has_locally(self, place: int, key: bytes) -> bool:
        """By a serializable read."""
        try:
            with grpc.insecure_channel(self.addresses[place]) as channel:
                request = kv_pb2.GetReq(key=key, serializable=True)
                return bool(kv_pb2_grpc.KvServiceStub(channel).Get(request, timeout=ASK_SECONDS).value)
        except grpc.RpcError:
            return False

    def stop(self) -> None:
        """All at once."""
        stop_all(self.nodes)

    def _prepare_node(self) -> int:
        place = len(self.nodes)
        raft_port, kv_port = free_port(), free_port()
        ports = ["-r", str(raft_port), "-k", str(kv_port)]
        data = ["-d", str(self._folder / str(place + 1) / "data")]
        join = ["-p", f"127.0.0.1:{self._raft_ports[0]}"] if place else []
        start = [sys.executable, "-m", "meteora", "start", "-i", str(place + 1), "-a", "127.0.0.1"]
        self.nodes.append(ServerProcess([*start, *ports, *data, *join], self._folder / f"{place + 1}.log"))
        self._raft_ports.append(raft_port)
        self.addresses.append(f"127.0.0.1:{kv_port}")
        return place

    def _status(self) -> ClusterStatus | None:
        try:
            with Client(self.addresses, timeout_seconds=ASK_SECONDS) as client:
                return client.status()
        except MeteoraError:
            return None

    def _is_whole(self) -> bool:
        status = self._status()
        if status is None or status.leader_id is None or len(status.members) != len(self.nodes):
            return False
        return all(each.is_voter and each.role != "unreachable" for each in status.members)

    def _complaint(self) -> str:
        return self.nodes[0].last_words() or "nothing"
