"""Who may call what once users are enabled: on either host, over the wire."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from meteora.client import Client, Permission
from meteora.config import RpcServerKind
from meteora.errors import ChangeRefused, JoinRefused, PermissionDenied, Unauthenticated
from meteora.features import SUPPORTED_LEVEL
from meteora.pb import auth_pb2, common_pb2, kv_pb2
from meteora.pb.auth_pb2_grpc import AuthServiceStub
from tests.server.served import CALL_SECONDS, LoopThread, ServedNode, config_of, served_node, wait_until

TTL_SECONDS = 3600.0
SHORT_TTL_SECONDS = 0.5

Metadata = tuple[tuple[str, str], ...]


class Secured:
    """A node whose users are enabled: root, and alice, who may write hers and read hers and ours."""

    def __init__(self, node: ServedNode) -> None:
        self.node = node
        self.auth = AuthServiceStub(node.channel)
        wait_until(lambda: node.node.level == SUPPORTED_LEVEL, "the feature level of users")
        with Client(node.config.kv_address) as client:
            client.add_user("root", "root's")
            client.grant_role("root", "root")
            client.add_user("alice", "alice's")
            client.add_role("hers")
            client.grant_permission("hers", Permission("readwrite", b"hers"))
            client.grant_permission("hers", Permission("read", b"ours"))
            client.grant_role("alice", "hers")
            client.put("ours", b"value")
            client.enable_users()

    def token(self, name: str) -> str:
        request = auth_pb2.AuthenticateReq(name=name, password=f"{name}'s")
        return self.auth.Authenticate(request, timeout=CALL_SECONDS).token

    def metadata(self, name: str) -> Metadata:
        return (("authorization", f"Bearer {self.token(name)}"),)

    def client(self, name: str) -> Client:
        return Client(self.node.config.kv_address, username=name, password=f"{name}'s")


@pytest.fixture(scope="module")
def secured(
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
    kind: RpcServerKind,
    loop_thread: LoopThread,
) -> Iterator[Secured]:
    config = config_of(tmp_path_factory.mktemp("secured"), free_port, 1, kind, auth_token_ttl_seconds=TTL_SECONDS)
    with served_node(loop_thread, config) as node:
        yield Secured(node)


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    """What a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def put(key: bytes) -> kv_pb2.PutReq:
    return kv_pb2.PutReq(key=key, value=b"value")


OPEN = {"meteora.auth.AuthService.Authenticate", "meteora.auth.AuthService.AuthStatus"}
TO_WHOEVER_IS_LOGGED_IN = {
    "meteora.auth.AuthService.UserGet",
    "meteora.auth.AuthService.RoleGet",
    "meteora.raft.RaftService.Status",
    "meteora.raft.RaftService.NodeStatus",
    # Each of its operations is looked at.
    "meteora.kv.KvService.Batch",
}
OF_NO_USER = ("grpc.health.v1.Health.", "meteora.peer.PeerService.")
REFLECTION = "grpc.reflection.v1alpha.ServerReflection."

REQUESTS: dict[str, Message] = {
    "meteora.kv.KvService.Get": kv_pb2.GetReq(key=b"theirs"),
    "meteora.kv.KvService.Put": kv_pb2.PutReq(key=b"theirs"),
    "meteora.kv.KvService.Delete": kv_pb2.DeleteReq(key=b"theirs"),
    "meteora.auth.AuthService.UserGet": auth_pb2.UserReq(name="alice"),
    "meteora.auth.AuthService.RoleGet": auth_pb2.RoleReq(role="hers"),
}
"""Of the others the empty one is asked."""


@pytest.fixture(params=["kv", "raft"])
def channel(request: pytest.FixtureRequest, secured: Secured) -> Iterator[grpc.Channel]:
    """To either port."""
    config = secured.node.config
    with grpc.insecure_channel(config.kv_address if request.param == "kv" else config.raft_address) as channel:
        yield channel


def methods_of(channel: grpc.Channel, metadata: Metadata) -> list[MethodDescriptor]:
    """All that a port serves, by what it says itself."""
    pool = descriptor_pool.Default()
    return [each for name in services_of(channel, metadata) for each in pool.FindServiceByName(name).methods]


def code_of_method(channel: grpc.Channel, method: MethodDescriptor, metadata: Metadata) -> grpc.StatusCode:
    """What a call of it ends with."""
    request = REQUESTS.get(method.full_name)
    data = b"" if request is None else request.SerializeToString()
    call = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[method.client_streaming, method.server_streaming](f"/{method.containing_service.full_name}/{method.name}")
    argument = iter([data]) if method.client_streaming else data

    def answer() -> object:
        replies = call(argument, timeout=CALL_SECONDS, metadata=metadata)
        return list(replies) if method.server_streaming else replies

    return code_of(answer)


def test_no_method_of_either_port_is_open_but_health_and_logins(secured: Secured, channel: grpc.Channel) -> None:
    methods = methods_of(channel, secured.metadata("root"))
    assert "meteora.raft.RaftService.ChangeConfig" in {each.full_name for each in methods}
    for method in methods:
        if method.full_name not in OPEN and not method.full_name.startswith(OF_NO_USER):
            assert code_of_method(channel, method, ()) is grpc.StatusCode.UNAUTHENTICATED, method.full_name
            forged = (("authorization", f"Bearer {'x' * 43}"),)
            assert code_of_method(channel, method, forged) is grpc.StatusCode.UNAUTHENTICATED, method.full_name
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert secured.auth.AuthStatus(common_pb2.Null(), timeout=CALL_SECONDS).enabled


def test_all_methods_of_either_port_but_a_few_are_denied_to_who_is_not_root(
    secured: Secured, channel: grpc.Channel
) -> None:
    metadata = secured.metadata("alice")
    for method in methods_of(channel, metadata):
        if method.full_name in OPEN or method.full_name.startswith((*OF_NO_USER, REFLECTION)):
            continue
        code = code_of_method(channel, method, metadata)
        is_open = method.full_name in TO_WHOEVER_IS_LOGGED_IN
        assert code is (grpc.StatusCode.OK if is_open else grpc.StatusCode.PERMISSION_DENIED), method.full_name


def test_no_method_is_open_in_json_either(secured: Secured) -> None:
    if secured.node.config.rpc_server == "grpcio":
        pytest.skip("it has no HTTP")
    metadata = secured.metadata("root")
    for method in methods_of(secured.node.channel, metadata):
        if method.full_name in OPEN or method.full_name.startswith(OF_NO_USER):
            continue
        request = REQUESTS.get(method.full_name)
        address = f"http://{secured.node.config.kv_address}/{method.containing_service.full_name}/{method.name}"
        body = b"{}" if request is None else MessageToJson(request).encode()
        with pytest.raises(HTTPError) as refusal:
            urlopen(Request(address, body, {"content-type": "application/json"}), timeout=CALL_SECONDS)
        is_unary = not (method.client_streaming or method.server_streaming)
        assert refusal.value.code == (401 if is_unary else 404), method.full_name
        refusal.value.close()


def services_of(channel: grpc.Channel, metadata: Metadata) -> list[str]:
    """What reflection tells."""
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (reply,) = stub.ServerReflectionInfo(requests, timeout=CALL_SECONDS, metadata=metadata)
    return [service.name for service in reply.list_services_response.service]


def test_who_is_logged_in_sees_the_cluster_and_the_services(secured: Secured) -> None:
    metadata = secured.metadata("alice")
    assert secured.node.raft.Status(common_pb2.Null(), timeout=CALL_SECONDS, metadata=metadata).leader_id == 1
    assert "meteora.auth.AuthService" in services_of(secured.node.channel, metadata)


def test_each_key_needs_its_own_permission(secured: Secured) -> None:
    kv, metadata = secured.node.kv, secured.metadata("alice")
    reads = {key: lambda key=key: kv.Get(kv_pb2.GetReq(key=key), metadata=metadata) for key in (b"hers", b"ours")}
    assert {code_of(read) for read in reads.values()} == {grpc.StatusCode.OK}
    assert code_of(lambda: kv.Put(put(b"hers"), metadata=metadata)) is grpc.StatusCode.OK
    for key in (b"ours", b"her", b"hers\x00"):
        assert code_of(lambda key=key: kv.Put(put(key), metadata=metadata)) is grpc.StatusCode.PERMISSION_DENIED
        delete = kv_pb2.DeleteReq(key=key)
        assert code_of(lambda delete=delete: kv.Delete(delete, metadata=metadata)) is grpc.StatusCode.PERMISSION_DENIED
    for is_serializable in (True, False):
        get = kv_pb2.GetReq(key=b"theirs", serializable=is_serializable)
        assert code_of(lambda get=get: kv.Get(get, metadata=metadata)) is grpc.StatusCode.PERMISSION_DENIED


def test_in_a_batch_what_is_denied_fails_alone(secured: Secured) -> None:
    operations = [
        kv_pb2.Operation(put=put(b"hers")),
        kv_pb2.Operation(put=put(b"ours")),
        kv_pb2.Operation(get=kv_pb2.GetReq(key=b"theirs")),
        kv_pb2.Operation(get=kv_pb2.GetReq(key=b"ours")),
    ]
    reply = secured.node.kv.Batch(kv_pb2.BatchReq(operations=operations), metadata=secured.metadata("alice"))
    denied = grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert [each.failure.code for each in reply.results] == [0, denied, denied, 0]
    assert reply.results[3].value == b"value"


def test_the_scheme_is_read_in_any_case_and_no_other_is_taken(secured: Secured) -> None:
    token = secured.token("alice")
    for scheme, code in (
        ("bearer", grpc.StatusCode.OK),
        ("BEARER", grpc.StatusCode.OK),
        ("Basic", grpc.StatusCode.UNAUTHENTICATED),
        ("Member", grpc.StatusCode.UNAUTHENTICATED),
    ):
        metadata = (("authorization", f"{scheme} {token}"),)
        assert code_of(lambda metadata=metadata: secured.node.kv.Put(put(b"hers"), metadata=metadata)) is code


def test_a_user_sees_itself_and_its_roles_and_no_others(secured: Secured) -> None:
    with secured.client("alice") as alice:
        assert alice.roles_of("alice") == ("hers",)
        assert len(alice.permissions_of("hers")) == 2
        for look in (lambda: alice.roles_of("root"), lambda: alice.permissions_of("root"), alice.users, alice.roles):
            with pytest.raises(PermissionDenied):
                look()


def test_names_that_are_not_there_are_told(secured: Secured) -> None:
    with secured.client("root") as root:
        for look in (lambda: root.roles_of("nobody"), lambda: root.permissions_of("nothing")):
            with pytest.raises(ChangeRefused, match="there is no"):
                look()


def test_a_wrong_password_is_told_to_the_caller(secured: Secured) -> None:
    with (
        Client(secured.node.config.kv_address, username="alice", password="wrong") as client,
        pytest.raises(Unauthenticated, match="wrong user name or password"),
    ):
        client.put("hers", b"value")


def test_what_is_refused_is_exported(secured: Secured) -> None:
    if secured.node.config.rpc_server == "grpcio":
        pytest.skip("it has no HTTP")

    def counts() -> dict[str, float]:
        with urlopen(f"http://{secured.node.config.kv_address}/metrics", timeout=CALL_SECONDS) as response:
            families = {each.name: each for each in text_string_to_metric_families(response.read().decode())}
        samples = (*families["meteora_auth_logins"].samples, *families["meteora_auth_refused_requests"].samples)
        return {"".join(each.labels.values()): each.value for each in samples}

    before, wrong = counts(), auth_pb2.AuthenticateReq(name="alice", password="wrong")
    assert code_of(lambda: secured.auth.Authenticate(wrong)) is grpc.StatusCode.UNAUTHENTICATED
    metadata = secured.metadata("alice")
    assert code_of(lambda: secured.node.kv.Put(put(b"hers"))) is grpc.StatusCode.UNAUTHENTICATED
    assert code_of(lambda: secured.node.kv.Put(put(b"theirs"), metadata=metadata)) is grpc.StatusCode.PERMISSION_DENIED
    risen = {name: count - before[name] for name, count in counts().items()}
    assert risen == {"succeeded": 1, "failed": 1, "refused": 0, "unauthenticated": 1, "denied": 1}


def test_a_client_logs_in_again_when_its_token_has_expired(
    tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind, loop_thread: LoopThread
) -> None:
    config = config_of(tmp_path, free_port, 1, kind, auth_token_ttl_seconds=SHORT_TTL_SECONDS)
    with served_node(loop_thread, config) as node:
        secured = Secured(node)
        metadata = secured.metadata("alice")
        with secured.client("alice") as alice:
            alice.put("hers", b"value")
            token = alice._login.token
            expired = lambda: code_of(lambda: node.kv.Put(put(b"hers"), metadata=metadata))  # noqa: E731  it is asked again
            wait_until(lambda: expired() is grpc.StatusCode.UNAUTHENTICATED, "the token has expired")
            wait_until(lambda: alice.get("hers") == b"value" and alice._login.token != token, "another token")


def test_a_node_joins_once_root_has_announced_it(
    tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind, loop_thread: LoopThread
) -> None:
    founder = config_of(tmp_path, free_port, 1, kind)
    newcomer = config_of(tmp_path, free_port, 2, kind, peer_raft_address=founder.raft_address)
    with served_node(loop_thread, founder) as node:
        secured = Secured(node)
        with pytest.raises(JoinRefused, match="meteora add-member -i 2"), served_node(loop_thread, newcomer):
            pass
        with secured.client("root") as root:
            root.add_member(2, newcomer.raft_address)
            with served_node(loop_thread, newcomer) as joined:
                wait_until(lambda: 2 in node.node.members.configuration.voters, "the newcomer votes")
                wait_until(lambda: joined.node.users.is_enabled, "it has the users")
                assert [each.kv_address for each in root.status().members][1] == newcomer.kv_address
                root.leave(2)


def test_everybody_is_let_in_again_once_users_are_disabled(
    tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind, loop_thread: LoopThread
) -> None:
    with served_node(loop_thread, config_of(tmp_path, free_port, 1, kind)) as node:
        secured = Secured(node)
        with secured.client("root") as root:
            root.disable_users()
            assert not root.users_status().enabled
            root.put("anything", b"value")
        assert node.get(b"anything").value == b"value"
