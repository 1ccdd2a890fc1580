"""A node that is cut off from all others still answers who asks for what it has, and nobody else."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from meteora.client import Client
from meteora.pb import kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceStub
from tests.cluster.namespaces import ClusterOnHosts, Hosts
from tests.cluster.processes import CHANNEL_OPTIONS, START_SECONDS, wait_until

CALL_SECONDS = 10.0


@pytest.fixture
def three(tmp_path: Path) -> Iterator[ClusterOnHosts]:
    """A cluster of three on three hosts."""
    with Hosts(3) as hosts:
        cluster = ClusterOnHosts(hosts, tmp_path)
        try:
            yield cluster.start()
        finally:
            cluster.end()


class OneNode:
    """Asks one node and, unlike a client, never another one."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = KvServiceStub(channel)

    def get(self, key: bytes, *, serializable: bool) -> kv_pb2.GetReply:
        return self._stub.Get(kv_pb2.GetReq(key=key, serializable=serializable), timeout=CALL_SECONDS)


def test_who_is_cut_off_answers_from_what_it_has_and_says_how_old_that_may_be(three: ClusterOnHosts) -> None:
    leader = three.leader()
    cut_off = leader % 3 + 1
    others = set(three.nodes) - {cut_off}
    with (
        Client([three.endpoint(each) for each in others]) as there,
        grpc.insecure_channel(three.endpoint(cut_off), CHANNEL_OPTIONS) as channel,
    ):
        here = OneNode(channel)
        there.put(b"k", b"old")
        assert here.get(b"k", serializable=False).value == b"old"
        wait_until(
            lambda: here.get(b"k", serializable=True).HasField("staleness_milliseconds"),
            "the node can tell how old its state may be",
            START_SECONDS,
        )
        three.hosts.split({cut_off}, others)
        there.put(b"k", b"new")
        acknowledged_at = time.monotonic()
        wait_until(lambda: "leaderId" not in three.status(cut_off), "it knows of no leader", START_SECONDS)
        with pytest.raises(grpc.RpcError, match="no leader"):
            here.get(b"k", serializable=False)
        asked_at = time.monotonic()
        reply = here.get(b"k", serializable=True)
        assert (reply.value, reply.leader_id) == (b"old", 0)
        # The write that is missing is not older than the reply says.
        assert reply.staleness_milliseconds >= (asked_at - acknowledged_at) * 1000
        three.hosts.heal()
        wait_until(lambda: here.get(b"k", serializable=True).value == b"new", "it has caught up", START_SECONDS)
