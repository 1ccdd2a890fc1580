"""What is fsynced, and in which order."""

import os
from pathlib import Path

import pytest

from meteora.storage.durable_files import make_directory, move, replace_file


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to files, as it is done."""
    seen: list[str] = []
    original = {name: getattr(os, name) for name in ("fsync", "rename", "replace", "mkdir")}

    def fsync(descriptor: int) -> None:
        seen.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        original["fsync"](descriptor)

    def watch(name: str) -> None:
        def call(path: Path, *arguments: object, **options: object) -> object:
            seen.append(f"{name} {Path(path).name}")
            return original[name](path, *arguments, **options)

        monkeypatch.setattr(os, name, call)

    for name in ("rename", "replace", "mkdir"):
        watch(name)
    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def test_each_new_directory_is_made_durable_in_the_one_above(tmp_path: Path, steps: list[str]) -> None:
    make_directory(tmp_path / "a" / "b")
    assert steps == ["mkdir a", f"fsync {tmp_path.name}", "mkdir b", "fsync a"]


def test_a_directory_that_is_there_is_let_be(tmp_path: Path, steps: list[str]) -> None:
    make_directory(tmp_path)
    assert steps == []


def test_a_file_is_durable_before_it_takes_its_name_and_its_name_after(tmp_path: Path, steps: list[str]) -> None:
    replace_file(tmp_path / "file", b"content")
    assert steps == ["fsync file.new", "replace file.new", f"fsync {tmp_path.name}"]
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_move_is_durable_in_both_directories(tmp_path: Path, steps: list[str]) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "below").mkdir()
    steps.clear()
    move(tmp_path / "file", tmp_path / "below" / "moved")
    assert steps == ["rename file", "fsync below", f"fsync {tmp_path.name}"]
