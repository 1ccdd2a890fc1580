import os
import stat
from contextlib import ExitStack, suppress
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


def test_at_no_time_can_others_read_it(tmp_path: Path) -> None:
    with replaced(tmp_path / "file") as target:
        target.write(b"secret")
        target.flush()
        (partial,) = tmp_path.iterdir()
        assert partial.name.startswith("file.")
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600


def test_of_two_that_are_written_at_once_each_is_whole_in_its_turn(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with replaced(file) as slow:
        slow.write(b"first half, ")
        with replaced(file) as quick:
            quick.write(b"quick")
        assert file.read_bytes() == b"quick"
        slow.write(b"second half")
    assert file.read_bytes() == b"first half, second half"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_one_that_begins_while_another_is_written_does_not_give_it_its_name(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with ExitStack() as later:
        with replaced(file) as target:
            target.write(b"whole")
            later.enter_context(replaced(file)).write(b"a part")
        assert file.read_bytes() == b"whole"


def test_a_link_stays_one_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    link.symlink_to("elsewhere/file")
    with replaced(link) as target:
        target.write(b"content")
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "file").read_bytes() == b"content"


def test_what_is_no_regular_file_is_let_be(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(click.ClickException, match="pipe is no regular file"), replaced(pipe):
        pass
    assert pipe.is_fifo()


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
