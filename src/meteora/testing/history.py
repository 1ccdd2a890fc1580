"""What clients saw: every operation with the instants of its call and its return.

Times are any numbers that never fall and that all clients share: seconds of one clock, or a counter. An operation whose
outcome is unknown has no return: it may have taken effect at any time since its call, or may yet.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from math import inf


class OperationKind(Enum):
    """What can be done to a key."""

    GET = "get"
    PUT = "put"
    DELETE = "delete"


@dataclass(slots=True)
class Operation:
    """One operation of one client."""

    client: int
    kind: OperationKind
    key: bytes
    value: bytes | None
    """What was put, or what was read (None: no such key)."""
    called_at: float
    returned_at: float = inf
    """inf: the outcome is not known."""

    def __str__(self) -> str:
        shown = "" if self.kind is OperationKind.DELETE else f" {self.value!r}"
        return (
            f"[{self.called_at:g} .. {self.returned_at:g}] client {self.client} {self.kind.value} {self.key!r}{shown}"
        )


@dataclass(slots=True)
class History:
    """The operations of all clients, in the order of their calls."""

    operations: list[Operation] = field(default_factory=list)

    def call(self, client: int, kind: OperationKind, key: bytes, value: bytes | None, now: float) -> Operation:
        """An operation begins. Of a get, the value comes with its return."""
        operation = Operation(client, kind, key, value, now)
        self.operations.append(operation)
        return operation

    def returned(self, operation: Operation, now: float, value: bytes | None = None) -> None:
        """The operation has succeeded; `value` is what a get read."""
        operation.returned_at = now
        if operation.kind is OperationKind.GET:
            operation.value = value

    def had_no_effect(self, operation: Operation) -> None:
        """The operation certainly did nothing: it is as if it had not been called."""
        self.operations.remove(operation)

    def by_key(self) -> Iterator[tuple[bytes, list[Operation]]]:
        """The operations on each key. A get without an answer tells nothing, and is left out."""
        keys: dict[bytes, list[Operation]] = {}
        for operation in self.operations:
            if operation.kind is not OperationKind.GET or operation.returned_at < inf:
                keys.setdefault(operation.key, []).append(operation)
        yield from keys.items()
