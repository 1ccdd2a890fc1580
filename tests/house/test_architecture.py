"""What docs/architecture.md names is there: modules, classes, functions and constants, each in the file it names."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from meteora.pb import kv_pb2, raft_pb2
from meteora.raft import MessageKind
from tests.house.source import PACKAGE, ROOT, sources

PAGE = (ROOT / "docs" / "architecture.md").read_text()
STEPS = next(block for block in PAGE.split("```")[1::2] if "rpc/direct.py" in block)
"""The path of one write: who does what, in which file."""

MEMBER = re.compile(r"\b[A-Z]\w+\.\w+")
MEMBER_OR_FUNCTION = re.compile(rf"{MEMBER.pattern}|(?<![\w/])_?[a-z]+_\w+\b(?!\.py)|(?<![\w/.])_[a-z]\w*")
CLASS_OR_CONSTANT = re.compile(r"[A-Z]\w+")
PATH = re.compile(r"(?:\w+/)*\w+\.py|(?:\w+/)+")
PATH_IN_STEP = re.compile(r"(\w+/\w+\.py)((?:(?!\w+/\w+\.py).)*)")

WORDS = re.findall(r"`([^`\n]+)`", PAGE)

NOT_OURS = {"SSLContext", "WriteBatch"}
"""Python's, and RocksDB's."""

ON_DISK = {"raft/", "kv/"}
"""Of a data directory; the first is a room, too."""


@cache
def names_in(path: Path) -> frozenset[str]:
    """What a module defines: its classes, functions and constants, and `Class.member` of each class."""
    return frozenset(_names(ast.parse(path.read_text()).body))


def _names(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name
            if prefix:
                yield from (prefix + name for name in _attributes(node))
        elif isinstance(node, ast.ClassDef):
            yield node.name
            yield from _names(node.body, f"{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))


def _attributes(method: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """The attributes that a method sets."""
    for node in ast.walk(method):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


@cache
def all_names() -> frozenset[str]:
    protos = [message for file in (kv_pb2, raft_pb2) for message in file.DESCRIPTOR.message_types_by_name.values()]
    services = [service for file in (kv_pb2, raft_pb2) for service in file.DESCRIPTOR.services_by_name.values()]
    return frozenset().union(
        *(names_in(path) for path in sources()),
        (f"{message.name}.{field.name}" for message in protos for field in message.fields),
        (method.name for service in services for method in service.methods),
        (kind.name.title().replace("_", "") for kind in MessageKind),
        NOT_OURS,
    )


def is_there(name: str, names: frozenset[str]) -> bool:
    """Whether it is among `names`, as it stands or as a member of some class."""
    return name in names or any(each.endswith(f".{name}") for each in names)


@pytest.mark.parametrize("name", sorted({word for word in WORDS if MEMBER.fullmatch(word)}))
def test_a_member_that_is_named_is_there(name: str) -> None:
    assert name in all_names()


@pytest.mark.parametrize("name", sorted({word for word in WORDS if CLASS_OR_CONSTANT.fullmatch(word)}))
def test_a_class_or_constant_that_is_named_is_there(name: str) -> None:
    assert name in all_names()


@pytest.mark.parametrize("path", sorted({word for word in WORDS if PATH.fullmatch(word)} - ON_DISK))
def test_a_file_or_folder_that_is_named_is_there(path: str) -> None:
    assert any((folder / path).exists() for folder in (ROOT, PACKAGE, PACKAGE / "raft", PACKAGE / "server"))


@pytest.mark.parametrize(("path", "rest"), PATH_IN_STEP.findall(STEPS))
def test_a_step_of_a_write_is_done_by_who_is_named_in_the_file_that_is_named(path: str, rest: str) -> None:
    names = names_in(PACKAGE / path)
    assert [name for name in MEMBER_OR_FUNCTION.findall(rest) if not is_there(name, names)] == []


def test_all_that_the_steps_of_a_write_name_is_there() -> None:
    named = MEMBER_OR_FUNCTION.findall(PATH_IN_STEP.sub(lambda match: match[2], STEPS))
    assert len(named) > 15
    assert [name for name in named if not is_there(name, all_names())] == []
