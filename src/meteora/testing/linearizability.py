"""Whether a history could have happened on one copy of the data, one operation at a time.

A history is linearizable if every operation can be given an instant between its call and its return such that, done in
the order of these instants, each returns what it returned (Herlihy and Wing, 1990). Keys are independent of one
another, so each is checked alone.

The search is that of Wing and Gong (1993) with Lowe's memory (2017), in the form that Porcupine gave it: take any
operation that was called before the first return that is still ahead, do it, go on; at a return that is still ahead go
back and try another; never look twice at the same set of operations done with the same value left behind.

A write whose outcome is unknown may be done at any time after its call; done at the very end it has no effect on
anybody, so nothing else is needed for "never". Of these there are many, and the search would try them everywhere:

- If nobody has read what it left behind, it comes last, and is left out.
- Else it need not be done before such a read is next: nothing that was done between the two could have seen it. It is
  done together with that read (`_Late`). Of several that leave the same behind the one that was called first will do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from meteora.testing.history import History, Operation, OperationKind

Value = bytes | None

_State = tuple[int, int, Value]
"""The operations that are done, and the writes of unknown outcome among them, as bits; the value that they leave."""

_NOTHING: _State = (0, 0, None)
"""Done so far."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a check."""

    is_linearizable: bool
    key: bytes | None = None
    """The first key whose operations can't be ordered."""
    stuck: tuple[Operation, ...] = ()
    """Of that key, the operations that could not be ordered in the attempt that came furthest."""

    def __str__(self) -> str:
        if self.is_linearizable:
            return "linearizable"
        lines = [f"not linearizable: key {self.key!r}; no order was found for", *(f"  {each}" for each in self.stuck)]
        return "\n".join(lines)


def check_history(history: History) -> Verdict:
    """The verdict on all keys."""
    for key, operations in history.by_key():
        verdict = check_key(operations)
        if not verdict.is_linearizable:
            return Verdict(False, key, verdict.stuck)
    return Verdict(True)


class _Event:
    """A call or a return in the list of what is still to be ordered: linked, so that it can be put back in place."""

    __slots__ = ("match", "next", "number", "operation", "previous")

    def __init__(self, operation: Operation, number: int, match: "_Event | None") -> None:
        self.operation = operation
        self.number = number
        self.match = match
        """Of a call, its return; None in a return."""
        self.previous: _Event
        self.next: _Event | None = None


def check_key(operations: Sequence[Operation]) -> Verdict:
    """The verdict on the operations of one key, which begins absent."""
    late = _Late(operations)
    operations = [each for each in operations if not _is_late(each)]
    head = _linked(operations)
    done, used, value = _NOTHING
    seen = {_NOTHING}
    undo: list[tuple[_Event, int, Value]] = []
    furthest = 0
    event = head.next
    while head.next is not None:
        assert event is not None  # The list ends with a return, and at a return the search goes back.
        if event.match is not None:
            possible, after = _do(event.operation, value)
            used_after = used
            if not possible and (number := late.find(event.operation.value, used, _first_return(event))) is not None:
                possible, after, used_after = True, event.operation.value, used | 1 << number
            state = (done | 1 << event.number, used_after, after)
            if possible and state not in seen:
                seen.add(state)
                undo.append((event, used, value))
                done, used, value = state
                _take_out(event)
                event = head.next
            else:
                event = event.next
            continue
        if done.bit_count() >= furthest.bit_count():
            furthest = done
        if not undo:
            left = (each for number, each in enumerate(operations) if not furthest >> number & 1)
            return Verdict(False, operations[0].key, tuple(left))
        last, used, value = undo.pop()
        done &= ~(1 << last.number)
        _put_back(last)
        event = last.next
    return Verdict(True)


class _Late:
    """The writes of unknown outcome, which are done only when a read needs them."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        late = [each for each in operations if _is_late(each) and each.kind is not OperationKind.GET]
        self._by_value: dict[Value, list[tuple[int, float]]] = {}
        """By what they leave behind: number and time of the call, the earliest first."""
        for number, each in enumerate(sorted(late, key=lambda each: each.called_at)):
            left = None if each.kind is OperationKind.DELETE else each.value
            self._by_value.setdefault(left, []).append((number, each.called_at))

    def find(self, value: Value, used: int, until: float) -> int | None:
        """The number of one that leaves this value behind, is not used, and was called by then."""
        for number, called_at in self._by_value.get(value, ()):
            if not used >> number & 1:
                return number if called_at <= until else None
        return None


def _is_late(operation: Operation) -> bool:
    """Whether its outcome is unknown."""
    return operation.returned_at == inf


def _first_return(call: _Event) -> float:
    """When the first of all operations that are still to be done returns; no return stands before this call."""
    event: _Event | None = call
    while event is not None and event.match is not None:
        event = event.next
    assert event is not None  # The call's own return stands behind it.
    return event.operation.returned_at


def _do(operation: Operation, value: Value) -> tuple[bool, Value]:
    """Whether the operation could return what it did if the key had `value`, and the key's value after it."""
    match operation.kind:
        case OperationKind.GET:
            return operation.value == value, value
        case OperationKind.PUT:
            return True, operation.value
        case OperationKind.DELETE:
            return True, None


def _linked(operations: Sequence[Operation]) -> _Event:
    """The calls and returns in the order of time, behind a head.

    Calls come first where they are at the same instant: the operations then overlap.
    """
    timed: list[tuple[float, int, _Event]] = []
    for number, operation in enumerate(operations):
        back = _Event(operation, number, None)
        timed.append((operation.called_at, 0, _Event(operation, number, back)))
        timed.append((operation.returned_at, 1, back))
    head = previous = _Event(Operation(0, OperationKind.GET, b"", None, -inf), -1, None)
    for _, _, event in sorted(timed, key=lambda each: each[:2]):
        previous.next, event.previous = event, previous
        previous = event
    return head


def _take_out(call: _Event) -> None:
    for event in (call, call.match):
        assert event is not None
        event.previous.next = event.next
        if event.next is not None:
            event.next.previous = event.previous


def _put_back(call: _Event) -> None:
    for event in (call.match, call):
        assert event is not None
        event.previous.next = event
        if event.next is not None:
            event.next.previous = event
