"""A member that came back under a new address tells the cluster, unless its id is that of another node by now; and a
newcomer that nobody speaks to finds out why.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from meteora.config import NodeConfig, RpcServerKind
from meteora.node import Removal
from meteora.pb import common_pb2, raft_pb2
from meteora.server import joining
from meteora.server.cluster import Cluster
from meteora.server.joining import announce, join_request
from meteora.transport.dialler import Dialler
from tests.server.served import LoopThread, ServedNode, config_of, served_node, wait_until

REFUSED = "the cluster refuses the new address of this node"


def refused(peer: ServedNode, asked_first: ServedNode, thread: LoopThread, caplog: pytest.LogCaptureFixture) -> str:
    """What is logged when the id that a node announces is that of `peer`, at which another directory is."""
    request = join_request(1, 5, "127.0.0.1:3", "127.0.0.1:4")
    caplog.clear()
    thread.run(announce(Dialler(), [peer.config.raft_address], request, Cluster(asked_first.node, 7, Dialler())))
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


@pytest.fixture
def out_of_reach(
    tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind, monkeypatch: pytest.MonkeyPatch
) -> tuple[NodeConfig, NodeConfig]:
    """A founder, and a newcomer that can't be reached where it says that it is."""
    monkeypatch.setattr(joining, "ASK_AGAIN_SECONDS", 0.1)
    founder = config_of(tmp_path, free_port, 1, kind)
    peer = founder.raft_address
    return founder, config_of(tmp_path, free_port, 2, kind, peer_raft_address=peer, advertise_address="127.0.0.2")


def test_who_is_removed_before_any_member_has_spoken_to_it_learns_it(
    out_of_reach: tuple[NodeConfig, NodeConfig], loop_thread: LoopThread
) -> None:
    founder, newcomer = out_of_reach
    with served_node(loop_thread, founder) as leader, served_node(loop_thread, newcomer) as waiting:
        assert leader.change(raft_pb2.RemoveNode, 2).state == common_pb2.OK
        wait_until(waiting.node.removed.done, "the newcomer knows that it was removed")
        assert waiting.node.removed.result() is Removal.WHILE_RUNNING


def test_who_is_let_in_and_not_spoken_to_says_so(
    out_of_reach: tuple[NodeConfig, NodeConfig], loop_thread: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    founder, newcomer = out_of_reach
    said = f"it was let in, but nobody has spoken to it at {newcomer.raft_address}: see --advertise-address"
    with served_node(loop_thread, founder), served_node(loop_thread, newcomer):
        wait_until(lambda: said in caplog.text, "it says what it waits for")
