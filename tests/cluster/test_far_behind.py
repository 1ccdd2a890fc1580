"""A follower that is 100,000 entries behind, in a cluster with the default settings that goes on being written to."""

import asyncio
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from meteora.client import AsyncClient
from meteora.pb import kv_pb2
from tests.cluster.load import Load, assert_kept
from tests.cluster.processes import START_SECONDS, ClusterProcesses, node_status, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

ENTRIES_BEHIND = 100_000

VALUE = bytes(2048)
"""So long that the state is flushed three times on the way: else the log is not cut, and no snapshot is needed."""

STEP_ENTRIES = 1_000

STEP_SECONDS = 60.0
"""For so many entries: what is bounded is how long nothing moves, as a busy machine is slow for all of them."""

WRITING_SECONDS = 1_700
"""Longer than the test may take: who writes is told to end."""

CATCH_UP_SECONDS = 60.0

WRITES_PER_SECOND = 1_000

PACE_SECONDS = 0.01

MEMORY = Path("/dev/shm")


class PacedWrites:
    """Writes at an even pace, in a thread of their own, from `with` to its end; each of them must succeed."""

    def __init__(self, endpoints: list[str]) -> None:
        self._endpoints = endpoints
        self._thread = threading.Thread(target=self._run, name="paced writes")
        self._is_stopping = False
        self._error: BaseException | None = None
        self.acknowledged = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_stopping = True
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._write())
        except BaseException as error:  # noqa: BLE001  raised again where it is looked for
            self._error = error

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        due_at = loop.time()
        async with AsyncClient(self._endpoints, timeout_seconds=10.0) as client, asyncio.TaskGroup() as writes:
            while not self._is_stopping:
                for number in range(int(WRITES_PER_SECOND * PACE_SECONDS)):
                    writes.create_task(self._put(client, b"paced%d" % number))
                due_at += PACE_SECONDS
                await asyncio.sleep(due_at - loop.time())

    async def _put(self, client: AsyncClient, key: bytes) -> None:
        await client.put(key, b"value")
        self.acknowledged += 1


@pytest.fixture
def cluster(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[ClusterProcesses]:
    """Three nodes, in memory where the system has that: it is not about the disk, and 100,000 fsyncs take long."""
    with ExitStack() as stack:
        folder = tmp_path
        if MEMORY.is_dir():
            folder = Path(tempfile.mkdtemp(prefix="meteora-", dir=MEMORY))
            stack.callback(shutil.rmtree, folder)
        processes = ClusterProcesses(folder, [free_port() for _ in range(6)])
        stack.callback(processes.end)
        yield processes.start()
        for node in processes.nodes:
            assert " ERROR " not in node.output
            assert "Traceback" not in node.output


def index_of(kv_port: int, name: str) -> int:
    """What the node there says of itself."""
    return int((node_status(kv_port) or {}).get(name, 0))


def write_alone(endpoint: str, folder: Path) -> "subprocess.Popen[bytes]":
    """Begin to write one thing after the other, so that nearly each write has an entry of its own."""
    message = kv_pb2.PutReq(key=b"key", value=VALUE).SerializeToString()
    body = folder / "put"
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    url = f"http://{endpoint}/meteora.kv.KvService/Put"
    command = ["h2load", "-c", "2", "-m", "1", "-D", str(WRITING_SECONDS), "-d", str(body), *headers, url]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def fall_behind(cluster: ClusterProcesses, leader: int, late: int, folder: Path) -> None:
    """Kill node `late`, and write until the leader has 100,000 entries more than it."""
    goal = index_of(cluster.kv_ports[late - 1], "lastIndex") + ENTRIES_BEHIND
    cluster.node(late).kill()
    running = [number for number in (1, 2, 3) if number != late]
    writers = [write_alone(cluster.endpoints[number - 1], folder) for number in running]
    try:
        for step in range(goal - ENTRIES_BEHIND + STEP_ENTRIES, goal + 1, STEP_ENTRIES):
            wait_until(
                lambda step=step: index_of(cluster.kv_ports[leader - 1], "lastIndex") >= step,
                f"the log goes on to {step}, and to {goal} in the end",
                STEP_SECONDS,
            )
    finally:
        for writer in writers:
            writer.terminate()
            writer.wait()


def test_a_follower_100_000_entries_behind_catches_up_through_a_snapshot_while_1_000_writes_a_second_go_on(
    cluster: ClusterProcesses, tmp_path: Path
) -> None:
    leader = cluster.leader()
    late = leader % 3 + 1
    leader_port, late_port = cluster.kv_ports[leader - 1], cluster.kv_ports[late - 1]
    with Load(cluster) as before:
        before.wait_for_writes(200)
    fall_behind(cluster, leader, late, tmp_path)
    term = index_of(leader_port, "term")
    with Load(cluster, seed=1) as after, PacedWrites(cluster.endpoints) as paced:
        wait_until(lambda: paced.acknowledged > WRITES_PER_SECOND, "writes go on", START_SECONDS)
        behind = index_of(leader_port, "commitIndex")
        cluster.node(late).start().wait_for_line("installed a snapshot", CATCH_UP_SECONDS)
        wait_until(lambda: index_of(late_port, "appliedIndex") > behind, "it has caught up", CATCH_UP_SECONDS)
        acknowledged, reached = paced.acknowledged, index_of(leader_port, "commitIndex")
        wait_until(lambda: index_of(late_port, "appliedIndex") > reached, "it keeps up", CATCH_UP_SECONDS)
        wait_until(lambda: paced.acknowledged > acknowledged + WRITES_PER_SECOND, "writes go on", START_SECONDS)
    assert (cluster.leader(), index_of(leader_port, "term")) == (leader, term)
    assert_kept(cluster, before)
    assert_kept(cluster, after)
