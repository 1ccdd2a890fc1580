import errno
from pathlib import Path
from unittest.mock import patch

import pytest

from meteora.errors import DiskFailure
from meteora.storage.disk_space import disk_space


def test_a_disk_has_a_size_and_some_of_it_is_free(tmp_path: Path) -> None:
    space = disk_space(tmp_path)
    assert 0 <= space.free_bytes <= space.size_bytes
    assert space.size_bytes > 0


def test_a_folder_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(DiskFailure, match="No such file"):
        disk_space(tmp_path / "absent")


def test_a_disk_that_does_not_say_is_no_failure_yet(tmp_path: Path) -> None:
    with (
        patch("os.statvfs", side_effect=OSError(errno.EIO, "Input/output error")),
        pytest.raises(OSError, match="Input/output error"),
    ):
        disk_space(tmp_path)
