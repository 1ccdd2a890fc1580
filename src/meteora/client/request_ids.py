"""The names of one client's writes, which make a retry safe: the cluster applies each name once.

A sequence is outstanding from the moment it is drawn until its write was given its final answer; the lowest
outstanding one travels with every write and tells the cluster what it may forget. Safe for threads.
"""

import secrets
import threading
from collections.abc import Callable
from functools import partial

from meteora.pb import kv_pb2

NameWrite = Callable[[bool], kv_pb2.RequestId]
"""Names a write for one attempt; the argument says whether it may have been applied before."""


class RequestIds:
    """Draws the names of one client's writes."""

    def __init__(self) -> None:
        # Never 0, which means that a request has no name.
        self._client_id = secrets.randbelow((1 << 64) - 1) + 1
        self._lock = threading.Lock()
        self._next_sequence = 1
        self._first_outstanding = 1
        self._outstanding: set[int] = set()

    def issue(self) -> "RequestName":
        """Draws a name for one write, outstanding until the context is left."""
        return RequestName(self)

    def named(self, sequence: int, retry: bool) -> kv_pb2.RequestId:
        """The name with this sequence, as it travels now."""
        return kv_pb2.RequestId(
            client_id=self._client_id, sequence=sequence, first_outstanding=self._first_outstanding, retry=retry
        )

    def begin(self) -> int:
        """Draws a sequence, which is outstanding from now on."""
        with self._lock:
            sequence = self._next_sequence
            self._next_sequence += 1
            self._outstanding.add(sequence)
            return sequence

    def finish(self, sequence: int) -> None:
        """The write has its final answer."""
        with self._lock:
            self._outstanding.discard(sequence)
            while self._first_outstanding < self._next_sequence and self._first_outstanding not in self._outstanding:
                self._first_outstanding += 1


class RequestName:
    """A context in which a write has a name: what it gives names the write for one attempt."""

    __slots__ = ("_ids", "_sequence")

    def __init__(self, ids: RequestIds) -> None:
        self._ids = ids

    def __enter__(self) -> NameWrite:
        self._sequence = self._ids.begin()
        return partial(self._ids.named, self._sequence)

    def __exit__(self, *_: object) -> None:
        self._ids.finish(self._sequence)
