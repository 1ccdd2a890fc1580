import pytest

from meteora.rpc.deadline import format_timeout, parse_timeout_seconds
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


@pytest.mark.parametrize(("seconds", "value"), [(0.0, b"0m"), (-1.0, b"0m"), (0.25, b"250m"), (100_000.0, b"100000S")])
def test_a_time_out_is_written_in_eight_digits(seconds: float, value: bytes) -> None:
    assert format_timeout(seconds) == value


@pytest.mark.parametrize("seconds", [0.001, 1.5, 99_999.999, 1e6, 1e12])
def test_a_time_out_that_was_written_can_be_read(seconds: float) -> None:
    assert parse_timeout_seconds(format_timeout(seconds)) <= seconds
