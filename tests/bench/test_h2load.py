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


def test_what_succeeded_what_failed_and_the_bytes_of_messages_are_read() -> None:
    tally = h2load.parse_output(OUTPUT)
    assert (tally.succeeded, tally.failed, tally.message_bytes) == (17709, 2, 764267)


@pytest.mark.parametrize("output", ["", OUTPUT.replace("traffic", ""), OUTPUT.replace("17711 done", "0 done")])
def test_an_output_without_an_answered_request_is_an_error(output: str) -> None:
    with pytest.raises(LoadFailed):
        h2load.parse_output(output)


def test_requests_that_were_answered_by_a_status_alone_are_missed() -> None:
    tally = Tally(succeeded=100, failed=0, message_bytes=50 * (20 + 5))
    assert h2load.answered_share(tally, least_reply_bytes=20) == 0.5


def lines(*requests: tuple[float, float], status: int = 200) -> list[str]:
    """Of requests by their start and end, in seconds."""
    return [f"{1_000_000 + round(start * 1e6)}\t{status}\t{round((end - start) * 1e6)}\n" for start, end in requests]


def test_latencies_come_in_milliseconds_and_in_ascending_order() -> None:
    assert h2load.parse_log(lines((0, 0.003), (0, 0.0015))).latencies_ms == [1.5, 3.0]


def test_a_request_that_failed_has_no_latency() -> None:
    assert h2load.parse_log(lines((0, 0.003)) + lines((0, 0.001), status=-1)).latencies_ms == [3.0]


def test_what_was_answered_before_or_after_the_measured_time_does_not_count() -> None:
    log = h2load.parse_log(lines((0, 0.5), (0.5, 1.5), (1.5, 2.5), (2.5, 3.5)), warm_up_seconds=1, seconds=2)
    assert (log.seconds, log.requests_per_second) == (2.0, 1.0)


def test_a_pause_at_the_end_counts_as_time() -> None:
    assert h2load.parse_log(lines((0, 0.5)), seconds=10).requests_per_second == 0.1


def test_requests_are_counted_in_the_second_in_which_they_were_answered() -> None:
    answered = [(0, 1.0), (0, 1.5), (0, 1.98), (0, 3.1), (0, 3.2), (0, 4.0)]
    assert h2load.parse_log(lines(*answered), warm_up_seconds=1, seconds=3).requests_in_second == (3, 0, 2)


@pytest.mark.parametrize("log", [[], lines((0, 1), status=-1), lines((0, 0.5))])
def test_a_measured_time_without_an_answer_is_an_error(log: list[str]) -> None:
    with pytest.raises(LoadFailed):
        h2load.parse_log(log, warm_up_seconds=1, seconds=1)


def test_a_rate_is_shared_by_the_connections() -> None:
    line = h2load.command("http://h", "body", Shape(connections=8, streams=32, requests_per_second=1000), "log")
    assert line[line.index("--rps") + 1] == "125.0"


def test_without_a_rate_the_load_is_as_fast_as_answers_come() -> None:
    assert "--rps" not in h2load.command("http://h", "body", Shape(connections=8, streams=32), "log")
