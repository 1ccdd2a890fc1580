"""Real clusters for the tests of this folder: none survives its test, and what its nodes said is shown on a failure."""

import fcntl
import os
import socket
import tempfile
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.processes import ClusterProcesses, NodeProcess, wait_until

# A node is compiled once, and not at each of its hundreds of starts, whoever may have switched that off.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

SHOWN_CHARACTERS = 20_000
"""Of each node's output."""

CONTRACT_PORTS = (5000, 7000, 5001, 5002, 5003, 7001, 7002, 7003)
"""Those of the commands that users were promised."""

CONTRACT_PORTS_SECONDS = 50.0
"""For another run of these tests to be done with them."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for node in NodeProcess.started:
            title = f"meteora start {' '.join(node.arguments)}"
            report.sections.append((title, node.output[-SHOWN_CHARACTERS:]))
    if report.when == "teardown":
        NodeProcess.started[:] = [node for node in NodeProcess.started if node.is_running]
    return report


@pytest.fixture
def three_nodes(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[ClusterProcesses]:
    """A cluster of three with the default settings; none of its nodes may find a bug in itself."""
    cluster = ClusterProcesses(tmp_path, [free_port() for _ in range(6)])
    try:
        yield cluster.start()
        for node in cluster.nodes:
            assert " ERROR " not in node.output
            assert "Traceback" not in node.output
    finally:
        cluster.end()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def contract_ports() -> Iterator[None]:
    """The ports that users were promised, for one run of these tests at a time. Fails if something else has them."""
    with (Path(tempfile.gettempdir()) / "meteora-contract-ports.lock").open("w") as lock:
        wait_until(lambda: _lock(lock.fileno()), "the other run of these tests is done", CONTRACT_PORTS_SECONDS)
        for port in CONTRACT_PORTS:
            wait_until(partial(_is_free, port), f"port {port} is free", 5.0)
        yield


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
