"""A cluster of three whose nodes ask everybody for a certificate, as docs/security.md sets it up."""

import asyncio
import json
import resource
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meteora.client import AsyncClient
from tests.certificates import LONG_AGO, YESTERDAY, Authority, Pair
from tests.cluster.processes import PLAIN, START_SECONDS, NodeProcess, grpcurl, meteora, wait_until
from tests.cluster.secure import SecureCluster

STATUS = "meteora.raft.RaftService/Status"

pytestmark = pytest.mark.xdist_group("mutual TLS")


def curl(secure: SecureCluster, *options: str) -> str:
    """What it prints of the first node; the last option is the path."""
    own = ["--cacert", secure.authority.ca, "--cert", secure.client.cert, "--key", secure.client.key]
    command = ["curl", "-sS", "--fail-with-body", "--max-time", "20", "-H", "content-type: application/json", *own]
    url = f"https://{secure.endpoints[0]}{options[-1]}"
    return subprocess.run([*command, *options[:-1], url], capture_output=True, text=True, check=True).stdout


@contextmanager
def core_files_are_wanted() -> Iterator[None]:
    """As far as who starts a process has a say in it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[SecureCluster]:
    """For all tests of this module, each of which leaves it whole."""
    cluster = SecureCluster(tmp_path_factory.mktemp("secure"), [free_port() for _ in range(6)])
    try:
        with core_files_are_wanted():
            cluster.start()
        yield cluster
        for node in cluster.nodes:
            assert " ERROR " not in node.output
            assert "Traceback" not in node.output
            assert "PRIVATE" not in node.output
    finally:
        cluster.end()


def test_the_commands_take_their_certificates_as_options(secure: SecureCluster) -> None:
    options = ["--cacert", secure.authority.ca, "--cert", secure.client.cert, "--key", secure.client.key]
    own = ["-a", secure.endpoints[1], *map(str, options)]
    assert meteora("put", "options", "value", *own).stdout == "OK\n"
    assert meteora("get", "options", *own).stdout == "value"


def test_the_commands_take_their_certificates_from_the_environment(secure: SecureCluster) -> None:
    assert meteora("put", "variables", "value", **secure.variables).stdout == "OK\n"
    status = json.loads(meteora("status", "-o", "json", **secure.variables).stdout)
    assert [member["reachable"] for member in status["members"]] == [True] * 3


def test_the_commands_say_what_is_missing(secure: SecureCluster) -> None:
    outcome = meteora("get", "key", "-a", secure.endpoints[0], "--timeout", "1")
    assert (outcome.returncode, outcome.stdout) == (3, "")
    assert "it speaks TLS only: connect by https://, or give the certificate of its CA by --cacert" in outcome.stderr
    outcome = meteora("get", "key", "--timeout", "1", **{**secure.variables, "METEORA_CERT": "", "METEORA_KEY": ""})
    assert (outcome.returncode, outcome.stdout) == (3, "")
    assert "was shown none (--cert, --key)" in outcome.stderr


def test_curl_is_served_in_json_with_the_certificate_of_a_client(secure: SecureCluster) -> None:
    put = curl(secure, "--data", '{"key": "Y3VybA==", "value": "dmFsdWU="}', "/meteora.kv.KvService/Put")
    assert json.loads(put)["state"] == "OK"
    assert json.loads(curl(secure, "--data", '{"key": "Y3VybA=="}', "/meteora.kv.KvService/Get"))["value"] == "dmFsdWU="
    for version in ("--http1.1", "--http2"):
        assert 'meteora_tls_handshakes_total{port="raft"}' in curl(secure, version, "/metrics")


def test_grpcurl_is_served_on_the_kv_port_with_the_certificate_of_a_client(secure: SecureCluster) -> None:
    security = secure.of_grpcurl(secure.client)
    key, value = b64encode(b"grpcurl").decode(), b64encode(b"value").decode()
    put = grpcurl(secure.kv_ports[0], "meteora.kv.KvService/Put", {"key": key, "value": value}, security=security)
    assert json.loads(put.stdout)["state"] == "OK"
    get = grpcurl(secure.kv_ports[2], "meteora.kv.KvService/Get", {"key": key}, security=security)
    assert json.loads(get.stdout)["value"] == value


def test_grpcurl_is_served_on_the_raft_port_with_the_certificate_of_a_node(secure: SecureCluster) -> None:
    node = Pair(secure.authority.ca.with_name("node1.pem"), secure.authority.ca.with_name("node1.key"))
    status = grpcurl(secure.raft_ports[1], STATUS, security=secure.of_grpcurl(node))
    assert len(json.loads(status.stdout)["addressMap"]) == 3


def refused(secure: SecureCluster, port: str, reason: str) -> float:
    """What the first node has counted."""
    name = f'meteora_tls_refused_total{{port="{port}",reason="{reason}"}} '
    (line,) = [line for line in curl(secure, "/metrics").splitlines() if line.startswith(name)]
    return float(line.removeprefix(name))


@pytest.mark.parametrize("port", ["kv", "raft"])
@pytest.mark.parametrize("reason", ["plaintext", "no-certificate", "untrusted-certificate", "expired-certificate"])
def test_grpcurl_is_refused(secure: SecureCluster, port: str, reason: str, tmp_path: Path) -> None:
    ca = ["-cacert", str(secure.authority.ca)]
    stranger = Authority(tmp_path / "other").issue("node1", "node1")
    expired = secure.authority.issue("expired", "node1", not_before=LONG_AGO, not_after=YESTERDAY)
    security = {
        "plaintext": list(PLAIN),
        "no-certificate": ca,
        "untrusted-certificate": secure.of_grpcurl(stranger),
        "expired-certificate": secure.of_grpcurl(expired),
    }[reason]
    before = refused(secure, port, reason)
    ports = secure.kv_ports if port == "kv" else secure.raft_ports
    outcome = grpcurl(ports[0], STATUS, None, "-connect-timeout", "1", security=security)
    assert outcome.returncode != 0
    assert outcome.stdout == ""
    secure.node(1).wait_for_line(f"TLS connection refused service={port} host=127.0.0.1 reason={reason} ")
    assert refused(secure, port, reason) > before


def test_the_certificate_of_a_client_is_none_of_a_peer(secure: SecureCluster) -> None:
    outcome = grpcurl(
        secure.raft_ports[0], STATUS, None, "-connect-timeout", "1", security=secure.of_grpcurl(secure.client)
    )
    assert outcome.returncode != 0
    secure.node(1).wait_for_line("the names in this certificate are not allowed here: alice")


def test_a_node_that_is_not_on_the_list_never_becomes_a_member(
    secure: SecureCluster, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    pair = secure.authority.issue("node4", "node4", "localhost", "127.0.0.1")
    own = ["-i", "4", "-a", "127.0.0.1", "-r", str(free_port()), "-k", str(free_port()), "-d", str(tmp_path / "4")]
    options = [*own, "-p", f"127.0.0.1:{secure.raft_ports[0]}", *secure.tls_options(pair)]
    node = NodeProcess(options, tmp_path / "node4.log")
    try:
        node.start().wait_for_line("the names in this certificate are not allowed here: node4")
    finally:
        node.end()
    assert secure.is_whole()


@pytest.mark.skipif(sys.platform != "linux", reason="limits are looked up in /proc")
def test_keys_get_into_no_core_file(secure: SecureCluster) -> None:
    limits = Path(f"/proc/{secure.node(1).process.pid}/limits").read_text()
    (of_core_files,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert of_core_files.split()[4] == "0"


def test_a_node_that_was_killed_comes_back(secure: SecureCluster) -> None:
    assert meteora("put", "before", "1", **secure.variables).stdout == "OK\n"
    leader = secure.leader()
    secure.node(leader).kill()
    wait_until(
        lambda: meteora("put", "meanwhile", "2", **secure.variables).returncode == 0, "two nodes serve", START_SECONDS
    )
    secure.start_again()
    wait_until(secure.is_whole, "the node is back", START_SECONDS)
    own = {**secure.variables, "METEORA_ENDPOINTS": secure.endpoints[leader - 1]}
    assert [meteora("get", key, **own).stdout for key in ("before", "meanwhile")] == ["1", "2"]


def certificate_at(port: int, authority: Authority) -> str:
    """What a server shows to who connects now."""
    return ssl.get_server_certificate(("localhost", port), ca_certs=str(authority.ca), timeout=10)


def test_certificates_are_rotated_under_load_and_no_request_and_no_connection_is_lost(secure: SecureCluster) -> None:
    ports = [*secure.kv_ports, *secure.raft_ports]
    seen = {node: len(node.output) for node in secure.nodes}

    def are_reread() -> bool:
        return all(
            node.output[seen[node] :].count("new certificates are in use") == 2  # For each of its ports.
            for node in secure.nodes
        )

    async def story() -> int:
        count = 0
        is_over = asyncio.Event()

        async def load(client: AsyncClient, name: int) -> None:
            nonlocal count
            while not is_over.is_set():
                await client.put(f"load {name}", f"{count}")
                await client.get(f"load {name}")
                count += 1

        async with AsyncClient(secure.endpoints, tls=secure.tls) as client, asyncio.TaskGroup() as group:
            for name in range(8):
                group.create_task(load(client, name))
            await asyncio.to_thread(rotate)
            is_over.set()
        return count

    def rotate() -> None:
        for number in (1, 2, 3):
            secure.issue(number)
        wait_until(are_reread, "the new certificates are in use", START_SECONDS)

    before = [certificate_at(port, secure.authority) for port in ports]
    assert asyncio.run(story()) > 0
    after = [certificate_at(port, secure.authority) for port in ports]
    assert not set(before) & set(after)
    for node in secure.nodes:
        output = node.output[seen[node] :]
        assert not any(loss in output for loss in ("unreachable", "peer connected", "asking for votes"))
