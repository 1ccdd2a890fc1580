import asyncio
from collections.abc import Callable

import pytest

from meteora.errors import NO_ROOM, NoRoom, NotApplied, OutcomeUnknown, Overloaded
from meteora.kv.command import COMMAND_OVERHEAD_BYTES, Command, Operation
from meteora.kv.sessions import Outcome
from meteora.kv.state_machine import Applied
from meteora.node import writes as module
from meteora.node.writes import MAX_BATCH_BYTES, MAX_PENDING_BYTES, MAX_PENDING_WRITES, PendingWrites

SESSION, CLIENT, DEADLINE = 77, 55, 100.0


def with_writes(story: Callable[[PendingWrites], None]) -> None:
    async def run() -> None:
        story(PendingWrites(asyncio.get_running_loop(), SESSION))

    asyncio.run(run())


def put(sequence: int, value: bytes = b"v", *, retry: bool = False) -> Command:
    return Command(Operation.PUT, CLIENT, sequence, 1, retry, b"k", value)


def batch(writes: PendingWrites, now: float = 1.0) -> list[Command]:
    return writes.take_batch(now)


def applied(*sequences: int, client_id: int = CLIENT, outcome: Outcome = Outcome.APPLIED) -> list[Applied]:
    return [Applied(client_id, sequence, outcome) for sequence in sequences]


# What is handed on


def test_everything_that_waits_is_handed_on_together_in_its_order() -> None:
    def story(writes: PendingWrites) -> None:
        for sequence in (1, 2, 3):
            writes.add(put(sequence), DEADLINE)
        assert batch(writes) == [put(1), put(2), put(3)]
        assert not writes.has_queued

    with_writes(story)


def test_a_write_is_handed_on_once() -> None:
    def story(writes: PendingWrites) -> None:
        writes.add(put(1), DEADLINE)
        writes.take_batch(1.0)
        assert writes.take_batch(1.0) == []

    with_writes(story)


def test_a_batch_is_bounded_in_bytes_and_the_rest_waits_for_the_next_one() -> None:
    def story(writes: PendingWrites) -> None:
        for sequence in (1, 2, 3):
            writes.add(put(sequence, bytes(MAX_BATCH_BYTES * 2 // 5)), DEADLINE)
        assert [[each.sequence for each in batch(writes)] for _ in range(2)] == [[1, 2], [3]]

    with_writes(story)


def test_a_write_that_is_longer_than_a_batch_goes_alone() -> None:
    def story(writes: PendingWrites) -> None:
        writes.add(put(1, bytes(2 * MAX_BATCH_BYTES)), DEADLINE)
        writes.add(put(2), DEADLINE)
        assert [len(writes.take_batch(1.0)) for _ in range(3)] == [1, 1, 0]

    with_writes(story)


def test_what_was_handed_on_and_not_applied_is_handed_on_again_as_a_retry() -> None:
    def story(writes: PendingWrites) -> None:
        writes.add(put(1), DEADLINE)
        writes.take_batch(now=1.0)
        writes.hand_on_again(not_since=1.0)
        assert batch(writes) == [put(1, retry=True)]

    with_writes(story)


def test_what_was_handed_on_lately_is_not_handed_on_again() -> None:
    def story(writes: PendingWrites) -> None:
        writes.add(put(1), DEADLINE)
        writes.take_batch(now=1.0)
        writes.hand_on_again(not_since=0.9)
        assert not writes.has_queued

    with_writes(story)


def test_what_was_never_handed_on_is_no_retry() -> None:
    def story(writes: PendingWrites) -> None:
        writes.add(put(1), DEADLINE)
        writes.hand_on_again(not_since=5.0)
        assert batch(writes) == [put(1)]

    with_writes(story)


def test_what_waits_to_be_handed_on_again_is_queued_once() -> None:
    def story(writes: PendingWrites) -> None:
        writes.add(put(1), DEADLINE)
        writes.take_batch(now=1.0)
        writes.hand_on_again(not_since=1.0)
        writes.hand_on_again(not_since=1.0)
        assert len(batch(writes)) == 1

    with_writes(story)


# Request ids


def test_the_same_request_waits_for_the_same_answer() -> None:
    def story(writes: PendingWrites) -> None:
        waiting = [writes.add(put(1), DEADLINE), writes.add(put(1, retry=True), DEADLINE)]
        assert len(batch(writes)) == 1
        writes.applied(applied(1))
        assert [each.result() for each in waiting] == [None, None]

    with_writes(story)


def test_the_same_request_waits_as_long_as_its_most_patient_caller() -> None:
    def story(writes: PendingWrites) -> None:
        result = writes.add(put(1), DEADLINE + 5)
        writes.add(put(1, retry=True), DEADLINE)
        writes.expire(DEADLINE, "why")
        assert not result.done()
        writes.expire(DEADLINE + 5, "why")
        assert result.done()
        result.exception()

    with_writes(story)


def test_writes_without_a_request_id_get_one_of_this_session() -> None:
    def story(writes: PendingWrites) -> None:
        writes.add_own(Operation.PUT, b"a", b"1", DEADLINE)
        writes.add_own(Operation.DELETE, b"b", b"", DEADLINE)
        assert batch(writes) == [
            Command(Operation.PUT, SESSION, 1, 1, False, b"a", b"1"),
            Command(Operation.DELETE, SESSION, 2, 1, False, b"b", b""),
        ]

    with_writes(story)


def test_writes_of_this_session_say_which_of_them_are_still_outstanding() -> None:
    def story(writes: PendingWrites) -> None:
        for _ in range(3):
            writes.add_own(Operation.DELETE, b"k", b"", DEADLINE)
        writes.applied(applied(1, 3, client_id=SESSION))
        writes.add_own(Operation.DELETE, b"k", b"", DEADLINE)
        assert batch(writes)[-1].first_outstanding == 2

    with_writes(story)


# Answers


def test_a_write_is_answered_when_it_is_applied() -> None:
    def story(writes: PendingWrites) -> None:
        first, second = writes.add(put(1), DEADLINE), writes.add(put(2), DEADLINE)
        writes.take_batch(1.0)
        writes.applied(applied(1))
        assert (first.done(), second.done()) == (True, False)
        assert first.result() is None

    with_writes(story)


def test_a_write_that_had_been_applied_before_is_done() -> None:
    def story(writes: PendingWrites) -> None:
        result = writes.add(put(1), DEADLINE)
        writes.applied(applied(1, outcome=Outcome.DUPLICATE))
        assert result.result() is None

    with_writes(story)


def test_of_a_write_whose_record_is_gone_nobody_knows() -> None:
    def story(writes: PendingWrites) -> None:
        result = writes.add(put(1), DEADLINE)
        writes.applied(applied(1, outcome=Outcome.EXPIRED))
        assert isinstance(error := result.exception(), OutcomeUnknown)
        assert str(error) == (
            "the record of this client's earlier writes is gone, so it can't be told whether this one was applied "
            "before: read the key to find out"
        )

    with_writes(story)


def test_writes_of_other_nodes_are_nobodys_here() -> None:
    def story(writes: PendingWrites) -> None:
        result = writes.add(put(1), DEADLINE)
        writes.applied([*applied(1, client_id=CLIENT + 1), *applied(2), *applied(0, client_id=0)])
        assert not result.done()

    with_writes(story)


def test_a_write_that_was_never_handed_on_was_certainly_not_applied() -> None:
    def story(writes: PendingWrites) -> None:
        result = writes.add(put(1), DEADLINE)
        writes.expire(DEADLINE, "no leader")
        assert isinstance(error := result.exception(), NotApplied)
        assert str(error) == "no leader: the write was not applied, try again"

    with_writes(story)


def test_the_fate_of_a_write_that_was_handed_on_is_unknown() -> None:
    def story(writes: PendingWrites) -> None:
        result = writes.add(put(1), DEADLINE)
        writes.take_batch(1.0)
        writes.expire(DEADLINE, "no answer in time")
        assert isinstance(error := result.exception(), OutcomeUnknown)
        assert str(error) == (
            "no answer in time: the write may have been applied, or may yet be; a retry with its request id is safe"
        )

    with_writes(story)


def test_the_fate_of_a_retry_is_unknown_even_if_it_was_never_handed_on() -> None:
    # Its first sending may have been applied by way of another node.
    def story(writes: PendingWrites) -> None:
        result = writes.add(put(1, retry=True), DEADLINE)
        writes.expire(DEADLINE, "no leader")
        assert isinstance(result.exception(), OutcomeUnknown)

    with_writes(story)


def test_writes_wait_until_their_deadline() -> None:
    def story(writes: PendingWrites) -> None:
        results = [writes.add(put(1), DEADLINE), writes.add_own(Operation.PUT, b"k", b"v", DEADLINE)]
        writes.expire(DEADLINE - 0.1, "why")
        assert not any(result.done() for result in results)

    with_writes(story)


def test_giving_up_answers_before_the_deadline_and_leaves_nothing() -> None:
    def story(writes: PendingWrites) -> None:
        results = [writes.add(put(1), DEADLINE), writes.add_own(Operation.PUT, b"k", b"v", DEADLINE)]
        writes.give_up_all("the node is stopping")
        assert all("the node is stopping" in str(result.exception()) for result in results)
        assert (len(writes), writes.has_queued, writes._bytes, writes._own) == (0, False, 0, {})

    with_writes(story)


def test_a_write_that_nobody_waits_for_any_more_is_dropped() -> None:
    def story(writes: PendingWrites) -> None:
        writes.add_own(Operation.PUT, b"k", b"v", DEADLINE).cancel()
        writes.expire(0.0, "why")
        assert (len(writes), writes.has_queued) == (0, False)

    with_writes(story)


def test_a_write_that_nobody_waits_for_any_more_may_be_applied() -> None:
    def story(writes: PendingWrites) -> None:
        writes.add(put(1), DEADLINE).cancel()
        writes.take_batch(1.0)
        writes.applied(applied(1))
        assert len(writes) == 0

    with_writes(story)


# Bounds


def test_the_number_of_pending_writes_is_bounded_even_if_they_are_handed_on() -> None:
    def story(writes: PendingWrites) -> None:
        for sequence in range(1, MAX_PENDING_WRITES + 1):
            writes.add(put(sequence), DEADLINE)
        writes.take_batch(1.0)
        with pytest.raises(Overloaded, match=f"^{MAX_PENDING_WRITES} writes of .* are pending already"):
            writes.add(put(MAX_PENDING_WRITES + 1), DEADLINE)

    with_writes(story)


def test_the_bytes_of_pending_writes_are_bounded() -> None:
    def story(writes: PendingWrites) -> None:
        overhead_bytes = COMMAND_OVERHEAD_BYTES + len(b"k")
        writes.add(put(1, bytes(MAX_PENDING_BYTES - overhead_bytes)), DEADLINE)
        with pytest.raises(Overloaded, match=f"1 writes of {MAX_PENDING_BYTES} bytes are pending already"):
            writes.add(put(2, b""), DEADLINE)

    with_writes(story)


def test_what_is_answered_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_WRITES", 1)

    def story(writes: PendingWrites) -> None:
        writes.add(put(1), DEADLINE)
        writes.applied(applied(1))
        writes.add(put(2), DEADLINE)
        assert (len(writes), writes._bytes) == (1, COMMAND_OVERHEAD_BYTES + len(b"kv"))

    with_writes(story)


def test_at_the_bound_a_request_that_is_pending_already_may_still_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_WRITES", 1)

    def story(writes: PendingWrites) -> None:
        waiting = [writes.add(put(1), DEADLINE), writes.add(put(1, retry=True), DEADLINE)]
        writes.applied(applied(1))
        assert all(each.done() for each in waiting)

    with_writes(story)


def test_a_write_whose_first_caller_has_gone_is_done_for_the_one_who_asked_again() -> None:
    def story(writes: PendingWrites) -> None:
        first, again = writes.add(put(1), DEADLINE), writes.add(put(1, retry=True), DEADLINE)
        first.cancel()
        assert [command.sequence for command in batch(writes)] == [1]
        writes.applied(applied(1))
        assert again.done()

    with_writes(story)


def test_callers_that_have_asked_again_and_gone_are_forgotten() -> None:
    def story(writes: PendingWrites) -> None:
        writes.add(put(1), DEADLINE)
        for _ in range(100):
            writes.add(put(1, retry=True), DEADLINE).cancel()
        last = writes.add(put(1, retry=True), DEADLINE)
        writes.expire(now=1.0, why="")
        assert writes._others[CLIENT, 1].retries == [last]

    with_writes(story)


def test_a_write_that_nobody_waits_for_any_more_is_forgotten_when_its_turn_comes() -> None:
    def story(writes: PendingWrites) -> None:
        for each in (writes.add(put(1), DEADLINE), writes.add(put(1, retry=True), DEADLINE)):
            each.cancel()
        assert (batch(writes), len(writes), writes._bytes) == ([], 0, 0)

    with_writes(story)


def _answered_before_its_turn(writes: PendingWrites) -> None:
    """Put 1 is applied while it waits to be handed on again."""
    writes.add(put(1), DEADLINE)
    writes.take_batch(now=1.0)
    writes.hand_on_again(not_since=1.0)
    writes.applied(applied(1))


def test_a_write_that_was_answered_before_its_turn_makes_room_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_BYTES", COMMAND_OVERHEAD_BYTES + len(b"kv"))

    def story(writes: PendingWrites) -> None:
        _answered_before_its_turn(writes)
        assert batch(writes) == []
        writes.add(put(2), DEADLINE)
        with pytest.raises(Overloaded):
            writes.add(put(3), DEADLINE)

    with_writes(story)


def test_a_request_that_comes_again_after_its_answer_is_answered_again() -> None:
    def story(writes: PendingWrites) -> None:
        _answered_before_its_turn(writes)
        again = writes.add(put(1, retry=True), DEADLINE)
        assert batch(writes) == [put(1, retry=True)]
        writes.applied(applied(1, outcome=Outcome.DUPLICATE))
        assert again.done()

    with_writes(story)


def test_a_write_that_was_refused_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_WRITES", 0)

    def story(writes: PendingWrites) -> None:
        with pytest.raises(Overloaded):
            writes.add_own(Operation.PUT, b"k", b"v", DEADLINE)
        assert (len(writes), writes.has_queued, writes._bytes, writes._own) == (0, False, 0, {})

    with_writes(story)


def test_at_the_bound_a_retry_is_not_said_to_be_certainly_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_WRITES", 0)

    def story(writes: PendingWrites) -> None:
        with pytest.raises(OutcomeUnknown, match="may have been applied when it was sent before"):
            writes.add(put(1, retry=True), DEADLINE)

    with_writes(story)


def test_a_retry_that_joins_a_write_not_handed_on_yet_makes_its_fate_unknown() -> None:
    def story(writes: PendingWrites) -> None:
        result = writes.add(put(1), DEADLINE)
        writes.add(put(1, retry=True), DEADLINE)
        writes.give_up_all("why")
        assert isinstance(result.exception(), OutcomeUnknown)

    with_writes(story)


def test_what_is_handed_on_again_goes_before_what_came_later() -> None:
    def story(writes: PendingWrites) -> None:
        for sequence in (1, 2):
            writes.add(put(sequence), DEADLINE)
        writes.take_batch(now=1.0)
        writes.add(put(3), DEADLINE)
        writes.hand_on_again(not_since=1.0)
        assert [each.sequence for each in batch(writes)] == [1, 2, 3]

    with_writes(story)


def test_what_nobody_waits_for_is_not_handed_on() -> None:
    def story(writes: PendingWrites) -> None:
        writes.add_own(Operation.PUT, b"k", b"v", DEADLINE).cancel()
        assert batch(writes) == []

    with_writes(story)


def test_no_own_write_gets_so_far_ahead_that_the_session_forgets_one_that_is_still_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_WINDOW", 2)

    def story(writes: PendingWrites) -> None:
        for _ in range(3):
            writes.add_own(Operation.PUT, b"k", b"v", DEADLINE)
        assert [each.sequence for each in batch(writes)] == [1, 2]
        writes.applied(applied(2, client_id=SESSION))
        assert batch(writes) == []
        writes.applied(applied(1, client_id=SESSION))
        assert [each.sequence for each in batch(writes)] == [3]

    with_writes(story)


def test_an_own_write_names_the_oldest_one_that_may_still_be_sent_again() -> None:
    def story(writes: PendingWrites) -> None:
        for _ in range(3):
            writes.add_own(Operation.PUT, b"k", b"v", DEADLINE)
        batch(writes)
        writes.applied(applied(1, 3, client_id=SESSION))
        writes.add_own(Operation.PUT, b"k", b"v", DEADLINE)
        assert [each.first_outstanding for each in batch(writes)] == [2]

    with_writes(story)


# Room


def test_while_puts_are_refused_deletes_are_taken() -> None:
    def story(writes: PendingWrites) -> None:
        writes.refusal = "the disk is full"
        with pytest.raises(NoRoom, match=f"{NO_ROOM}: the disk is full"):
            writes.add(put(1), DEADLINE)
        with pytest.raises(NoRoom):
            writes.add_own(Operation.PUT, b"k", b"v", DEADLINE)
        writes.add_own(Operation.DELETE, b"k", b"", DEADLINE)
        assert (len(writes), writes.failed) == (1, 2)

    with_writes(story)


def test_of_a_put_that_is_refused_when_it_is_tried_again_nobody_knows_whether_it_was_applied() -> None:
    def story(writes: PendingWrites) -> None:
        writes.refusal = "the disk is full"
        with pytest.raises(OutcomeUnknown, match="the disk is full"):
            writes.add(put(1, retry=True), DEADLINE)

    with_writes(story)


def test_who_asks_again_for_a_put_that_is_under_way_waits_with_the_first() -> None:
    def story(writes: PendingWrites) -> None:
        writes.add(put(1), DEADLINE)
        writes.refusal = "the disk is full"
        again = writes.add(put(1, retry=True), DEADLINE)
        batch(writes)
        writes.applied(applied(1))
        assert again.done()

    with_writes(story)
