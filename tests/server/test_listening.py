"""Where a node listens: whatever its host is, and on a port in the clear for metrics and probes, if it is given one."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2_grpc import HealthStub
from prometheus_client.parser import text_string_to_metric_families

from meteora.addresses import parse_address
from meteora.cli.node_settings import checked
from meteora.config import NodeConfig, RpcServerKind
from meteora.errors import AddressInUse
from meteora.pb import common_pb2
from meteora.pb.raft_pb2_grpc import RaftServiceStub
from meteora.server.assembly import METRICS_BOUNDS, Server
from tests.certificates import Authority
from tests.server.served import (
    CHANNEL_OPTIONS,
    PATIENCE_SECONDS,
    LoopThread,
    ServedNode,
    config_of,
    refusal_of,
    served_cluster,
    served_node,
    wait_until,
)


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


# --metrics-address


@pytest.fixture(scope="module")
def secure(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], kind: RpcServerKind
) -> Iterator[ServedNode]:
    """A node whose clients must show a certificate, with a port for metrics beside."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    pair = authority.issue("kv")
    with served_cluster(
        tmp_path_factory.mktemp("alone"),
        free_port,
        1,
        kind,
        cert_file=pair.cert,
        key_file=pair.key,
        trusted_ca_file=authority.ca,
        client_cert_auth=True,
        metrics_address=f"127.0.0.1:{free_port()}",
    ) as cluster:
        yield cluster.leader


def test_where_a_node_listens_is_told_once_it_does(
    tmp_path: Path, free_port: Callable[[], int], loop_thread: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "meteora.server")
    plain = config_of(tmp_path, free_port, 1, "http2")
    for config in (plain, replace(plain, metrics_address=f"127.0.0.1:{free_port()}")):
        with served_node(loop_thread, config):
            pass
    without, beside = [each.getMessage() for each in caplog.records if each.getMessage().startswith("serving ")]
    addresses = f"serving kv={plain.kv_address} raft={plain.raft_address}"
    assert without.startswith(f"{addresses} cluster=")
    assert beside.startswith(f"{addresses} metrics={config.metrics_address} cluster=")


def metrics_address(node: ServedNode) -> str:
    assert node.config.metrics_address is not None
    return node.config.metrics_address


def ask(node: ServedNode, method: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(metrics_address(node), timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, "{}" if method == "POST" else None, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_probes_are_answered_to_who_shows_no_certificate(secure: ServedNode) -> None:
    assert ask(secure, "GET", "/livez") == (200, "ok\n")
    assert ask(secure, "GET", "/readyz") == (200, "ok\n")
    assert json.loads(ask(secure, "GET", "/version")[1])["node_id"] == "1"


def test_metrics_are_those_of_the_node(secure: ServedNode) -> None:
    status, text = ask(secure, "GET", "/metrics")
    exported = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels or sample.labels == {"port": "metrics"}
    }
    assert (status, exported["meteora_server_is_leader"]) == (200, 1)
    assert exported["meteora_http_refused_connections_total"] == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/status.json"),
        ("POST", "/meteora.raft.RaftService/NodeStatus"),
        ("POST", "/meteora.kv.KvService/Get"),
    ],
)
def test_there_is_no_page_and_no_call_in_json(secure: ServedNode, method: str, path: str) -> None:
    assert ask(secure, method, path) == (404, "there is nothing here\n")


def test_there_is_no_grpc(secure: ServedNode) -> None:
    with grpc.insecure_channel(metrics_address(secure), CHANNEL_OPTIONS) as channel:
        for call in (RaftServiceStub(channel).Status, HealthStub(channel).Check):
            code, _, _ = refusal_of(lambda call=call: call(common_pb2.Null(), timeout=PATIENCE_SECONDS))  # type: ignore[misc]
            assert code is grpc.StatusCode.UNIMPLEMENTED


def test_connections_beyond_the_bound_are_closed(secure: ServedNode) -> None:
    address = parse_address(metrics_address(secure))
    bound = METRICS_BOUNDS.max_connections
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(address, PATIENCE_SECONDS)) for _ in range(bound + 1)]
        assert opened[bound].recv(1) == b""
        assert ask_on(opened[0]).startswith(b"HTTP/1.1 200 ")


def ask_on(sock: socket.socket) -> bytes:
    sock.sendall(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n")
    return sock.recv(1024)


def test_a_port_that_is_taken_keeps_a_node_from_starting(
    tmp_path: Path, free_port: Callable[[], int], loop_thread: LoopThread
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = config_of(tmp_path, free_port, 1, "http2", metrics_address=address)
        with pytest.raises(AddressInUse, match=address):
            loop_thread.run(Server(config).start())
    assert not (tmp_path / "1" / "raft").exists()


def test_the_port_is_closed_when_the_node_stops(
    tmp_path: Path, free_port: Callable[[], int], loop_thread: LoopThread
) -> None:
    config = config_of(tmp_path, free_port, 1, "http2", metrics_address=f"127.0.0.1:{free_port()}")
    with served_node(loop_thread, config) as node:
        kept = http.client.HTTPConnection(metrics_address(node), timeout=PATIENCE_SECONDS)
        kept.request("GET", "/livez")
        assert kept.getresponse().read() == b"ok\n"
        node.stop()
        assert kept.sock.recv(1) == b""
        kept.close()
        with pytest.raises(ConnectionRefusedError):
            ask(node, "GET", "/livez")
    assert loop_thread.task_count() == 0
