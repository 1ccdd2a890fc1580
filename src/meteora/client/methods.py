"""The remote procedures that a client calls: their paths on the wire, taken from the protos, and their types."""

from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message

from meteora.pb import common_pb2, kv_pb2, maintenance_pb2, raft_pb2

RequestT = TypeVar("RequestT", bound=Message)
ReplyT = TypeVar("ReplyT", bound=Message)

MemberReply = kv_pb2.GetReply | kv_pb2.PutReply | kv_pb2.DeleteReply | raft_pb2.ChangeReply | raft_pb2.NodeStatusReply
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
