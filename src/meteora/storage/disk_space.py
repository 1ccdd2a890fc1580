"""How much room there is on a disk."""

import os
from pathlib import Path
from typing import NamedTuple

from meteora.errors import DiskFailure


class DiskSpace(NamedTuple):
    """Of the file system that a folder is on."""

    free_bytes: int
    """For who is not root."""
    size_bytes: int


def disk_space(folder: Path) -> DiskSpace:
    """What there is now. May take as long as the disk likes.

    Raises `DiskFailure` if the folder is not there any more, and `OSError` if the disk does not say.
    """
    try:
        status = os.statvfs(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        # Files that are open could still be written to, and be gone with the process.
        raise DiskFailure(f"{folder}: {error.strerror}. Check the disk, then start the node again.") from error
    return DiskSpace(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)
