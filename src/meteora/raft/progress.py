"""What the leader knows of one peer's log, and how fast it may send to it.

A peer is *probed* with one message at a time until the leader knows where the logs match; then it *replicates*: the
leader sends ahead, optimistically, up to a window of messages and bytes in flight (thesis 10.2.1). One that needs
entries that were cut off gets a *snapshot*, and no appends until its log reaches into the leader's.

Invariants: match < next; match only grows while the leader leads; no more messages in flight than the window allows.
"""

from collections import deque
from enum import Enum

from meteora.raft.errors import ensure


class ProgressState(Enum):
    """How the leader sends to a peer."""

    PROBE = "probe"
    """One message at a time: where the logs part is not known."""
    REPLICATE = "replicate"
    """Ahead of the acknowledgements."""
    SNAPSHOT = "snapshot"
    """Not at all: what it needs is in a snapshot that is on its way."""


class Inflights:
    """The appends that are under way to one peer, oldest first: the last index and the size of each."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._window: deque[tuple[int, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._window)

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be sent. The last message may overshoot the bytes, or large ones never went out."""
        return len(self._window) >= self._max_messages or self._bytes >= self._max_bytes

    def add(self, last_index: int, size_bytes: int) -> None:
        """Note a message that was sent."""
        ensure(not self.is_full, "a message was sent beyond the window")
        self._window.append((last_index, size_bytes))
        self._bytes += size_bytes

    def free_up_to(self, index: int) -> None:
        """Forget the messages that an acknowledgement of `index` covers."""
        while self._window and self._window[0][0] <= index:
            self._bytes -= self._window.popleft()[1]

    def clear(self) -> None:
        """Forget all."""
        self._window.clear()
        self._bytes = 0


class Progress:
    """One peer as the leader sees it."""

    __slots__ = (
        "fetching",
        "inflights",
        "match",
        "next",
        "paused",
        "recent_active",
        "snapshot_index",
        "state",
        "was_active",
    )

    def __init__(self, next_index: int, inflights: Inflights, *, match: int = 0, recent_active: bool = False) -> None:
        self.match = match
        """The highest index known to be durable there."""
        self.next = next_index
        """The first index of the next append."""
        self.state = ProgressState.PROBE
        self.inflights = inflights
        self.recent_active = recent_active
        """Heard from since the last check of the quorum."""
        self.was_active = False
        """Heard from between that check and the one before."""
        self.paused = False
        """Nothing more is sent until an answer, or a heartbeat's answer, arrives."""
        self.fetching = False
        """Its next entries are being read from disk."""
        self.snapshot_index = 0
        """Of the snapshot that is on its way there; 0 until it is."""

    def __repr__(self) -> str:
        marks = " paused" * self.paused + " inactive" * (not self.recent_active)
        return f"{self.state.value} match={self.match} next={self.next} inflight={len(self.inflights)}{marks}"

    def become_probe(self) -> None:
        """Go back to one message at a time, from just behind what is known to match."""
        self._enter(ProgressState.PROBE, self.match + 1)

    def become_replicate(self) -> None:
        """Start to send ahead."""
        self._enter(ProgressState.REPLICATE, self.match + 1)

    def become_snapshot(self) -> None:
        """Send nothing until a snapshot has arrived there, or has failed to."""
        self._enter(ProgressState.SNAPSHOT, self.match + 1)
        self.snapshot_index = 0

    def snapshot_finished(self, *, ok: bool) -> None:
        """The snapshot has arrived, or failed to; ignored if the peer has told so itself, by an acknowledgement.

        Either way the next append waits: for the peer's word that it has taken the snapshot in, or for a heartbeat's
        answer, so that one who can't take it is not tried in a loop.
        """
        if self.state is ProgressState.SNAPSHOT:
            self._enter(ProgressState.PROBE, max(self.match, self.snapshot_index if ok else 0) + 1)
            self.paused = True

    def _enter(self, state: ProgressState, next_index: int) -> None:
        self.state = state
        self.next = next_index
        self.paused = False
        self.inflights.clear()

    def sent(self, count: int, size_bytes: int) -> None:
        """Note an append with `count` entries that was just sent."""
        if self.state is ProgressState.PROBE:
            self.paused = True
            return
        if count:
            self.next += count
            self.inflights.add(self.next - 1, size_bytes)
        # With the window full, one empty append tells the peer the commit index and asks whether it is still there;
        # the next waits for a heartbeat's answer.
        self.paused = self.inflights.is_full

    def acknowledged(self, index: int) -> bool:
        """Take in that the peer has everything up to `index`; whether that was news."""
        self.next = max(self.next, index + 1)
        if index <= self.match:
            return False
        self.match = index
        self.paused = False
        return True

    def rejected(self, index: int, probe_at: int) -> bool:
        """Take in that the peer refused an append after `index` and may match at `probe_at`.

        False if the answer is stale: reordered, or of a message that was sent before a newer one settled the matter.
        """
        if self.state is ProgressState.SNAPSHOT:
            return False
        if self.state is ProgressState.REPLICATE:
            if index <= self.match:
                return False
            self.become_probe()
            return True
        if index != self.next - 1:
            return False
        self.next = max(min(index, probe_at + 1), self.match + 1)
        self.paused = False
        return True
