"""Nodes on hosts of their own: a network namespace each, joined by a bridge; cables can be cut one way or both.

A cut is silent, as that of a real cable is: what leaves for the other host is addressed to a network card that nobody
has. Nothing in the kernel but namespaces, bridges and pairs of virtual cards is needed for it, but root is.
"""

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.cluster.processes import START_SECONDS, NodeProcess, node_status, wait_until

RAFT_PORT, KV_PORT = 7000, 5000

_NOBODY = "02:00:00:00:00:01"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Hosts:
    """Hosts 1 to n and the cables between them, from `with` to its end. Skips the test where there can be none."""

    def __init__(self, count: int) -> None:
        # Of this process, so that two runs of these tests don't meet.
        self._tag = f"m{os.getpid() % 100_000}"
        self._subnet = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
        self.numbers = range(1, count + 1)
        self._cuts: set[tuple[int, int]] = set()

    def __enter__(self) -> Self:
        try:
            self._build()
        except (OSError, subprocess.CalledProcessError) as error:
            self._tear_down()
            reason = getattr(error, "stderr", "") or str(error)
            pytest.skip(f"no network namespaces here ({reason.strip()}): see test_bad_lines.py for what needs none")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tear_down()

    def address(self, number: int) -> str:
        """The IP address of a host."""
        return f"{self._subnet}.{number}"

    def wrapper(self, number: int) -> Sequence[str]:
        """The command that runs another one on a host."""
        return ("ip", "netns", "exec", self._namespace(number))

    def cut(self, sender: int, receiver: int) -> None:
        """From now on nothing of `sender` arrives at `receiver`; the other way is left as it is."""
        if (sender, receiver) not in self._cuts:
            self._cuts.add((sender, receiver))
            self._neighbour("replace", sender, receiver, "lladdr", _NOBODY, "nud", "permanent")

    def split(self, *sides: Iterable[int]) -> None:
        """Cut both ways between the hosts of each two of these sides."""
        for side in map(set, sides):
            for host in side:
                for other in {each for others in sides for each in others} - side:
                    self.cut(host, other)

    def heal(self) -> None:
        """Mend all cuts."""
        while self._cuts:
            self._neighbour("del", *self._cuts.pop())

    def _neighbour(self, command: str, sender: int, receiver: int, *rest: str) -> None:
        namespace = self._namespace(sender)
        _ip("-n", namespace, "neigh", command, self.address(receiver), "dev", "eth0", *rest)

    def _namespace(self, number: int) -> str:
        return f"{self._tag}-{number}"

    @property
    def _bridge(self) -> str:
        return f"{self._tag}br"

    def _build(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self._subnet}.254/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for number in self.numbers:
            namespace, cable = self._namespace(number), f"{self._tag}v{number}"
            _ip("netns", "add", namespace)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            _ip("link", "set", cable, "master", self._bridge, "up")
            _ip("-n", namespace, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _ip("-n", namespace, "link", "set", device, "up")

    def _tear_down(self) -> None:
        commands = [("netns", "del", self._namespace(number)) for number in self.numbers]
        for command in (*commands, ("link", "del", self._bridge)):
            subprocess.run(["ip", *command], check=False, capture_output=True)


class ClusterOnHosts:
    """A node on each host: the first founds the cluster, the others join it."""

    def __init__(self, hosts: Hosts, folder: Path, *options: str) -> None:
        self.hosts = hosts
        self.nodes = {number: self._node(number, folder, options) for number in hosts.numbers}

    def _node(self, number: int, folder: Path, options: Sequence[str]) -> NodeProcess:
        host = self.hosts.address(number)
        arguments = ["-i", str(number), "-a", host, "-d", str(folder / str(number)), *options]
        if number > 1:
            arguments += ["-p", f"{self.hosts.address(1)}:{RAFT_PORT}"]
        return NodeProcess(arguments, folder / f"node{number}.log", wrapper=self.hosts.wrapper(number))

    def start(self) -> Self:
        """Start all nodes, and wait until all of them vote."""
        for node in self.nodes.values():
            node.start()
        for node in self.nodes.values():
            node.wait_until_serving()
        wait_until(self._all_vote, "all nodes vote", START_SECONDS)
        return self

    def _all_vote(self) -> bool:
        members = self.status(1).get("members", ())
        return len(members) == len(self.nodes) and not any(member.get("learner") for member in members)

    def endpoint(self, number: int) -> str:
        """The KV address of a node."""
        return f"{self.hosts.address(number)}:{KV_PORT}"

    @property
    def endpoints(self) -> list[str]:
        """The KV addresses."""
        return [self.endpoint(number) for number in self.nodes]

    def status(self, number: int) -> Any:
        """What a node says of itself, as grpcurl would print it; empty if it does not answer."""
        return node_status(KV_PORT, self.hosts.address(number)) or {}

    def leads(self, number: int) -> bool:
        """Whether a node says that it leads."""
        return bool(self.status(number).get("role") == "LEADER")

    def leader(self, among: Iterable[int] = ()) -> int:
        """Wait for a node, of all or of these, that says that it leads; of several, the one of the latest term."""
        candidates = list(among) or list(self.nodes)
        leaders: list[tuple[int, int]] = []

        def one_leads() -> bool:
            statuses = {number: self.status(number) for number in candidates}
            leaders[:] = [(int(each["term"]), n) for n, each in statuses.items() if each.get("role") == "LEADER"]
            return bool(leaders)

        wait_until(one_leads, f"one of {candidates} leads", START_SECONDS)
        return max(leaders)[1]

    def have_converged(self) -> bool:
        """Whether all nodes answer, and have applied the same, which is all that there is."""
        indexes = set()
        for number in self.nodes:
            status = self.status(number)
            indexes |= {status.get(index) for index in ("appliedIndex", "commitIndex", "lastIndex")}
        return len(indexes) == 1 and None not in indexes

    def end(self) -> None:
        """Kill what runs."""
        for node in self.nodes.values():
            node.end()
