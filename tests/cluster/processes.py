"""Real nodes in processes of their own, and the real grpcurl to ask them."""

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
PROTOS = ROOT / "meteora-proto" / "proto"
GRPCURL = Path(sys.executable).with_name("grpcurl")

START_SECONDS = 20.0
"""For a node to serve: generous, because the machine may be busy with other tests."""


class NodeProcess:
    """One `meteora start`, with its output kept."""

    def __init__(self, arguments: Sequence[str], log: Path, *, cwd: Path | None = None, **environment: str) -> None:
        self.arguments = list(arguments)
        self.log = log
        self._cwd = cwd
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> str:
        """All that it printed, over all its starts."""
        return self.log.read_text() if self.log.exists() else ""

    def start(self) -> "NodeProcess":
        """Start it; it may take a while until it serves."""
        self._seen = len(self.output)
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "meteora", "start", *self.arguments]
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self._cwd, env=self._environment
            )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._process is not None
        return self._process

    def wait_for_line(self, text: str, timeout_seconds: float = START_SECONDS) -> "NodeProcess":
        """Wait until it has printed `text` since its last start."""
        wait_until(
            lambda: text in self.output[self._seen :] or self.process.poll() is not None,
            f"{text!r} in the output of {self.arguments}",
            timeout_seconds,
        )
        assert text in self.output[self._seen :], f"stopped with {self.process.returncode}:\n{self.output}"
        return self

    def wait_until_serving(self) -> "NodeProcess":
        """Wait until it answers requests."""
        return self.wait_for_line("serving")

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def interrupt(self, timeout_seconds: float = 20.0) -> int:
        """SIGINT, and its exit status once it is gone."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout_seconds)

    def wait(self, timeout_seconds: float = START_SECONDS) -> int:
        """Its exit status once it has stopped by itself."""
        return self.process.wait(timeout_seconds)

    def end(self) -> None:
        """Kill it if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


class ClusterProcesses:
    """Nodes 1 to n on one host, as the README starts them: the first alone, the others joining it."""

    def __init__(self, folder: Path, ports: Sequence[int], *options: str) -> None:
        """`ports`: for each node its Raft port and its KV port."""
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

    def start(self) -> "ClusterProcesses":
        """Start all nodes, and wait until all of them are voters and know their leader."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_until_serving()
        wait_until(self.is_whole, "every node knows the same leader and all voters", START_SECONDS)
        return self

    @property
    def endpoints(self) -> list[str]:
        """The KV addresses."""
        return [f"127.0.0.1:{port}" for port in self.kv_ports]

    def is_whole(self) -> bool:
        """Whether every node knows the same leader, and all of them as voters."""
        statuses = [node_status(port) for port in self.kv_ports]
        leaders = {status.get("leaderId") if status else None for status in statuses}
        if len(leaders) != 1 or None in leaders:
            return False
        members = [status["members"] for status in statuses if status]
        return all(len(each) == len(self.nodes) and not any(m.get("learner") for m in each) for each in members)

    def leader(self) -> int:
        """The number of the leader, as any node that runs and knows one says."""
        for port in self.kv_ports:
            status = node_status(port)
            if status and status.get("leaderId"):
                return int(status["leaderId"])
        raise AssertionError("no node knows a leader")

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


def grpcurl(
    port: int, method: str, request: dict[str, object] | None = None, *options: str
) -> subprocess.CompletedProcess[str]:
    """Call a method with the real grpcurl and the proto files of the repository."""
    proto = {"kv": "kv.proto", "raft": "raft.proto"}[method.split(".")[1]]
    data = ["-d", json.dumps(request)] if request is not None else []
    return subprocess.run(
        [
            GRPCURL,
            "-import-path",
            PROTOS,
            "-proto",
            PROTOS / proto,
            "-plaintext",
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


def node_status(port: int) -> Any:
    """What the node at this KV port says of itself; None if it does not answer."""
    result = grpcurl(port, "meteora.raft.RaftService/NodeStatus")
    return json.loads(result.stdout) if result.returncode == 0 else None


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
