"""Plain HTTP beside gRPC, on nodes: probes, metrics, JSON; and what of it is left without a majority."""

import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

import meteora
from meteora.observability.metrics import METRICS
from tests.server.served import (
    LoopThread,
    ServedCluster,
    ServedNode,
    config_of,
    make_member_of_three,
    served_cluster,
    served_node,
    wait_until,
)

PATIENCE_SECONDS = 20.0


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[ServedCluster]:
    with served_cluster(tmp_path_factory.mktemp("three"), free_port, 3, "http2") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[ServedNode]:
    """A member of three whose peers are not there."""
    config = config_of(tmp_path_factory.mktemp("cut off"), free_port, 1, "http2", request_timeout_seconds=0.5)
    make_member_of_three(config, {2: f"127.0.0.1:{free_port()}", 3: f"127.0.0.1:{free_port()}"}, b"key", b"value")
    with LoopThread() as thread, served_node(thread, config) as node:
        yield node


def ask(node: ServedNode, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(node.config.kv_address, timeout=PATIENCE_SECONDS)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def call(node: ServedNode, method: str, request: object) -> Any:
    status, body = ask(node, "POST", f"/meteora.{method}", json.dumps(request), content_type="application/json")
    return status, json.loads(body)


def families(node: ServedNode) -> dict[str, Any]:
    """What it exports, by the name."""
    status, text = ask(node, "GET", "/metrics")
    assert status == 200
    return {family.name: family for family in text_string_to_metric_families(text)}


def value_of(node: ServedNode, name: str, **labels: str) -> float:
    samples = [sample for family in families(node).values() for sample in family.samples if sample.name == name]
    return next(sample.value for sample in samples if labels.items() <= sample.labels.items())


# Probes


def test_a_node_of_a_cluster_that_works_is_alive_and_ready(nodes: ServedCluster) -> None:
    for node in nodes.nodes:
        assert ask(node, "GET", "/livez") == (200, "ok\n")
        assert ask(node, "GET", "/readyz") == (200, "ok\n")
        assert json.loads(ask(node, "GET", "/health")[1])["health"] == "true"


def test_a_node_whose_majority_is_gone_is_alive_and_not_ready(cut_off: ServedNode) -> None:
    assert ask(cut_off, "GET", "/livez") == (200, "ok\n")
    status, text = ask(cut_off, "GET", "/readyz")
    assert status == 503
    assert "[+]disk ok" in text
    assert "[-]leader failed: no leader is known" in text
    assert "[-]read-index failed" in text
    assert ask(cut_off, "GET", "/health")[0] == 503


def test_the_checks_are_listed_on_demand(nodes: ServedCluster) -> None:
    status, text = ask(nodes.leader, "GET", "/readyz?verbose")
    checks = ["[+]node ok", "[+]disk ok", "[+]leader ok", "[+]read-index ok", "readyz check passed"]
    assert (status, text.splitlines()) == (200, checks)


def test_probes_that_come_together_share_an_answer(cut_off: ServedNode) -> None:
    pending, peak = cut_off.node._reads, 0
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(ask, cut_off, "GET", "/readyz") for _ in range(20)]
        while not all(each.done() for each in asked):
            peak = max(peak, len(pending))
    assert [each.result()[0] for each in asked] == [503] * 20
    # The node looks how fresh its state is, too; and a second question may begin as the first one ends.
    assert 1 <= peak <= 3


def test_the_version_is_told(nodes: ServedCluster) -> None:
    told = json.loads(ask(nodes.leader, "GET", "/version")[1])
    assert (told["version"], told["node_id"]) == (meteora.__version__, str(nodes.leader.config.node_id))


# JSON


def test_a_value_is_put_and_got_on_any_node_without_a_proto_file(nodes: ServedCluster) -> None:
    for node in nodes.nodes:
        assert call(node, "kv.KvService/Put", {"key": "anNvbg==", "value": "dmFsdWU="})[1]["state"] == "OK"
    for node in nodes.nodes:
        status, reply = call(node, "kv.KvService/Get", {"key": "anNvbg=="})
        assert (status, reply["value"], len(reply["addressMap"])) == (200, "dmFsdWU=", 3)
    assert nodes.leader.get(b"json").value == b"value"


def test_a_batch_and_the_status_are_served_too(nodes: ServedCluster) -> None:
    operations = [{"put": {"key": "YQ==", "value": "Yg=="}}, {"get": {"key": "bm8="}}]
    results = call(nodes.leader, "kv.KvService/Batch", {"operations": operations})[1]["results"]
    assert [result["state"] for result in results] == ["OK", "NOT_FOUND"]
    assert call(nodes.leader, "raft.RaftService/NodeStatus", {})[1]["role"] == "LEADER"


def test_what_a_write_without_a_leader_came_to_is_told(cut_off: ServedNode) -> None:
    connection = http.client.HTTPConnection(cut_off.config.kv_address, timeout=PATIENCE_SECONDS)
    headers = {"content-type": "application/json"}
    connection.request("POST", "/meteora.kv.KvService/Put", '{"key": "aw==", "value": "dg=="}', headers)
    response = connection.getresponse()
    error = json.loads(response.read())
    connection.close()
    assert (response.status, error["code"]) == (503, "unavailable")
    assert response.headers["trailer-meteora-outcome"] == "not-applied"


def test_the_raft_port_speaks_grpc_only(nodes: ServedCluster) -> None:
    connection = http.client.HTTPConnection(nodes.leader.config.raft_address, timeout=PATIENCE_SECONDS)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 505
    connection.close()


# Metrics


def test_every_metric_is_exported_with_its_help(nodes: ServedCluster) -> None:
    wait_until(lambda: nodes.leader.node.room.free_bytes, "it has looked at its disk")
    exported = families(nodes.leader)
    for metric in METRICS:
        family = exported[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
    silent = {metric.name for metric in METRICS if not exported[metric.name.removesuffix("_total")].samples}
    # Nobody speaks TLS here; see test_https.py.
    assert silent == {metric.name for metric in METRICS if metric.name.startswith("meteora_tls_")}


def test_metrics_of_ours_are_all_in_the_list(nodes: ServedCluster) -> None:
    ours = {name for name in families(nodes.leader) if not name.startswith("process_")}
    assert ours == {metric.name.removesuffix("_total") for metric in METRICS}


def test_the_leader_is_seen_by_all(nodes: ServedCluster) -> None:
    assert [value_of(node, "meteora_server_has_leader") for node in nodes.nodes] == [1, 1, 1]
    assert sorted(value_of(node, "meteora_server_is_leader") for node in nodes.nodes) == [0, 0, 1]
    assert value_of(nodes.leader, "meteora_cluster_members", role="voter") == 3


def test_no_leader_is_seen_by_who_is_cut_off(cut_off: ServedNode) -> None:
    assert value_of(cut_off, "meteora_server_has_leader") == 0


def test_writes_are_counted_where_they_matter(nodes: ServedCluster) -> None:
    leader, put = nodes.leader, {"port": "kv", "method": "meteora.kv.KvService/Put", "code": "OK"}
    names = ["meteora_server_proposals_committed_total", "meteora_disk_wal_fsync_duration_seconds_count"]
    before = [value_of(leader, name) for name in names]
    answered = value_of(leader, "meteora_server_requests_total", **put)
    for number in range(5):
        leader.put(b"counted", b"%d" % number)
    assert all(value_of(leader, name) >= was + 5 for name, was in zip(names, before, strict=True))
    assert value_of(leader, "meteora_server_requests_total", **put) == answered + 5
    assert value_of(leader, "meteora_server_request_duration_seconds_count", port="kv", method=put["method"]) >= 5
    assert value_of(leader, "meteora_server_apply_duration_seconds_count") >= 5


def test_refused_requests_are_counted_by_their_code(nodes: ServedCluster) -> None:
    assert call(nodes.leader, "kv.KvService/Get", {})[0] == 400
    labels = {"port": "kv", "method": "meteora.kv.KvService/Get", "code": "INVALID_ARGUMENT"}
    assert value_of(nodes.leader, "meteora_server_requests_total", **labels) >= 1


def test_peers_are_seen_by_their_ids(nodes: ServedCluster) -> None:
    leader = nodes.leader
    for follower in nodes.followers:
        peer = str(follower.config.node_id)
        assert value_of(leader, "meteora_network_peer_connected", peer=peer) == 1
        assert value_of(leader, "meteora_network_peer_sent_bytes_total", peer=peer) > 0
        assert value_of(leader, "meteora_network_peer_received_bytes_total", peer=peer) > 0
        assert 0 < value_of(leader, "meteora_network_peer_round_trip_seconds", peer=peer) < 10
        assert value_of(leader, "meteora_raft_peer_match_index", peer=peer) > 0


def test_two_nodes_of_one_process_count_apart(nodes: ServedCluster) -> None:
    follower = nodes.followers[0]
    labels = {"port": "kv", "method": "meteora.kv.KvService/Delete", "code": "OK"}
    before = value_of(follower, "meteora_server_requests_total", **labels)
    nodes.leader.delete(b"apart")
    assert value_of(follower, "meteora_server_requests_total", **labels) == before


def test_openmetrics_are_given_to_who_asks_for_them(nodes: ServedCluster) -> None:
    text = ask(nodes.leader, "GET", "/metrics", accept="application/openmetrics-text; version=1.0.0")[1]
    # This parser refuses what the standard forbids: samples out of order, counters of the wrong name, a missing end.
    assert {family.name for family in openmetrics.text_string_to_metric_families(text)} >= {
        metric.name.removesuffix("_total") for metric in METRICS
    }


def test_the_grpcio_server_says_that_it_has_none_of_this(
    tmp_path: Path, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "meteora.server")
    with LoopThread() as thread, served_node(thread, config_of(tmp_path, free_port, 1, "grpcio")):
        pass
    assert [record for record in caplog.records if "no HTTP beside gRPC" in record.getMessage()]
