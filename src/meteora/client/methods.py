"""The remote procedures that a client calls: their paths on the wire, taken from the protos, and their types."""

from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message

from meteora.pb import auth_pb2, common_pb2, kv_pb2, maintenance_pb2, raft_pb2

RequestT = TypeVar("RequestT", bound=Message)
ReplyT = TypeVar("ReplyT", bound=Message)

AuthReplies = (
    auth_pb2.AuthReply
    | auth_pb2.AuthenticateReply
    | auth_pb2.AuthStatusReply
    | auth_pb2.NamesReply
    | auth_pb2.RoleGetReply
    | auth_pb2.UserGetReply
)

MemberReply = (
    kv_pb2.GetReply
    | kv_pb2.PutReply
    | kv_pb2.DeleteReply
    | raft_pb2.ChangeReply
    | raft_pb2.NodeStatusReply
    | AuthReplies
)
"""What a node answers: each of them names the members and the leader, too."""

MemberReplyT = TypeVar("MemberReplyT", bound=MemberReply)


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT, ReplyT]):
    """One remote procedure."""

    path: str
    name: str
    """For messages to users."""
    request_type: type[RequestT]
    reply_type: type[ReplyT]
    is_write: bool = False
    """Whether it changes anything, so that its fate matters when no answer comes."""
    needs_majority: bool = True
    """Whether a node can answer only together with others."""
    operation: str = ""
    """Its field in `kv_pb2.Operation`; empty if it can't be part of a batch."""


def _path(file: FileDescriptor, service: str, method: str) -> str:
    descriptor = file.services_by_name[service].methods_by_name[method]
    return f"/{descriptor.containing_service.full_name}/{descriptor.name}"


GET: Final = Method(
    _path(kv_pb2.DESCRIPTOR, "KvService", "Get"), "get", kv_pb2.GetReq, kv_pb2.GetReply, operation="get"
)
SERIALIZABLE_GET: Final = replace(GET, needs_majority=False)
PUT: Final = Method(
    _path(kv_pb2.DESCRIPTOR, "KvService", "Put"),
    "put",
    kv_pb2.PutReq,
    kv_pb2.PutReply,
    is_write=True,
    operation="put",
)
DELETE: Final = Method(
    _path(kv_pb2.DESCRIPTOR, "KvService", "Delete"),
    "delete",
    kv_pb2.DeleteReq,
    kv_pb2.DeleteReply,
    is_write=True,
    operation="delete",
)
BATCH: Final = Method(_path(kv_pb2.DESCRIPTOR, "KvService", "Batch"), "batch", kv_pb2.BatchReq, kv_pb2.BatchReply)
CHANGE_CONFIG: Final = Method(
    _path(raft_pb2.DESCRIPTOR, "RaftService", "ChangeConfig"),
    "membership change",
    raft_pb2.ConfChange,
    raft_pb2.ChangeReply,
    is_write=True,
)
NODE_STATUS: Final = Method(
    _path(raft_pb2.DESCRIPTOR, "RaftService", "NodeStatus"),
    "status request",
    common_pb2.Null,
    raft_pb2.NodeStatusReply,
    needs_majority=False,
)
MEMBERS_TO_CHANGE: Final = replace(NODE_STATUS, name=CHANGE_CONFIG.name, needs_majority=True)
"""What a change of the members asks first: to users it is a part of that."""

TRANSFER_LEADERSHIP: Final = Method(
    _path(raft_pb2.DESCRIPTOR, "RaftService", "TransferLeadership"),
    "transfer of leadership",
    raft_pb2.TransferReq,
    raft_pb2.ChangeReply,
    is_write=True,
)

BACKUP: Final = Method(
    _path(maintenance_pb2.DESCRIPTOR, "MaintenanceService", "Backup"),
    "backup",
    maintenance_pb2.BackupReq,
    maintenance_pb2.BackupPart,
)
EXPORT: Final = Method(
    _path(maintenance_pb2.DESCRIPTOR, "MaintenanceService", "Export"),
    "export",
    maintenance_pb2.ExportReq,
    maintenance_pb2.ExportPart,
)


def _auth_method(
    name: str, words: str, request_type: type[RequestT], reply_type: type[ReplyT], *, is_write: bool = False
) -> Method[RequestT, ReplyT]:
    path = _path(auth_pb2.DESCRIPTOR, "AuthService", name)
    return Method(path, words, request_type, reply_type, is_write=is_write)


AUTHENTICATE: Final = _auth_method("Authenticate", "login", auth_pb2.AuthenticateReq, auth_pb2.AuthenticateReply)
AUTH_STATUS: Final = _auth_method("AuthStatus", "status request", common_pb2.Null, auth_pb2.AuthStatusReply)
AUTH_ENABLE: Final = _auth_method("AuthEnable", "change of users", common_pb2.Null, auth_pb2.AuthReply, is_write=True)
AUTH_DISABLE: Final = _auth_method("AuthDisable", "change of users", common_pb2.Null, auth_pb2.AuthReply, is_write=True)
USER_ADD: Final = _auth_method("UserAdd", "change of users", auth_pb2.UserAddReq, auth_pb2.AuthReply, is_write=True)
USER_GET: Final = _auth_method("UserGet", "look at a user", auth_pb2.UserReq, auth_pb2.UserGetReply)
USER_LIST: Final = _auth_method("UserList", "look at the users", common_pb2.Null, auth_pb2.NamesReply)
USER_DELETE: Final = _auth_method("UserDelete", "change of users", auth_pb2.UserReq, auth_pb2.AuthReply, is_write=True)
USER_CHANGE_PASSWORD: Final = _auth_method(
    "UserChangePassword", "change of a password", auth_pb2.UserAddReq, auth_pb2.AuthReply, is_write=True
)
USER_GRANT_ROLE: Final = _auth_method(
    "UserGrantRole", "change of users", auth_pb2.UserRoleReq, auth_pb2.AuthReply, is_write=True
)
USER_REVOKE_ROLE: Final = _auth_method(
    "UserRevokeRole", "change of users", auth_pb2.UserRoleReq, auth_pb2.AuthReply, is_write=True
)
ROLE_ADD: Final = _auth_method("RoleAdd", "change of roles", auth_pb2.RoleReq, auth_pb2.AuthReply, is_write=True)
ROLE_GET: Final = _auth_method("RoleGet", "look at a role", auth_pb2.RoleReq, auth_pb2.RoleGetReply)
ROLE_LIST: Final = _auth_method("RoleList", "look at the roles", common_pb2.Null, auth_pb2.NamesReply)
ROLE_DELETE: Final = _auth_method("RoleDelete", "change of roles", auth_pb2.RoleReq, auth_pb2.AuthReply, is_write=True)
ROLE_GRANT_PERMISSION: Final = _auth_method(
    "RoleGrantPermission", "change of roles", auth_pb2.RolePermissionReq, auth_pb2.AuthReply, is_write=True
)
ROLE_REVOKE_PERMISSION: Final = _auth_method(
    "RoleRevokePermission", "change of roles", auth_pb2.RolePermissionReq, auth_pb2.AuthReply, is_write=True
)
