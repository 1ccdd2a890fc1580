"""The status page's files and JSON, on nodes in this process; what a browser makes of them is in tests/cluster."""

import asyncio
import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from meteora.client import Client, TlsConfig
from meteora.features import SUPPORTED_LEVEL
from meteora.pb.peer_pb2_grpc import add_PeerServiceServicer_to_server
from meteora.pb.raft_pb2 import NodeStatusReply
from meteora.pb.raft_pb2_grpc import RaftServiceServicer, add_RaftServiceServicer_to_server
from meteora.rpc import create_rpc_server
from meteora.server.alarms import LAG_ENTRIES, LAG_SAMPLES, View, alarms
from meteora.server.recent import Sample
from meteora.transport.dialler import Dialler
from meteora.transport.incoming import PeerReceiver
from meteora.transport.interface import Identity
from meteora.transport.outgoing import GrpcTransport
from tests.certificates import Authority
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
from tests.unit.transport.peers import RecordingInbox

PATIENCE_SECONDS = 20.0


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[ServedCluster]:
    with served_cluster(tmp_path_factory.mktemp("three"), free_port, 3, "http2") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[ServedNode]:
    """A member of three whose peers are not there."""
    config = config_of(tmp_path_factory.mktemp("cut off"), free_port, 1, "http2")
    make_member_of_three(config, {2: f"127.0.0.1:{free_port()}", 3: f"127.0.0.1:{free_port()}"}, b"key", b"value")
    with LoopThread() as thread, served_node(thread, config) as node:
        yield node


def ask(
    node: ServedNode, path: str, tls: ssl.SSLContext | None = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    if tls is None:
        connection = http.client.HTTPConnection(node.config.kv_address, timeout=PATIENCE_SECONDS)
    else:
        connection = http.client.HTTPSConnection(node.config.kv_address, timeout=PATIENCE_SECONDS, context=tls)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def status_of(node: ServedNode) -> Any:
    return json.loads(ask(node, "/status.json")[1])


def sample(**values: Any) -> Sample:
    plain = {"at": 0.0, "requests": 0.0, "writes": 0.0, "request_p50": None, "request_p99": None, "disk_p99": None}
    return Sample(**{**plain, "slowest_disk": 0.0, "lags": {}, **values})


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/status.css", "text/css; charset=utf-8"),
        ("/status.js", "text/javascript; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
    ],
)
def test_a_file_is_what_it_says_and_lets_nothing_of_others_in(
    nodes: ServedCluster, path: str, content_type: str
) -> None:
    response, body = ask(nodes.leader, path)
    assert (response.status, response.getheader("content-type")) == (200, content_type)
    assert body
    policy = response.getheader("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.getheader("x-content-type-options") == "nosniff"


def test_a_file_that_is_known_is_not_sent_again(nodes: ServedCluster) -> None:
    tag = ask(nodes.leader, "/status.js")[0].getheader("etag")
    assert tag
    response, body = ask(nodes.leader, "/status.js", if_none_match=tag)
    assert (response.status, body) == (304, b"")
    assert ask(nodes.leader, "/status.js", if_none_match='"another"')[0].status == 200


def test_every_node_tells_of_all_members(nodes: ServedCluster) -> None:
    leader = str(nodes.leader.config.node_id)
    nodes.leader.put(b"key", b"value")
    for node in nodes.nodes:
        # An answer is kept for a second.
        wait_until(lambda node=node: not status_of(node)["alarms"], "no alarm")
        status = status_of(node)
        assert [(each["id"], each["state"]) for each in status["members"]] == [("1", "ok"), ("2", "ok"), ("3", "ok")]
        assert [each["id"] for each in status["members"] if each["role"] == "leader"] == [leader]
        assert all(each["applied_index"] > 0 for each in status["members"])
        assert [each["kv_address"] for each in status["members"]] == [each.config.kv_address for each in nodes.nodes]


def test_the_last_elections_are_told(nodes: ServedCluster) -> None:
    texts = [each["text"] for each in status_of(nodes.leader)["events"]]
    assert any("this node became leader in term" in each for each in texts)
    assert "the membership changed: voters=(1 2 3)" in texts


def test_many_who_look_at_the_same_time_get_one_answer(nodes: ServedCluster) -> None:
    with ThreadPoolExecutor(20) as pool:
        told = [each.result()["now"] for each in [pool.submit(status_of, nodes.leader) for _ in range(20)]]
    # A second may pass meanwhile, on a machine that is busy.
    assert len(set(told)) < 10


def test_samples_are_taken_while_nobody_looks(nodes: ServedCluster) -> None:
    page = nodes.leader
    before = len(status_of(page)["samples"])
    wait_until(lambda: len(status_of(page)["samples"]) > before, "another sample")


def test_no_key_and_no_value_is_told(nodes: ServedCluster) -> None:
    nodes.leader.put(b"secretkey", b"secretvalue")
    assert b"secret" not in ask(nodes.leader, "/status.json")[1]


def test_a_node_that_is_cut_off_says_so(cut_off: ServedNode) -> None:
    status = status_of(cut_off)
    assert status["leader_id"] == "0"
    assert status["alarms"][0].startswith("No leader is known")
    assert status["alarms"][1:] == ["Node 2 can't be reached.", "Node 3 can't be reached."]


def test_what_is_not_known_of_a_member_is_not_made_up(cut_off: ServedNode) -> None:
    lost = status_of(cut_off)["members"][1]
    assert (lost["role"], lost["applied_index"], lost["commit_index"], lost["lag"]) == ("voter", None, None, None)
    assert lost["round_trip_seconds"] is None


class Peer(RaftServiceServicer):
    """Node 2 of the cluster that `make_member_of_three` makes up: lets peers in, and says how it is, or nothing."""

    def __init__(self, port: int, *, is_silent: bool = False) -> None:
        self._is_silent = is_silent
        self._identity = Identity(1, 2, 1, f"127.0.0.1:{port}")
        self._transport: GrpcTransport | None = None
        self._server = create_rpc_server("http2", "127.0.0.1", port, max_message_bytes=1 << 20)

    async def NodeStatus(self, request: object, context: object) -> NodeStatusReply:
        if self._is_silent:
            await asyncio.Event().wait()
        return NodeStatusReply(node_id=2, applied_index=1)

    async def start(self, *, introduces_itself_to: str = "") -> None:
        receiver = PeerReceiver(self._identity, RecordingInbox())
        add_PeerServiceServicer_to_server(receiver, self._server)  # type: ignore[no-untyped-call]
        add_RaftServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        await self._server.start()
        self._transport = GrpcTransport(self._identity, RecordingInbox(), Dialler())
        if introduces_itself_to:
            self._transport.set_peers({1: introduces_itself_to})

    async def stop(self) -> None:
        if self._transport is not None:
            await self._transport.close()
        await self._server.stop(None)


def test_a_member_that_is_connected_and_does_not_say_how_it_is_is_told_from_one_that_is_gone(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    config, port = config_of(tmp_path, free_port, 1, "http2"), free_port()
    make_member_of_three(config, {2: f"127.0.0.1:{port}", 3: f"127.0.0.1:{free_port()}"}, b"key", b"value")
    with LoopThread() as thread:
        silent = Peer(port, is_silent=True)
        thread.run(silent.start())
        try:
            with served_node(thread, config) as node:
                wait_until(lambda: "Node 2 is connected, and silent." in status_of(node)["alarms"], "the alarm")
                status = status_of(node)
                assert "Node 3 can't be reached." in status["alarms"]
                states = {each["id"]: each["state"] for each in status["members"]}
                assert states == {"1": "ok", "2": "is connected, and silent", "3": "can't be reached"}
        finally:
            thread.run(silent.stop())


def test_a_member_that_has_moved_is_asked_where_it_is_now(tmp_path: Path, free_port: Callable[[], int]) -> None:
    config, port = config_of(tmp_path, free_port, 1, "http2"), free_port()
    was_at = {2: f"127.0.0.1:{free_port()}", 3: f"127.0.0.1:{free_port()}"}
    make_member_of_three(config, was_at, b"key", b"value")
    with LoopThread() as thread, served_node(thread, config) as node:
        moved = Peer(port)
        thread.run(moved.start(introduces_itself_to=config.raft_address))
        try:
            wait_until(lambda: status_of(node)["members"][1]["state"] == "ok", "its answer")
            assert status_of(node)["members"][1]["applied_index"] == 1
        finally:
            thread.run(moved.stop())


def test_members_are_seen_where_all_must_show_certificates_and_users_are_enabled(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    authority = Authority(tmp_path)
    kv, peer, client = authority.issue("kv"), authority.issue("peer"), authority.issue("client", "client")
    settings: dict[str, Any] = {
        "cert_file": kv.cert,
        "key_file": kv.key,
        "trusted_ca_file": authority.ca,
        "client_cert_auth": True,
        "peer_cert_file": peer.cert,
        "peer_key_file": peer.key,
        "peer_trusted_ca_file": authority.ca,
    }
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(client.cert, client.key)
    with served_cluster(tmp_path, free_port, 2, "http2", **settings) as cluster:
        wait_until(lambda: cluster.leader.node.level == SUPPORTED_LEVEL, "the feature level of users")
        tls = TlsConfig(ca_file=authority.ca, cert_file=client.cert, key_file=client.key)
        with Client(cluster.leader.config.kv_address, tls=tls) as root:
            root.add_user("root", "password")
            root.grant_role("root", "root")
            root.enable_users()
        for node in cluster.nodes:
            wait_until(lambda node=node: node.node.users.is_enabled, "users are enabled here, too")
            members = json.loads(ask(node, "/status.json", context)[1])["members"]
            assert [(each["state"], each["applied_index"] is None) for each in members] == [("ok", False)] * 2


def told(node: ServedNode, samples: list[Sample]) -> list[str]:
    return alarms(View(node=node.node, unreachable={}, samples=samples))


def test_a_lag_that_grows_is_an_alarm(nodes: ServedCluster) -> None:
    lags = [LAG_ENTRIES + each for each in range(LAG_SAMPLES)]
    growing = [sample(lags={2: each}) for each in lags]
    assert [each.startswith("Node 2 falls behind") for each in told(nodes.leader, growing)] == [True]
    assert told(nodes.leader, growing[::-1]) == []
    assert told(nodes.leader, [sample(lags={2: each - LAG_ENTRIES}) for each in lags]) == []


def test_a_disk_that_was_slow_is_an_alarm(nodes: ServedCluster) -> None:
    assert ["disk" in each for each in told(nodes.leader, [sample(slowest_disk=2.0), sample()])] == [True]
    assert told(nodes.leader, [sample(slowest_disk=0.5)]) == []
