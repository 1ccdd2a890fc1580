from pathlib import Path

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
