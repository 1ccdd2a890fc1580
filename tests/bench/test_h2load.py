import pytest

from bench import h2load
from bench.h2load import LoadFailed, Shape, Tally

OUTPUT = """\
Main benchmark duration is over for thread #0. Stopping all clients.

finished in 3.01s, 8855.50 req/s, 567.70KB/s
requests: 17711 total, 17711 started, 17711 done, 17709 succeeded, 2 failed, 0 errored, 0 timeout
status codes: 17711 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 1.11MB (1162644) total, 45.71KB (46802) headers (space savings 94.73%), 746.35KB (764267) data
                     min         max         mean         sd        +/- sd
time for request:     3.48ms    106.96ms     28.87ms     14.47ms    73.77%
"""


def test_the_time_is_the_measured_one_without_the_warm_up() -> None:
    assert h2load.parse_output(OUTPUT).seconds == pytest.approx(2.0, abs=0.001)


def test_what_succeeded_what_failed_and_the_bytes_of_messages_are_read() -> None:
    tally = h2load.parse_output(OUTPUT)
    assert (tally.succeeded, tally.failed, tally.message_bytes) == (17709, 2, 764267)


@pytest.mark.parametrize("output", ["", OUTPUT.replace("finished", "stopped"), OUTPUT.replace("8855.50", "0.00")])
def test_an_output_without_an_answered_request_is_an_error(output: str) -> None:
    with pytest.raises(LoadFailed):
        h2load.parse_output(output)


def test_requests_that_were_answered_by_a_status_alone_are_missed() -> None:
    tally = Tally(seconds=1.0, succeeded=100, failed=0, message_bytes=50 * (20 + 5))
    assert h2load.answered_share(tally, least_reply_bytes=20) == 0.5


def test_latencies_come_in_milliseconds_and_in_ascending_order() -> None:
    log = h2load.parse_log(["1000000\t200\t3000\n", "1000010\t200\t1500\n"])
    assert log.latencies_ms == [1.5, 3.0]


def test_a_request_that_failed_has_no_latency() -> None:
    log = h2load.parse_log(["1000000\t200\t3000\n", "1000000\t-1\t10\n"])
    assert (log.latencies_ms, log.failed) == ([3.0], 1)


def test_requests_are_counted_in_the_second_in_which_they_ended() -> None:
    ends_seconds = [0.0, 0.5, 0.98, 2.1, 2.2, 3.0]
    log = h2load.parse_log(f"{1_000_000 + round(end * 1e6)}\t200\t0\n" for end in ends_seconds)
    assert log.requests_in_second == (3, 0, 2)


def test_an_empty_log_has_no_seconds() -> None:
    assert h2load.parse_log([]).requests_in_second == ()


def test_a_rate_is_shared_by_the_connections() -> None:
    line = h2load.command("http://h", "body", Shape(connections=8, streams=32, requests_per_second=1000), "log")
    assert line[line.index("--rps") + 1] == "125.0"


def test_without_a_rate_the_load_is_as_fast_as_answers_come() -> None:
    assert "--rps" not in h2load.command("http://h", "body", Shape(connections=8, streams=32), "log")
