"""Plain HTTP by TLS, on a node that asks everybody for a certificate: JSON, metrics, and who is not served."""

import http.client
import json
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from meteora.observability.metrics import METRICS
from tests.certificates import SOON, Authority
from tests.server.served import PATIENCE_SECONDS, ServedNode, served_cluster

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], authority: Authority
) -> Iterator[ServedNode]:
    kv, peer = authority.issue("kv", not_after=SOON), authority.issue("peer")
    settings: dict[str, Any] = {
        "cert_file": kv.cert,
        "key_file": kv.key,
        "trusted_ca_file": authority.ca,
        "client_cert_auth": True,
        "peer_cert_file": peer.cert,
        "peer_key_file": peer.key,
        "peer_trusted_ca_file": authority.ca,
    }
    with served_cluster(tmp_path_factory.mktemp("alone"), free_port, 1, "http2", **settings) as cluster:
        yield cluster.leader


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    """Of who trusts the authority, and has a certificate of it."""
    context = ssl.create_default_context(cafile=authority.ca)
    pair = authority.issue("client", "client")
    context.load_cert_chain(pair.cert, pair.key)
    return context


@pytest.fixture
def client(node: ServedNode, context: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
    connection = http.client.HTTPSConnection(node.config.kv_address, timeout=PATIENCE_SECONDS, context=context)
    yield connection
    connection.close()


def ask(client: http.client.HTTPSConnection, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    client.request(method, path, body, JSON if body else {})
    response = client.getresponse()
    return response.status, response.read().decode()


def call(client: http.client.HTTPSConnection, method: str, **request: str) -> Any:
    status, body = ask(client, "POST", f"/meteora.kv.KvService/{method}", json.dumps(request))
    assert status == 200, body
    return json.loads(body)


def families(client: http.client.HTTPSConnection) -> dict[str, Any]:
    status, text = ask(client, "GET", "/metrics")
    assert status == 200
    return {family.name: family for family in text_string_to_metric_families(text)}


def value_of(client: http.client.HTTPSConnection, name: str, **labels: str) -> float:
    samples = [sample for family in families(client).values() for sample in family.samples if sample.name == name]
    return next(sample.value for sample in samples if sample.labels == labels)


@pytest.mark.parametrize("size", [5, 512 * 1024])
def test_a_value_is_put_and_got_in_json_on_one_connection(client: http.client.HTTPSConnection, size: int) -> None:
    key, value = b64encode(b"key %d" % size).decode(), b64encode(bytes(size)).decode()
    assert call(client, "Put", key=key, value=value)["state"] == "OK"
    assert call(client, "Get", key=key)["value"] == value


def test_probes_are_answered(client: http.client.HTTPSConnection) -> None:
    assert [ask(client, "GET", path)[0] for path in ("/livez", "/readyz", "/health", "/version")] == [200] * 4


def test_a_refused_request_is_told_why(client: http.client.HTTPSConnection) -> None:
    client.putrequest("POST", "/meteora.kv.KvService/Put")
    client.putheader("content-length", str(1 << 40))
    client.endheaders()
    response = client.getresponse()
    assert (response.status, response.getheader("connection")) == (413, "close")
    assert b"a body has at most" in response.read()


def test_who_shows_no_certificate_is_not_served_and_counted(
    node: ServedNode, authority: Authority, client: http.client.HTTPSConnection
) -> None:
    labels = {"port": "kv", "reason": "no-certificate"}
    before = value_of(client, "meteora_tls_refused_total", **labels)
    context = ssl.create_default_context(cafile=authority.ca)
    stranger = http.client.HTTPSConnection(node.config.kv_address, timeout=PATIENCE_SECONDS, context=context)
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
        ask(stranger, "GET", "/metrics")
    stranger.close()
    assert value_of(client, "meteora_tls_refused_total", **labels) == before + 1


def test_who_speaks_in_the_clear_is_told_in_his_words(node: ServedNode) -> None:
    connection = http.client.HTTPConnection(node.config.kv_address, timeout=PATIENCE_SECONDS)
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    assert (response.status, response.read()) == (400, b"this port speaks TLS only\n")
    connection.close()


def test_the_raft_port_speaks_grpc_only(node: ServedNode, context: ssl.SSLContext) -> None:
    connection = http.client.HTTPSConnection(node.config.raft_address, timeout=PATIENCE_SECONDS, context=context)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 505
    connection.close()


@pytest.mark.parametrize(
    ("port", "offered", "agreed"),
    [
        ("kv", ["h2", "http/1.1"], "h2"),
        ("kv", ["http/1.1", "h2"], "h2"),
        ("kv", ["http/1.1"], "http/1.1"),
        ("raft", ["http/1.1", "h2"], "h2"),
        ("raft", ["http/1.1"], None),
    ],
)
def test_a_port_agrees_upon_what_it_speaks(
    node: ServedNode, context: ssl.SSLContext, port: str, offered: Sequence[str], agreed: str | None
) -> None:
    context.set_alpn_protocols(list(offered))
    number = node.config.kv_port if port == "kv" else node.config.raft_port
    with (
        socket.create_connection(("127.0.0.1", number), PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        assert secure.selected_alpn_protocol() == agreed


# Metrics


def test_connections_that_are_let_in_are_counted_by_port(
    node: ServedNode, context: ssl.SSLContext, client: http.client.HTTPSConnection
) -> None:
    before = {port: value_of(client, "meteora_tls_handshakes_total", port=port) for port in ("kv", "raft")}
    other = http.client.HTTPSConnection(node.config.kv_address, timeout=PATIENCE_SECONDS, context=context)
    assert ask(other, "GET", "/livez")[0] == 200
    other.close()
    after = {port: value_of(client, "meteora_tls_handshakes_total", port=port) for port in ("kv", "raft")}
    assert after == {"kv": before["kv"] + 1, "raft": before["raft"]}


def test_it_is_told_when_a_certificate_expires(client: http.client.HTTPSConnection) -> None:
    told = value_of(client, "meteora_tls_certificate_expiry_timestamp_seconds", port="kv")
    assert told == int(SOON.timestamp())
    assert value_of(client, "meteora_tls_certificate_expiry_timestamp_seconds", port="raft") > told


def test_every_metric_of_tls_is_told_for_both_ports(client: http.client.HTTPSConnection) -> None:
    names = {metric.name.removesuffix("_total") for metric in METRICS if metric.name.startswith("meteora_tls_")}
    exported = families(client)
    ports = {name: {sample.labels["port"] for sample in exported[name].samples} for name in names}
    assert ports == {name: {"kv", "raft"} for name in names}


def test_without_an_authority_of_clients_everybody_is_served(
    tmp_path: Path, free_port: Callable[[], int], authority: Authority
) -> None:
    pair = authority.issue("kv of another")
    with served_cluster(tmp_path, free_port, 1, "http2", cert_file=pair.cert, key_file=pair.key) as cluster:
        context = ssl.create_default_context(cafile=authority.ca)
        address = cluster.leader.config.kv_address
        connection = http.client.HTTPSConnection(address, timeout=PATIENCE_SECONDS, context=context)
        assert ask(connection, "GET", "/readyz") == (200, "ok\n")
        connection.close()
