import logging

import pytest

from meteora.node.log_write import SLOW_DISK_SECONDS, LogWrite
from meteora.observability.histogram import DISK_SECONDS, Histogram

LATE = SLOW_DISK_SECONDS + 0.1


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "meteora.node")
    return caplog


def test_a_quick_write_is_not_worth_a_line(log: pytest.LogCaptureFixture) -> None:
    write = LogWrite(Histogram(DISK_SECONDS))
    write.begin(10.0)
    assert write.slow_seconds(10.0 + SLOW_DISK_SECONDS) == 0.0
    write.end(10.0 + SLOW_DISK_SECONDS)
    assert (log.records, write.is_under_way) == ([], False)


def test_a_write_that_does_not_end_is_told_of_once(log: pytest.LogCaptureFixture) -> None:
    write = LogWrite(Histogram(DISK_SECONDS))
    write.begin(10.0)
    assert [write.slow_seconds(10.0 + LATE + more) for more in (0.0, 1.0)] == [
        pytest.approx(LATE),
        pytest.approx(LATE + 1.0),
    ]
    assert [record.levelname for record in log.records] == ["WARNING"]


def test_the_end_of_a_slow_write_is_a_warning_only_if_it_was_not_told_of(log: pytest.LogCaptureFixture) -> None:
    write = LogWrite(Histogram(DISK_SECONDS))
    write.begin(10.0)
    write.end(10.0 + LATE)
    write.begin(20.0)
    write.slow_seconds(20.0 + LATE)
    write.end(20.0 + LATE)
    assert [record.levelname for record in log.records] == ["WARNING", "WARNING", "INFO"]


def test_no_write_is_never_slow() -> None:
    write = LogWrite(Histogram(DISK_SECONDS))
    write.begin(10.0)
    write.end(10.1)
    assert write.slow_seconds(100.0) == 0.0


def test_each_write_is_counted_by_how_long_it_took() -> None:
    seconds = Histogram(DISK_SECONDS)
    write = LogWrite(seconds)
    for _ in range(3):
        write.begin(0.0)
        write.end(0.0)
    assert sum(seconds.counts) == 3
