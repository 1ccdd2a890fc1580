import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from meteora.errors import NotApplied, Overloaded
from meteora.node import reads as module
from meteora.node.reads import ReadRounds

DEADLINE = 100.0
AT_ONCE = 100


def with_rounds(story: Callable[[ReadRounds], None]) -> None:
    async def run() -> None:
        story(ReadRounds(asyncio.get_running_loop(), node_id=1, instance_id=5))

    asyncio.run(run())


def answerable(rounds: ReadRounds, applied: int) -> list[bytes]:
    return [read.key for part in rounds.take_applied(applied, AT_ONCE) for read in part]


def test_all_reads_that_wait_share_one_round() -> None:
    def story(rounds: ReadRounds) -> None:
        rounds.add(b"a", DEADLINE)
        rounds.add(b"b", DEADLINE)
        rounds.confirm(rounds.begin_round(now=1.0), index=4)
        assert answerable(rounds, 4) == [b"a", b"b"]

    with_rounds(story)


def test_a_read_waits_until_the_index_of_its_round_is_applied() -> None:
    def story(rounds: ReadRounds) -> None:
        rounds.add(b"a", DEADLINE)
        rounds.confirm(rounds.begin_round(now=1.0), index=4)
        assert (answerable(rounds, 3), answerable(rounds, 4)) == ([], [b"a"])

    with_rounds(story)


def test_a_stale_read_is_answered_from_what_is_applied_and_wants_no_round() -> None:
    def story(rounds: ReadRounds) -> None:
        rounds.add_stale(b"a", DEADLINE)
        assert (rounds.wants_round, answerable(rounds, 0)) == (False, [b"a"])

    with_rounds(story)


def test_a_stale_read_leaves_those_alone_that_wait_for_a_round() -> None:
    def story(rounds: ReadRounds) -> None:
        rounds.add(b"a", DEADLINE)
        rounds.add_stale(b"b", DEADLINE)
        assert (rounds.wants_round, answerable(rounds, 0)) == (True, [b"b"])

    with_rounds(story)


def test_a_read_is_taken_once() -> None:
    def story(rounds: ReadRounds) -> None:
        rounds.add(b"a", DEADLINE)
        rounds.confirm(rounds.begin_round(now=1.0), index=4)
        rounds.take_applied(4, AT_ONCE)
        assert answerable(rounds, 5) == []

    with_rounds(story)


def test_a_read_that_comes_while_a_round_is_under_way_waits_for_the_next_one() -> None:
    def story(rounds: ReadRounds) -> None:
        rounds.add(b"a", DEADLINE)
        context = rounds.begin_round(now=1.0)
        rounds.add(b"b", DEADLINE)
        assert not rounds.wants_round
        rounds.confirm(context, index=4)
        assert answerable(rounds, 4) == [b"a"]
        assert rounds.wants_round

    with_rounds(story)


def test_rounds_that_are_confirmed_are_answered_each_at_its_own_index() -> None:
    def story(rounds: ReadRounds) -> None:
        for key, index in ((b"a", 4), (b"b", 9)):
            rounds.add(key, DEADLINE)
            rounds.confirm(rounds.begin_round(now=1.0), index)
        assert [answerable(rounds, applied) for applied in (4, 8, 9)] == [[b"a"], [], [b"b"]]

    with_rounds(story)


def test_no_round_is_wanted_while_nobody_reads() -> None:
    def story(rounds: ReadRounds) -> None:
        assert not rounds.wants_round

    with_rounds(story)


def test_a_round_that_got_lost_is_asked_again() -> None:
    def story(rounds: ReadRounds) -> None:
        rounds.add(b"a", DEADLINE)
        rounds.begin_round(now=1.0)
        rounds.ask_again(not_since=1.0)
        rounds.confirm(rounds.begin_round(now=2.0), index=4)
        assert answerable(rounds, 4) == [b"a"]

    with_rounds(story)


def test_a_round_that_was_asked_for_lately_is_not_given_up() -> None:
    def story(rounds: ReadRounds) -> None:
        rounds.add(b"a", DEADLINE)
        context = rounds.begin_round(now=1.0)
        rounds.ask_again(not_since=0.9)
        rounds.confirm(context, index=4)
        assert answerable(rounds, 4) == [b"a"]

    with_rounds(story)


def test_an_answer_to_a_round_that_was_given_up_confirms_nothing() -> None:
    # It speaks for the reads of its own time, and others may have come since.
    def story(rounds: ReadRounds) -> None:
        rounds.add(b"a", DEADLINE)
        late = rounds.begin_round(now=1.0)
        rounds.ask_again(not_since=1.0)
        rounds.add(b"b", DEADLINE)
        rounds.confirm(late, index=4)
        rounds.begin_round(now=2.0)
        rounds.confirm(late, index=4)
        assert answerable(rounds, 4) == []

    with_rounds(story)


def test_no_two_rounds_have_the_same_context() -> None:
    def contexts(node_id: int, instance_id: int) -> list[bytes]:
        async def run() -> list[bytes]:
            rounds = ReadRounds(asyncio.get_running_loop(), node_id, instance_id)
            return [rounds.begin_round(now=1.0) for _ in range(3)]

        return asyncio.run(run())

    assert len({*contexts(1, 1), *contexts(1, 2), *contexts(2, 1)}) == 9


def test_a_read_that_is_not_answered_in_time_was_certainly_not_done() -> None:
    def story(rounds: ReadRounds) -> None:
        result = rounds.add(b"a", DEADLINE)
        rounds.expire(DEADLINE, "no leader")
        assert isinstance(error := result.exception(), NotApplied)
        assert str(error) == "no leader: the read was not answered, try again"

    with_rounds(story)


def in_each_stage(rounds: ReadRounds, deadline: float) -> list[asyncio.Future[bytes | None]]:
    """A read that is looked up, one that is confirmed, one that is asked for, one that waits."""
    looked_up = rounds.add_stale(b"k", deadline)
    rounds.take_applied(0, AT_ONCE)
    confirmed = rounds.add(b"a", deadline)
    rounds.confirm(rounds.begin_round(now=1.0), index=4)
    asked = rounds.add(b"b", deadline)
    rounds.begin_round(now=1.0)
    return [looked_up, confirmed, asked, rounds.add(b"c", deadline)]


def test_reads_expire_wherever_they_are() -> None:
    def story(rounds: ReadRounds) -> None:
        results = in_each_stage(rounds, DEADLINE)
        rounds.expire(DEADLINE, "why")
        assert [type(result.exception()) for result in results] == [NotApplied] * 4
        # What the disk has not answered takes up its place until it does.
        assert len(rounds) == 1

    with_rounds(story)


def test_reads_wait_until_their_deadline() -> None:
    def story(rounds: ReadRounds) -> None:
        results = in_each_stage(rounds, DEADLINE)
        rounds.expire(DEADLINE - 0.1, "why")
        assert not any(result.done() for result in results)

    with_rounds(story)


def test_giving_up_answers_before_the_deadline() -> None:
    def story(rounds: ReadRounds) -> None:
        looked_up, *results = in_each_stage(rounds, DEADLINE)
        rounds.give_up_all("the node is stopping")
        assert all("the node is stopping" in str(result.exception()) for result in results)
        assert not looked_up.done()

    with_rounds(story)


def test_a_read_whose_caller_went_is_dropped_wherever_it_is() -> None:
    def story(rounds: ReadRounds) -> None:
        _, *results = in_each_stage(rounds, DEADLINE)
        for result in results:
            result.cancel()
        rounds.expire(0.0, "why")
        assert len(rounds) == 1

    with_rounds(story)


def test_a_read_whose_caller_went_is_not_looked_up() -> None:
    def story(rounds: ReadRounds) -> None:
        rounds.add(b"a", DEADLINE).cancel()
        rounds.confirm(rounds.begin_round(now=1.0), index=4)
        assert answerable(rounds, 4) == []

    with_rounds(story)


def test_reads_are_bounded_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_READS", 4)

    def story(rounds: ReadRounds) -> None:
        in_each_stage(rounds, DEADLINE)
        with pytest.raises(Overloaded, match="4 reads are pending already: try again later"):
            rounds.add(b"d", DEADLINE)

    with_rounds(story)


def lines_run(function: Callable[[], object]) -> int:
    """How many lines of Python a call runs, its loops counted each time round."""
    lines = 0

    def trace(_: object, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return lines


def test_a_read_takes_no_longer_for_those_that_are_pending() -> None:
    # One message may bring a thousand of them, and the loop does nothing else meanwhile.
    def story(rounds: ReadRounds) -> None:
        first = lines_run(lambda: rounds.add_stale(b"a", DEADLINE))
        for index in range(100):
            rounds.add_stale(b"b", DEADLINE)
            rounds.add(b"c", DEADLINE)
            rounds.confirm(rounds.begin_round(now=1.0), index)
            rounds.take_applied(index // 2, AT_ONCE)
        assert lines_run(lambda: rounds.add_stale(b"a", DEADLINE)) == first

    with_rounds(story)


def test_the_reads_that_are_pending_are_counted_wherever_they_are() -> None:
    def story(rounds: ReadRounds) -> None:
        reads = [rounds.add(b"%d" % number, DEADLINE + number % 2) for number in range(12)]
        rounds.confirm(rounds.begin_round(now=1.0), index=4)
        rounds.add_stale(b"stale", DEADLINE)
        asked = [rounds.add(b"%d" % number, DEADLINE + number % 2) for number in range(6)]
        rounds.begin_round(now=1.0)
        rounds.add(b"waiting", DEADLINE)
        assert len(rounds) == 12 + 1 + 6 + 1
        reads[0].cancel()
        reads[1].cancel()
        parts = rounds.take_applied(4, at_once=8)
        assert len(rounds) == 10 + 1 + 6 + 1
        rounds.finish(parts[0], [None] * 8)
        rounds.fail(parts[1], "gone")
        assert len(rounds) == 6 + 1
        asked[0].cancel()
        rounds.expire(DEADLINE, "")
        assert len(rounds) == 3
        rounds.give_up_all("")
        assert len(rounds) == 0

    with_rounds(story)


def test_what_was_looked_up_answers_who_still_waits_and_takes_up_no_place_any_more() -> None:
    def story(rounds: ReadRounds) -> None:
        kept, gone = rounds.add_stale(b"a", DEADLINE), rounds.add_stale(b"b", DEADLINE)
        (taken,) = rounds.take_applied(0, AT_ONCE)
        gone.cancel()
        rounds.finish(taken, [b"1", b"2"])
        assert kept.result() == b"1"
        assert len(rounds) == 0

    with_rounds(story)


def test_what_can_not_be_looked_up_is_told_why_and_takes_up_no_place_any_more() -> None:
    def story(rounds: ReadRounds) -> None:
        result = rounds.add_stale(b"a", DEADLINE)
        (taken,) = rounds.take_applied(0, AT_ONCE)
        rounds.fail(taken, "the node has failed")
        assert "the node has failed" in str(result.exception())
        assert len(rounds) == 0

    with_rounds(story)


def test_a_read_that_was_refused_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_READS", 0)

    def story(rounds: ReadRounds) -> None:
        with pytest.raises(Overloaded):
            rounds.add(b"a", DEADLINE)
        assert len(rounds) == 0

    with_rounds(story)


def test_reads_are_looked_up_in_parts_each_of_which_is_finished_by_itself() -> None:
    def story(rounds: ReadRounds) -> None:
        results = [rounds.add_stale(key, DEADLINE) for key in (b"a", b"b", b"c")]
        first, second = rounds.take_applied(0, 2)
        assert ([read.key for read in first], [read.key for read in second]) == ([b"a", b"b"], [b"c"])
        rounds.finish(first, [b"1", b"2"])
        assert [result.done() for result in results] == [True, True, False]
        assert len(rounds) == 1
        rounds.finish(second, [b"3"])
        assert len(rounds) == 0

    with_rounds(story)


def test_long_keys_are_bounded_until_they_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LONG_KEYS_BYTES", 2 * 2000)

    async def story() -> None:
        rounds = ReadRounds(asyncio.get_running_loop(), node_id=1, instance_id=5)
        first, _ = rounds.add(bytes(2000), DEADLINE), rounds.add(bytes(2000), DEADLINE)
        with pytest.raises(Overloaded, match="reads with 4000 bytes of long keys are pending: try again later"):
            rounds.add(bytes(2000), DEADLINE)
        assert len(rounds) == 2
        rounds.add(b"short", DEADLINE)
        first.cancel()
        await asyncio.sleep(0)
        rounds.add(bytes(2000), DEADLINE)

    asyncio.run(story())
