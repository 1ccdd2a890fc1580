"""Real nodes that reach one another by bad lines only: slow, lossy, cut one way, broken off. It takes no privileges."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import pytest

from meteora.testing.proxy import Proxy
from tests.cluster.histories import Histories
from tests.cluster.processes import START_SECONDS, ClusterProcesses, wait_until

SERVES_AGAIN_SECONDS = 15.0

BREAKS = 5


class Lines:
    """A proxy before each port of each node, in a thread of their own, from `with` to its end."""

    def __init__(self, cluster: "ClusterBehindLines", seed: int) -> None:
        self._cluster = cluster
        self._random = Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lines")
        self._proxies: list[Proxy] = []
        self._of_peers: dict[int, Proxy] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(START_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, change: Callable[[Proxy], None], *numbers: int) -> None:
        """Change the lines on which the peers of these nodes reach them; of all nodes if none is named."""
        for number in numbers or self._of_peers:
            self._loop.call_soon_threadsafe(change, self._of_peers[number])

    async def _open(self) -> None:
        for number, ports in enumerate(self._cluster.ports, start=1):
            for port in ports:
                proxy = Proxy("127.0.0.1", port, self._random)
                await proxy.listen(host_of(number), port)
                self._proxies.append(proxy)
            self._of_peers[number] = self._proxies[-2]

    async def _close(self) -> None:
        for proxy in self._proxies:
            await proxy.close()


def host_of(number: int) -> str:
    """Where the others find node `number`: on the same port as it has."""
    return f"127.0.1.{number}"


class ClusterBehindLines(ClusterProcesses):
    """Nodes that listen on 127.0.0.1 and tell the others another address, where a line to them begins."""

    @property
    def ports(self) -> list[tuple[int, int]]:
        """Raft port and KV port of each node."""
        return list(zip(self.raft_ports, self.kv_ports, strict=True))

    def arguments(self, number: int, folder: Path) -> list[str]:
        """The options of node `number`, counted from 1."""
        words = [*super().arguments(number, folder), "--advertise-address", host_of(number)]
        # Whom it joins it reaches by a line, too.
        return [word.replace("127.0.0.1:", f"{host_of(1)}:") for word in words]


@pytest.fixture
def cluster(tmp_path: Path, free_port: Callable[[], int]) -> ClusterBehindLines:
    """Not started yet."""
    return ClusterBehindLines(tmp_path, [free_port() for _ in range(6)])


@pytest.fixture
def lines(cluster: ClusterBehindLines) -> Iterator[Lines]:
    """Good lines, and the nodes at their ends, which are started."""
    with Lines(cluster, seed=1) as lines:
        try:
            cluster.start()
            yield lines
        finally:
            cluster.end()


def make_bad(proxy: Proxy) -> None:
    proxy.longest_delay_seconds, proxy.loss = 0.02, 0.02


def test_over_lines_that_are_slow_lose_packets_and_break_clients_see_one_copy_of_the_data(
    cluster: ClusterBehindLines, lines: Lines
) -> None:
    with Histories(cluster.endpoints, seed=1) as clients:
        lines.do(make_bad)
        for _ in range(BREAKS):
            clients.wait_for_new_write(SERVES_AGAIN_SECONDS)
            lines.do(Proxy.break_off)
        clients.wait_for_new_write(SERVES_AGAIN_SECONDS)
    wait_until(cluster.have_converged, "all have applied the same", SERVES_AGAIN_SECONDS)


def test_a_leader_that_hears_nobody_any_more_steps_down_and_comes_back_as_a_follower(
    cluster: ClusterBehindLines, lines: Lines
) -> None:
    with Histories(cluster.endpoints, seed=2) as clients:
        old = cluster.leader()
        lines.do(Proxy.cut, old)
        wait_until(lambda: cluster.leader() != old, "another one leads", START_SECONDS)
        wait_until(
            lambda: cluster.statuses()[old].get("role") != "LEADER", "the old one has stepped down", START_SECONDS
        )
        clients.wait_for_new_write(SERVES_AGAIN_SECONDS)
        lines.do(Proxy.heal)
        clients.wait_for_new_write(SERVES_AGAIN_SECONDS)
    wait_until(cluster.have_converged, "all have applied the same", SERVES_AGAIN_SECONDS)
