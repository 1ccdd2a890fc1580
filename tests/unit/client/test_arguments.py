import math

import pytest

from meteora.client.arguments import as_bytes, checked_timeout_seconds
from meteora.errors import ConfigurationError


@pytest.mark.parametrize(("value", "expected"), [(b"\xff\x00", b"\xff\x00"), ("ключ", "ключ".encode()), ("", b"")])
def test_text_becomes_utf8_and_bytes_stay(value: bytes | str, expected: bytes) -> None:
    assert as_bytes(value) == expected


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_timeout_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="timeout_seconds"):
        checked_timeout_seconds(seconds)
