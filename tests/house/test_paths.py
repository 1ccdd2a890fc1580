"""Nothing in the project knows the machine that it was written on."""

import re
from pathlib import Path

import pytest

from tests.house.source import ROOT

HOMES = re.compile(r"/(?:home|root|Users)/[\w.]|[A-Z]:\\Users")
FOLDERS = [".ci", "bench", "docs", "meteora-proto", "src", "tests", "tools"]


def texts() -> list[Path]:
    """The files that people write."""
    files = [path for path in ROOT.glob("[!.]*") if path.is_file()]
    files += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    return sorted(path for path in files if "__pycache__" not in path.parts and path.suffix != ".pyc")


def test_no_file_names_somebodys_home() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if HOMES.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("folder", ["home", "root", "Users"])
def test_a_home_would_be_found(folder: str) -> None:
    assert HOMES.search(f"see /{folder}/someone/project")
