"""Files and directories that are still there after a power loss.

A new name is durable only once the directory that holds it is fsynced, too.
"""

import os
from pathlib import Path


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, durably, unless it is there. Raises `OSError`."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file's content: after a crash at any instant it has the old or the new. Raises `OSError`."""
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def move(source: Path, target: Path) -> None:
    """Rename a file or directory, durably, within one file system. Raises `OSError`."""
    source.rename(target)
    sync_directory(target.parent)
    sync_directory(source.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
