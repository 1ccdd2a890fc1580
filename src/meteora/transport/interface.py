"""What the node knows of its peers' connections: a `Transport` that it sends by, and the `Inbox` that it offers."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from meteora.errors import MeteoraError
from meteora.features import FIRST_RELEASE, Release
from meteora.raft.message import Message


class Identity(NamedTuple):
    """Who this node is to its peers."""

    cluster_id: int
    node_id: int
    instance_id: int
    """Drawn once for a data directory. Tells a node that was removed from one that joined with the same id since."""
    raft_address: str
    """host:port at which the peers find it."""
    release: Release = FIRST_RELEASE
    """What it says of its program."""


class Refusal(StrEnum):
    """Why a node takes nothing from another one. The values are on the wire and never change their meaning."""

    PROTOCOL_VERSION = "protocol-version"
    """They speak different versions of the peers' protocol."""
    FOREIGN_CLUSTER = "foreign-cluster"
    """They belong to different clusters."""
    WRONG_RECEIVER = "wrong-receiver"
    """Another node than the one addressed listens there."""
    FORGED_SENDER = "forged-sender"
    """The sender says that it is the receiver, or nobody."""
    REMOVED_SENDER = "removed-sender"
    """The sender was removed from the cluster."""
    REMOVED_LONG_AGO = "removed-long-ago"
    """So it was, and somebody else since: a majority had come to know of it before that."""
    RELEASE_TOO_OLD = "release-too-old"
    """The cluster is at a feature level that the sender's release does not support."""


REMOVALS = frozenset({Refusal.REMOVED_SENDER, Refusal.REMOVED_LONG_AGO})


class Room(NamedTuple):
    """What a member has stored, and may store, by its own account; 0 stands for no bound."""

    stored_bytes: int = 0
    quota_bytes: int = 0
    free_bytes: int = 0
    """On its disk."""
    min_free_bytes: int = 0
    """What has to stay free there."""
    is_over_quota: bool = False
    """Not the same as what the numbers say, so that it doesn't change all the time; likewise the next."""
    is_disk_low: bool = False


class SnapshotNotSent(MeteoraError):
    """A snapshot did not get to its receiver, or not all of it. What did stays there: the next attempt goes on."""


class SnapshotUnusable(SnapshotNotSent):
    """It can't be read, or the receiver found that it is not what its manifest says."""


class SnapshotPosition(NamedTuple):
    """A place in a snapshot: so many whole tables, and so many bytes of the next."""

    table_number: int
    offset_bytes: int


class SnapshotChunk(NamedTuple):
    """Bytes of a snapshot, with where they belong."""

    position: SnapshotPosition
    data: bytes
    checksum: int
    """CRC-32 of the data."""


class OutgoingSnapshot(Protocol):
    """A snapshot that is sent: what it is, and its bytes from any place."""

    @property
    def term(self) -> int:
        """Of the leader that sends it."""

    @property
    def manifest(self) -> bytes:
        """What the receiver has to know of it before it has any of it."""

    async def read(self, position: SnapshotPosition) -> tuple[SnapshotChunk, SnapshotPosition] | None:
        """The chunk at `position`, and where the next one begins; None at the end. Raises `SnapshotNotSent`."""


class IncomingSnapshot(Protocol):
    """A snapshot that is received. The receiver says what it wants, and that is always the truth about its disk."""

    async def begin(self) -> SnapshotPosition:
        """From where on it is wanted. Raises `MeteoraError`."""

    async def write(self, chunk: SnapshotChunk) -> SnapshotPosition:
        """Takes in a chunk, if it is the one that is wanted; what is wanted now. Raises `MeteoraError`."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is wanted any more."""

    async def finish(self) -> None:
        """All of it is here: returns once the node has taken it over. Raises `MeteoraError`."""

    def close(self) -> None:
        """Nothing more comes."""


class Transport(Protocol):
    """Sends messages to the other members. Lives on one event loop and is used from there only."""

    def send(self, messages: Sequence[Message]) -> None:
        """Passes messages on to their receivers. Never waits: where there is no room or no such peer, one is dropped.

        Messages that are sent together share the encodings of the entries that they share.
        """

    def report(self, report: bytes) -> None:
        """Passes what the node says of its state on to every peer. A newer one replaces it; any may be lost."""

    def tell_room(self, room: Room) -> None:
        """Passes on what room the node has, as `report` does."""

    def set_peers(self, addresses: Mapping[int, str]) -> None:
        """Makes these the peers: node id to Raft address (host:port) of every other member.

        Opens, closes and re-points connections as needed; what stays as it was is not disturbed.
        """

    async def send_snapshot(self, peer: int, snapshot: OutgoingSnapshot) -> None:
        """Returns once the peer has all of it. Takes as long as it takes, and holds up nothing that `send` sends.

        Raises `SnapshotNotSent`; `SnapshotUnusable` if there had better be another one.
        """

    async def close(self) -> None:
        """Ends every connection, and waits for it. What is queued is dropped; what is sent from now on, too."""


class Inbox(Protocol):
    """What the node does with what its peers send. Called on the event loop, never from within `Transport.send`."""

    def admits(self, sender: int, instance_id: int, level: int) -> Refusal | None:
        """None if messages of this node are taken, else why not. Asked for every batch, so it must be quick.

        `instance_id` is the sender's, and `level` what its program supports, as it stated for this stream; 0 if it
        stated none.
        """

    def introduced(self, sender: int, instance_id: int, raft_address: str, release: Release) -> None:
        """A stream of this node was let in, and this is where it says that it can be reached; empty if it doesn't.

        `instance_id` is as in `admits`.
        """

    def receive(self, sender: int, messages: Sequence[Message]) -> None:
        """Takes the messages of one batch, in order. They are checked, and addressed to this node."""

    def reported(self, sender: int, report: bytes) -> None:
        """What a peer says of its state, as its node gave it to `Transport.report`."""

    def room_told(self, sender: int, room: Room) -> None:
        """What room a peer says that it has."""

    def offered(self, sender: int, term: int, manifest: bytes) -> IncomingSnapshot:
        """A leader of `term` offers a snapshot. Raises `MeteoraError` if it is not wanted, or not now."""

    def unreachable(self, peer: int) -> None:
        """Something for this peer was lost: its stream broke or could not be opened, or its queue was full.

        Told once for each attempt to connect and each time that the queue fills up, not for each message.
        """

    def refused(self, peer: int, refusal: Refusal, detail: str) -> None:
        """The peer takes nothing from this node. Told when it begins, not for each attempt."""
