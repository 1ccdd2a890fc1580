"""Applied once, or not at all, and never said otherwise."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meteora.errors import Corruption
from meteora.kv.command import Command, Operation
from meteora.kv.sessions import MAX_WINDOW, Outcome, Session, Sessions, decode_session

APPLIED, DUPLICATE, EXPIRED = Outcome.APPLIED, Outcome.DUPLICATE, Outcome.EXPIRED


def command(sequence: int, first_outstanding: int = 1, retry: bool = False, client_id: int = 7) -> Command:
    return Command(Operation.PUT, client_id, sequence, first_outstanding, retry, b"key", b"value")


def judge_all(sessions: Sessions, several: Iterable[Command]) -> list[Outcome]:
    return [sessions.judge(each) for each in several]


def outcomes(*several: tuple[int, int]) -> list[Outcome]:
    """Of (sequence, first outstanding) pairs, each a retry, by a client without a session."""
    return judge_all(Sessions(), [command(*each, retry=True) for each in several])


# One session


def test_a_write_is_applied_once() -> None:
    assert outcomes((1, 1), (1, 1), (1, 1)) == [APPLIED, DUPLICATE, DUPLICATE]


def test_writes_are_applied_in_whatever_order_they_come() -> None:
    assert outcomes((3, 1), (1, 1), (2, 1), (5, 1), (4, 1)) == [APPLIED] * 5


def test_a_write_that_came_out_of_order_is_applied_once() -> None:
    assert outcomes((3, 1), (3, 1), (1, 1), (3, 1), (2, 1), (3, 1)) == [
        APPLIED,
        DUPLICATE,
        APPLIED,
        DUPLICATE,
        APPLIED,
        DUPLICATE,
    ]


def test_a_write_that_its_client_gave_up_is_expired_whether_it_was_applied_or_not() -> None:
    assert outcomes((1, 1), (5, 4), (1, 1), (2, 1), (3, 3)) == [APPLIED, APPLIED, EXPIRED, EXPIRED, EXPIRED]


def test_a_write_below_the_first_outstanding_of_its_own_is_expired() -> None:
    assert outcomes((3, 4), (4, 4)) == [EXPIRED, APPLIED]


def test_what_is_not_given_up_yet_is_still_told_apart() -> None:
    assert outcomes((1, 1), (3, 1), (9, 3), (3, 3), (4, 3)) == [APPLIED, APPLIED, APPLIED, DUPLICATE, APPLIED]


def test_an_older_first_outstanding_brings_nothing_back() -> None:
    assert outcomes((9, 9), (10, 1), (5, 1)) == [APPLIED, APPLIED, EXPIRED]


def test_sequence_zero_is_never_applied() -> None:
    assert outcomes((0, 0), (0, 0), (1, 0)) == [EXPIRED, EXPIRED, APPLIED]


def test_the_window_reaches_back_its_length() -> None:
    newest = 2 + MAX_WINDOW - 1
    assert outcomes((1, 1), (newest, 1), (2, 1), (2, 1)) == [APPLIED, APPLIED, APPLIED, DUPLICATE]


def test_what_falls_out_of_the_window_is_expired_whether_it_was_applied_or_not() -> None:
    newest = 3 + MAX_WINDOW
    assert outcomes((1, 1), (3, 1), (newest, 1), (1, 1), (2, 1), (3, 1)) == [APPLIED] * 3 + [EXPIRED] * 3


def test_what_is_above_the_window_stays_known() -> None:
    newest = 3 + MAX_WINDOW
    assert outcomes((4, 1), (5, 1), (newest, 1), (4, 1), (6, 1), (newest, 1)) == [
        APPLIED,
        APPLIED,
        APPLIED,
        DUPLICATE,
        APPLIED,
        DUPLICATE,
    ]


@pytest.mark.parametrize("last", [1 << 40, (1 << 64) - 1])
def test_a_leap_costs_no_memory(last: int) -> None:
    session = Session(1, 0, 0, 0, 0)
    assert [session.judge(sequence, 1, False) for sequence in (1, last, last, 2)] == [
        APPLIED,
        APPLIED,
        DUPLICATE,
        EXPIRED,
    ]
    assert session.above.bit_length() <= MAX_WINDOW
    assert decode_session(session.encode()).judge(last, last, True) is DUPLICATE


def test_a_client_that_works_in_order_leaves_nothing_to_remember_but_a_number() -> None:
    session = Session(1, 0, 0, 0, 0)
    for sequence in range(1, 1000):
        session.judge(sequence, 1, False)
    assert (session.known_from, session.done_through, session.above) == (1, 999, 0)


# Many sessions


def test_clients_do_not_know_of_one_another() -> None:
    sessions = Sessions()
    assert judge_all(sessions, [command(1, client_id=1), command(1, client_id=2), command(1, client_id=1)]) == [
        APPLIED,
        APPLIED,
        DUPLICATE,
    ]


def full(max_sessions: int = 3) -> Sessions:
    """Clients 1 to `max_sessions`, used in this order."""
    sessions = Sessions(max_sessions=max_sessions)
    judge_all(sessions, [command(1, client_id=client_id) for client_id in range(1, max_sessions + 1)])
    return sessions


def test_a_retry_by_a_new_client_is_applied_while_no_session_was_ever_dropped() -> None:
    assert full().judge(command(2, retry=True, client_id=3)) is APPLIED


def test_the_least_recently_used_session_is_dropped() -> None:
    sessions = full()
    sessions.judge(command(1, retry=True, client_id=1))
    sessions.judge(command(1, client_id=4))
    assert [sessions.judge(command(1, retry=True, client_id=client_id)) for client_id in (1, 2, 3, 4)] == [
        DUPLICATE,
        EXPIRED,
        DUPLICATE,
        DUPLICATE,
    ]


def test_a_retry_by_a_client_without_a_session_is_expired_once_any_was_dropped() -> None:
    sessions = full()
    sessions.judge(command(1, client_id=4))
    assert sessions.judge(command(1, retry=True, client_id=99)) is EXPIRED


def test_an_expired_retry_makes_no_session() -> None:
    sessions = full()
    sessions.judge(command(1, client_id=4))
    sessions.take_changes()
    sessions.judge(command(1, retry=True, client_id=99))
    assert sessions.take_changes() == ([], [], True)


def test_a_new_client_is_served_after_sessions_were_dropped() -> None:
    sessions = full()
    assert judge_all(
        sessions, [command(2, client_id=4), command(1, client_id=4), command(1, retry=True, client_id=4)]
    ) == [APPLIED, APPLIED, DUPLICATE]


def test_a_client_that_comes_back_has_its_new_writes_applied_and_its_old_ones_expired() -> None:
    sessions = full()
    judge_all(sessions, [command(sequence, client_id=1) for sequence in (2, 3)])
    judge_all(sessions, [command(1, client_id=client_id) for client_id in (4, 5, 6)])
    assert judge_all(
        sessions,
        [
            command(3, retry=True, client_id=1),
            command(5, 2, client_id=1),
            command(3, 2, retry=True, client_id=1),
            command(4, 2, retry=True, client_id=1),
            command(5, 2, retry=True, client_id=1),
            command(6, 2, retry=True, client_id=1),
        ],
    ) == [EXPIRED, APPLIED, EXPIRED, EXPIRED, DUPLICATE, APPLIED]


# On disk


def stored(sessions: Sessions, records: dict[int, bytes]) -> bool:
    """Write the changes as the state machine does; whether any session was ever dropped."""
    changes = sessions.take_changes()
    for client_id in changes.dropped:
        records.pop(client_id, None)
    records.update(changes.records)
    return changes.ever_dropped


def test_changes_are_told_once() -> None:
    sessions = full()
    sessions.take_changes()
    assert sessions.take_changes() == ([], [], False)


def test_a_session_that_was_used_often_is_written_once() -> None:
    sessions = Sessions()
    judge_all(sessions, [command(sequence) for sequence in range(1, 50)])
    assert [client_id for client_id, _ in sessions.take_changes().records] == [7]


def test_a_session_that_is_dropped_and_begun_again_between_two_writes_is_there() -> None:
    sessions, records = full(max_sessions=1), dict[int, bytes]()
    judge_all(sessions, [command(1, client_id=2), command(2, client_id=1)])
    stored(sessions, records)
    assert list(records) == [1]


def test_sessions_that_are_loaded_go_on_as_if_nothing_had_been() -> None:
    sessions, records = full(), dict[int, bytes]()
    sessions.judge(command(2, client_id=1))
    ever_dropped = stored(sessions, records)
    pairs = [(client_id, decode_session(record)) for client_id, record in sorted(records.items(), reverse=True)]
    loaded = Sessions(pairs, ever_dropped=ever_dropped, max_sessions=3)
    judge_all(loaded, [command(1, client_id=4)])
    assert [loaded.judge(command(1, retry=True, client_id=client_id)) for client_id in (1, 2, 3)] == [
        DUPLICATE,
        EXPIRED,
        DUPLICATE,
    ]


@pytest.mark.parametrize("record", [b"", b"\x01", b"\x02" + bytes(32)], ids=["empty", "short", "another version"])
def test_a_record_that_cannot_be_is_corruption(record: bytes) -> None:
    with pytest.raises(Corruption):
        decode_session(record)


# Against an oracle that forgets nothing

client_ids = st.integers(1, 4)
sequences = st.one_of(st.integers(0, 12), st.integers(MAX_WINDOW - 3, MAX_WINDOW + 12))
arrivals = st.lists(st.tuples(client_ids, sequences, st.integers(0, 12), st.booleans()), max_size=60)


@settings(max_examples=500)
@given(arrivals)
def test_nothing_is_applied_twice_and_nothing_is_called_applied_that_was_not(
    commands: list[tuple[int, int, int, bool]],
) -> None:
    """Whatever clients do, as long as no session is dropped."""
    sessions, applied = Sessions(), set[tuple[int, int]]()
    for client_id, sequence, first_outstanding, retry in commands:
        outcome = sessions.judge(command(sequence, first_outstanding, retry, client_id))
        assert outcome is not APPLIED or (client_id, sequence) not in applied
        assert outcome is not DUPLICATE or (client_id, sequence) in applied
        if outcome is APPLIED:
            applied.add((client_id, sequence))


@settings(max_examples=500)
@given(arrivals)
def test_what_a_client_may_still_send_again_never_expires_within_the_window(
    commands: list[tuple[int, int, int, bool]],
) -> None:
    sessions = Sessions()
    given_up: dict[int, int] = {}
    for client_id, sequence, first_outstanding, retry in commands:
        sequence = sequence % 13  # noqa: PLW2901 - all within the window
        given_up[client_id] = max(given_up.get(client_id, 1), first_outstanding)
        outcome = sessions.judge(command(sequence, first_outstanding, retry, client_id))
        assert (outcome is EXPIRED) == (sequence < given_up[client_id])


class HonestClient:
    """Sends its writes in order, the first time unmarked; again marked as retries, any that it has not given up."""

    def __init__(self, client_id: int) -> None:
        self.client_id = client_id
        self.next_sequence = 1
        self.first_outstanding = 1

    def send(self, back: int, give_up: int) -> Command:
        """The next write if `back` is 0; else one of those that are outstanding, again."""
        self.first_outstanding = min(self.next_sequence, self.first_outstanding + give_up)
        outstanding = self.next_sequence - self.first_outstanding
        if back == 0 or outstanding == 0:
            sequence = self.next_sequence
            self.next_sequence += 1
            return command(sequence, self.first_outstanding, False, self.client_id)
        return command(self.next_sequence - min(back, outstanding), self.first_outstanding, True, self.client_id)


@settings(max_examples=500)
@given(
    sendings=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2)), max_size=80),
    max_sessions=st.integers(1, 4),
    reload_every=st.integers(1, 20),
)
def test_honest_clients_are_served_once_though_sessions_are_dropped_and_loaded(
    sendings: list[tuple[int, int, int]], max_sessions: int, reload_every: int
) -> None:
    clients = [HonestClient(client_id) for client_id in range(1, 7)]
    sessions = Sessions(max_sessions=max_sessions)
    unbroken = Sessions(max_sessions=max_sessions)
    records: dict[int, bytes] = {}
    applied = set[tuple[int, int]]()
    for count, (number, back, give_up) in enumerate(sendings):
        sent = clients[number].send(back, give_up)
        outcome = sessions.judge(sent)
        key = (sent.client_id, sent.sequence)
        assert outcome is unbroken.judge(sent), "a restart must make no difference"
        assert outcome is not APPLIED or key not in applied
        assert outcome is not DUPLICATE or key in applied
        assert sent.retry or outcome is APPLIED
        if outcome is APPLIED:
            applied.add(key)
        if count % reload_every == 0:
            ever_dropped = stored(sessions, records)
            pairs = [(client_id, decode_session(record)) for client_id, record in records.items()]
            sessions = Sessions(pairs, ever_dropped=ever_dropped, max_sessions=max_sessions)
        assert len(sessions._sessions) <= max_sessions
