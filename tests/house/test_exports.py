"""A package says in `__all__` what it offers: exactly that, so that a reader and a type checker need not guess."""

import ast
import importlib
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, module_name, sources

PACKAGES = [path for path in sources() if path.name == "__init__.py"]


def defined_names(path: Path) -> set[str]:
    """The public names that a module defines. (Of what it imports, the linter asks that it is used or offered.)"""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("path", PACKAGES, ids=module_name)
def test_what_a_package_defines_for_others_is_offered(path: Path) -> None:
    package = importlib.import_module(module_name(path))
    assert defined_names(path) - set(getattr(package, "__all__", ())) == set()


@pytest.mark.parametrize("path", PACKAGES, ids=module_name)
def test_what_a_package_offers_is_there(path: Path) -> None:
    package = importlib.import_module(module_name(path))
    assert [name for name in getattr(package, "__all__", ()) if not hasattr(package, name)] == []


def test_the_package_itself_is_among_those_looked_at() -> None:
    assert PACKAGE / "__init__.py" in PACKAGES
