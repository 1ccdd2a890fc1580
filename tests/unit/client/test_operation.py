"""The policy of retries, on a clock and with chances that the tests set."""

from collections.abc import Callable

import pytest

from meteora.client.fate import Failure, Fate
from meteora.client.methods import GET, NODE_STATUS, PUT, SERIALIZABLE_GET
from meteora.client.operation import MAX_PAUSE_SECONDS, MIN_ATTEMPT_SECONDS, Attempt, Operation, pause_seconds
from meteora.client.routing import Routes
from meteora.errors import ChangeRefused, InvalidRequest, NotApplied, OutcomeUnknown, Overloaded, RequestError
from meteora.pb import common_pb2, kv_pb2
from tests.unit.client.remote import node_status

SEEDS = ("a:1", "b:1", "c:1")
MEMBERS = {1: "a:1", 2: "b:1", 3: "c:1"}

UNSERVED = Failure(Fate.UNSERVED, "refused")
NOT_APPLIED = Failure(Fate.NOT_APPLIED, "no leader")
OVERLOADED = Failure(Fate.OVERLOADED, "full")
UNKNOWN = Failure(Fate.UNKNOWN, "lost")
INVALID = Failure(Fate.REFUSED, "too long", InvalidRequest)


def routes(*seeds: str, answering: bool = True) -> Routes:
    made = Routes(seeds or SEEDS)
    if answering:
        for seed in reversed(seeds or SEEDS):
            made.learn(seed, {}, 0)
    return made


def put(known: Routes, timeout_seconds: float = 5.0) -> Operation:
    return Operation(PUT, known, timeout_seconds, 0.0, lambda: 1.0)


def get(known: Routes, timeout_seconds: float = 5.0) -> Operation:
    return Operation(GET, known, timeout_seconds, 0.0, lambda: 1.0)


def serializable_get(known: Routes) -> Operation:
    return Operation(SERIALIZABLE_GET, known, 5.0, 0.0, lambda: 1.0)


def status(known: Routes) -> Operation:
    return Operation(NODE_STATUS, known, 5.0, 0.0, lambda: 1.0)


def fail(operation: Operation, failure: Failure, now_seconds: float = 0.0) -> Attempt:
    """Makes the next attempt fail."""
    attempt = operation.next_attempt(now_seconds)
    operation.failed(attempt, failure, now_seconds)
    return attempt


def final_error(operation: Operation) -> RequestError:
    with pytest.raises(RequestError) as caught:
        operation.next_attempt(1_000.0)
    return caught.value


# Whom to ask, and when.


def test_each_endpoint_is_asked_once_a_round() -> None:
    operation = get(routes())
    assert [fail(operation, UNSERVED).endpoint for _ in range(6)] == ["a:1", "b:1", "c:1"] * 2


def test_there_is_a_pause_between_rounds_and_none_within() -> None:
    operation = get(routes())
    pauses = [fail(operation, UNSERVED).pause_seconds for _ in range(6)]
    assert [pause > 0 for pause in pauses] == [False, False, False, True, False, False]


def test_there_is_a_pause_after_an_overloaded_node() -> None:
    operation = put(routes())
    fail(operation, OVERLOADED)
    assert operation.next_attempt(0.0).pause_seconds > 0


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_pauses_double_up_to_a_limit_and_spread_over_their_upper_half(chance: float) -> None:
    pauses = [pause_seconds(earlier, chance) for earlier in range(100)]
    assert pauses == sorted(pauses)
    assert pauses[1] == 2 * pauses[0]
    assert pauses[-1] == MAX_PAUSE_SECONDS * (0.5 + chance / 2)


def test_an_attempt_gets_an_equal_share_of_what_is_left() -> None:
    operation = get(routes(), timeout_seconds=6.0)
    shares = [fail(operation, UNKNOWN, now_seconds).timeout_seconds for now_seconds in (0.0, 2.0, 4.0)]
    assert shares == [2.0, 2.0, 2.0]


def test_what_a_fast_failure_leaves_goes_to_the_others() -> None:
    operation = get(routes(), timeout_seconds=6.0)
    fail(operation, UNSERVED)
    assert operation.next_attempt(0.0).timeout_seconds == 3.0


def test_a_lone_endpoint_gets_all_the_time() -> None:
    assert get(routes("a:1")).next_attempt(0.0).timeout_seconds == 5.0


def test_no_share_is_too_short_to_be_answered_in() -> None:
    assert get(routes(), timeout_seconds=0.15).next_attempt(0.0).timeout_seconds == MIN_ATTEMPT_SECONDS


def test_no_attempt_goes_beyond_the_deadline() -> None:
    operation = get(routes(), timeout_seconds=1.0)
    fail(operation, UNKNOWN)
    attempt = operation.next_attempt(0.8)
    assert attempt.pause_seconds + attempt.timeout_seconds < 0.2 + 1e-9


def test_a_pause_counts_against_the_deadline() -> None:
    operation = get(routes("a:1"), timeout_seconds=1.0)
    fail(operation, UNSERVED)
    attempt = operation.next_attempt(0.5)
    assert attempt.pause_seconds + attempt.timeout_seconds == pytest.approx(0.5)


def test_no_attempt_begins_that_could_not_be_answered_in_time() -> None:
    operation = get(routes(), timeout_seconds=1.0)
    fail(operation, UNSERVED)
    with pytest.raises(NotApplied):
        operation.next_attempt(1.0 - MIN_ATTEMPT_SECONDS / 2)


def test_the_first_attempt_is_made_however_short_the_time() -> None:
    assert get(routes(), timeout_seconds=0.001).next_attempt(0.0).timeout_seconds == 0.001


# What replies teach.


def test_a_node_that_does_not_lead_sends_to_the_leader_at_once() -> None:
    operation = get(routes())
    attempt = operation.next_attempt(0.0)
    reply = kv_pb2.GetReply(state=common_pb2.WRONG_LEADER, leader_id=3)
    for node_id, kv_address in MEMBERS.items():
        reply.address_map[node_id].kv_address = kv_address
    assert not operation.is_answered(attempt, reply, 0.0)
    assert operation.next_attempt(0.0)[:2] == ("c:1", 0.0)


def test_nodes_that_send_to_one_another_end_in_a_pause() -> None:
    operation = get(routes("a:1", "b:1"))
    for leader_id in (2, 1):
        reply = kv_pb2.GetReply(state=common_pb2.WRONG_LEADER, leader_id=leader_id)
        reply.address_map[1].kv_address = "a:1"
        reply.address_map[2].kv_address = "b:1"
        assert not operation.is_answered(operation.next_attempt(0.0), reply, 0.0)
    assert operation.next_attempt(0.0).pause_seconds > 0


@pytest.mark.parametrize("state", [common_pb2.OK, common_pb2.NOT_FOUND])
def test_a_served_request_is_answered(state: common_pb2.State) -> None:
    operation = get(routes())
    assert operation.is_answered(operation.next_attempt(0.0), kv_pb2.GetReply(state=state), 0.0)


@pytest.mark.parametrize("failure", [UNSERVED, UNKNOWN])
def test_an_endpoint_that_did_not_answer_is_asked_last_by_later_requests(failure: Failure) -> None:
    known = routes()
    fail(get(known), failure)
    assert known.order(0.0) == ["b:1", "c:1", "a:1"]


@pytest.mark.parametrize("failure", [NOT_APPLIED, OVERLOADED])
def test_an_endpoint_that_answered_with_an_error_keeps_its_place(failure: Failure) -> None:
    known = routes()
    fail(get(known), failure)
    assert known.order(0.0) == ["a:1", "b:1", "c:1"]


# Probes.


def test_a_write_is_not_sent_to_an_endpoint_that_is_not_known_to_answer() -> None:
    assert put(routes(answering=False)).next_attempt(0.0).is_probe


def test_a_read_is_sent_without_a_probe() -> None:
    assert not get(routes(answering=False)).next_attempt(0.0).is_probe


def test_a_write_follows_a_probe_that_was_answered() -> None:
    operation = put(routes(answering=False))
    operation.probed(operation.next_attempt(0.0), node_status(1, 0, MEMBERS), 0.0)
    attempt = operation.next_attempt(0.0)
    assert (attempt.endpoint, attempt.is_probe, attempt.is_retry) == ("a:1", False, False)


def test_a_probe_already_finds_the_leader() -> None:
    operation = put(routes(answering=False))
    operation.probed(operation.next_attempt(0.0), node_status(1, 3, MEMBERS), 0.0)
    attempt = operation.next_attempt(0.0)
    assert (attempt.endpoint, attempt.is_probe) == ("c:1", True)


def test_a_probe_that_fails_leaves_nothing_in_doubt() -> None:
    operation = put(routes("a:1", answering=False))
    operation.probed(operation.next_attempt(0.0), UNKNOWN, 0.0)
    assert not operation.next_attempt(0.0).is_retry
    assert isinstance(final_error(operation), NotApplied)


def test_a_probe_that_fails_sends_the_write_elsewhere() -> None:
    operation = put(routes(answering=False))
    operation.probed(operation.next_attempt(0.0), UNKNOWN, 0.0)
    assert operation.next_attempt(0.0).endpoint == "b:1"


def test_slow_probes_end_at_the_deadline() -> None:
    operation = put(routes(answering=False), timeout_seconds=1.0)
    operation.probed(operation.next_attempt(0.0), node_status(1, 0, MEMBERS), 0.99)
    with pytest.raises(NotApplied):
        operation.next_attempt(0.99)


# What is known in the end.


@pytest.mark.parametrize(
    ("failures", "error"),
    [
        ([UNSERVED], NotApplied),
        ([NOT_APPLIED], NotApplied),
        ([OVERLOADED], Overloaded),
        ([NOT_APPLIED, OVERLOADED], Overloaded),
        ([OVERLOADED, NOT_APPLIED], NotApplied),
        ([OVERLOADED, UNSERVED], Overloaded),
        ([UNKNOWN], OutcomeUnknown),
        ([UNKNOWN, NOT_APPLIED], OutcomeUnknown),
        ([UNKNOWN, OVERLOADED], OutcomeUnknown),
        ([UNKNOWN, UNSERVED, NOT_APPLIED], OutcomeUnknown),
        ([NOT_APPLIED, UNKNOWN], OutcomeUnknown),
    ],
)
def test_a_write_that_was_once_in_doubt_stays_in_doubt(failures: list[Failure], error: type[RequestError]) -> None:
    operation = put(routes())
    for failure in failures:
        fail(operation, failure)
    assert type(final_error(operation)) is error


@pytest.mark.parametrize("failure", [UNSERVED, NOT_APPLIED, UNKNOWN])
def test_a_read_is_never_in_doubt(failure: Failure) -> None:
    operation = get(routes())
    fail(operation, failure)
    assert type(final_error(operation)) is NotApplied


@pytest.mark.parametrize(
    ("failure", "is_retry"), [(UNSERVED, False), (NOT_APPLIED, False), (OVERLOADED, False), (UNKNOWN, True)]
)
def test_a_write_says_that_it_is_a_retry_if_it_may_have_been_applied(failure: Failure, is_retry: bool) -> None:
    operation = put(routes())
    fail(operation, failure)
    assert operation.next_attempt(0.0).is_retry is is_retry


@pytest.mark.parametrize(
    "refusal", [INVALID, Failure(Fate.REFUSED, "no", ChangeRefused)], ids=lambda refusal: refusal.error.__name__
)
def test_a_refusal_is_final(refusal: Failure) -> None:
    operation = put(routes())
    with pytest.raises(refusal.error, match=refusal.reason):
        operation.failed(operation.next_attempt(0.0), refusal, 0.0)


def test_a_refusal_does_not_end_the_doubt_that_an_earlier_attempt_left() -> None:
    operation = put(routes())
    fail(operation, UNKNOWN)
    with pytest.raises(OutcomeUnknown, match="too long"):
        operation.failed(operation.next_attempt(0.0), INVALID, 0.0)


MAJORITY = "check that a majority of the nodes runs and can be reached, then try again"


@pytest.mark.parametrize(
    ("start", "failure", "advice"),
    [
        (put, NOT_APPLIED, f"Nothing was done; {MAJORITY}"),
        (put, OVERLOADED, "Nothing was done; try again later"),
        (get, NOT_APPLIED, MAJORITY.capitalize()),
        (get, OVERLOADED, "Try again later"),
        (serializable_get, UNSERVED, "Check that a node runs there and can be reached, then try again"),
        (status, UNSERVED, "Check that a node runs there and can be reached, then try again"),
    ],
)
def test_the_final_error_ends_with_what_to_do(
    start: Callable[[Routes], Operation], failure: Failure, advice: str
) -> None:
    operation = start(routes())
    fail(operation, failure)
    assert str(final_error(operation)).endswith(f"). {advice}")


def test_the_final_error_names_every_endpoint_with_its_last_reason() -> None:
    operation = get(routes("a:1", "b:1"))
    for failure in (UNSERVED, UNSERVED, NOT_APPLIED):
        fail(operation, failure)
    message = str(final_error(operation))
    assert "within 5 s (a:1: no leader; b:1: refused)" in message
