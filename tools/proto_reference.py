"""The reference of the wire contract, in Markdown, from the proto files and the comments in them.

Used by `tools/docs_site.py` when the documentation is built, so it can't be out of date.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import grpc_tools
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

ROOT: Final = Path(__file__).resolve().parent.parent
PROTOS: Final = ROOT / "meteora-proto" / "proto"
INTERNAL: Final = frozenset({"peer.proto"})
"""What nodes say to one another, and what may change with any release."""

# Numbers of fields in descriptor.proto, of which the path of a comment is made.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _VALUES, _METHODS = 2, 2, 2
_SYNTAX: Final = 12

Path_ = tuple[int, ...]


def described(names: Iterable[str]) -> FileDescriptorSet:
    """The descriptors of these files, with their comments. Raises `RuntimeError` if protoc fails."""
    builtin = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "descriptors"
        arguments = [f"-I{PROTOS}", f"-I{builtin}", "--include_source_info", f"--descriptor_set_out={target}", *names]
        if protoc.main(["protoc", *arguments]) != 0:
            raise RuntimeError("protoc failed")
        return FileDescriptorSet.FromString(target.read_bytes())


def reference() -> str:
    """The page: each public file with its services, messages and enums."""
    names = sorted(path.name for path in PROTOS.glob("*.proto") if path.name not in INTERNAL)
    lines = [
        "# The wire",
        "",
        "Made of the files in `meteora-proto/proto`. Names and numbers are fixed; new ones may come.",
    ]
    for file in described(names).file:
        lines += _file(file)
    return "\n".join(lines) + "\n"


def _file(file: FileDescriptorProto) -> Iterator[str]:
    comments = {tuple(each.path): each.leading_comments for each in file.source_code_info.location}
    yield from ("", f"## {file.name}", "", f"Package `{file.package}`. {_one_line(comments.get((_SYNTAX,), ''))}")
    for index, service in enumerate(file.service):
        yield from _service(service, comments, (_SERVICES, index))
    for index, message in enumerate(file.message_type):
        yield from _message(message, comments, (_MESSAGES, index))
    for index, enum in enumerate(file.enum_type):
        yield from _enum(enum, comments, (_ENUMS, index))


def _service(service: ServiceDescriptorProto, comments: dict[Path_, str], path: Path_) -> Iterator[str]:
    yield from ("", f"### service {service.name}", "", _one_line(comments.get(path, "")))
    yield from ("", "| method | takes | returns | |", "|---|---|---|---|")
    for index, method in enumerate(service.method):
        takes = ("stream of " if method.client_streaming else "") + _type_name(method.input_type)
        returns = ("stream of " if method.server_streaming else "") + _type_name(method.output_type)
        said = _one_line(comments.get((*path, _METHODS, index), ""))
        yield f"| `{method.name}` | {takes} | {returns} | {said} |"


def _message(message: DescriptorProto, comments: dict[Path_, str], path: Path_) -> Iterator[str]:
    yield from ("", f"### {message.name}", "", _one_line(comments.get(path, "")))
    if not message.field:
        yield "No fields."
        return
    maps = {each.name: each for each in message.nested_type if each.options.map_entry}
    yield from ("", "| field | number | type | |", "|---|---|---|---|")
    for index, field in enumerate(message.field):
        said = _one_line(comments.get((*path, _FIELDS, index), ""))
        yield f"| `{field.name}` | {field.number} | {_field_type(field, maps)} | {said} |"


def _enum(enum: EnumDescriptorProto, comments: dict[Path_, str], path: Path_) -> Iterator[str]:
    yield from ("", f"### enum {enum.name}", "", _one_line(comments.get(path, "")))
    yield from ("", "| name | number | |", "|---|---|---|")
    for index, value in enumerate(enum.value):
        yield f"| `{value.name}` | {value.number} | {_one_line(comments.get((*path, _VALUES, index), ''))} |"


def _field_type(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    name = field.type_name.rpartition(".")[2]
    if name in maps:
        key, value = maps[name].field
        return f"map of {_scalar(key)} to {_scalar(value)}"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {_scalar(field)}"
    return f"optional {_scalar(field)}" if field.proto3_optional else _scalar(field)


def _scalar(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return _type_name(field.type_name)
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _type_name(name: str) -> str:
    return f"`{name.rpartition('.')[2]}`"


def _one_line(comment: str) -> str:
    return " ".join(comment.split()).replace("|", "\\|")
