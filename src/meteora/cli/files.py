"""Files that commands write: whole and durable, or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click


@contextmanager
def replaced(file: Path) -> Iterator[BinaryIO]:
    """What is written becomes `file`, for its owner alone, once it is whole and durable; or nothing does.

    It holds all that is in a cluster: nobody else may read it, at no time.
    """
    partial = file.with_name(f"{file.name}.partial")
    try:
        # What is there may be readable by others, and open.
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as target:
                yield target
                target.flush()
                os.fsync(descriptor)
            partial.replace(file)
            _sync_directory(file.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise click.ClickException(f"{file} can't be written: {error.strerror}. Nothing is left of it") from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
