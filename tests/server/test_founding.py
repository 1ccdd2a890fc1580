"""Nodes that begin a cluster together: however they start, stop, and are told of one another, there is one cluster."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from meteora.config import NodeConfig, RpcServerKind
from meteora.errors import DataDirectoryError, JoinRefused
from meteora.node import Member
from meteora.node.recovery import create_cluster
from meteora.server import founding, joining
from meteora.server.assembly import Server
from meteora.storage.data_directory import DataDirectory, read_identity
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from tests.server.served import PATIENCE_SECONDS, LoopThread, config_of, wait_until

FIRST, SECOND, THIRD, FOURTH = range(4)

ROUNDS = 3
"""Of questions, in which a node that ought to wait does so."""


class Beginner:
    """One node, as it is started and stopped again and again."""

    def __init__(self, thread: LoopThread, config: NodeConfig) -> None:
        self.thread = thread
        self.config = config
        self._server = Server(config)
        self._starting: Future[None] | None = None

    def start(self) -> None:
        """Begin to start it; it may wait for others."""
        self._server = Server(self.config)
        self._starting = asyncio.run_coroutine_threadsafe(self._server.start(), self.thread.loop)

    def outcome(self) -> BaseException | None:
        """Why it could not start; None once it serves."""
        assert self._starting is not None
        return self._starting.exception(PATIENCE_SECONDS)

    @property
    def voters(self) -> frozenset[int]:
        """Whom it knows as such, once it serves."""
        assert self.outcome() is None
        return self._server.node.members.configuration.voters

    @property
    def cluster_id(self) -> int:
        identity = read_identity(self.config.data_directory)
        return 0 if identity is None else identity.cluster_id

    def leave(self) -> None:
        """As with --enable-auto-leaving, on SIGTERM."""
        self._starting = None
        self.thread.run(self._server.stop())

    def stop(self) -> None:
        """Whether it waits or serves, without a word to others."""
        starting, self._starting = self._starting, None
        if starting is None:
            return
        starting.cancel()
        with suppress(BaseException):
            starting.result(PATIENCE_SECONDS)
        # What is cancelled from here is done before this is, and leaves nothing to close.
        self.thread.run(self._server._parts.aclose())


class Beginners:
    """Nodes 1 to 3, and what all of them have logged."""

    def __init__(self, nodes: list[Beginner], caplog: pytest.LogCaptureFixture) -> None:
        self.nodes = nodes
        self._caplog = caplog

    def __getitem__(self, place: int) -> Beginner:
        return self.nodes[place]

    def start(self, *places: int) -> None:
        for place in places:
            self[place].start()

    def stop(self, *places: int) -> None:
        for place in places:
            self[place].stop()

    def times(self, said: str) -> int:
        """How often it was logged."""
        return self._caplog.text.count(said)

    def wait_in_vain(self, said: str) -> None:
        """Until it was logged for some rounds more; nobody is in a cluster then."""
        before = self.times(said)
        wait_until(lambda: self.times(said) >= before + ROUNDS, said)
        assert {node.cluster_id for node in self.nodes} == {0}

    def wait_for_address(self, place: int) -> None:
        """Until others have asked there in vain, some rounds more."""
        said = f"peer={self[place].config.raft_address} "
        before = self.times(said)
        wait_until(lambda: self.times(said) >= before + ROUNDS, "somebody has asked")

    def become_one_cluster(self) -> None:
        """All of them."""
        for node in self.nodes:
            assert node.outcome() is None
        everybody = {node.config.node_id for node in self.nodes}
        wait_until(lambda: all(node.voters == everybody for node in self.nodes), "all are voters")
        assert len({node.cluster_id for node in self.nodes}) == 1
        assert self.times("created a cluster") == 1


@pytest.fixture
def kind() -> RpcServerKind:
    """Where it doesn't matter."""
    return "http2"


@pytest.fixture
def three(
    tmp_path: Path,
    free_port: Callable[[], int],
    kind: RpcServerKind,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Beginners]:
    """Nodes with the same list, that ask one another often and log each time what they wait for."""
    caplog.set_level("INFO")
    for module in (founding, joining):
        monkeypatch.setattr(module, "PAUSE_SECONDS", 0.02)
    for name in ("TOLD_AGAIN_SECONDS", "TOLD_AGAIN_SOON_SECONDS"):
        monkeypatch.setattr(joining, name, 0.0)
    configs = [config_of(tmp_path, free_port, node_id, kind) for node_id in (1, 2, 3)]
    everyone = tuple(config.raft_address for config in configs)
    with LoopThread() as thread:
        nodes = [Beginner(thread, replace(config, initial_cluster=everyone)) for config in configs]
        yield Beginners(nodes, caplog)
        for node in nodes:
            node.stop()
        assert thread.task_count() == 0


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("http2", (FIRST, SECOND, THIRD)),
        ("http2", (SECOND, FIRST, THIRD)),
        ("http2", (THIRD, SECOND, FIRST)),
        ("grpcio", (THIRD, FIRST, SECOND)),
    ],
)
def test_nodes_that_start_one_after_another_become_one_cluster(three: Beginners, order: tuple[int, int, int]) -> None:
    one, two, last = order
    three.start(one)
    three.wait_in_vain(f"peer={three[two].config.raft_address} ")
    three.start(two)
    three.wait_in_vain(f"peer={three[last].config.raft_address} ")
    three.start(last)
    three.become_one_cluster()


@pytest.mark.parametrize("place", [FIRST, SECOND])
def test_one_that_is_started_again_in_the_middle_is_one_of_them(three: Beginners, place: int) -> None:
    three.start(FIRST, SECOND)
    three.wait_in_vain(f"peer={three[THIRD].config.raft_address} ")
    three.stop(place)
    three.start(place)
    three.start(THIRD)
    three.become_one_cluster()


def test_nodes_with_other_lists_wait_until_they_have_the_same(three: Beginners) -> None:
    right = three[THIRD].config
    three[THIRD].config = replace(right, initial_cluster=right.initial_cluster[::-1])
    three.start(FIRST, SECOND, THIRD)
    three.wait_in_vain("all must have the same")
    three.stop(THIRD)
    three[THIRD].config = right
    three.start(THIRD)
    three.become_one_cluster()


def test_all_of_them_find_each_other_again_whatever_the_list_is_by_then(three: Beginners) -> None:
    three.start(FIRST, SECOND, THIRD)
    three.become_one_cluster()
    three.stop(FIRST, SECOND, THIRD)
    for node in three.nodes:
        # Each alone would found a cluster of its own now.
        node.config = replace(node.config, initial_cluster=(node.config.raft_address,))
    three.start(THIRD, SECOND, FIRST)
    three.become_one_cluster()
    assert three.times("already a member: --initial-cluster is not needed") == 3


def test_the_first_that_lost_its_disk_waits_for_the_others_and_is_refused_by_their_cluster(three: Beginners) -> None:
    three.start(FIRST, SECOND, THIRD)
    three.become_one_cluster()
    three.stop(FIRST, SECOND, THIRD)
    shutil.rmtree(three[FIRST].config.data_directory)
    three.start(FIRST)
    # They may be members, and they are.
    three.wait_for_address(SECOND)
    assert three[FIRST].cluster_id == 0
    three.start(SECOND, THIRD)
    refusal = three[FIRST].outcome()
    assert isinstance(refusal, JoinRefused)
    assert "remove it first: meteora leave -i 1" in str(refusal)
    assert three.times("created a cluster") == 1


def begin_to_found(config: NodeConfig) -> None:
    """Leave a node's disk as a crash does, between the log of a new cluster and its id."""
    directory = DataDirectory.open(config.data_directory, config.node_id)
    instance_id = directory.create_identity(config.node_id, 7).instance_id
    disk = DiskThread("raft log")
    log = RaftLog.open(directory.raft_path, disk)
    asyncio.run(create_cluster(log, config.node_id, Member(config.kv_address, config.raft_address, instance_id)))
    log.close()
    disk.close()
    directory.close()


def test_a_founder_that_had_crashed_goes_on(three: Beginners) -> None:
    begin_to_found(three[FIRST].config)
    three.start(FIRST, SECOND, THIRD)
    three.become_one_cluster()


def test_a_founder_that_had_crashed_and_is_not_the_first_any_more_joins_nobody(three: Beginners) -> None:
    begin_to_found(three[THIRD].config)
    three.start(FIRST, SECOND, THIRD)
    refusal = three[THIRD].outcome()
    assert isinstance(refusal, DataDirectoryError)
    assert "start it with -i 3 and without -p or --initial-cluster to go on with that" in str(refusal)


Begin = Callable[[], Beginners]


@pytest.fixture
def begin_four(three: Beginners, tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind) -> Begin:
    """Make one cluster of the three and of one that comes later."""

    def begin() -> Beginners:
        three.start(FIRST, SECOND, THIRD)
        three.become_one_cluster()
        later = config_of(tmp_path, free_port, 4, kind, initial_cluster=three[FIRST].config.initial_cluster)
        three.nodes.append(Beginner(three[FIRST].thread, later))
        three.start(FOURTH)
        three.become_one_cluster()
        return three

    return begin


def leave(nodes: Beginners, *places: int) -> None:
    for place in places:
        nodes[place].stop()
        nodes[place].config = replace(nodes[place].config, enable_auto_leaving=True)
        nodes[place].start()
        assert nodes[place].outcome() is None
        nodes[place].leave()


@pytest.mark.parametrize("first_has_lost_its_disk", [False, True])
def test_nodes_that_were_removed_found_no_second_cluster(begin_four: Begin, first_has_lost_its_disk: bool) -> None:
    four = begin_four()
    leave(four, FIRST, SECOND, THIRD)
    four.stop(FOURTH)
    if first_has_lost_its_disk:
        shutil.rmtree(four[FIRST].config.data_directory)
    four.start(FIRST, SECOND, THIRD)
    # The one that has stayed is on no list.
    four.wait_for_address(FOURTH)
    assert [four[place].cluster_id for place in (FIRST, SECOND, THIRD)] == [0, 0, 0]
    four.start(FOURTH)
    four.become_one_cluster()


def test_a_node_that_was_removed_begins_no_cluster_alone_once_its_state_was_set_aside(
    begin_four: Begin,
) -> None:
    four = begin_four()
    leave(four, THIRD)
    four.stop(FIRST, SECOND, FOURTH)
    four.start(THIRD)
    four.wait_for_address(FIRST)
    four.stop(THIRD)
    four[THIRD].config = replace(four[THIRD].config, initial_cluster=())
    four.start(THIRD)
    refusal = four[THIRD].outcome()
    assert isinstance(refusal, DataDirectoryError)
    assert "node 3 was removed from cluster" in str(refusal)
