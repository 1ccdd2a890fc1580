import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.cli.json_lines import decode_pair, encode_pair


@given(st.binary(max_size=30) | st.text(max_size=20).map(str.encode), st.binary(max_size=30))
def test_any_bytes_come_back(key: bytes, value: bytes) -> None:
    line = encode_pair(key, value)
    assert decode_pair(line) == (key, value)
    assert line.count(b"\n") == 1


def test_text_is_readable() -> None:
    assert encode_pair("grüße".encode(), b"hello") == '{"key": "grüße", "value": "hello"}\n'.encode()


def test_what_is_no_text_is_named_so() -> None:
    assert json.loads(encode_pair(b"a", b"\xff")) == {"key": "a", "value_base64": "/w=="}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"nonsense", "it is no JSON"),
        (b"\xff", "it is no JSON"),
        (b"[" * 100_000, "nested too deep"),
        (b"[]", "it is no object"),
        (b'{"key": "a"}', "neither value nor value_base64"),
        (b'{"key": "a", "key_base64": "YQ==", "value": ""}', "both key and key_base64"),
        (b'{"key": 1, "value": ""}', "key is no text"),
        (b'{"key": "a", "value_base64": "?"}', "value_base64: "),
        ('{"key": "a", "value_base64": "é"}'.encode(), "value_base64: "),
        (b'{"key": "\\ud800", "value": ""}', "key: "),
        (b'{"key": "a", "value": "", "lease": 1}', "'lease' means nothing here"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused_with_the_reason(line: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        decode_pair(line)
