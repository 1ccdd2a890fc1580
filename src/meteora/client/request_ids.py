"""The names of one client's writes, which make a retry safe: the cluster applies each name once.

A sequence is outstanding from the moment it is drawn until its write was given its final answer; the lowest
outstanding one travels with every write and tells the cluster what it may forget. Safe for threads.
"""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

    @contextmanager
    def issue(self) -> Iterator[NameWrite]:
        """Draws a name for one write, outstanding until the context is left."""
        sequence = self._begin()
        try:
            yield lambda retry: kv_pb2.RequestId(
                client_id=self._client_id,
                sequence=sequence,
                first_outstanding=self._first_outstanding,
                retry=retry,
            )
        finally:
            self._finish(sequence)

    def _begin(self) -> int:
        with self._lock:
            sequence = self._next_sequence
            self._next_sequence += 1
            self._outstanding.add(sequence)
            return sequence

    def _finish(self, sequence: int) -> None:
        with self._lock:
            self._outstanding.discard(sequence)
            while self._first_outstanding < self._next_sequence and self._first_outstanding not in self._outstanding:
                self._first_outstanding += 1
