import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.client.backup import BackupCheck
from meteora.errors import BackupDamaged

CONTENT = b"content"
FILE = CONTENT + hashlib.sha256(CONTENT).digest()


def check(*parts: bytes) -> None:
    checked = BackupCheck()
    for part in parts:
        checked.take(part)
    checked.end()


@given(st.lists(st.integers(0, len(FILE)), max_size=6))
def test_a_whole_file_is_whole_however_it_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(FILE)]
    check(*(FILE[start:end] for start, end in itertools.pairwise(places)))


@pytest.mark.parametrize("content", [b"", CONTENT, FILE[:-1], FILE + b"\0", b"x" + FILE[1:], FILE[:-1] + b"\0"])
def test_any_other_is_not(content: bytes) -> None:
    with pytest.raises(BackupDamaged, match="did not come as it was sent"):
        check(content)
