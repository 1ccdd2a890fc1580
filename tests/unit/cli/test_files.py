import stat
from contextlib import suppress
from pathlib import Path

import click
import pytest

from meteora.cli.files import replaced


def test_what_is_written_is_there_for_its_owner_alone(tmp_path: Path) -> None:
    with replaced(tmp_path / "file") as target:
        target.write(b"secret")
    assert (tmp_path / "file").read_bytes() == b"secret"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_at_no_time_can_others_read_it_whatever_was_left_there(tmp_path: Path) -> None:
    partial = tmp_path / "file.partial"
    partial.write_bytes(b"old")
    partial.chmod(0o644)
    with partial.open("rb") as left, replaced(tmp_path / "file") as target:
        target.write(b"secret")
        target.flush()
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600
        assert left.read() == b"old"


def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with suppress(RuntimeError), replaced(file) as target:
        target.write(b"new")
        target.flush()
        raise RuntimeError
    assert file.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    expected = pytest.raises(click.ClickException, match="nowhere/file can't be written: No such file")
    with expected, replaced(tmp_path / "nowhere" / "file"):
        pass
