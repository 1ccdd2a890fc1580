"""Real fsyncs that fail, without a broken disk."""

import os
from pathlib import Path


def make_fsyncs_fail(database: Path) -> None:
    """From now on this process's writes to the write-ahead log of a database go nowhere, and its fsyncs fail.

    The open file is replaced by a device that takes all writes and can't be fsynced.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in Path("/proc/self/fd").iterdir():
        if descriptor.is_symlink() and descriptor.resolve().match(f"{database.resolve()}/*.log"):
            os.dup2(nowhere, int(descriptor.name), inheritable=False)
    os.close(nowhere)
