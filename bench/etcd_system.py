"""etcd as Debian packages it, with its default settings but for one.

Its quota of 2 GiB is raised, so that it doesn't stop taking writes in the middle of a run. It is put under load
by gRPC; what else it is asked goes through the JSON gateway that it has built in.
"""

import json
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from bench.processes import NotReady, ServerProcess, free_port, stop_all, wait_until

START_SECONDS: Final = 60.0
ASK_SECONDS: Final = 2.0
CHANGE_SECONDS: Final = 30.0
"""For a change of the membership: a member that was just started may be slow to connect."""

QUOTA_BYTES: Final = 8 << 30
"""The most that etcd's own documentation advises."""

SETTINGS: Final = f"--quota-backend-bytes={QUOTA_BYTES}, else all as by default"


class EtcdCluster:
    """Nodes of etcd on the loopback interface."""

    put_path = "/etcdserverpb.KV/Put"
    get_path = "/etcdserverpb.KV/Range"

    def __init__(self, nodes: int, folder: Path) -> None:
        """Starts nothing yet."""
        self._folder = folder
        self._peers = [free_port() for _ in range(nodes)]
        self.nodes: list[ServerProcess] = []
        self.addresses: list[str] = []
        for place in range(nodes):
            self._prepare_node(place, "new")

    @staticmethod
    def version() -> str:
        """As it says itself."""
        return subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]

    def start(self) -> None:
        """The nodes elect a leader together."""
        for node in self.nodes:
            if not node.is_running:
                node.start()
        wait_until(self._is_whole, "all nodes of etcd serve and know the leader", START_SECONDS)

    def leader(self) -> int:
        """The place of the node that the first one takes for the leader."""
        wait_until(self._is_whole, "a node of etcd leads", START_SECONDS)
        statuses = [self._status(place) for place in range(len(self.nodes))]
        return next(place for place, each in enumerate(statuses) if each["header"]["member_id"] == each["leader"])

    def term(self) -> int:
        """The highest that a node answers."""
        return max(int(self._status(place)["raftTerm"]) for place in range(len(self.nodes)))

    def add_node(self) -> int:
        """It is added as a voter, which is the default, and then started.

        etcd refuses changes until its members have been connected for some seconds.
        """
        place, port = len(self.nodes), free_port()
        self._peers.append(port)
        wait_until(lambda: self._adds_member(port), "etcd takes in a member", CHANGE_SECONDS)
        self._prepare_node(place, "existing")
        self.nodes[place].start()
        return place

    def put(self, key: bytes, value: bytes) -> None:
        """Through the first node."""
        self._ask(0, "kv/put", CHANGE_SECONDS, key=_text(key), value=_text(value))

    def has_locally(self, place: int, key: bytes) -> bool:
        """By a serializable read."""
        try:
            return "kvs" in self._ask(place, "kv/range", ASK_SECONDS, key=_text(key), serializable=True)
        except NotReady:
            return False

    def stop(self) -> None:
        """All at once."""
        stop_all(self.nodes)

    def _prepare_node(self, place: int, state: str) -> None:
        client, peer = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{self._peers[place]}"
        members = ",".join(f"n{each + 1}=http://127.0.0.1:{port}" for each, port in enumerate(self._peers))
        name = f"n{place + 1}"
        command = ["etcd", "--name", name, "--data-dir", str(self._folder / name)]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", members, "--initial-cluster-state", state]
        command += ["--quota-backend-bytes", str(QUOTA_BYTES)]
        self.nodes.append(ServerProcess(command, self._folder / f"{name}.log"))
        self.addresses.append(client.removeprefix("http://"))

    def _adds_member(self, peer_port: int) -> bool:
        try:
            self._ask(0, "cluster/member/add", CHANGE_SECONDS, peerURLs=[f"http://127.0.0.1:{peer_port}"])
        except NotReady:
            return False
        return True

    def _is_whole(self) -> bool:
        try:
            statuses = [self._status(place) for place in range(len(self.nodes))]
            self._ask(0, "kv/range", ASK_SECONDS, key=_text(b"any"))
        except NotReady:
            return False
        leaders = {each.get("leader", "0") for each in statuses}
        return len(leaders) == 1 and leaders != {"0"}

    def _status(self, place: int) -> Any:
        return self._ask(place, "maintenance/status", ASK_SECONDS)

    def _ask(self, place: int, method: str, timeout_seconds: float, **fields: object) -> Any:
        """Raises `NotReady` if it is not answered."""
        request = Request(f"http://{self.addresses[place]}/v3/{method}", json.dumps(fields).encode())
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=timeout_seconds) as answer:
                return json.load(answer)
        except (URLError, OSError) as error:
            raise NotReady(f"etcd did not answer {method}: {error}; it said\n{self._last_words(place)}") from error

    def _last_words(self, place: int) -> str:
        return self.nodes[place].last_words() if place < len(self.nodes) else ""


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()
