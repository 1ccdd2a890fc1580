from meteora.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConfChangeType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AddNode: _ClassVar[ConfChangeType]
    RemoveNode: _ClassVar[ConfChangeType]
    AddLearnerNode: _ClassVar[ConfChangeType]

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FOLLOWER: _ClassVar[Role]
    PRE_CANDIDATE: _ClassVar[Role]
    CANDIDATE: _ClassVar[Role]
    LEADER: _ClassVar[Role]

class AlarmKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NO_ALARM: _ClassVar[AlarmKind]
    QUOTA: _ClassVar[AlarmKind]
    DISK_SPACE: _ClassVar[AlarmKind]
AddNode: ConfChangeType
RemoveNode: ConfChangeType
AddLearnerNode: ConfChangeType
FOLLOWER: Role
PRE_CANDIDATE: Role
CANDIDATE: Role
LEADER: Role
NO_ALARM: AlarmKind
QUOTA: AlarmKind
DISK_SPACE: AlarmKind

class ConfChange(_message.Message):
    __slots__ = ("id", "change_type", "node_id", "context", "force", "instance_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TYPE_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    change_type: ConfChangeType
    node_id: int
    context: bytes
    force: bool
    instance_id: int
    def __init__(self, id: _Optional[int] = ..., change_type: _Optional[_Union[ConfChangeType, str]] = ..., node_id: _Optional[int] = ..., context: _Optional[bytes] = ..., force: _Optional[bool] = ..., instance_id: _Optional[int] = ...) -> None: ...

class TransferReq(_message.Message):
    __slots__ = ("node_id",)
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    def __init__(self, node_id: _Optional[int] = ...) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("state", "address_map", "leader_id")
    class AddressMapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: _common_pb2.NodeAddress
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[_common_pb2.NodeAddress, _Mapping]] = ...) -> None: ...
    STATE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_MAP_FIELD_NUMBER: _ClassVar[int]
    LEADER_ID_FIELD_NUMBER: _ClassVar[int]
    state: _common_pb2.State
    address_map: _containers.MessageMap[int, _common_pb2.NodeAddress]
    leader_id: int
    def __init__(self, state: _Optional[_Union[_common_pb2.State, str]] = ..., address_map: _Optional[_Mapping[int, _common_pb2.NodeAddress]] = ..., leader_id: _Optional[int] = ...) -> None: ...

class ChangeReply(_message.Message):
    __slots__ = ("state", "address_map", "leader_id")
    class AddressMapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: _common_pb2.NodeAddress
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[_common_pb2.NodeAddress, _Mapping]] = ...) -> None: ...
    STATE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_MAP_FIELD_NUMBER: _ClassVar[int]
    LEADER_ID_FIELD_NUMBER: _ClassVar[int]
    state: _common_pb2.State
    address_map: _containers.MessageMap[int, _common_pb2.NodeAddress]
    leader_id: int
    def __init__(self, state: _Optional[_Union[_common_pb2.State, str]] = ..., address_map: _Optional[_Mapping[int, _common_pb2.NodeAddress]] = ..., leader_id: _Optional[int] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("id", "address", "learner", "instance_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LEARNER_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    address: _common_pb2.NodeAddress
    learner: bool
    instance_id: int
    def __init__(self, id: _Optional[int] = ..., address: _Optional[_Union[_common_pb2.NodeAddress, _Mapping]] = ..., learner: _Optional[bool] = ..., instance_id: _Optional[int] = ...) -> None: ...

class NodeStatusReply(_message.Message):
    __slots__ = ("cluster_id", "node_id", "role", "leader_id", "term", "commit_index", "applied_index", "last_index", "members", "version", "differing", "level", "supported_level", "older_members", "alarms", "stored_bytes", "quota_bytes", "free_bytes", "min_free_bytes")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    LEADER_ID_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIFFERING_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_LEVEL_FIELD_NUMBER: _ClassVar[int]
    OLDER_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MIN_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    cluster_id: int
    node_id: int
    role: Role
    leader_id: int
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    members: _containers.RepeatedCompositeFieldContainer[Member]
    version: str
    differing: _containers.RepeatedScalarFieldContainer[int]
    level: int
    supported_level: int
    older_members: str
    alarms: _containers.RepeatedCompositeFieldContainer[Alarm]
    stored_bytes: int
    quota_bytes: int
    free_bytes: int
    min_free_bytes: int
    def __init__(self, cluster_id: _Optional[int] = ..., node_id: _Optional[int] = ..., role: _Optional[_Union[Role, str]] = ..., leader_id: _Optional[int] = ..., term: _Optional[int] = ..., commit_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., last_index: _Optional[int] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., version: _Optional[str] = ..., differing: _Optional[_Iterable[int]] = ..., level: _Optional[int] = ..., supported_level: _Optional[int] = ..., older_members: _Optional[str] = ..., alarms: _Optional[_Iterable[_Union[Alarm, _Mapping]]] = ..., stored_bytes: _Optional[int] = ..., quota_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ..., min_free_bytes: _Optional[int] = ...) -> None: ...

class Alarm(_message.Message):
    __slots__ = ("node_id", "kind", "message")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    kind: AlarmKind
    message: str
    def __init__(self, node_id: _Optional[int] = ..., kind: _Optional[_Union[AlarmKind, str]] = ..., message: _Optional[str] = ...) -> None: ...
