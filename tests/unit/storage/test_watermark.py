"""A mark that is believed only if it is whole."""

from pathlib import Path

import pytest

from meteora.errors import Corruption, DiskFailure
from meteora.storage.watermark import Watermark

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "watermark"
    mark = Watermark(path)
    mark.advance(41)
    mark.advance(1 << 60)
    mark.close()
    return path


def test_a_new_mark_is_zero(tmp_path: Path) -> None:
    mark = Watermark(tmp_path / "watermark")
    mark.close()
    assert mark.number == 0


def test_a_mark_is_read_back(path: Path) -> None:
    mark = Watermark(path)
    mark.close()
    assert mark.number == 1 << 60


def test_a_mark_is_there_for_whoever_comes_after_a_kill(tmp_path: Path) -> None:
    mark = Watermark(tmp_path / "watermark")
    mark.advance(7)
    other = Watermark(tmp_path / "watermark")
    mark.close()
    other.close()
    assert other.number == 7


@pytest.mark.parametrize("content", [b"", bytes(13)], ids=["empty", "zeros"])
def test_a_file_that_lost_its_first_content_is_no_mark(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    mark = Watermark(path)
    mark.close()
    assert mark.number == 0


def test_every_flipped_bit_is_corruption(path: Path) -> None:
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(Corruption, match="is not a watermark"):
            Watermark(path)


@pytest.mark.parametrize("change", [lambda whole: whole[:-1], lambda whole: whole + b"x"], ids=["short", "long"])
def test_a_mark_of_another_length_is_corruption(path: Path, change: object) -> None:
    assert callable(change)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(Corruption):
        Watermark(path)


def test_a_mark_that_cannot_be_made_is_a_disk_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(DiskFailure, match="exists"):
        Watermark(tmp_path / "file" / "watermark")


def test_a_mark_that_cannot_be_written_is_a_disk_failure(tmp_path: Path) -> None:
    (tmp_path / "watermark").symlink_to("/dev/full")
    # The device has no end, so what is there is read as zeros.
    mark = Watermark(tmp_path / "watermark")
    with pytest.raises(DiskFailure, match="No space left"):
        mark.advance(1)
    mark.close()
