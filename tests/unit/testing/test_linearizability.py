"""The checker: known histories, and random small ones against a second implementation that tries every order."""

from itertools import permutations
from math import inf

import hypothesis
import pytest
from hypothesis import strategies

from meteora.testing import History, Operation, OperationKind, check_history, check_key

KEY = b"k"


def put(called: float, returned: float, value: bytes) -> Operation:
    return Operation(1, OperationKind.PUT, KEY, value, called, returned)


def get(called: float, returned: float, value: bytes | None) -> Operation:
    return Operation(2, OperationKind.GET, KEY, value, called, returned)


def delete(called: float, returned: float) -> Operation:
    return Operation(3, OperationKind.DELETE, KEY, None, called, returned)


GOOD = {
    "nothing": [],
    "a read of an absent key": [get(0, 1, None)],
    "a read after a write": [put(0, 1, b"a"), get(2, 3, b"a")],
    "a read during a write sees it": [put(0, 10, b"a"), get(1, 2, b"a")],
    "a read during a write does not see it": [put(0, 10, b"a"), get(1, 2, None)],
    "reads during a write, the later one sees it": [put(0, 10, b"a"), get(1, 2, None), get(3, 4, b"a")],
    "overlapping writes in either order": [put(0, 10, b"a"), put(0, 10, b"b"), get(11, 12, b"a")],
    "a write of unknown outcome was done": [put(0, inf, b"a"), get(5, 6, b"a")],
    "a write of unknown outcome was not done": [put(0, inf, b"a"), get(5, 6, None)],
    "a write of unknown outcome was done late": [put(0, inf, b"a"), get(5, 6, None), get(7, 8, b"a")],
    "a delete": [put(0, 1, b"a"), delete(2, 3), get(4, 5, None)],
    "operations that touch at one instant overlap": [put(0, 1, b"a"), get(1, 2, None)],
}

BAD = {
    "a read from nowhere": [get(0, 1, b"a")],
    "a stale read": [put(0, 1, b"a"), put(2, 3, b"b"), get(4, 5, b"a")],
    "a lost write": [put(0, 1, b"a"), get(2, 3, None)],
    "reads that go back in time": [put(0, 10, b"a"), get(1, 2, b"a"), get(3, 4, None)],
    "reads that see two writes in both orders": [
        put(0, 10, b"a"),
        put(0, 10, b"b"),
        get(11, 12, b"a"),
        get(13, 14, b"b"),
    ],
    "a write applied twice": [put(0, 1, b"a"), put(2, 3, b"b"), get(4, 5, b"b"), get(6, 7, b"a")],
    "a deleted value": [put(0, 1, b"a"), delete(2, 3), get(4, 5, b"a")],
    "a write seen before its call": [get(0, 1, b"a"), put(2, 3, b"a")],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_a_good_history_is_linearizable(history: list[Operation]) -> None:
    assert check_key(history).is_linearizable


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_a_bad_history_is_not(history: list[Operation]) -> None:
    verdict = check_key(history)

    assert not verdict.is_linearizable
    assert verdict.stuck


def can_be_ordered(operations: list[Operation]) -> bool:
    """The definition: some order that time allows, in which everybody reads what it read."""
    return any(_is_legal(order) for order in permutations(operations))


def _is_legal(order: tuple[Operation, ...]) -> bool:
    value = None
    for position, operation in enumerate(order):
        if any(later.returned_at < operation.called_at for later in order[position + 1 :]):
            return False
        if operation.kind is OperationKind.GET and operation.value != value:
            return False
        if operation.kind is not OperationKind.GET:
            value = operation.value
    return True


@strategies.composite
def operations(draw: strategies.DrawFn) -> Operation:
    kind = draw(strategies.sampled_from(OperationKind))
    value = None if kind is OperationKind.DELETE else draw(strategies.sampled_from([b"a", b"b"]))
    if kind is OperationKind.GET and draw(strategies.booleans()):
        value = None
    called = draw(strategies.integers(0, 8))
    is_unknown = kind is not OperationKind.GET and draw(strategies.integers(0, 3)) == 0
    returned = inf if is_unknown else called + draw(strategies.integers(0, 5))
    return Operation(draw(strategies.integers(1, 3)), kind, KEY, value, called, returned)


@hypothesis.given(strategies.lists(operations(), max_size=6))
@hypothesis.settings(max_examples=1500)
def test_the_verdict_is_that_of_trying_every_order(history: list[Operation]) -> None:
    assert check_key(history).is_linearizable == can_be_ordered(history)


def test_keys_are_checked_each_for_itself_and_the_bad_one_is_named() -> None:
    history = History()
    for key, read in ((b"good", b"1"), (b"bad", None)):
        history.returned(history.call(1, OperationKind.PUT, key, b"1", 0), 1)
        history.returned(history.call(1, OperationKind.GET, key, None, 2), 3, read)

    verdict = check_history(history)

    assert verdict.key == b"bad"
    assert "get b'bad' None" in str(verdict)


def test_a_read_without_an_answer_tells_nothing() -> None:
    history = History()
    history.call(1, OperationKind.GET, KEY, None, 0)

    assert check_history(history).is_linearizable


def test_an_operation_that_certainly_had_no_effect_is_forgotten() -> None:
    history = History()
    history.had_no_effect(history.call(1, OperationKind.PUT, KEY, b"a", 0))

    assert history.operations == []


def test_ten_thousand_overlapping_operations_are_checked_without_recursion() -> None:
    history = [put(i, i + 3, b"%d" % i) for i in range(5_000)]
    history += [get(i + 3.5, i + 4, b"%d" % i) for i in range(4_999, 5_000)]

    assert check_key(history).is_linearizable


def test_deletes_of_unknown_outcome_are_not_tried_in_every_order() -> None:
    history = [delete(number, inf) for number in range(200)]
    for number in range(200):
        at = 1000.0 + 10 * number
        history += [put(at, at + 5, b"%d" % number), put(at, at + 6, b"other %d" % number), get(at + 7, at + 8, None)]
    assert check_key(history).is_linearizable
    assert not check_key(history[1:]).is_linearizable


def test_puts_of_unknown_outcome_are_not_tried_in_every_order() -> None:
    history = [put(number, inf, b"%d" % number) for number in range(200)]
    history += [get(1000.0 + number, 1000.5 + number, b"%d" % number) for number in reversed(range(200))]
    assert check_key(history).is_linearizable
    # Each of them at most once.
    assert not check_key([*history, get(2000.0, 2001.0, b"7")]).is_linearizable


def test_a_write_of_unknown_outcome_is_not_done_before_its_call() -> None:
    assert not check_key([put(0, 1, b"a"), get(2, 3, None), delete(4, inf)]).is_linearizable
    assert check_key([put(0, 1, b"a"), get(2, 4, None), delete(4, inf)]).is_linearizable


def test_writes_of_unknown_outcome_that_nobody_read_cost_nothing() -> None:
    history = History()
    for number in range(60):
        history.call(number, OperationKind.PUT, b"k", b"lost %d" % number, 0.0)
    for number, value in enumerate((b"x", None)):
        history.returned(history.call(99, OperationKind.GET, b"k", None, number + 1.0), number + 1.5, value)
    assert not check_history(history).is_linearizable
