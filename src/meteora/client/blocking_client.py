"""The blocking client of a Meteora cluster.

Generated from `async_client.py` by `tools/generate_blocking_client.py`, and never edited.
Whom to ask next, and what an answer or the lack of one means, is decided in `operation`, `routing` and `fate`, which
both clients share.
"""

import random
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from time import monotonic
from types import TracebackType
from typing import Final, Self

from meteora.client.arguments import as_bytes, checked_timeout_seconds
from meteora.client.backup import BackupCheck, BackupPart
from meteora.client.blocking_wire import BlockingWire
from meteora.client.cluster_status import ClusterStatus, cluster_status
from meteora.client.fate import Failure
from meteora.client.login import Login
from meteora.client.methods import (
    AUTH_DISABLE,
    AUTH_ENABLE,
    AUTH_STATUS,
    AUTHENTICATE,
    BACKUP,
    CHANGE_CONFIG,
    DELETE,
    EXPORT,
    GET,
    MEMBERS_TO_CHANGE,
    NODE_STATUS,
    PUT,
    ROLE_ADD,
    ROLE_DELETE,
    ROLE_GET,
    ROLE_GRANT_PERMISSION,
    ROLE_LIST,
    ROLE_REVOKE_PERMISSION,
    SERIALIZABLE_GET,
    TRANSFER_LEADERSHIP,
    USER_ADD,
    USER_CHANGE_PASSWORD,
    USER_DELETE,
    USER_GET,
    USER_GRANT_ROLE,
    USER_LIST,
    USER_REVOKE_ROLE,
    MemberReplyT,
    Method,
    ReplyT,
    RequestT,
)
from meteora.client.operation import MIN_ATTEMPT_SECONDS, Attempt, Operation
from meteora.client.reading import SerializableRead, serializable_read, value_of
from meteora.client.removal import removal_of
from meteora.client.request_ids import RequestIds
from meteora.client.routing import Routes
from meteora.client.streaming import StreamAttempts
from meteora.client.tls import TlsConfig, target_of
from meteora.client.users import Permission, UsersStatus, permissions_of
from meteora.pb import auth_pb2, common_pb2, kv_pb2, maintenance_pb2, raft_pb2

STATUS_SECONDS: Final = 1.0
"""For each member, all at once, to say how it is: it asks nobody else for that. One that doesn't is unreachable."""


class Client:
    """A client for any number of threads.

        with Client("10.0.0.1:5000,10.0.0.2:5000") as client:
            client.put("key", b"value")

    `endpoints` are KV addresses of any members, one string with commas or several strings; the other members and the
    leader are learned from the answers. A request is tried at one member after another until it is answered or
    `timeout_seconds` are over; a write that is tried again is applied once. Keys and values may be bytes or text,
    which is sent as UTF-8.

    With `tls`, or with endpoints that begin with https://, all members are spoken to by TLS.
    With `username` and `password` it logs in when a node asks for that, and again when the token has expired.

    Every request may raise, all of them from `meteora.errors`:

    - `InvalidRequest`: outside the limits.
    - `NotApplied`: nobody served it in time. Nothing was done.
    - `Overloaded`: the cluster has too much to do. Nothing was done.
    - `OutcomeUnknown`: a write was sent, and no answer came in time. It may be applied, or yet be.
    - `Unauthenticated`: users are enabled, and this client has no name and password, or wrong ones.
    - `PermissionDenied`: no role of the user permits it. Nothing was done.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] = "127.0.0.1:5000",
        *,
        timeout_seconds: float = 5.0,
        username: str | None = None,
        password: str | None = None,
        tls: TlsConfig | None = None,
    ) -> None:
        """Connects to nothing yet.

        Raises `ConfigurationError` for an endpoint or a timeout that makes no sense, a name without a password, or
        certificates that can't be had.
        """
        target = target_of(endpoints, tls)
        self._routes = Routes(target.endpoints)
        self._timeout_seconds = checked_timeout_seconds(timeout_seconds)
        self._request_ids = RequestIds()
        self._login = Login(username, password)
        self._wire = BlockingWire(target, self._login)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all connections. Requests under way end with an error that says what is known of them."""
        self._wire.close()

    def get(self, key: bytes | str, *, serializable: bool = False) -> bytes | None:
        """The value of `key`, at least as new as every write acknowledged before this call; None if there is none.

        With `serializable` it may be older, and is had without a majority: see `get_serializable`.
        """
        if serializable:
            return (self.get_serializable(key)).value
        request = kv_pb2.GetReq(key=as_bytes(key))
        reply = self._call(GET, lambda _: request, self._timeout_seconds)
        return value_of(reply)

    def get_serializable(self, key: bytes | str) -> SerializableRead:
        """The value of `key` as the first node that answers has it, and how old it may be.

        The node answers at once from what it has, even if it is cut off from all others. Who reads twice may see the
        older value the second time, from another node.
        """
        request = kv_pb2.GetReq(key=as_bytes(key), serializable=True)
        return serializable_read(self._call(SERIALIZABLE_GET, lambda _: request, self._timeout_seconds))

    def put(self, key: bytes | str, value: bytes | str) -> None:
        """Sets `key`. Returns once that is on the disks of a majority, and applied."""
        key, value = as_bytes(key), as_bytes(value)
        with self._request_ids.issue() as name:
            self._call(
                PUT, lambda retry: kv_pb2.PutReq(key=key, value=value, request_id=name(retry)), self._timeout_seconds
            )

    def delete(self, key: bytes | str) -> None:
        """Removes `key`, which need not exist. Returns once that is on the disks of a majority, and applied."""
        key = as_bytes(key)
        with self._request_ids.issue() as name:
            self._call(DELETE, lambda retry: kv_pb2.DeleteReq(key=key, request_id=name(retry)), self._timeout_seconds)

    def leave(self, node_id: int, *, force: bool = False) -> bool:
        """Removes a node from the cluster. True if it was a member, False if it is none, or is none any more.

        Raises `ChangeRefused` with the reason if that can't be done now. With `force` it is done even if too few of
        those who stay are heard to be a majority: then nothing is served until enough of them are there, and the answer
        is `OutcomeUnknown`, because nobody can confirm it.
        """
        deadline_seconds = monotonic() + self._timeout_seconds
        status = self._call(MEMBERS_TO_CHANGE, lambda _: common_pb2.Null(), self._timeout_seconds)
        removal = removal_of(node_id, status, force=force)
        reply = self._call(CHANGE_CONFIG, removal, deadline_seconds - monotonic())
        return reply.state == common_pb2.OK

    def add_member(self, node_id: int, raft_address: str) -> None:
        """Announces a node, which may then join: needed once users are enabled, unless peers have certificates.

        It is a learner, and becomes a voter by itself once it has joined and caught up.
        """
        context = common_pb2.NodeAddress(raft_address=raft_address).SerializeToString()
        request = raft_pb2.ConfChange(change_type=raft_pb2.AddNode, node_id=node_id, context=context)
        self._call(CHANGE_CONFIG, lambda _: request, self._timeout_seconds)

    def transfer(self, node_id: int) -> None:
        """Lets another voter lead. Returns once it does, or at once if it does already.

        Raises `ChangeRefused` with the reason if it can't: it is no member, a learner, or silent.
        """
        request = raft_pb2.TransferReq(node_id=node_id)
        self._call(TRANSFER_LEADERSHIP, lambda _: request, self._timeout_seconds)

    def status(self) -> ClusterStatus:
        """The members, who leads, and how far each node that answers has come. Needs no majority, only one node."""
        request = common_pb2.Null()
        each_seconds = min(STATUS_SECONDS, self._timeout_seconds / 2)
        first = self._call(NODE_STATUS, lambda _: request, self._timeout_seconds - each_seconds)
        asked = self._wire.send_each(self._routes.members, NODE_STATUS, request, each_seconds)
        return cluster_status(first, asked)

    # Users and roles. All but `users_status` need the role root once users are enabled, except that a user may look at
    # itself and its own roles. What makes no sense, as a name that is not there, raises `ChangeRefused`.

    def users_status(self) -> UsersStatus:
        """Whether users are enabled."""
        reply = self._ask(AUTH_STATUS, common_pb2.Null())
        return UsersStatus(reply.enabled, reply.revision)

    def enable_users(self) -> None:
        """Lets only those in who have logged in. There must be a user root with a password and the role root."""
        self._ask(AUTH_ENABLE, common_pb2.Null())

    def disable_users(self) -> None:
        """Lets everybody in again. Users and roles are kept; all tokens end."""
        self._ask(AUTH_DISABLE, common_pb2.Null())

    def users(self) -> tuple[str, ...]:
        """The names of all users, ascending."""
        return tuple((self._ask(USER_LIST, common_pb2.Null())).names)

    def add_user(self, name: str, password: str = "") -> None:
        """Adds a user, who can't log in without a password."""
        self._ask(USER_ADD, auth_pb2.UserAddReq(name=name, password=password))

    def delete_user(self, name: str) -> None:
        """Removes a user. Its tokens end at once."""
        self._ask(USER_DELETE, auth_pb2.UserReq(name=name))

    def change_password(self, name: str, password: str) -> None:
        """Gives a user another password. Its tokens end at once."""
        self._ask(USER_CHANGE_PASSWORD, auth_pb2.UserAddReq(name=name, password=password))

    def roles_of(self, name: str) -> tuple[str, ...]:
        """The roles of a user, ascending."""
        return tuple((self._ask(USER_GET, auth_pb2.UserReq(name=name))).roles)

    def grant_role(self, name: str, role: str) -> None:
        """Gives a user a role."""
        self._ask(USER_GRANT_ROLE, auth_pb2.UserRoleReq(name=name, role=role))

    def revoke_role(self, name: str, role: str) -> None:
        """Takes a role from a user."""
        self._ask(USER_REVOKE_ROLE, auth_pb2.UserRoleReq(name=name, role=role))

    def roles(self) -> tuple[str, ...]:
        """The names of all roles, ascending."""
        return tuple((self._ask(ROLE_LIST, common_pb2.Null())).names)

    def add_role(self, role: str) -> None:
        """Adds a role without permissions."""
        self._ask(ROLE_ADD, auth_pb2.RoleReq(role=role))

    def delete_role(self, role: str) -> None:
        """Removes a role, from all users who have it, too."""
        self._ask(ROLE_DELETE, auth_pb2.RoleReq(role=role))

    def permissions_of(self, role: str) -> tuple[Permission, ...]:
        """What a role permits; the role root, which permits everything, has nothing here."""
        return permissions_of(self._ask(ROLE_GET, auth_pb2.RoleReq(role=role)))

    def grant_permission(self, role: str, permission: Permission) -> None:
        """Gives a role access to keys, in place of what it had on exactly this range."""
        request = auth_pb2.RolePermissionReq(role=role, permission=permission.to_message())
        self._ask(ROLE_GRANT_PERMISSION, request)

    def revoke_permission(self, role: str, key: bytes, range_end: bytes = b"") -> None:
        """Takes from a role what it was granted on exactly this range."""
        permission = auth_pb2.Permission(key=key, range_end=range_end)
        self._ask(ROLE_REVOKE_PERMISSION, auth_pb2.RolePermissionReq(role=role, permission=permission))

    def _ask(self, method: Method[RequestT, MemberReplyT], request: RequestT) -> MemberReplyT:
        return self._call(method, lambda _: request, self._timeout_seconds)

    def backup(self, *, serializable: bool = False) -> Generator[BackupPart, None, None]:
        """A backup file, part by part, of all that is in the cluster, at least as new as what was acknowledged before.

        It is whole only if this ends by itself: raises `BackupDamaged` if it did not come as it was sent, and
        `NotApplied` if it breaks off. Takes as long as it takes, whatever `timeout_seconds` is. With `serializable` it
        is of what the first node that answers has, without a majority.
        """
        request = maintenance_pb2.BackupReq(serializable=serializable)
        check = BackupCheck()
        with closing(self._stream(BACKUP, request)) as parts:
            for part in parts:
                check.take(part.data)
                yield BackupPart(part.data, part.records, part.estimated_records)
        check.end()

    def export(
        self, prefix: bytes | str = b"", *, serializable: bool = False
    ) -> Generator[tuple[bytes, bytes], None, None]:
        """All keys that begin with `prefix`, in their order, with their values, as they were at one instant.

        Age, errors and time as `backup`.
        """
        request = maintenance_pb2.ExportReq(prefix=as_bytes(prefix), serializable=serializable)
        with closing(self._stream(EXPORT, request)) as parts:
            for part in parts:
                for pair in part.pairs:
                    yield pair.key, pair.value

    def _stream(self, method: Method[RequestT, ReplyT], request: RequestT) -> Generator[ReplyT, None, None]:
        """The replies of the first node that begins to answer."""
        if self._login.is_given:
            # What has begun is not begun again: so the token had better be valid before.
            self._ask(NODE_STATUS, common_pb2.Null())
        attempts = StreamAttempts(method.name, self._routes.order(monotonic()))
        for endpoint in attempts:
            with closing(self._wire.stream(endpoint, method, request)) as replies:
                for reply in replies:
                    if isinstance(reply, Failure):
                        attempts.failed(endpoint, reply)
                        break
                    attempts.has_begun = True
                    yield reply
                else:
                    return

    def _call(
        self,
        method: Method[RequestT, MemberReplyT],
        request: Callable[[bool], RequestT],
        timeout_seconds: float,
    ) -> MemberReplyT:
        """The reply to one request. `request` makes the message, knowing whether it may have been applied before."""
        operation = Operation(method, self._routes, timeout_seconds, monotonic(), random.random)
        while True:
            attempt = operation.next_attempt(monotonic())
            self._wire.pause(attempt.pause_seconds)
            if attempt.is_probe:
                operation.probed(attempt, self._send(attempt, NODE_STATUS, common_pb2.Null()), monotonic())
                continue
            result = self._send(attempt, method, request(attempt.is_retry))
            if isinstance(result, Failure):
                operation.failed(attempt, result, monotonic())
            elif operation.is_answered(attempt, result, monotonic()):
                return result

    def _send(
        self, attempt: Attempt, method: Method[RequestT, MemberReplyT], message: RequestT
    ) -> MemberReplyT | Failure:
        token, deadline_seconds = self._login.token, monotonic() + attempt.timeout_seconds
        result = self._wire.send(attempt.endpoint, method, message, attempt.timeout_seconds)
        if not self._login.is_needed(result):
            return result
        failure = self._log_in(attempt, token)
        if failure is not None:
            return failure
        left_seconds = max(deadline_seconds - monotonic(), MIN_ATTEMPT_SECONDS)
        return self._wire.send(attempt.endpoint, method, message, left_seconds)

    def _log_in(self, attempt: Attempt, token: str) -> Failure | None:
        """Replaces a token that is not taken. Why that can't be done; None if it is."""
        with self._wire.logging_in:
            if self._login.token != token:
                return None
            request = self._login.request
            reply = self._wire.send(attempt.endpoint, AUTHENTICATE, request, attempt.timeout_seconds)
            return self._login.took(reply)
