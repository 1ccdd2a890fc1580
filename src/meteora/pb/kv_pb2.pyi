from meteora.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RequestId(_message.Message):
    __slots__ = ("client_id", "sequence", "first_outstanding", "retry")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_OUTSTANDING_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    client_id: int
    sequence: int
    first_outstanding: int
    retry: bool
    def __init__(self, client_id: _Optional[int] = ..., sequence: _Optional[int] = ..., first_outstanding: _Optional[int] = ..., retry: _Optional[bool] = ...) -> None: ...

class GetReq(_message.Message):
    __slots__ = ("key", "serializable")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SERIALIZABLE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    serializable: bool
    def __init__(self, key: _Optional[bytes] = ..., serializable: _Optional[bool] = ...) -> None: ...

class GetReply(_message.Message):
    __slots__ = ("value", "state", "address_map", "leader_id", "applied_index", "staleness_milliseconds")
    class AddressMapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: _common_pb2.NodeAddress
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[_common_pb2.NodeAddress, _Mapping]] = ...) -> None: ...
    VALUE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_MAP_FIELD_NUMBER: _ClassVar[int]
    LEADER_ID_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    STALENESS_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    value: bytes
    state: _common_pb2.State
    address_map: _containers.MessageMap[int, _common_pb2.NodeAddress]
    leader_id: int
    applied_index: int
    staleness_milliseconds: int
    def __init__(self, value: _Optional[bytes] = ..., state: _Optional[_Union[_common_pb2.State, str]] = ..., address_map: _Optional[_Mapping[int, _common_pb2.NodeAddress]] = ..., leader_id: _Optional[int] = ..., applied_index: _Optional[int] = ..., staleness_milliseconds: _Optional[int] = ...) -> None: ...

class PutReq(_message.Message):
    __slots__ = ("key", "value", "request_id")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    request_id: RequestId
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., request_id: _Optional[_Union[RequestId, _Mapping]] = ...) -> None: ...

class PutReply(_message.Message):
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

class DeleteReq(_message.Message):
    __slots__ = ("key", "request_id")
    KEY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    request_id: RequestId
    def __init__(self, key: _Optional[bytes] = ..., request_id: _Optional[_Union[RequestId, _Mapping]] = ...) -> None: ...

class DeleteReply(_message.Message):
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

class Operation(_message.Message):
    __slots__ = ("get", "put", "delete")
    GET_FIELD_NUMBER: _ClassVar[int]
    PUT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    get: GetReq
    put: PutReq
    delete: DeleteReq
    def __init__(self, get: _Optional[_Union[GetReq, _Mapping]] = ..., put: _Optional[_Union[PutReq, _Mapping]] = ..., delete: _Optional[_Union[DeleteReq, _Mapping]] = ...) -> None: ...

class BatchReq(_message.Message):
    __slots__ = ("operations",)
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("state", "value", "applied_index", "staleness_milliseconds", "failure", "ask_alone")
    STATE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    STALENESS_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ASK_ALONE_FIELD_NUMBER: _ClassVar[int]
    state: _common_pb2.State
    value: bytes
    applied_index: int
    staleness_milliseconds: int
    failure: Failure
    ask_alone: bool
    def __init__(self, state: _Optional[_Union[_common_pb2.State, str]] = ..., value: _Optional[bytes] = ..., applied_index: _Optional[int] = ..., staleness_milliseconds: _Optional[int] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., ask_alone: _Optional[bool] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message", "outcome")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    outcome: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., outcome: _Optional[str] = ...) -> None: ...

class BatchReply(_message.Message):
    __slots__ = ("results", "address_map", "leader_id")
    class AddressMapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: _common_pb2.NodeAddress
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[_common_pb2.NodeAddress, _Mapping]] = ...) -> None: ...
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_MAP_FIELD_NUMBER: _ClassVar[int]
    LEADER_ID_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Result]
    address_map: _containers.MessageMap[int, _common_pb2.NodeAddress]
    leader_id: int
    def __init__(self, results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ..., address_map: _Optional[_Mapping[int, _common_pb2.NodeAddress]] = ..., leader_id: _Optional[int] = ...) -> None: ...
