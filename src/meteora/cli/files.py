"""Files that commands write: whole and durable, or not there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click


@contextmanager
def replaced(file: Path) -> Iterator[BinaryIO]:
    """What is written becomes `file`, for its owner alone, once it is whole and durable; or nothing does.

    It holds all that is in a cluster: nobody else may read it, at no time. What is written is a file of its own until
    then: two commands that write to one place don't write into one another's.
    """
    if file.exists() and not file.is_file():
        raise click.ClickException(f"{file} is no regular file: name another one, or - for standard output")
    # A link stays one.
    place = Path(os.path.realpath(file))
    try:
        descriptor, name = tempfile.mkstemp(prefix=f"{place.name}.", suffix=".partial", dir=place.parent)
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as target:
                yield target
                target.flush()
                os.fsync(descriptor)
            partial.replace(place)
            _sync_directory(place.parent)
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
