from meteora.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuthenticateReq(_message.Message):
    __slots__ = ("name", "password")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    name: str
    password: str
    def __init__(self, name: _Optional[str] = ..., password: _Optional[str] = ...) -> None: ...

class AuthenticateReply(_message.Message):
    __slots__ = ("state", "address_map", "leader_id", "token", "ttl_milliseconds")
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
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TTL_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    state: _common_pb2.State
    address_map: _containers.MessageMap[int, _common_pb2.NodeAddress]
    leader_id: int
    token: str
    ttl_milliseconds: int
    def __init__(self, state: _Optional[_Union[_common_pb2.State, str]] = ..., address_map: _Optional[_Mapping[int, _common_pb2.NodeAddress]] = ..., leader_id: _Optional[int] = ..., token: _Optional[str] = ..., ttl_milliseconds: _Optional[int] = ...) -> None: ...

class AuthReply(_message.Message):
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

class AuthStatusReply(_message.Message):
    __slots__ = ("state", "address_map", "leader_id", "enabled", "revision")
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
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    state: _common_pb2.State
    address_map: _containers.MessageMap[int, _common_pb2.NodeAddress]
    leader_id: int
    enabled: bool
    revision: int
    def __init__(self, state: _Optional[_Union[_common_pb2.State, str]] = ..., address_map: _Optional[_Mapping[int, _common_pb2.NodeAddress]] = ..., leader_id: _Optional[int] = ..., enabled: _Optional[bool] = ..., revision: _Optional[int] = ...) -> None: ...

class UserAddReq(_message.Message):
    __slots__ = ("name", "password")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    name: str
    password: str
    def __init__(self, name: _Optional[str] = ..., password: _Optional[str] = ...) -> None: ...

class UserReq(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class UserRoleReq(_message.Message):
    __slots__ = ("name", "role")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: str
    def __init__(self, name: _Optional[str] = ..., role: _Optional[str] = ...) -> None: ...

class UserGetReply(_message.Message):
    __slots__ = ("state", "address_map", "leader_id", "roles")
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
    ROLES_FIELD_NUMBER: _ClassVar[int]
    state: _common_pb2.State
    address_map: _containers.MessageMap[int, _common_pb2.NodeAddress]
    leader_id: int
    roles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, state: _Optional[_Union[_common_pb2.State, str]] = ..., address_map: _Optional[_Mapping[int, _common_pb2.NodeAddress]] = ..., leader_id: _Optional[int] = ..., roles: _Optional[_Iterable[str]] = ...) -> None: ...

class NamesReply(_message.Message):
    __slots__ = ("state", "address_map", "leader_id", "names")
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
    NAMES_FIELD_NUMBER: _ClassVar[int]
    state: _common_pb2.State
    address_map: _containers.MessageMap[int, _common_pb2.NodeAddress]
    leader_id: int
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, state: _Optional[_Union[_common_pb2.State, str]] = ..., address_map: _Optional[_Mapping[int, _common_pb2.NodeAddress]] = ..., leader_id: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class RoleReq(_message.Message):
    __slots__ = ("role",)
    ROLE_FIELD_NUMBER: _ClassVar[int]
    role: str
    def __init__(self, role: _Optional[str] = ...) -> None: ...

class RoleGetReply(_message.Message):
    __slots__ = ("state", "address_map", "leader_id", "permissions")
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
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    state: _common_pb2.State
    address_map: _containers.MessageMap[int, _common_pb2.NodeAddress]
    leader_id: int
    permissions: _containers.RepeatedCompositeFieldContainer[Permission]
    def __init__(self, state: _Optional[_Union[_common_pb2.State, str]] = ..., address_map: _Optional[_Mapping[int, _common_pb2.NodeAddress]] = ..., leader_id: _Optional[int] = ..., permissions: _Optional[_Iterable[_Union[Permission, _Mapping]]] = ...) -> None: ...

class RolePermissionReq(_message.Message):
    __slots__ = ("role", "permission")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PERMISSION_FIELD_NUMBER: _ClassVar[int]
    role: str
    permission: Permission
    def __init__(self, role: _Optional[str] = ..., permission: _Optional[_Union[Permission, _Mapping]] = ...) -> None: ...

class Permission(_message.Message):
    __slots__ = ("type", "key", "range_end")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        READ: _ClassVar[Permission.Type]
        WRITE: _ClassVar[Permission.Type]
        READWRITE: _ClassVar[Permission.Type]
    READ: Permission.Type
    WRITE: Permission.Type
    READWRITE: Permission.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    RANGE_END_FIELD_NUMBER: _ClassVar[int]
    type: Permission.Type
    key: bytes
    range_end: bytes
    def __init__(self, type: _Optional[_Union[Permission.Type, str]] = ..., key: _Optional[bytes] = ..., range_end: _Optional[bytes] = ...) -> None: ...
