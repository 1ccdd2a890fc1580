"""What nodes say to one another, as plain data.

One shape for all kinds: what a field means depends on the kind, as the table in `MessageKind` says. The sender
and receiver are node ids; 0 is nobody.
"""

from enum import IntEnum
from typing import NamedTuple

from meteora.raft.entry import Entry
from meteora.raft.snapshot import Snapshot


class MessageKind(IntEnum):
    """The kinds; numbers are on the wire and never reused."""

    PROPOSE = 1
    """Follower to leader. entries: data and kind to append; their term and index mean nothing yet."""
    APPEND = 2
    """Leader to peer. index, log_term: the entry before the first of entries; commit."""
    APPEND_RESPONSE = 3
    """index: last matching index; with reject, the refused index, and hint, log_term: where to look next."""
    VOTE = 4
    """Candidate to voter. index, log_term: the candidate's last entry; commit, hint: how far it knows the log to be
    committed, and the term there; context: TRANSFER if told to campaign."""
    VOTE_RESPONSE = 5
    """reject, and with it commit, hint, as in VOTE."""
    PRE_VOTE = 6
    """As VOTE, with the term that the sender would campaign in. At the receiver neither the term nor the vote changes
    (thesis 9.6)."""
    PRE_VOTE_RESPONSE = 7
    """As VOTE_RESPONSE. term: the asked term if granted, the voter's own if refused."""
    HEARTBEAT = 8
    """Leader to peer. commit: never beyond what the peer is known to match; context: a round of reads, the
    tick of a lease, or empty."""
    HEARTBEAT_RESPONSE = 9
    """context: that of the heartbeat."""
    READ_INDEX = 10
    """Follower to leader. context: the follower's name for its read (thesis 6.4)."""
    READ_INDEX_RESPONSE = 11
    """index: the read may be served once this is applied; context."""
    TIMEOUT_NOW = 12
    """Leader to its chosen successor: campaign at once (thesis 3.10)."""
    TRANSFER_LEADER = 13
    """Follower to leader. index: the node that should lead."""
    SNAPSHOT = 14
    """Leader to peer. snapshot: what the state stands for that came with it, out of band. It is handed to the core
    only once all of that state is on the receiver's disk and verified."""


TRANSFER = b"transfer"
"""Context of a vote request that the leader itself asked for: leader stickiness doesn't apply to it."""


class Message(NamedTuple):
    """One message between two nodes."""

    kind: MessageKind
    sender: int
    receiver: int
    term: int = 0
    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a message
    log_term: int = 0
    commit: int = 0
    entries: tuple[Entry, ...] = ()
    reject: bool = False
    hint: int = 0
    context: bytes = b""
    snapshot: Snapshot | None = None


class HardState(NamedTuple):
    """What must survive a crash besides the log. Term and vote are fsynced before anyone hears of them."""

    term: int = 0
    vote: int = 0
    commit: int = 0
