"""Reads that wait for the leader to prove that it still leads (ReadIndex, thesis 6.4).

A read is asked for under a context, bytes that name it. The leader notes its commit index, sends the context along with
a heartbeat, and once a majority has answered, that read and all that were asked for before it may be served as soon as
the noted index is applied.
"""

from typing import NamedTuple

from meteora.raft.membership import Configuration
from meteora.raft.quorum import VoteResult


class ReadState(NamedTuple):
    """A read that may be served once `index` is applied."""

    context: bytes
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a read


class ReadRequest(NamedTuple):
    """Who asked for a read, and under which name."""

    context: bytes
    sender: int


class PendingReads:
    """The reads that a leader has asked its peers about, in the order in which they came."""

    def __init__(self) -> None:
        self._indexes: dict[ReadRequest, int] = {}
        self._acks: dict[bytes, dict[int, bool]] = {}

    def __len__(self) -> int:
        return len(self._indexes)

    def add(self, request: ReadRequest, index: int) -> None:
        """Note a read. The same one again changes nothing: its first index is still good."""
        self._indexes.setdefault(request, index)
        self._acks.setdefault(request.context, {})

    def last_context(self) -> bytes:
        """The context of the newest read: what a heartbeat that was lost must be followed by. Empty if none waits."""
        return next(reversed(self._indexes)).context if self._indexes else b""

    def acknowledge(self, context: bytes, voter: int) -> None:
        """Note that `voter` answered the heartbeat that carried `context`."""
        if context in self._acks:
            self._acks[context][voter] = True

    def confirmed(self, configuration: Configuration) -> list[tuple[ReadRequest, int]]:
        """Take out the reads that a majority has confirmed, each with its index.

        What confirms a read confirms all that were asked for before it.
        """
        requests = list(self._indexes)
        count = 0
        for position, request in enumerate(requests, start=1):
            if configuration.vote_result(self._acks[request.context]) is VoteResult.WON:
                count = position
        done = [(request, self._indexes.pop(request)) for request in requests[:count]]
        waiting = {request.context for request in self._indexes}
        for request, _ in done:
            if request.context not in waiting:
                self._acks.pop(request.context, None)
        return done
