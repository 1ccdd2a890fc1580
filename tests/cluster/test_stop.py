"""Nodes that are told to stop: they hand over, they end, they are the same members when they come back."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from meteora.raft import RoleName
from tests.cluster.burst import Burst
from tests.cluster.load import Load, assert_kept
from tests.cluster.processes import (
    START_SECONDS,
    ClusterProcesses,
    NodeProcess,
    get,
    node_status,
    put,
    wait_until,
)

SOME_WRITES = 200


def others(cluster: ClusterProcesses, number: int) -> list[int]:
    return [each for each in range(1, len(cluster.nodes) + 1) if each != number]


@pytest.mark.parametrize(
    "numbers", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]], ids=["SIGINT once", "SIGTERM twice"]
)
def test_a_leader_that_stops_hands_over_so_that_nobody_waits_for_an_election(
    three_nodes: ClusterProcesses, numbers: list[signal.Signals]
) -> None:
    leader = three_nodes.leader()
    term = int(node_status(three_nodes.kv_ports[leader - 1])["term"])
    seen = {each: len(three_nodes.node(each).output) for each in others(three_nodes, leader)}
    for number in numbers:
        three_nodes.node(leader).process.send_signal(number)
    assert three_nodes.node(leader).wait() == 0
    for each in seen:
        put(three_nodes.kv_ports[each - 1], b"key", b"value")
    for each, length in seen.items():
        said_since = three_nodes.node(each).output[length:]
        # Who has not heard of its leader for a while asks first whether an election would be of use.
        assert f"role={RoleName.PRE_CANDIDATE.value}" not in said_since
        assert int(node_status(three_nodes.kv_ports[each - 1])["term"]) == term + 1


def test_a_node_that_was_stopped_is_the_same_member_when_it_is_started_again(three_nodes: ClusterProcesses) -> None:
    put(three_nodes.kv_ports[0], b"key", b"value")
    before = node_status(three_nodes.kv_ports[0])
    for number in (1, 2, 3):
        assert three_nodes.node(number).stop() == 0
        others_say = [node_status(three_nodes.kv_ports[each - 1]) for each in others(three_nodes, number)]
        assert [each["members"] for each in others_say] == [before["members"]] * 2
        three_nodes.start_again()
        wait_until(three_nodes.is_whole, "every node knows the same leader and all voters", START_SECONDS)
        after = node_status(three_nodes.kv_ports[number - 1])
        assert (after["clusterId"], after["members"]) == (before["clusterId"], before["members"])
        assert "the membership changed" not in three_nodes.node(number).output_since_start
    assert get(three_nodes.kv_ports[0], b"key")["state"] == "OK"


@pytest.mark.timeout(90)
def test_every_node_stopped_and_started_in_turn_under_load_loses_nothing_that_was_acknowledged(
    three_nodes: ClusterProcesses,
) -> None:
    with Load(three_nodes) as load:
        for node in three_nodes.nodes:
            load.wait_for_writes(SOME_WRITES)
            assert node.stop() == 0
            load.wait_for_writes(SOME_WRITES)
            three_nodes.start_again()
    assert_kept(three_nodes, load)


def test_all_nodes_stopped_at_once_under_load_lose_nothing_that_was_acknowledged(three_nodes: ClusterProcesses) -> None:
    with Load(three_nodes) as load:
        load.wait_for_writes(SOME_WRITES)
        for node in three_nodes.nodes:
            node.process.send_signal(signal.SIGTERM)
        assert [node.wait() for node in three_nodes.nodes] == [0, 0, 0]
        three_nodes.start_again()
        load.wait_for_writes(SOME_WRITES)
    assert_kept(three_nodes, load)


def children(process_id: int) -> list[int]:
    """The processes that any thread of this one has started."""
    threads = Path(f"/proc/{process_id}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def test_a_node_that_stops_leaves_neither_processes_nor_ports_nor_a_lock_behind(three_nodes: ClusterProcesses) -> None:
    node = three_nodes.node(2)
    started = children(node.process.pid)
    assert node.stop() == 0
    assert [each for each in started if Path(f"/proc/{each}").exists()] == []
    for port in (three_nodes.raft_ports[1], three_nodes.kv_ports[1]):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    assert node.output.splitlines()[-1].endswith("server: stopped")
    node.start().wait_until_serving()


def test_requests_in_flight_when_their_node_stops_are_each_answered_truthfully(three_nodes: ClusterProcesses) -> None:
    leader = three_nodes.leader()
    with Burst(three_nodes.endpoints[leader - 1]) as burst:
        assert three_nodes.node(leader).stop() == 0
    burst.assert_truthful(three_nodes.endpoints[leader % 3])


def test_requests_that_a_stopping_node_can_not_finish_are_left_in_doubt(three_nodes: ClusterProcesses) -> None:
    leader = three_nodes.leader()
    for number in others(three_nodes, leader):
        three_nodes.node(number).kill()
    with Burst(three_nodes.endpoints[leader - 1]) as burst:
        assert three_nodes.node(leader).stop() == 0
    three_nodes.start_again()
    burst.assert_truthful(three_nodes.endpoints[leader - 1])


STEPPING_BACK = {
    "": ["handing leadership over gives_up_after_seconds=2.0", "no other member could take over"],
    "-l": [
        "leaving the cluster: waiting for a majority to agree gives_up_after_seconds=5.0",
        "could not leave: this node stays a member; to remove it, use `meteora leave` at another one",
    ],
}


@pytest.mark.parametrize("option", STEPPING_BACK)
def test_a_node_without_a_majority_stops_all_the_same_and_says_what_it_waits_for(
    tmp_path: Path, free_port: Callable[[], int], option: str
) -> None:
    cluster = ClusterProcesses(tmp_path, [free_port() for _ in range(6)], *option.split())
    try:
        leader = cluster.start().leader()
        for number in others(cluster, leader):
            cluster.node(number).kill()
        assert cluster.node(leader).stop() == 0
        for said in STEPPING_BACK[option]:
            assert said in cluster.node(leader).output
    finally:
        cluster.end()


def test_a_node_that_waits_to_be_let_in_can_be_stopped(tmp_path: Path, free_port: Callable[[], int]) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    options = ["-i", "2", "-r", str(free_port()), "-k", str(free_port()), "-d", str(tmp_path / "data"), "-p", nobody]
    node = NodeProcess(options, tmp_path / "node.log")
    try:
        node.start().wait_for_line("can't join yet, trying on")
        assert node.stop() == 0
    finally:
        node.end()
