"""Where a node listens: whatever its host is, and on a port in the clear for metrics and probes, if it is given one."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from meteora.cli.node_settings import checked
from meteora.config import NodeConfig, RpcServerKind
from meteora.pb import common_pb2
from tests.server.served import LoopThread, served_node, wait_until


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_nodes_are_reached_and_reach_one_another_by_ipv6(
    tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind, loop_thread: LoopThread
) -> None:
    def config(node_id: int, peer: str | None) -> NodeConfig:
        return checked(
            NodeConfig(
                node_id=node_id,
                address="::1",
                raft_port=free_port(),
                kv_port=free_port(),
                data_directory=tmp_path / str(node_id),
                peer_raft_address=peer,
                rpc_server=kind,
            )
        )

    founder = config(1, None)
    with (
        served_node(loop_thread, founder) as first,
        served_node(loop_thread, config(2, founder.raft_address)) as second,
    ):
        wait_until(lambda: len(second.node.members.configuration.voters) == 2, "the second is a voter")
        assert second.put(b"key", b"value").state == common_pb2.OK
        assert first.get(b"key").value == b"value"
