"""Real nodes in processes of their own, and the real grpcurl to ask them.

Whoever starts a node ends it; the conftest of this folder prints the logs of those that run when a test fails.
"""

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import grpc
from google.protobuf import json_format

from meteora.pb.common_pb2 import Null
from meteora.pb.raft_pb2_grpc import RaftServiceStub

ROOT = Path(__file__).resolve().parent.parent.parent
PROTOS = ROOT / "meteora-proto" / "proto"
GRPCURL = Path(sys.executable).with_name("grpcurl")

START_SECONDS = 20.0
"""For a node to serve: generous, because the machine may be busy with other tests."""


STATUS_SECONDS = 2.0
"""For a node to say how it is: it needs nobody else for that."""

CHANNEL_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
"""A connection of its own for each channel, and so no pauses that another one has earned."""


PLAIN = ("-plaintext",)
"""Of grpcurl: no TLS."""


class NodeProcess:
    """One `meteora start`, with its output kept."""

    started: ClassVar[list["NodeProcess"]] = []
    """What is of interest when the test that runs now fails."""

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        *,
        cwd: Path | None = None,
        wrapper: Sequence[str] = (),
        **environment: str,
    ) -> None:
        """`wrapper`: a command that runs another one in its place, as `ip netns exec` does."""
        self.arguments = list(arguments)
        self._wrapper = wrapper
        self.log = log
        self._cwd = cwd
        # What its user has set for nodes of their own is no setting of this one.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("METEORA_")}
        self.environment = {**inherited, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data_directory(self) -> Path:
        """Where it keeps its data."""
        return Path(self.arguments[self.arguments.index("-d") + 1])

    @property
    def output(self) -> str:
        """All that it printed, over all its starts."""
        return self.log.read_text() if self.log.exists() else ""

    def start(self) -> Self:
        """Start it; it may take a while until it serves."""
        self._seen = len(self.output)
        if self not in self.started:
            self.started.append(self)
        with self.log.open("ab") as log:
            command = [*self._wrapper, sys.executable, "-m", "meteora", "start", *self.arguments]
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self._cwd, env=self.environment
            )
        return self

    @property
    def output_since_start(self) -> str:
        """What it printed since its last start."""
        return self.output[self._seen :]

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._process is not None
        return self._process

    def wait_for_line(self, text: str, timeout_seconds: float = START_SECONDS) -> Self:
        """Wait until it has printed `text` since its last start."""
        wait_until(
            lambda: text in self.output_since_start or not self.is_running,
            f"{text!r} in the output of {self.arguments}",
            timeout_seconds,
        )
        assert text in self.output_since_start, f"stopped with {self.process.returncode}:\n{self.output}"
        return self

    def wait_until_serving(self) -> Self:
        """Wait until it answers requests."""
        return self.wait_for_line("serving")

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def interrupt(self, timeout_seconds: float = 20.0) -> int:
        """SIGINT, and its exit status once it is gone."""
        return self.stop(signal.SIGINT, timeout_seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_seconds: float = 20.0) -> int:
        """The signal, and its exit status once it is gone."""
        self.process.send_signal(number)
        return self.process.wait(timeout_seconds)

    def wait(self, timeout_seconds: float = START_SECONDS) -> int:
        """Its exit status once it has stopped by itself."""
        return self.process.wait(timeout_seconds)

    def end(self) -> None:
        """Kill it if it runs."""
        if self.is_running:
            self.kill()


class ClusterProcesses:
    """Nodes 1 to n on one host, as the README starts them: the first alone, the others joining it."""

    def __init__(self, folder: Path, ports: Sequence[int], *options: str) -> None:
        """`ports`: for each node its Raft port and its KV port."""
        self.credentials: grpc.ChannelCredentials | None = None
        """What they are asked with; None: in the clear."""
        self.raft_ports = list(ports[0::2])
        self.kv_ports = list(ports[1::2])
        self.nodes = [
            NodeProcess(self.arguments(number, folder) + list(options), folder / f"node{number}.log")
            for number in range(1, len(self.raft_ports) + 1)
        ]

    def arguments(self, number: int, folder: Path) -> list[str]:
        """The options of node `number`, counted from 1."""
        raft, kv = self.raft_ports[number - 1], self.kv_ports[number - 1]
        data = str(folder / str(number) / "data")
        options = ["-i", str(number), "-a", "127.0.0.1", "-r", str(raft), "-k", str(kv), "-d", data]
        return options if number == 1 else [*options, "-p", f"127.0.0.1:{self.raft_ports[0]}"]

    def start(self) -> Self:
        """Start all nodes, and wait until all of them are voters and know their leader."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_until_serving()
        wait_until(self.is_whole, "every node knows the same leader and all voters", START_SECONDS)
        return self

    def kill_all(self) -> None:
        """`kill -9` to all of them before any is waited for."""
        for node in self.nodes:
            node.process.kill()
        for node in self.nodes:
            node.process.wait()

    def start_again(self) -> Self:
        """Start those that don't run, with the command lines that they had, and wait until they serve."""
        stopped = [node for node in self.nodes if not node.is_running]
        for node in stopped:
            node.start()
        for node in stopped:
            node.wait_until_serving()
        return self

    def node(self, number: int) -> NodeProcess:
        """Node `number`, counted from 1."""
        return self.nodes[number - 1]

    @property
    def endpoints(self) -> list[str]:
        """The KV addresses."""
        return [f"127.0.0.1:{port}" for port in self.kv_ports]

    def is_whole(self) -> bool:
        """Whether every node knows the same leader, and all of them as voters."""
        statuses = [self.status(port) for port in self.kv_ports]
        leaders = {status.get("leaderId") if status else None for status in statuses}
        if len(leaders) != 1 or None in leaders:
            return False
        members = [status.get("members", ()) for status in statuses if status]
        return all(len(each) == len(self.nodes) and not any(m.get("learner") for m in each) for each in members)

    def status(self, kv_port: int) -> Any:
        """What the node at this port says of itself; None if it does not answer."""
        return node_status(kv_port, credentials=self.credentials)

    def statuses(self) -> dict[int, Any]:
        """What each node that answers says of itself, by its number."""
        asked = {number: self.status(port) for number, port in enumerate(self.kv_ports, start=1)}
        return {number: status for number, status in asked.items() if status is not None}

    def leader(self) -> int:
        """The number of the node that says that it leads, in the latest term if there are two. Waits for one."""
        leaders: list[tuple[int, int]] = []

        def one_leads() -> bool:
            statuses = self.statuses().items()
            leaders[:] = [(int(each["term"]), number) for number, each in statuses if each.get("role") == "LEADER"]
            return bool(leaders)

        wait_until(one_leads, "a node leads", START_SECONDS)
        return max(leaders)[1]

    def have_converged(self) -> bool:
        """Whether all nodes answer, and have applied the same, which is all that there is."""
        statuses = self.statuses().values()
        indexes = {each.get(index) for each in statuses for index in ("appliedIndex", "commitIndex", "lastIndex")}
        return len(statuses) == len(self.nodes) and len(indexes) == 1

    def end(self) -> None:
        """Kill what runs."""
        for node in self.nodes:
            node.end()


def wait_until(condition: Callable[[], bool], what: str, timeout_seconds: float) -> None:
    """Wait for a condition; fails, saying `what` was waited for."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_seconds} s: {what}"
        time.sleep(0.05)  # Between looks at a condition: nothing depends on how long.


def meteora(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A command line of `meteora` that ends by itself."""
    command = [sys.executable, "-m", "meteora", *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=variables)


def grpcurl(
    port: int, method: str, request: dict[str, object] | None = None, *options: str, security: Sequence[str] = PLAIN
) -> subprocess.CompletedProcess[str]:
    """Call a method with the real grpcurl and the proto files of the repository."""
    proto = {"auth": "auth.proto", "kv": "kv.proto", "raft": "raft.proto"}[method.split(".")[1]]
    data = ["-d", json.dumps(request)] if request is not None else []
    return subprocess.run(
        [
            GRPCURL,
            "-import-path",
            PROTOS,
            "-proto",
            PROTOS / proto,
            *security,
            *data,
            *options,
            f"127.0.0.1:{port}",
            method,
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def ask(port: int, method: str, request: dict[str, object] | None = None) -> Any:
    """The reply of a method as JSON. Fails if there is none."""
    result = grpcurl(port, method, request)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def node_status(port: int, host: str = "127.0.0.1", credentials: grpc.ChannelCredentials | None = None) -> Any:
    """What the node at this KV port says of itself, as grpcurl would print it; None if it does not answer."""
    address = f"{host}:{port}"
    if credentials is None:
        opened = grpc.insecure_channel(address, CHANNEL_OPTIONS)
    else:
        opened = grpc.secure_channel(address, credentials, CHANNEL_OPTIONS)
    with opened as channel:
        try:
            reply = RaftServiceStub(channel).NodeStatus(Null(), timeout=STATUS_SECONDS)
        except grpc.RpcError:
            return None
    return json_format.MessageToDict(reply)


def put(port: int, key: bytes, value: bytes) -> Any:
    """Put through grpcurl."""
    return ask(port, "meteora.kv.KvService/Put", {"key": _base64(key), "value": _base64(value)})


def get(port: int, key: bytes) -> Any:
    """Get through grpcurl."""
    return ask(port, "meteora.kv.KvService/Get", {"key": _base64(key)})


def delete(port: int, key: bytes) -> Any:
    """Delete through grpcurl."""
    return ask(port, "meteora.kv.KvService/Delete", {"key": _base64(key)})


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
