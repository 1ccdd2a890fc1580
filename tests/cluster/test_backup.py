"""Backups of real nodes: taken under load and while nodes fall, restored, and compared key by key."""

import asyncio
import io
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pytest

from meteora import cli
from meteora.cli.json_lines import decode_pair, encode_pair
from meteora.client import AsyncClient, Client
from meteora.errors import DataDirectoryError, RequestError
from meteora.kv.backup_file import BackupReader
from meteora.server.restoration import restore_backup
from tests.cluster.processes import START_SECONDS, ClusterProcesses, NodeProcess, meteora, node_status, put, wait_until

WRITERS = 8
KEYS_PER_WRITER = 50
LARGE_BYTES = 1 << 20
LARGE_COUNT = 64
"""Of them: more than all windows and buffers between a node and a client that stands still."""


class Write(NamedTuple):
    """One write that was tried, in the order in which its writer did."""

    number: int
    began_at: float
    acknowledged_at: float | None


class NumberedWrites:
    """Writers in a thread of their own, from `with` to its end: each writes its keys in turn, numbering all it does."""

    def __init__(self, endpoints: list[str]) -> None:
        self._endpoints = endpoints
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="numbered writes")
        self._is_stopping = False
        self.acknowledged = 0
        self.by_writer: list[list[Write]] = [[] for _ in range(WRITERS)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_stopping = True
        self._thread.join()

    def wait_for_more(self, count: int) -> None:
        goal = self.acknowledged + count
        wait_until(lambda: self.acknowledged >= goal, f"{count} more writes", START_SECONDS)

    async def _run(self) -> None:
        async with AsyncClient(self._endpoints) as client, asyncio.TaskGroup() as writers:
            for writer in range(WRITERS):
                writers.create_task(self._write(client, writer))

    async def _write(self, client: AsyncClient, writer: int) -> None:
        number = 0
        while not self._is_stopping:
            began_at, acknowledged_at = time.monotonic(), None
            with suppress(RequestError):
                await client.put(key_of(writer, number), str(number))
                acknowledged_at = time.monotonic()
                self.acknowledged += 1
            self.by_writer[writer].append(Write(number, began_at, acknowledged_at))
            number += 1


def key_of(writer: int, number: int) -> str:
    return f"w{writer}-{number % KEYS_PER_WRITER}"


def assert_of_one_instant(found: dict[bytes, bytes], writes: NumberedWrites, began_at: float, ended_at: float) -> None:
    """`found` is what was there at one instant between the two: of each writer all that it wrote up to some number."""
    assert writes.acknowledged > 0
    expected: dict[bytes, bytes] = {}
    for writer, tried in enumerate(writes.by_writer):
        own = [int(value) for key, value in found.items() if key.startswith(b"w%d-" % writer)]
        newest = max(own, default=-1)
        least = max((each.number for each in tried if (each.acknowledged_at or ended_at) < began_at), default=-1)
        most = max((each.number for each in tried if each.began_at < ended_at), default=-1)
        assert least <= newest <= most, f"writer {writer}: {newest} is not from {least} to {most}"
        # Nothing failed, so all up to the newest is there.
        assert all(each.acknowledged_at is not None for each in tried if each.number <= newest)
        expected |= {key_of(writer, number).encode(): b"%d" % number for number in range(newest + 1)}
    assert found == expected


def exported(port: int) -> dict[bytes, bytes]:
    """Every key."""
    with Client(f"127.0.0.1:{port}") as client:
        return dict(client.export())


@contextmanager
def started_again(node: NodeProcess, log: Path) -> Iterator[NodeProcess]:
    """A stopped node, with another log."""
    again = NodeProcess(node.arguments, log).start()
    try:
        yield again
    finally:
        again.end()


@contextmanager
def restored(file: Path, folder: Path, ports: list[int]) -> Iterator[ClusterProcesses]:
    """A cluster that grew from a restore, at these ports."""
    cluster = ClusterProcesses(folder, ports)
    done = meteora("restore", str(file), *cluster.node(1).arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "restored: " in done.stdout
    try:
        yield cluster.start()
    finally:
        cluster.end()


def test_what_was_acknowledged_before_a_backup_under_load_is_in_the_cluster_that_grows_from_it(
    three_nodes: ClusterProcesses, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    file = tmp_path / "backup"
    with NumberedWrites(three_nodes.endpoints) as writes:
        # Each key was written, and some again.
        writes.wait_for_more(WRITERS * KEYS_PER_WRITER + 100)
        began_at = time.monotonic()
        done = meteora("backup", str(file), "-a", three_nodes.endpoints[1])
        ended_at = time.monotonic()
        assert (done.returncode, done.stdout, done.stderr) == (0, "OK\n", "")
        writes.wait_for_more(100)
    term = int(node_status(three_nodes.kv_ports[0])["term"])
    assert file.stat().st_mode & 0o777 == 0o600
    assert_survivor_gives_all(three_nodes, writes)
    three_nodes.node(3).kill()

    # The first node is where that of the old cluster was, and so where its companions look for that.
    ports = [three_nodes.raft_ports[0], three_nodes.kv_ports[0], *(free_port() for _ in range(4))]
    with (
        started_again(three_nodes.node(2), tmp_path / "old.log") as old,
        restored(file, tmp_path / "new", ports) as cluster,
    ):
        for port in cluster.kv_ports:
            assert_of_one_instant(exported(port), writes, began_at, ended_at)
        status = node_status(cluster.kv_ports[0])
        assert int(status["term"]) > term
        for node in (old, cluster.node(1)):
            node.wait_for_line("reason=foreign-cluster")
        old.kill()
        assert put(cluster.kv_ports[2], b"more", b"value")["state"] == "OK"
        # Three voters, and no copy of one: any of them may fall.
        cluster.node(1).kill()
        assert put(cluster.kv_ports[2], b"more", b"of it")["state"] == "OK"


def assert_survivor_gives_all(three: ClusterProcesses, writes: NumberedWrites) -> None:
    """Without a majority, and after the last write, a backup is had by asking for one that may be old."""
    wait_until(three.have_converged, "all have applied what was acknowledged", START_SECONDS)
    three.node(1).kill()
    three.node(2).kill()
    with Client(three.endpoints[2]) as client:
        content = b"".join(part.data for part in client.backup(serializable=True))
    records = BackupReader(io.BytesIO(content)).records()
    assert_of_one_instant({key[1:]: value for key, value in records if key[:1] == b"k"}, writes, inf, inf)


@pytest.fixture(scope="module")
def for_all(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[NodeProcess]:
    """The node of the tests from here on."""
    cluster = ClusterProcesses(tmp_path_factory.mktemp("alone"), [free_port(), free_port()])
    try:
        yield cluster.node(1)
    finally:
        cluster.end()


@pytest.fixture
def alone(for_all: NodeProcess) -> NodeProcess:
    """A node that runs, whatever became of it before."""
    return for_all if for_all.is_running else for_all.start().wait_until_serving()


@pytest.fixture
def laden(alone: NodeProcess) -> NodeProcess:
    """The same, with much data."""
    with Client(kv_address(alone)) as client:
        keys = [b"large%03d" % number for number in range(LARGE_COUNT)]
        for key in keys if client.get(keys[-1]) is None else ():
            client.put(key, b"\xff" * LARGE_BYTES)
    return alone


def kv_address(node: NodeProcess) -> str:
    return f"127.0.0.1:{node.arguments[node.arguments.index('-k') + 1]}"


def test_arbitrary_bytes_go_out_and_come_in_again(alone: NodeProcess, tmp_path: Path) -> None:
    endpoint = kv_address(alone)
    pairs = {bytes([number]) + os.urandom(number % 7): os.urandom(number * 3) for number in range(256)}
    pairs |= {f"grüße {number}".encode(): b"text" for number in range(2_000)}
    lines = tmp_path / "lines"
    lines.write_bytes(b"".join(encode_pair(key, value) for key, value in pairs.items()))
    done = meteora("import", str(lines), "-a", endpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{len(pairs)} lines were put\n", "")
    assert cli.run(["import", "--quiet", str(lines), "-a", endpoint]) == 0
    assert cli.run(["export", str(lines), "-a", endpoint]) == 0
    found = dict(decode_pair(line) for line in lines.read_bytes().splitlines())
    assert {key: value for key, value in found.items() if not key.startswith(b"large")} == pairs
    json_lines = meteora("export", "--prefix", "gr", "-a", endpoint).stdout.splitlines()
    assert sorted(json.loads(line)["key"] for line in json_lines) == sorted(f"grüße {each}" for each in range(2_000))


def backup_of(node: NodeProcess) -> bytes:
    """A whole one."""
    with Client(kv_address(node)) as client:
        return b"".join(part.data for part in client.backup())


def bytes_in(folder: Path) -> int:
    """Of all files in it, while they come and go."""
    sizes = 0
    for each in folder.iterdir():
        with suppress(FileNotFoundError):
            sizes += each.stat().st_size
    return sizes


def stopped(process: "subprocess.Popen[str]") -> None:
    """It does nothing any more when this returns."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


@contextmanager
def backup_held_up(node: NodeProcess, file: Path) -> "Iterator[subprocess.Popen[str]]":
    """A command that has begun to write a backup, and stands still until the block ends, with most of it to come."""
    command = [sys.executable, "-m", "meteora", "backup", str(file), "-a", kv_address(node)]
    is_held_up = False
    # On a busy machine one may be done before it is stopped.
    for _ in range(20):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as backup:
            while not bytes_in(file.parent):
                assert backup.poll() is None
                time.sleep(0.001)  # Between looks at a condition.
            stopped(backup)
            is_held_up = not file.exists() and bytes_in(file.parent) < LARGE_COUNT * LARGE_BYTES // 2
            if is_held_up:
                yield backup
                backup.send_signal(signal.SIGCONT)
                backup.wait(timeout=30)
                break
            backup.kill()
        for each in file.parent.iterdir():
            each.unlink()
    assert is_held_up
    assert list(file.parent.iterdir()) == []


@pytest.mark.usefixtures("interrupts_are_heeded")
def test_a_backup_that_is_interrupted_leaves_nothing(laden: NodeProcess, tmp_path: Path) -> None:
    with backup_held_up(laden, tmp_path / "backup") as backup:
        backup.send_signal(signal.SIGINT)
    assert backup.returncode == 130


def test_a_backup_that_finds_no_room_leaves_what_was_there(laden: NodeProcess, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    file.write_bytes(b"that of yesterday")

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE_BYTES, LARGE_BYTES))

    command = [sys.executable, "-m", "meteora", "backup", str(file), "-a", kv_address(laden)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, preexec_fn=little_room)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"meteora: error: {file} can't be written: File too large. Nothing is left of it\n"
    assert file.read_bytes() == b"that of yesterday"
    assert list(tmp_path.iterdir()) == [file]
    # The node goes on, and with it the next backup.
    content = backup_of(laden)
    assert len(list(BackupReader(io.BytesIO(content)).records())) > LARGE_COUNT


def test_a_restore_that_is_killed_leaves_a_directory_in_which_no_node_starts(
    laden: NodeProcess, tmp_path: Path
) -> None:
    new, content = tmp_path / "new", backup_of(laden)
    command = [sys.executable, "-m", "meteora", "restore", "-", "-d", str(new)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.PIPE) as restore:
        assert restore.stdin is not None
        restore.stdin.write(content[: len(content) // 2])
        wait_until((new / "unfinished-restore").exists, "it has begun", START_SECONDS)
        restore.kill()
    done = meteora("start", "-d", str(new))
    assert done.returncode == 1
    assert "the restore of a backup into it was not finished" in done.stderr
    with pytest.raises(DataDirectoryError, match="is not empty"):
        restore_backup(
            io.BytesIO(content), new, node_id=1, kv_address="a:1", raft_address="a:2", tell=lambda _position: None
        )


def test_a_backup_whose_node_is_killed_leaves_nothing(laden: NodeProcess, tmp_path: Path) -> None:
    with backup_held_up(laden, tmp_path / "backup") as backup:
        laden.kill()
    assert backup.returncode == 3
