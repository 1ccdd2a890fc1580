"""`kill -9` of real nodes under load: nothing that was acknowledged is lost, and a majority goes on."""

import time
from random import Random

import grpc
import pytest

from meteora.pb import common_pb2, kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceStub
from tests.cluster.burst import Burst, Fate
from tests.cluster.load import Load, assert_kept
from tests.cluster.processes import CHANNEL_OPTIONS, ClusterProcesses

WRITES_AGAIN_SECONDS = 5.0
"""What is promised of a cluster with the default settings."""

SOME_WRITES = 300

KILLS_AT_RANDOM = 5


def test_kill_of_the_leader_under_load_loses_nothing_that_was_acknowledged(three_nodes: ClusterProcesses) -> None:
    with Load(three_nodes) as load:
        load.wait_for_writes(SOME_WRITES)
        three_nodes.node(three_nodes.leader()).kill()
        load.wait_for_new_write(WRITES_AGAIN_SECONDS)
        load.wait_for_writes(SOME_WRITES)
        three_nodes.start_again()
        load.wait_for_writes(SOME_WRITES)
    assert_kept(three_nodes, load)


def test_kill_of_a_follower_under_load_loses_nothing_that_was_acknowledged(three_nodes: ClusterProcesses) -> None:
    with Load(three_nodes) as load:
        load.wait_for_writes(SOME_WRITES)
        three_nodes.node(three_nodes.leader() % 3 + 1).kill()
        load.wait_for_new_write(WRITES_AGAIN_SECONDS)
        load.wait_for_writes(SOME_WRITES)
        three_nodes.start_again()
        load.wait_for_writes(SOME_WRITES)
    assert_kept(three_nodes, load)


def test_kill_of_all_three_under_load_loses_nothing_that_was_acknowledged(three_nodes: ClusterProcesses) -> None:
    with Load(three_nodes) as load:
        load.wait_for_writes(SOME_WRITES)
        three_nodes.kill_all()
        three_nodes.start_again()
        load.wait_for_new_write(WRITES_AGAIN_SECONDS)
        load.wait_for_writes(SOME_WRITES)
    assert_kept(three_nodes, load)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1])
def test_kills_of_any_node_at_any_time_lose_nothing_that_was_acknowledged(
    three_nodes: ClusterProcesses, seed: int
) -> None:
    random = Random(seed)
    with Load(three_nodes, seed) as load:
        for _ in range(KILLS_AT_RANDOM):
            time.sleep(random.random() / 2)  # The instant is what is random; nothing waits for it.
            random.choice(three_nodes.nodes).kill()
            load.wait_for_new_write(WRITES_AGAIN_SECONDS)
            three_nodes.start_again()
    assert_kept(three_nodes, load)


def test_writes_that_lose_their_majority_are_in_doubt_and_not_called_refused(three_nodes: ClusterProcesses) -> None:
    leader = three_nodes.leader()
    for number in {1, 2, 3} - {leader}:
        three_nodes.node(number).kill()
    with Burst(three_nodes.endpoints[leader - 1], timeout_seconds=1.0) as burst:
        pass
    # Its log is the longest: it will be elected, and what it appended is applied after all.
    three_nodes.start_again()
    assert Fate.APPLIED not in burst.fates.values()
    burst.assert_truthful(three_nodes.endpoints[leader - 1])


def test_a_write_is_there_when_all_three_are_killed_in_the_instant_of_its_acknowledgement(
    three_nodes: ClusterProcesses,
) -> None:
    for endpoint in three_nodes.endpoints:
        with grpc.insecure_channel(endpoint, CHANNEL_OPTIONS) as channel:
            KvServiceStub(channel).Put(kv_pb2.PutReq(key=endpoint.encode(), value=b"kept"), timeout=5.0)
            three_nodes.kill_all()
        three_nodes.start_again()
        for other in three_nodes.endpoints:
            with grpc.insecure_channel(other, CHANNEL_OPTIONS) as channel:
                reply = KvServiceStub(channel).Get(kv_pb2.GetReq(key=endpoint.encode()), timeout=5.0)
            assert (reply.state, reply.value) == (common_pb2.OK, b"kept")
