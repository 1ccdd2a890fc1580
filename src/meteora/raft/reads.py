"""How a leader proves that it still leads before a read is served: by a round (ReadIndex, thesis 6.4), or by a lease.

A read is asked for under a context, bytes that name it. The leader notes its commit index, sends a round of heartbeats,
and once a majority has answered, that read and all that were asked for before it may be served as soon as the noted
index is applied.
"""

from typing import NamedTuple

from meteora.raft.membership import Configuration

_LEASE = b"tick "


def is_lease_context(context: bytes) -> bool:
    """Whether a heartbeat with this context asks for a promise."""
    return context.startswith(_LEASE)


class ReadState(NamedTuple):
    """A read that may be served once `index` is applied."""

    context: bytes
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a read


class ReadRequest(NamedTuple):
    """Who asked for a read, and under which name."""

    context: bytes
    sender: int


class PendingReads:
    """The reads that a leader has asked its peers about, in the order in which they came.

    Each read begins a round, which its heartbeats name. Rounds are counted by the leader itself and never come again:
    a late answer can't confirm what was asked after it, whatever contexts the readers use. A read keeps the round, and
    the index, that it first came with.
    """

    def __init__(self) -> None:
        self._waiting: dict[ReadRequest, tuple[int, int]] = {}
        self._round = 0
        self._answered: dict[int, int] = {}
        """The last round that each voter has answered."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def context(self) -> bytes:
        """What the heartbeats of the newest round carry."""
        return str(self._round).encode()

    def add(self, request: ReadRequest, index: int) -> None:
        """Note a read, and begin a round. The same read again changes nothing: its first index is still good."""
        if request not in self._waiting:
            self._round += 1
            self._waiting[request] = (self._round, index)

    def acknowledge(self, context: bytes, voter: int) -> None:
        """Note that `voter` answered the heartbeat that carried `context`."""
        number = int(context) if context.isdigit() else 0
        self._answered[voter] = max(number, self._answered.get(voter, 0))

    def confirmed(self, configuration: Configuration) -> list[tuple[ReadRequest, int]]:
        """Take out the reads that a majority has confirmed, each with its index."""
        through = configuration.committed(self._answered)
        done = [(request, index) for request, (number, index) in self._waiting.items() if number <= through]
        for request, _ in done:
            del self._waiting[request]
        return done


class Lease:
    """The time for which nobody else can lead, as the leader's own ticks tell it (thesis 6.4.1).

    Whoever hears a leader helps nobody else to lead for an election timeout of its own ticks. The leader counts from
    when it *sent* the heartbeats that a majority has answered, and only half an election timeout, because it relies on
    clocks: while it ticks `election_ticks // 2` times, no member may tick `election_ticks - 1` times.

    Some things end the lease for the rest of the term, by `void`: whoever is told to campaign may do so at any time.
    """

    def __init__(self, length_ticks: int) -> None:
        self._length_ticks = length_ticks
        self._now = length_ticks
        """Such that what never happened, at 0, is too long ago."""
        self._promised: dict[int, int] = {}
        """By voter: when the newest heartbeat that it answered was sent."""
        self._is_void = False

    @property
    def context(self) -> bytes:
        """What the heartbeats of this tick carry."""
        return b"%b%d" % (_LEASE, self._now)

    def tick(self) -> None:
        """Time passes."""
        self._now += 1

    def acknowledge(self, context: bytes, voter: int) -> None:
        """Note that `voter` answered the heartbeat that carried `context`."""
        sent_tick = int(context.removeprefix(_LEASE))
        self._promised[voter] = max(sent_tick, self._promised.get(voter, 0))

    def void(self) -> None:
        """There is no lease any more."""
        self._is_void = True

    def holds(self, configuration: Configuration, leader_id: int) -> bool:
        """Whether the leader may answer for a majority that includes itself."""
        promised_tick = configuration.committed({**self._promised, leader_id: self._now})
        return not self._is_void and self._now - promised_tick < self._length_ticks
