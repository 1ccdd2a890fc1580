from meteora.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Batch(_message.Message):
    __slots__ = ("protocol_version", "cluster_id", "sender", "receiver", "messages", "state_report", "room")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECEIVER_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    STATE_REPORT_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    cluster_id: int
    sender: int
    receiver: int
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    state_report: bytes
    room: Room
    def __init__(self, protocol_version: _Optional[int] = ..., cluster_id: _Optional[int] = ..., sender: _Optional[int] = ..., receiver: _Optional[int] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., state_report: _Optional[bytes] = ..., room: _Optional[_Union[Room, _Mapping]] = ...) -> None: ...

class Room(_message.Message):
    __slots__ = ("stored_bytes", "quota_bytes", "free_bytes", "min_free_bytes", "is_over_quota", "is_disk_low")
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MIN_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    IS_OVER_QUOTA_FIELD_NUMBER: _ClassVar[int]
    IS_DISK_LOW_FIELD_NUMBER: _ClassVar[int]
    stored_bytes: int
    quota_bytes: int
    free_bytes: int
    min_free_bytes: int
    is_over_quota: bool
    is_disk_low: bool
    def __init__(self, stored_bytes: _Optional[int] = ..., quota_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ..., min_free_bytes: _Optional[int] = ..., is_over_quota: _Optional[bool] = ..., is_disk_low: _Optional[bool] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("node_id",)
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    def __init__(self, node_id: _Optional[int] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("kind", "term", "index", "log_term", "commit", "entries", "reject", "hint", "context")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    REJECT_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    kind: int
    term: int
    index: int
    log_term: int
    commit: int
    entries: _containers.RepeatedScalarFieldContainer[bytes]
    reject: bool
    hint: int
    context: bytes
    def __init__(self, kind: _Optional[int] = ..., term: _Optional[int] = ..., index: _Optional[int] = ..., log_term: _Optional[int] = ..., commit: _Optional[int] = ..., entries: _Optional[_Iterable[bytes]] = ..., reject: _Optional[bool] = ..., hint: _Optional[int] = ..., context: _Optional[bytes] = ...) -> None: ...

class SnapshotPart(_message.Message):
    __slots__ = ("offer", "table_number", "offset_bytes", "data", "checksum")
    OFFER_FIELD_NUMBER: _ClassVar[int]
    TABLE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    offer: SnapshotOffer
    table_number: int
    offset_bytes: int
    data: bytes
    checksum: int
    def __init__(self, offer: _Optional[_Union[SnapshotOffer, _Mapping]] = ..., table_number: _Optional[int] = ..., offset_bytes: _Optional[int] = ..., data: _Optional[bytes] = ..., checksum: _Optional[int] = ...) -> None: ...

class SnapshotOffer(_message.Message):
    __slots__ = ("protocol_version", "cluster_id", "sender", "receiver", "term", "manifest")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECEIVER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    cluster_id: int
    sender: int
    receiver: int
    term: int
    manifest: bytes
    def __init__(self, protocol_version: _Optional[int] = ..., cluster_id: _Optional[int] = ..., sender: _Optional[int] = ..., receiver: _Optional[int] = ..., term: _Optional[int] = ..., manifest: _Optional[bytes] = ...) -> None: ...

class SnapshotWanted(_message.Message):
    __slots__ = ("table_number", "offset_bytes", "is_complete", "refusal", "is_damaged")
    TABLE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    IS_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    IS_DAMAGED_FIELD_NUMBER: _ClassVar[int]
    table_number: int
    offset_bytes: int
    is_complete: bool
    refusal: str
    is_damaged: bool
    def __init__(self, table_number: _Optional[int] = ..., offset_bytes: _Optional[int] = ..., is_complete: _Optional[bool] = ..., refusal: _Optional[str] = ..., is_damaged: _Optional[bool] = ...) -> None: ...

class JoinReq(_message.Message):
    __slots__ = ("node_id", "address", "instance_id", "level", "version")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    address: _common_pb2.NodeAddress
    instance_id: int
    level: int
    version: str
    def __init__(self, node_id: _Optional[int] = ..., address: _Optional[_Union[_common_pb2.NodeAddress, _Mapping]] = ..., instance_id: _Optional[int] = ..., level: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class JoinReply(_message.Message):
    __slots__ = ("cluster_id",)
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    cluster_id: int
    def __init__(self, cluster_id: _Optional[int] = ...) -> None: ...

class MeetReq(_message.Message):
    __slots__ = ("initial_cluster",)
    INITIAL_CLUSTER_FIELD_NUMBER: _ClassVar[int]
    initial_cluster: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, initial_cluster: _Optional[_Iterable[str]] = ...) -> None: ...

class MeetReply(_message.Message):
    __slots__ = ("cluster_id", "instance_id")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    cluster_id: int
    instance_id: int
    def __init__(self, cluster_id: _Optional[int] = ..., instance_id: _Optional[int] = ...) -> None: ...
