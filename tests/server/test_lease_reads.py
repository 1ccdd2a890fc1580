"""`lease_reads`, from the settings of a node to its reads, on either server."""

from collections.abc import Callable
from pathlib import Path

from meteora.config import RpcServerKind
from meteora.pb import common_pb2
from tests.server.served import ServedCluster, served_cluster


def test_nodes_that_are_told_so_read_by_leases(
    tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind
) -> None:
    with served_cluster(tmp_path, free_port, 3, kind, lease_reads=True) as cluster:
        assert all(served.node._raw._raft.settings.lease_reads for served in cluster.nodes)
        for number, served in enumerate(cluster.nodes):
            assert served.put(b"k", b"%d" % number).state == common_pb2.OK
            assert [each.get(b"k").value for each in cluster.nodes] == [b"%d" % number] * 3


def test_other_nodes_do_not(three: ServedCluster) -> None:
    assert not any(served.node._raw._raft.settings.lease_reads for served in three.nodes)
