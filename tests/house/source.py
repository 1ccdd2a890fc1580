"""The source as the house's tests see it: modules, their rooms, and what they import."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "src" / "meteora"


class Import(NamedTuple):
    """One import, wherever in a module it stands, and whether or not it is only for types."""

    module: str
    """The importing module."""
    line: int
    target: str
    """What is imported, with the name taken from it if it is a `from` import."""

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"

    @property
    def importing_room(self) -> str:
        return room(self.module)

    @property
    def library(self) -> str:
        return self.target.partition(".")[0]


def room(module: str) -> str:
    """The room of a dotted module of ours: `meteora.raft.core` is in `raft`."""
    return module.partition(".")[2].partition(".")[0]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> list[Path]:
    """Every module that was written by hand."""
    return sorted(path for path in PACKAGE.rglob("*.py") if room(module_name(path)) != "pb")


def imports_in(module: str, text: str) -> Iterator[Import]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (Import(module, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Import(module, node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(each for path in sources() for each in imports_in(module_name(path), path.read_text()))


def named_tests(page: str) -> list[tuple[str, str]]:
    """The tests that a page names, as `path::name`."""
    return sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)))


@cache
def functions_in(path: str) -> set[str]:
    """The names of the functions of a module, by its path from the root."""
    return {node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)}
