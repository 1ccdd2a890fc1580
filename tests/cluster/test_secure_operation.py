"""What an operator does to a cluster with mutual TLS and users, while clients go on, and none of them notices."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meteora.client import AsyncClient
from tests.cluster.processes import START_SECONDS, NodeProcess, meteora, wait_until
from tests.cluster.secure import SecureCluster

ROOT_PASSWORD = "not in any log 1"
ALICE_PASSWORD = "not in any log 2"

REQUEST_SECONDS = 15.0
"""Longer than an election: a request that a retry covers does not fail."""

TASKS = 8

pytestmark = pytest.mark.xdist_group("mutual TLS")


class Operator:
    """Who has the password of root, and types commands."""

    def __init__(self, cluster: SecureCluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder

    def run(self, *command: str, user: str = "root", password: str = ROOT_PASSWORD) -> str:
        who = {"METEORA_USER": user, "METEORA_PASSWORD": password}
        result = meteora(*command, **self._cluster.variables, **who)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def _password_file(self, name: str, password: str) -> str:
        path = self._folder / f"{name}.password"
        path.write_text(f"{password}\n")
        return str(path)

    def enable_users(self) -> None:
        """Root, and alice, who may read and write what begins with alice/."""
        statuses = self._cluster.statuses
        wait_until(lambda: all(int(each.get("level", 0)) >= 1 for each in statuses().values()), "users", START_SECONDS)
        for command in (
            ("user", "add", "root", "--new-password-file", self._password_file("root", ROOT_PASSWORD)),
            ("user", "grant-role", "root", "root"),
            ("user", "add", "alice", "--new-password-file", self._password_file("alice", ALICE_PASSWORD)),
            ("role", "add", "hers"),
            ("role", "grant-permission", "hers", "readwrite", "--prefix", "alice/"),
            ("user", "grant-role", "alice", "hers"),
            ("auth", "enable"),
        ):
            result = meteora(*command, **self._cluster.variables)
            assert result.returncode == 0, result.stderr


@pytest.fixture
def cluster(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[SecureCluster]:
    (tmp_path / "secure").mkdir()
    cluster = SecureCluster(tmp_path / "secure", [free_port() for _ in range(6)])
    try:
        yield cluster.start()
        for node in cluster.nodes:
            assert " ERROR " not in node.output
            assert "Traceback" not in node.output
            assert "not in any log" not in node.output
            assert "PRIVATE" not in node.output
    finally:
        cluster.end()


def wait_until_a_voter(operator: Operator, number: int) -> None:
    wait_until(
        lambda: any(
            line.split()[:2] in ([f"{number}", "follower"], [f"{number}", "leader"]) for line in lines(operator)
        ),
        "it votes",
        START_SECONDS,
    )


def lines(operator: Operator) -> list[str]:
    return operator.run("status").splitlines()


def replace(cluster: SecureCluster, operator: Operator, number: int) -> NodeProcess:
    """The disk of a node is lost; it is removed, and joins anew with an empty one."""
    node = cluster.node(number)
    node.kill()
    shutil.rmtree(node.data_directory)
    assert operator.run("leave", "-i", f"{number}") == "OK\n"
    node.start().wait_until_serving()
    wait_until_a_voter(operator, number)
    return node


def rotate(cluster: SecureCluster, number: int) -> None:
    node = cluster.node(number)
    seen = len(node.output)
    cluster.issue(number)
    wait_until(
        lambda: node.output[seen:].count("new certificates are in use") == 2, "both ports have it", START_SECONDS
    )


def test_a_node_is_replaced_and_a_certificate_rotated_under_load_and_no_request_fails(
    cluster: SecureCluster, tmp_path: Path
) -> None:
    operator = Operator(cluster, tmp_path)
    operator.enable_users()
    written = dict.fromkeys(range(TASKS), 0)

    async def load(client: AsyncClient, task: int, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            written[task] += 1
            await client.put(f"alice/{task}", f"{written[task]}")
            assert await client.get(f"alice/{task}") == f"{written[task]}".encode()

    def operate() -> None:
        replace(cluster, operator, 3)
        rotate(cluster, 1)

    async def story() -> None:
        is_over = asyncio.Event()
        async with (
            AsyncClient(
                cluster.endpoints,
                tls=cluster.tls,
                username="alice",
                password=ALICE_PASSWORD,
                timeout_seconds=REQUEST_SECONDS,
            ) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for task in range(TASKS):
                tasks.create_task(load(client, task, is_over))
            await asyncio.to_thread(operate)
            before = dict(written)
            while any(written[task] == before[task] for task in written):
                await asyncio.sleep(0.01)  # Between looks at a condition.
            is_over.set()

    asyncio.run(story())
    assert operator.run("get", "alice/0", user="alice", password=ALICE_PASSWORD) == f"{written[0]}"
