"""A member that came back under a new address tells the cluster, unless its id is that of another node by now."""

import pytest

from meteora.server.cluster import Cluster
from meteora.server.joining import announce, join_request
from tests.server.served import LoopThread, ServedNode

REFUSED = "the cluster refuses the new address of this node"


def refused(peer: ServedNode, asked_first: ServedNode, thread: LoopThread, caplog: pytest.LogCaptureFixture) -> str:
    """What is logged when the id that a node announces is that of `peer`, at which another directory is."""
    request = join_request(1, 5, "127.0.0.1:3", "127.0.0.1:4")
    caplog.clear()
    thread.run(announce([peer.config.raft_address], request, Cluster(asked_first.node, 7)))
    (record,) = [record for record in caplog.records if record.name == "meteora.join"]
    return record.getMessage()


def test_an_address_that_the_leader_refuses_is_told_once_and_not_again(
    alone: ServedNode, caplog: pytest.LogCaptureFixture
) -> None:
    said = refused(alone, alone, alone.thread, caplog)
    assert said.startswith(f'{REFUSED} raft_address=127.0.0.1:4 cause="node id 1 belongs to the member at ')


def test_an_address_that_a_peer_refuses_is_told_once_and_not_again(
    alone: ServedNode, leaderless: ServedNode, caplog: pytest.LogCaptureFixture
) -> None:
    said = refused(alone, leaderless, leaderless.thread, caplog)
    assert said.startswith(f'{REFUSED} raft_address=127.0.0.1:4 cause="node id 1 belongs to the member at ')
