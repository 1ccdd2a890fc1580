"""What a node serves, by the real handlers on a real node: nearly right messages, nobody's tokens, and JSON.

A call may be refused in many ways; it never ends with what only a bug ends with, and never stops the node.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from meteora.addresses import parse_address
from meteora.http2.frames import ErrorCode
from meteora.kv.users import FROM_KEY, ROOT, Access, Change, Permission, Role, Token, User, Users
from meteora.node.members import Members
from meteora.pb import common_pb2, kv_pb2, peer_pb2
from meteora.server.access import digest_of
from tests.fuzz.choices import Choices
from tests.fuzz.messages import METHODS, TEXTS, message_of, request_type
from tests.fuzz.rpc_targets import body_of
from tests.fuzz.served import Answer, Served, framed, serving, simulate
from tests.fuzz.storage_targets import scratch

MAX_CALLS = 24

BUGS = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS}
"""How no call ends, whoever calls."""

KV = "/meteora.kv.KvService/"
PATHS = (*(KV + name for name in ("Get", "Put", "Delete", "Batch") for _ in range(4)), *METHODS)
"""Of one call in two the key-value service is asked."""


UNREADABLE = "Exception deserializing request!"
"""What begins the details of INTERNAL for a request that is no such message: grpcio says the same."""


def _ensure_no_bug(path: str, answer: Answer) -> None:
    assert answer.code not in BUGS or answer.details.startswith(UNREADABLE), f"{path}: {answer}"


def _metadata(choices: Choices) -> list[tuple[bytes, bytes]]:
    found = []
    for _ in range(choices.byte() % 3):
        name = choices.one_of((b"authorization", b"meteora-forwarded", b"x"))
        found.append((name, choices.one_of((b"Bearer x", b"Member x", b"1", b"", b"\xe9"))))
    if choices.byte() > 200:
        found.append((b"grpc-timeout", choices.one_of((b"1n", b"10m", b"1S", b"99999999H"))))
    return found


def _encoded(message: Message, choices: Choices) -> bytes:
    """The bytes of a message, sometimes damaged."""
    data = bytearray(message.SerializeToString())
    if choices.byte() > 240 and data:
        data[choices.byte() % len(data)] = choices.byte()
    return bytes(data)


@dataclass
class _Model:
    """What is stored, as far as the answers tell; a key that two writes were under way for is not in it."""

    values: dict[bytes, bytes | None] = field(default_factory=dict)

    def answered(self, path: str, request: Any, answer: Answer) -> None:
        """Raises if an answer is not what was written before."""
        (reply,) = answer.messages if answer.code is grpc.StatusCode.OK else (None,)
        match path.removeprefix(KV):
            case "Get":
                self._read(request.key, reply)
            case "Put":
                self._wrote(request, reply, request.value)
            case "Delete":
                self._wrote(request, reply, None)
            case "Batch":
                self._batch(request, reply)

    def _read(self, key: bytes, reply: Any) -> None:
        if reply is not None and key in self.values:
            found = reply.value if reply.state == common_pb2.OK else None
            assert found == self.values[key], f"{key!r} has {self.values[key]!r}, and not {found!r}"

    def _wrote(self, request: Any, reply: Any, value: bytes | None) -> None:
        # A write under a request id may be one that was done before.
        if reply is None or request.HasField("request_id"):
            self.values.pop(request.key, None)
        else:
            self.values[request.key] = value

    def _batch(self, request: Any, reply: Any) -> None:
        """What is written in a batch may come before or after what is read in it."""
        operations = [getattr(each, each.WhichOneof("operation") or "get") for each in request.operations]
        assert reply is None or len(reply.results) == len(operations), "an operation has no result"
        for each in request.operations:
            if each.WhichOneof("operation") in {"put", "delete"}:
                self.values.pop(getattr(each, each.WhichOneof("operation")).key, None)
        for each, result in zip(request.operations, reply.results if reply is not None else (), strict=False):
            assert result.failure.code not in {code.value[0] for code in BUGS}, result
            if each.WhichOneof("operation") == "get" and not (result.failure.code or result.ask_alone):
                self._read(each.get.key, result)


async def _ask_all(choices: Choices) -> None:
    model = _Model()
    async with serving(scratch() / "served") as served:
        for _ in range(MAX_CALLS):
            if not choices:
                break
            if choices.byte() > 220:
                await _ask_oddly(choices, served)
                model.values.clear()
            else:
                await _ask(choices, served, model)


async def _ask(choices: Choices, served: Served, model: _Model) -> None:
    path = choices.one_of(PATHS)
    data = _encoded(message_of(request_type(path), choices), choices)
    stream = served.begin(path, framed(data), _metadata(choices))
    if stream is None:
        return
    if choices.byte() > 240:
        stream.reset(ErrorCode.CANCEL, "not wanted any more")
    answer = await served.end(path, stream)
    _ensure_no_bug(path, answer)
    if path.startswith(KV):
        try:
            model.answered(path, request_type(path).FromString(data), answer)
        except DecodeError:
            assert answer.code is not grpc.StatusCode.OK, "a message that can't be read was served"


async def _ask_oddly(choices: Choices, served: Served) -> None:
    """A call of the key-value service with a body that is none, or several, or never comes whole."""
    path = KV + choices.one_of(("Get", "Batch"))
    message = framed(_encoded(message_of(request_type(path), choices), choices))
    body = b"".join(message if choices.flag() else body_of(choices) for _ in range(choices.byte() % 3))
    metadata = [*_metadata(choices), (b"grpc-encoding", choices.one_of((b"gzip", b"identity", b"x")))]
    stream = served.begin(path, body, metadata, is_end=choices.flag())
    if stream is not None:
        served.accepted.sweep(0.0)
        answer = await served.end(path, stream, is_whole=False)
        assert answer.code is not grpc.StatusCode.UNKNOWN, f"{path}: {answer}"


def services(data: bytes) -> None:
    """Calls of all services with nearly right messages; what was put is what is read."""
    simulate(_ask_all(Choices(data)))


HEADERS = (
    (b"connect-protocol-version", b"1"),
    (b"connect-protocol-version", b"2"),
    (b"connect-timeout-ms", b"5"),
    (b"connect-timeout-ms", b"9999999999"),
    (b"connect-timeout-ms", b"-1"),
    (b"content-encoding", b"gzip"),
    (b"authorization", b"Bearer x"),
    (b"origin", b"http://elsewhere"),
)
JSON_PIECES = (
    b"null",
    b"{}",
    b"[]",
    b'"\\ud800"',
    b"1e999",
    b"-1",
    b"9" * 5000,
    b"NaN",
    b'"=="',
    b"true",
    b"[" * 2000,
    b'{"key":' * 500,
    b'{"key":"YQ==","key":"Yg=="}',
    b"\xff",
)


def _json_of(path: str, choices: Choices) -> bytes:
    """A request in JSON, whole, or with something else in the place of a part."""
    text = json_format.MessageToJson(message_of(request_type(path), choices), indent=None).encode()
    for _ in range(choices.byte() % 4 if choices.byte() > 100 else 0):
        values = [at for at in range(len(text)) if text[at : at + 1] in b':"[{,']
        at = (choices.one_of(values) if values else 0) + choices.byte() % 2
        piece = choices.one_of(JSON_PIECES) if choices.flag() else choices.chunk()
        text = text[:at] + piece + text[at + choices.byte() % 16 :]
    return text


async def _post_all(choices: Choices) -> None:
    async with serving(scratch() / "served") as served:
        for _ in range(MAX_CALLS):
            if not choices:
                break
            path = choices.one_of(PATHS)
            if choices.byte() < 200:
                body, kind = _json_of(path, choices), b"application/json"
            else:
                body, kind = _encoded(message_of(request_type(path), choices), choices), b"application/proto"
            headers = [choices.one_of(HEADERS) for _ in range(choices.byte() % 2)]
            _ensure_no_bug(path, await served.post(path, body, kind, headers))


def connect(data: bytes) -> None:
    """Calls of all services in JSON, and in protobuf's own form, as plain HTTP."""
    simulate(_post_all(Choices(data)))


# The gate

KEYS = (b"a", b"b", b"ab", b"k\x00", b"\xff", b"c")
NAMES = ("alice", "bob", ROOT, "carol")
ROLES = ("reader", "writer", ROOT, "gone")
AUTHORIZATIONS = (
    *(f"Bearer {name}" for name in NAMES),
    "bearer alice",
    "Bearer expired",
    "Bearer of-nobody",
    "Bearer ",
    "Bearer  alice",
    "Basic alice",
    "Member ",
    "Member secret",
    "alice",
    "",
    None,
)

EVERYBODY = {
    *(f"/meteora.peer.PeerService/{name}" for name in ("Exchange", "SendSnapshot", "Join", "Meet")),
    "/meteora.auth.AuthService/Authenticate",
    "/meteora.auth.AuthService/AuthStatus",
}
"""What may be called by who is not logged in: written down here once more, by hand."""

WHO_IS_LOGGED_IN = {
    "/meteora.auth.AuthService/UserGet",
    "/meteora.auth.AuthService/RoleGet",
    "/meteora.raft.RaftService/Status",
    "/meteora.raft.RaftService/NodeStatus",
}

REFUSALS = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


def _first_change(choices: Choices) -> Change:
    """Some users, roles and tokens, and users are enabled."""
    roles = {
        name: Role(tuple(_permission(choices) for _ in range(choices.byte() % 4)))
        for name in ROLES
        if name not in {ROOT, "gone"}
    }
    users = {
        name: User("", tuple(dict.fromkeys(choices.one_of(ROLES) for _ in range(choices.byte() % 3))))
        for name in NAMES
        if name != ROOT
    }
    users[ROOT] = User("hash", (ROOT,))
    tokens = {digest_of(name): Token(name, 2_000_000_000) for name in NAMES}
    tokens[digest_of("expired")] = Token("alice", 999_999_999)
    tokens[digest_of("of-nobody")] = Token("nobody", 2_000_000_000)
    return Change(0, users, roles, tokens, True, b"secret")


def _permission(choices: Choices) -> Permission:
    end = choices.one_of((b"", FROM_KEY, b"b", b"c", b"\xff"))
    return Permission(Access(1 + choices.byte() % 3), choices.one_of((*KEYS, b"")), end)


@dataclass
class _Rights:
    """What a caller may do, looked up the long way."""

    users: Users
    now_ms: float

    def user(self, authorization: str | None) -> str | None:
        """Who calls; None if that is nobody."""
        kind, _, secret = (authorization or "").partition(" ")
        token = self.users.tokens.get(digest_of(secret)) if kind.lower() == "bearer" else None
        if token is None or token.expires_at_ms <= self.now_ms or token.user not in self.users.users:
            return None
        return token.user

    def may(self, path: str, request: Any, authorization: str | None) -> bool:
        """Whether the call may be served."""
        if not self.users.is_enabled or path in EVERYBODY:
            return True
        user = self.user(authorization)
        if user is None:
            return False
        roles = self.users.users[user].roles
        if ROOT in roles:
            return True
        if path == "/meteora.auth.AuthService/UserGet":
            return bool(request.name == user)
        if path == "/meteora.auth.AuthService/RoleGet":
            return request.role in roles
        return path in WHO_IS_LOGGED_IN or path == KV + "Batch" or self._may_with_key(path, request, roles)

    def _may_with_key(self, path: str, request: Any, roles: Sequence[str]) -> bool:
        if not path.startswith(KV):
            return False
        return self.may_with(Access.READ if path == KV + "Get" else Access.WRITE, request.key, roles)

    def may_with(self, access: Access, key: bytes, roles: Sequence[str]) -> bool:
        """Whether one of the roles is enough."""
        return any(
            each.access & access and _holds(each, key)
            for role in roles
            for each in self.users.roles.get(role, Role()).permissions
        )

    def may_operate(self, operation: Any, authorization: str | None) -> bool:
        """Whether an operation of a batch may be done."""
        user = self.user(authorization) if self.users.is_enabled else ROOT
        assert user is not None, "a batch of nobody's was served"
        kind = operation.WhichOneof("operation")
        roles = self.users.users[user].roles if self.users.is_enabled else (ROOT,)
        access = Access.READ if kind == "get" else Access.WRITE
        return ROOT in roles or kind is None or self.may_with(access, getattr(operation, kind).key, roles)


def _holds(permission: Permission, key: bytes) -> bool:
    if not permission.range_end:
        return key == permission.key
    return permission.key <= key and (permission.range_end == FROM_KEY or key < permission.range_end)


def _kv_request(path: str, choices: Choices) -> Message:
    """One whose keys are those that permissions are about."""
    if path == KV + "Batch":
        operations = [_operation(choices) for _ in range(choices.byte() % 4)]
        return kv_pb2.BatchReq(operations=operations)
    key = choices.one_of(KEYS)
    if path == KV + "Get":
        return kv_pb2.GetReq(key=key, serializable=choices.flag())
    return kv_pb2.PutReq(key=key, value=b"new") if path == KV + "Put" else kv_pb2.DeleteReq(key=key)


def _operation(choices: Choices) -> kv_pb2.Operation:
    key = choices.one_of(KEYS)
    match choices.byte() % 3:
        case 0:
            return kv_pb2.Operation(get=kv_pb2.GetReq(key=key, serializable=choices.flag()))
        case 1:
            return kv_pb2.Operation(put=kv_pb2.PutReq(key=key, value=b"new"))
    return kv_pb2.Operation(delete=kv_pb2.DeleteReq(key=key))


def _stored(served: Served) -> dict[bytes, bytes]:
    """Keys, values, users and roles."""
    pairs: dict[bytes, bytes] = served.state_machine._database.pairs  # type: ignore[attr-defined]  # of the model
    return {key: value for key, value in pairs.items() if key[:1] in b"ku"}


def _judge(rights: _Rights, path: str, request: Any, authorization: str | None, answer: Answer) -> None:
    """Raises if what may not be served was, or the other way round."""
    if answer.code is None or (answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED and "message" in answer.details):
        return  # It did not come as far as the gate: too long, for one.
    if path == "/meteora.auth.AuthService/Authenticate":
        return  # Refuses by a code of these whoever gives a wrong password.
    is_refused = answer.code in REFUSALS
    assert is_refused != rights.may(path, request, authorization), f"{authorization!r} called {path}: {answer}"
    if path == KV + "Batch" and answer.code is grpc.StatusCode.OK:
        (reply,) = answer.messages
        for operation, result in zip(request.operations, reply.results, strict=True):  # type: ignore[union-attr]
            is_refused = result.failure.code in {code.value[0] for code in REFUSALS}
            assert is_refused != rights.may_operate(operation, authorization), (
                f"{authorization!r}: {operation} {result}"
            )
            assert not (is_refused and result.value), "a value was told with a refusal"


async def _try_gate(choices: Choices) -> None:
    async with serving(scratch() / "served") as served:
        node = served.node
        for key in KEYS:
            await served.call(KV + "Put", kv_pb2.PutReq(key=key, value=b"old").SerializeToString())
        loop_time = served.state_machine._clock
        await node.change_users(_first_change(choices), loop_time() + 5.0)
        for _ in range(MAX_CALLS):
            if not choices:
                break
            path, authorization = choices.one_of(PATHS), choices.one_of(AUTHORIZATIONS)
            kind = request_type(path)
            request = _kv_request(path, choices) if path.startswith(KV) else message_of(kind, choices)
            rights = _rights_now(served)
            before = _stored(served)
            answer = await _asked(served, choices, path, request, authorization)
            _judge(rights, path, request, authorization, answer)
            if answer.code in REFUSALS:
                assert _stored(served) == before, f"{path} was refused, and has changed something"


def _rights_now(served: Served) -> _Rights:
    users = Users()
    users.become(served.node.users)
    # What it holds is changed in place.
    users.users, users.roles, users.tokens = dict(users.users), dict(users.roles), dict(users.tokens)
    return _Rights(users, served.clock[0] * 1000)


async def _asked(served: Served, choices: Choices, path: str, request: Message, authorization: str | None) -> Answer:
    metadata = [] if authorization is None else [(b"authorization", authorization.encode())]
    if metadata and choices.byte() > 240:
        # The last one counts.
        metadata.insert(0, (b"authorization", choices.one_of((b"Bearer root", b"Bearer x", b"Bearer alice"))))
    is_unary = not (METHODS[path].client_streaming or METHODS[path].server_streaming)
    if is_unary and choices.byte() > 128:
        body = json_format.MessageToJson(request, indent=None).encode()
        return await served.post(path, body, headers=metadata)
    return await served.call(path, request.SerializeToString(), metadata)


def gate(data: bytes) -> None:
    """Every method with every kind of token, by gRPC and in JSON: served if, and only if, that is permitted."""
    simulate(_try_gate(Choices(data)))


# Newcomers

MAX_ADDRESS_CHARACTERS = 300
"""A name has 253 at most."""


def _join_request(choices: Choices) -> peer_pb2.JoinReq:
    text = (
        choices.chunk().decode("utf-8", "replace") + choices.one_of(("", ":1"))
        if choices.flag()
        else choices.one_of(TEXTS)
    )
    return peer_pb2.JoinReq(
        node_id=choices.small() & 2**64 - 1,
        address=common_pb2.NodeAddress(
            kv_address=choices.one_of(TEXTS) if choices.byte() < 60 else "127.0.0.1:5002",
            raft_address=text if choices.byte() < 100 else "127.0.0.1:7002",
        ),
        instance_id=choices.small() & 2**64 - 1,
        level=choices.small() & 2**32 - 1 if choices.byte() > 200 else 1,
        version=choices.one_of(TEXTS),
    )


async def _knock(choices: Choices) -> None:
    async with serving(scratch() / "served") as served:
        for _ in range(MAX_CALLS):
            if not choices:
                break
            name = choices.one_of(("Join", "Join", "Join", "Meet", "Exchange", "SendSnapshot"))
            path = f"/meteora.peer.PeerService/{name}"
            request = _join_request(choices) if name == "Join" else message_of(request_type(path), choices)
            answer = await served.call(path, _encoded(request, choices), _metadata(choices))
            # It is what a stream of peers ends with that is malformed.
            if answer.code is not grpc.StatusCode.DATA_LOSS or name in {"Join", "Meet"}:
                _ensure_no_bug(path, answer)
            _look_at_members(served)


def _look_at_members(served: Served) -> None:
    members = served.node.members
    assert Members.decode(members.encode()) == members
    assert 1 in members.configuration.voters, "a newcomer has put a member out"
    for member in members.by_id.values():
        for address in (member.kv_address, member.raft_address):
            assert len(address) <= MAX_ADDRESS_CHARACTERS, "an address that long is none"
            assert not address or parse_address(address)


def peer_join(data: bytes) -> None:
    """Nodes that ask to be let in, or whether there is a cluster, and say anything of themselves."""
    simulate(_knock(Choices(data)))
