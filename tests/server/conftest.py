"""The nodes that the tests of this folder ask: each test runs on either server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest

from meteora.config import RpcServerKind
from tests.server.served import (
    LoopThread,
    ServedCluster,
    ServedNode,
    config_of,
    make_member_of_three,
    served_cluster,
    served_node,
)

REQUEST_TIMEOUT_SECONDS = 0.5
"""Of a node without a leader: its answers are waited for."""


@pytest.fixture(scope="module", params=get_args(RpcServerKind))
def kind(request: pytest.FixtureRequest) -> RpcServerKind:
    """What serves gRPC."""
    return request.param


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], kind: RpcServerKind
) -> Iterator[ServedNode]:
    """A node that is a cluster by itself."""
    with served_cluster(tmp_path_factory.mktemp("alone"), free_port, 1, kind) as cluster:
        yield cluster.nodes[0]


@pytest.fixture(scope="module")
def three(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], kind: RpcServerKind
) -> Iterator[ServedCluster]:
    """Three voters."""
    with served_cluster(tmp_path_factory.mktemp("three"), free_port, 3, kind) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three_without_forwarding(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], kind: RpcServerKind
) -> Iterator[ServedCluster]:
    """Three voters that were told not to forward."""
    with served_cluster(tmp_path_factory.mktemp("three"), free_port, 3, kind, no_forward=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def loop_thread() -> Iterator[LoopThread]:
    """Where `leaderless` runs."""
    with LoopThread() as thread:
        yield thread


@pytest.fixture(scope="module")
def leaderless(
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
    kind: RpcServerKind,
    loop_thread: LoopThread,
) -> Iterator[ServedNode]:
    """A member of three whose peers are not there. It has applied one write, `key` to `value`."""
    with _leaderless(tmp_path_factory.mktemp("leaderless"), free_port, kind, loop_thread) as node:
        yield node


@pytest.fixture(scope="module")
def leaderless_without_forwarding(
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
    kind: RpcServerKind,
    loop_thread: LoopThread,
) -> Iterator[ServedNode]:
    """As `leaderless`, but told not to forward."""
    with _leaderless(tmp_path_factory.mktemp("leaderless"), free_port, kind, loop_thread, no_forward=True) as node:
        yield node


@contextmanager
def _leaderless(
    folder: Path, free_port: Callable[[], int], kind: RpcServerKind, loop_thread: LoopThread, **settings: bool
) -> Iterator[ServedNode]:
    config = config_of(folder, free_port, 1, kind, request_timeout_seconds=REQUEST_TIMEOUT_SECONDS, **settings)
    others = {node_id: f"127.0.0.1:{free_port()}" for node_id in (2, 3)}
    make_member_of_three(config, others, b"key", b"value")
    with served_node(loop_thread, config) as node:
        yield node
