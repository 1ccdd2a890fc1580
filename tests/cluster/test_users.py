"""A cluster of processes whose users are enabled: the commands, grpcurl, our client, a leader that is killed."""

import asyncio
import io
import json
import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import grpc
import pytest

from meteora.cli import run
from meteora.client import AsyncClient, Client, Permission, end_of_prefix
from meteora.errors import PermissionDenied, Unauthenticated
from meteora.pb import common_pb2, raft_pb2
from meteora.pb.raft_pb2_grpc import RaftServiceStub
from tests.cluster.processes import ClusterProcesses, NodeProcess, grpcurl, meteora, wait_until

ROOT_PASSWORD = "not in any log 1"
ALICE_PASSWORD = "not in any log 2"

LEVEL_SECONDS = 15.0
CALL_SECONDS = 10.0


class Finished(NamedTuple):
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


def here(*arguments: str, **environment: str) -> Finished:
    """A command line of `meteora`, in this process: to start Python takes most of the time of a command."""
    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with patch.dict(os.environ, environment), redirect_stdout(out), redirect_stderr(err):
        returncode = run(arguments)
    out.seek(0)
    return Finished(returncode, out.read(), err.getvalue())


class Secured:
    """Three nodes whose users are enabled: root, and alice, who may read and write what begins with alice/."""

    def __init__(self, cluster: ClusterProcesses, folder: Path) -> None:
        self.cluster = cluster
        self._folder = folder
        self.endpoints = ",".join(cluster.endpoints)

    def password_file(self, password: str) -> str:
        path = self._folder / f"password-{len(list(self._folder.iterdir()))}"
        path.write_text(f"{password}\n")
        return str(path)

    def run(self, *arguments: str, user: str = "root", password: str = ROOT_PASSWORD) -> str:
        """What a command prints; fails if it does."""
        result = self.attempt(*arguments, user=user, password=password)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def attempt(self, *arguments: str, user: str = "root", password: str = ROOT_PASSWORD) -> Finished:
        return here(*arguments, "-a", self.endpoints, "--user", user, METEORA_PASSWORD=password)

    def client(self, user: str = "alice", password: str = ALICE_PASSWORD) -> Client:
        return Client(self.endpoints, username=user, password=password)

    def enable(self) -> None:
        wait_until(
            lambda: all(int(each.get("level", 0)) >= 1 for each in self.cluster.statuses().values()),
            "the feature level of users",
            LEVEL_SECONDS,
        )
        plain = ("-a", self.endpoints)
        for command in (
            ("user", "add", "root", "--new-password-file", self.password_file(ROOT_PASSWORD)),
            ("user", "grant-role", "root", "root"),
            ("user", "add", "alice", "--new-password-file", self.password_file(ALICE_PASSWORD)),
            ("role", "add", "hers"),
            ("role", "grant-permission", "hers", "readwrite", "--prefix", "alice/"),
            ("user", "grant-role", "alice", "hers"),
            ("auth", "enable"),
        ):
            result = here(*command, *plain)
            assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    cluster = ClusterProcesses(folder, [free_port() for _ in range(6)], "-l")
    secured = Secured(cluster.start(), folder)
    try:
        secured.enable()
        yield secured
        for node in cluster.nodes:
            assert " ERROR " not in node.output
            assert "Traceback" not in node.output
            assert "not in any log" not in node.output
    finally:
        cluster.end()


def base64(data: bytes) -> str:
    return b64encode(data).decode()


@pytest.fixture(scope="module", autouse=True)
def keys(secured: Secured) -> None:
    """One of alice's, and one of nobody's."""
    secured.run("put", "elsewhere", "value")
    secured.run("put", "alice/key", "value", user="alice", password=ALICE_PASSWORD)


def test_the_commands_do_what_they_say(secured: Secured) -> None:
    assert secured.run("user", "list") == "alice\nroot\n"
    assert secured.run("user", "get", "alice") == "hers\n"
    assert secured.run("role", "list") == "hers\nroot\n"
    assert secured.run("role", "get", "hers") == "readwrite prefix 'alice/'\n"
    assert secured.run("put", "elsewhere", "value") == "OK\n"
    assert secured.run("put", "alice/key", "value", user="alice", password=ALICE_PASSWORD) == "OK\n"
    assert secured.run("get", "alice/key", user="alice", password=ALICE_PASSWORD) == "value"
    assert "leader" in secured.run("status", user="alice", password=ALICE_PASSWORD)


def test_processes_that_are_logged_in_and_not(secured: Secured) -> None:
    options = ("get", "alice/key", "-a", secured.endpoints)
    result = meteora(*options, "--user", "alice", METEORA_PASSWORD=ALICE_PASSWORD)
    assert (result.returncode, result.stdout) == (0, "value")
    assert "--user" in meteora(*options).stderr


def test_who_is_not_logged_in_may_do_nothing(secured: Secured) -> None:
    for command in (("put", "a", "b"), ("get", "a"), ("status",), ("leave", "-i", "3"), ("user", "list")):
        result = here(*command, "-a", secured.endpoints)
        assert result.returncode == 1
        assert "--user" in result.stderr


def test_a_wrong_password_is_refused(secured: Secured) -> None:
    result = secured.attempt("get", "a", user="alice", password="wrong")
    assert (result.returncode, result.stdout) == (1, "")
    assert "wrong user name or password" in result.stderr


def test_what_no_role_permits_is_denied(secured: Secured) -> None:
    for command in (
        ("get", "elsewhere"),
        ("put", "alicf", "value"),
        ("delete", "elsewhere"),
        ("leave", "-i", "3"),
        ("transfer", "-i", "2"),
        ("user", "add", "mallory", "--no-password"),
        ("user", "get", "root"),
        ("auth", "disable"),
    ):
        result = secured.attempt(*command, user="alice", password=ALICE_PASSWORD)
        assert result.returncode == 1, command
        assert "may" in result.stderr


def test_each_operation_of_a_batch_is_permitted_or_denied_for_itself(secured: Secured) -> None:
    async def story() -> None:
        async with AsyncClient(secured.endpoints, username="alice", password=ALICE_PASSWORD) as client:
            outcomes = await asyncio.gather(
                *(client.put(f"alice/{number}", b"value") for number in range(10)),
                client.put("elsewhere", b"hers"),
                client.get("elsewhere"),
                return_exceptions=True,
            )
            assert outcomes[:10] == [None] * 10
            assert [type(each) for each in outcomes[10:]] == [PermissionDenied, PermissionDenied]
            values = await asyncio.gather(*(client.get(f"alice/{number}") for number in range(10)))
            assert values == [b"value"] * 10

    asyncio.run(story())


def test_grpcurl_logs_in_and_calls_with_its_token_on_every_node(secured: Secured) -> None:
    first, *others = secured.cluster.kv_ports
    request: dict[str, object] = {"name": "alice", "password": ALICE_PASSWORD}
    login = grpcurl(first, "meteora.auth.AuthService/Authenticate", request)
    header = ("-H", f"authorization: Bearer {json.loads(login.stdout)['token']}")
    for port in (first, *others):
        put: dict[str, object] = {"key": base64(b"alice/grpcurl"), "value": base64(b"value")}
        assert grpcurl(port, "meteora.kv.KvService/Put", put, *header).returncode == 0
        got = grpcurl(port, "meteora.kv.KvService/Get", {"key": put["key"]}, *header)
        assert json.loads(got.stdout)["value"] == put["value"]
        denied = grpcurl(port, "meteora.kv.KvService/Get", {"key": base64(b"elsewhere")}, *header)
        assert "PermissionDenied" in denied.stderr
    forged = ("-H", f"authorization: Bearer {'x' * 43}")
    assert "Unauthenticated" in grpcurl(first, "meteora.kv.KvService/Put", put, *forged).stderr


def test_calls_in_json_are_guarded_as_others_are_and_probes_are_open(secured: Secured) -> None:
    port = secured.cluster.kv_ports[0]
    own, other = {"key": base64(b"alice/key")}, {"key": base64(b"elsewhere")}
    assert call_json(port, "/meteora.kv.KvService/Get", own)[0] == 401
    login = call_json(port, "/meteora.auth.AuthService/Authenticate", {"name": "alice", "password": ALICE_PASSWORD})[1]
    authorization = f"Bearer {login['token']}"
    assert call_json(port, "/meteora.kv.KvService/Get", own, authorization)[0] == 200
    assert call_json(port, "/meteora.kv.KvService/Get", other, authorization)[0] == 403
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200


def call_json(port: int, path: str, message: dict[str, str], authorization: str = "") -> tuple[int, Any]:
    """The status and the reply of a call by the Connect protocol."""
    headers = {"content-type": "application/json"} | ({"authorization": authorization} if authorization else {})
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("POST", path, json.dumps(message), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_the_raft_port_is_no_way_around(secured: Secured) -> None:
    removal = raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=3)
    for port in secured.cluster.raft_ports:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = RaftServiceStub(channel)
            for metadata in ((), (("authorization", "Member 00"),), (("meteora-forwarded", "1"),)):
                with pytest.raises(grpc.RpcError) as refusal:
                    stub.ChangeConfig(removal, timeout=CALL_SECONDS, metadata=metadata)
                assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(grpc.RpcError) as refusal:
                stub.Status(common_pb2.Null(), timeout=CALL_SECONDS)
            assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_stranger_does_not_join(secured: Secured, tmp_path: Path, free_port: Callable[[], int]) -> None:
    arguments = ["-i", "9", "-a", "127.0.0.1", "-r", str(free_port()), "-k", str(free_port())]
    peer = ["-d", str(tmp_path / "9"), "-p", f"127.0.0.1:{secured.cluster.raft_ports[0]}"]
    stranger = NodeProcess([*arguments, *peer], tmp_path / "node9.log").start()
    try:
        assert stranger.wait() != 0
        assert "users are enabled, so root has to add node 9 before it joins" in stranger.output
    finally:
        stranger.end()


def test_backups_and_exports_are_for_root(secured: Secured, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    denied = secured.attempt("backup", str(file), user="alice", password=ALICE_PASSWORD)
    assert (denied.returncode, file.exists()) == (1, False)
    assert "needs the role root" in denied.stderr
    secured.run("backup", str(file))
    assert file.stat().st_size > 0
    assert ALICE_PASSWORD.encode() not in file.read_bytes()
    with secured.client("root", ROOT_PASSWORD) as root:
        assert dict(root.export()).keys() >= {b"elsewhere"}


def test_root_is_kept_while_users_are_enabled(secured: Secured) -> None:
    for command in (("user", "delete", "root"), ("user", "revoke-role", "root", "root"), ("role", "delete", "root")):
        result = secured.attempt(*command)
        assert result.returncode == 1
        assert "root" in result.stderr


def test_what_is_revoked_is_gone_at_once_on_every_node(secured: Secured) -> None:
    with secured.client("root", ROOT_PASSWORD) as root:
        root.add_user("bob", "bob's")
        root.add_role("reader")
        root.grant_permission("reader", Permission("read", b"shared/", end_of_prefix(b"shared/")))
        root.put("shared/key", b"value")
        for _ in range(5):
            root.grant_role("bob", "reader")
            clients = [Client(each, username="bob", password="bob's") for each in secured.cluster.endpoints]
            assert [client.get("shared/key") for client in clients] == [b"value"] * 3
            root.revoke_role("bob", "reader")
            for client in clients:
                with pytest.raises(PermissionDenied):
                    client.get("shared/key")
                client.close()
        root.delete_user("bob")
        with pytest.raises(Unauthenticated), secured.client("bob", "bob's") as bob:
            bob.get("shared/key")


def test_a_deleted_users_token_ends_with_it_and_is_not_that_of_another_one_of_its_name(secured: Secured) -> None:
    port = secured.cluster.kv_ports[0]
    with secured.client("root", ROOT_PASSWORD) as root:
        root.add_user("carol", "first")
        request: dict[str, object] = {"name": "carol", "password": "first"}
        login = grpcurl(port, "meteora.auth.AuthService/Authenticate", request)
        header = ("-H", f"authorization: Bearer {json.loads(login.stdout)['token']}")
        look: dict[str, object] = {"name": "carol"}
        assert grpcurl(port, "meteora.auth.AuthService/UserGet", look, *header).returncode == 0
        root.delete_user("carol")
        root.add_user("carol", "second")
        assert "Unauthenticated" in grpcurl(port, "meteora.auth.AuthService/UserGet", look, *header).stderr
        root.delete_user("carol")


def test_a_token_outlives_its_leader_and_a_restart_of_all_nodes(secured: Secured) -> None:
    cluster = secured.cluster
    with secured.client() as alice:
        alice.put("alice/kept", b"value")
        token = alice._login.token
        leader_id = alice.status().leader_id
        assert leader_id is not None
        killed = cluster.node(leader_id)
        killed.kill()
        alice.put("alice/kept", b"after the leader")
        killed.start().wait_until_serving()
        cluster.kill_all()
        cluster.start_again()
        assert alice.get("alice/kept") == b"after the leader"
        assert alice._login.token == token


def test_root_hands_leadership_over_by_any_node(secured: Secured) -> None:
    with secured.client("root", ROOT_PASSWORD) as root:
        followers = [each.node_id for each in root.status().members if each.role == "follower"]
        for node_id, endpoint in zip(followers, reversed(secured.cluster.endpoints), strict=False):
            with Client(endpoint, username="root", password=ROOT_PASSWORD) as there:
                there.transfer(node_id)
            assert root.status().leader_id == node_id


def test_a_member_takes_itself_out_without_a_login(secured: Secured) -> None:
    with secured.client("root", ROOT_PASSWORD) as root:
        followers = [each.node_id for each in root.status().members if each.role == "follower"]
        assert secured.cluster.node(followers[0]).stop() == 0
        members = [each.node_id for each in root.status().members]
    assert sorted([*members, followers[0]]) == [1, 2, 3]
