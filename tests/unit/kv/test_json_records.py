from typing import Any

import pytest

from meteora.kv.json_records import MAX_NUMBER, flag, number, parsed, text


def test_a_record_is_read() -> None:
    assert parsed(b'{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("record", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5_000])
def test_what_is_no_json_is_refused(record: bytes) -> None:
    with pytest.raises(ValueError, match=r"nested|line|decode|digits"):
        parsed(record)


@pytest.mark.parametrize(("take", "field"), [(text, "é"), (number, 0), (number, MAX_NUMBER), (flag, True)])
def test_a_field_of_the_right_type_is_taken(take: Any, field: object) -> None:
    assert take(field) == field


@pytest.mark.parametrize(
    ("take", "field"),
    [
        *((text, each) for each in (None, 1, ["a"], "\ud800")),
        *((number, each) for each in (None, -1, MAX_NUMBER + 1, 1.0, float("inf"), True, "1")),
        *((flag, each) for each in (None, 1, "true")),
    ],
)
def test_a_field_of_another_type_is_refused(take: Any, field: object) -> None:
    with pytest.raises(ValueError, match=r"should be|surrogates"):
        take(field)
