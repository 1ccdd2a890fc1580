"""A cluster of PySyncObj, and the program that runs on its leader."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.processes import NotReady, free_port, wait_until
from bench.program import Task
from bench.systems import new_folder

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0

SETTINGS: Final = "journal on (which it never fsyncs), the program on the leader, else all as by default"


class PySyncObjNode:
    """One process, asked by lines."""

    def __init__(self, folder: Path, own: str, others: list[str]) -> None:
        """Starts it."""
        command = [sys.executable, "-m", "bench.pysyncobj_node", str(folder), own, *others]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line: str) -> str:
        """What it answers. Raises `NotReady` if it is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise NotReady("a node of PySyncObj has ended")
        return answer.strip()

    def stop(self) -> None:
        """Ends its input, and kills it if it goes on."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()


@contextmanager
def running(nodes: int, folder: Path) -> Iterator[list[PySyncObjNode]]:
    """A fresh cluster that has a leader; afterwards it is stopped and its data are gone."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(nodes)]
    started: list[PySyncObjNode] = []
    with new_folder(folder) as data:
        try:
            for own in addresses:
                (data / own).mkdir()
                started.append(PySyncObjNode(data / own, own, [each for each in addresses if each != own]))
            yield started
        finally:
            for node in started:
                node.stop()


def measure(nodes: list[PySyncObjNode], task: Task) -> Any:
    """What the program finds that runs on the leader, as `program.Findings` has it."""
    leaders: list[PySyncObjNode] = []

    def all_are_ready() -> bool:
        roles = [node.ask("role") for node in nodes]
        leaders[:] = [node for node, role in zip(nodes, roles, strict=True) if role == "leader"]
        return len(leaders) == 1 and "none" not in roles

    wait_until(all_are_ready, "PySyncObj has a leader", START_SECONDS)
    return json.loads(leaders[0].ask(f"run {json.dumps(asdict(task))}"))
