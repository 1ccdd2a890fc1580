"""Messages of any type that are nearly right, from choices."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from meteora.pb import auth_pb2, kv_pb2, maintenance_pb2, peer_pb2, raft_pb2
from tests.fuzz.choices import Choices

TEXTS = (
    "root",
    "alice",
    "",
    "reader",
    "writer",
    "127.0.0.1:7002",
    "a:1",
    "[::1]:1",
    "[::1%1]:1",
    "a\x00b",
    "\ud7ff\U0001f600",
    "x" * 129,
    "meteora.kv.KvService",
    "0.0.0.0:99999",
)
BYTES = (b"", b"a", b"b", b"k\x00", b"\x00", b"\xff", b"ab", b"x" * 2048, b"x" * 65_537)
MAX_ITEMS = 4


def message_of(kind: type[Message], choices: Choices) -> Message:
    """A message of this type, with some of its fields."""
    message = kind()
    for field in message.DESCRIPTOR.fields:
        if choices.byte() % 4:
            _fill(message, field, choices)
    return message


def _fill(message: Message, field: FieldDescriptor, choices: Choices) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return  # Only replies have them.
    if not field.is_repeated:
        _set(message, field, choices)
        return
    target = getattr(message, field.name)
    for _ in range(choices.byte() % MAX_ITEMS):
        if field.message_type is None:
            target.append(_value(field, choices))
        else:
            target.add().CopyFrom(message_of(GetMessageClass(field.message_type), choices))


def _set(message: Message, field: FieldDescriptor, choices: Choices) -> None:
    if field.message_type is None:
        setattr(message, field.name, _value(field, choices))
    else:
        getattr(message, field.name).CopyFrom(message_of(GetMessageClass(field.message_type), choices))


def _value(field: FieldDescriptor, choices: Choices) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return choices.flag()
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return choices.one_of(BYTES) if choices.byte() < 224 else choices.chunk()
        case FieldDescriptor.CPPTYPE_STRING:
            return choices.one_of(TEXTS) if choices.byte() < 224 else choices.chunk().decode("utf-8", "replace")
        case FieldDescriptor.CPPTYPE_UINT64:
            return choices.small() & 2**64 - 1
        case FieldDescriptor.CPPTYPE_UINT32:
            return choices.small() & 2**32 - 1
        case FieldDescriptor.CPPTYPE_ENUM:
            return choices.small() & 2**31 - 1
    raise AssertionError(f"no target has made a field of this kind yet: {field.full_name}")


def _methods() -> Iterator[tuple[str, MethodDescriptor]]:
    for file in (kv_pb2, auth_pb2, maintenance_pb2, raft_pb2, peer_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}", method


METHODS: dict[str, MethodDescriptor] = dict(_methods())
"""Of our own services, by the path."""


def request_type(path: str) -> type[Message]:
    return GetMessageClass(METHODS[path].input_type)


def response_type(path: str) -> type[Message]:
    return GetMessageClass(METHODS[path].output_type)
