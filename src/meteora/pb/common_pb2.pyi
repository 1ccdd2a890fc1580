from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN: _ClassVar[State]
    OK: _ClassVar[State]
    WRONG_LEADER: _ClassVar[State]
    NOT_FOUND: _ClassVar[State]
    IO_ERROR: _ClassVar[State]
UNKNOWN: State
OK: State
WRONG_LEADER: State
NOT_FOUND: State
IO_ERROR: State

class NodeAddress(_message.Message):
    __slots__ = ("kv_address", "raft_address")
    KV_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    RAFT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    kv_address: str
    raft_address: str
    def __init__(self, kv_address: _Optional[str] = ..., raft_address: _Optional[str] = ...) -> None: ...

class Null(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
