import pytest

from meteora.rpc.deadline import parse_timeout_seconds
from meteora.rpc.status import CallFailed


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"250m", 0.25),
        (b"500u", 0.0005),
        (b"1000n", 0.000001),
        (b"0S", 0.0),
        (b"99999999H", 359_999_996_400.0),
    ],
)
def test_a_time_out_is_read_in_its_unit(value: bytes, seconds: float) -> None:
    assert parse_timeout_seconds(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"S", b"1", b"1s", b"-1S", b"+1S", b"1.5S", b"1 S", b"123456789S"])
def test_what_is_no_time_out_ends_the_call(value: bytes) -> None:
    with pytest.raises(CallFailed, match="grpc-timeout"):
        parse_timeout_seconds(value)
