"""When snapshots are sent and taken: what the core wants of them, and what it is told.

A leader's core names the peers that lack what was cut off. With the snapshot that is sent to one of them comes a
message, and the peer's core gets it only once the peer has made a durable state of the snapshot. It decides then
whether that is installed.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from meteora.errors import DiskFull, SnapshotDamaged
from meteora.kv.state import State
from meteora.node.counts import NodeCounts
from meteora.node.life import Life
from meteora.node.members import Members
from meteora.node.snapshots import Outgoing, SnapshotOvertaken, Snapshots, SnapshotUnwanted
from meteora.observability.logs import get_logger
from meteora.raft import Message, MessageKind, RawNode, Snapshot
from meteora.storage.raft_log import RaftLog
from meteora.storage.snapshot_files import Manifest
from meteora.storage.snapshot_transfer import SnapshotSource
from meteora.transport.interface import IncomingSnapshot, SnapshotNotSent, SnapshotUnusable, Transport

PAUSE_SECONDS: Final = 1.0
"""Before a snapshot that did not get through is sent again."""

_log = get_logger("node")


class SnapshotSending:
    """The snapshots that are on their way to peers, one for each at most."""

    def __init__(
        self,
        raw: RawNode,
        log: RaftLog,
        snapshots: Snapshots,
        *,
        life: Life,
        counts: NodeCounts,
        wake: Callable[[], None],
    ) -> None:
        """`wake` has the node look what its core has to do."""
        self._raw = raw
        self._log = log
        self._outgoing = snapshots.outgoing
        self._life = life
        self._counts = counts
        self._wake = wake
        self._tasks: dict[int, asyncio.Task[None]] = {}
        """By the peer."""

    def begin(self, peer: int, transport: Transport) -> None:
        """The core wants a peer to have one."""
        # One that lost the leadership and has it again may be sending to this peer still.
        if peer not in self._tasks:
            self._tasks[peer] = self._life.own(self._send(peer, transport))

    def give_up(self) -> None:
        """The node stops."""
        for sending in self._tasks.values():
            sending.cancel()

    async def _send(self, peer: int, transport: Transport) -> None:
        try:
            is_sent = await self._is_sent(peer, transport)
        finally:
            # Before the core is told: in its next pass already it may want another one for this peer.
            del self._tasks[peer]
        self._raw.snapshot_finished(peer, ok=is_sent)
        self._wake()

    async def _is_sent(self, peer: int, transport: Transport) -> bool:
        """Sends a snapshot to the peer, and says whether it has it; if not, only after a pause."""
        try:
            # Whatever the log has after that is still to be had when the peer asks for it.
            async with self._outgoing.lent(self._log.first_index() - 1) as source:
                return source is not None and await self._sent_to(peer, source, transport)
        except (SnapshotNotSent, DiskFull) as error:
            self._counts.snapshots_not_sent += 1
            _log.warning("a snapshot was not sent, it will be tried again", peer=peer, cause=str(error))
            if isinstance(error, SnapshotUnusable):
                self._outgoing.doubt()
            await asyncio.sleep(PAUSE_SECONDS)
            return False

    async def _sent_to(self, peer: int, source: SnapshotSource, transport: Transport) -> bool:
        """False if the peer does not want it any more. Raises `SnapshotNotSent`."""
        message = self._raw.snapshot_started(peer, _snapshot_of(source.manifest))
        if message is None:
            return False
        _log.info("sending a snapshot", peer=peer, index=source.manifest.index)
        await transport.send_snapshot(peer, Outgoing(message.term, source))
        self._counts.snapshots_sent += 1
        _log.info("a snapshot was sent", peer=peer, index=source.manifest.index)
        return True


class SnapshotTaking:
    """The snapshot that is received, until it is installed or of no use."""

    def __init__(
        self,
        node_id: int,
        raw: RawNode,
        snapshots: Snapshots,
        *,
        life: Life,
        receive: Callable[[int, Sequence[Message]], None],
    ) -> None:
        """`receive` takes in messages as of a peer."""
        self._node_id = node_id
        self._raw = raw
        self._snapshots = snapshots
        self._life = life
        self._receive = receive
        self._built: State | None = None
        """Of a snapshot that was received: durable, and not installed yet."""

    def offered(self, sender: int, term: int, manifest: bytes) -> IncomingSnapshot:
        """A leader offers a snapshot. Raises `SnapshotUnwanted` or `SnapshotDamaged`."""
        if self._life.is_over or term < self._raw.term:
            raise SnapshotUnwanted("the node is stopping" if self._life.is_over else f"term {term} is over")
        commit_index = self._raw.status().commit_index

        async def take(manifest: Manifest) -> None:
            # If whoever sent it goes meanwhile, it is of use all the same.
            damage = await asyncio.shield(self._life.own(self._take(sender, term, manifest)))
            if damage is not None:
                raise damage

        try:
            return self._snapshots.incoming.open(sender, term, manifest, commit_index, take)
        except SnapshotOvertaken as overtaken:
            # The leader has missed an answer of this node, and would offer the same again for ever: the core answers.
            self._ask_core(sender, term, overtaken.manifest)
            raise

    async def _take(self, sender: int, term: int, manifest: Manifest) -> SnapshotDamaged | None:
        """Make a state of what was received, and let the core decide about it; what is wrong with it, if anything."""
        if self._life.is_over:
            # Nobody would wait for it; after the next start it is gone on with.
            return None
        try:
            self._built = await self._snapshots.build(manifest)
        except SnapshotDamaged as damage:
            return damage
        if self._built is not None:
            self._ask_core(sender, term, manifest)
        return None

    def _ask_core(self, sender: int, term: int, manifest: Manifest) -> None:
        snapshot = _snapshot_of(manifest)
        self._receive(sender, [Message(MessageKind.SNAPSHOT, sender, self._node_id, term, snapshot=snapshot)])

    def step(self, message: Message) -> None:
        """Hand such a message to the core."""
        self._raw.step(message)
        if self._is_of_built(message) and not self._raw.is_restoring:
            # The log has come that far by itself meanwhile.
            self._life.own(self._snapshots.discard(self.take_built()))

    def _is_of_built(self, message: Message) -> bool:
        state, snapshot = self._built, message.snapshot
        return state is not None and snapshot is not None and state.index == snapshot.index

    def take_built(self) -> State:
        """The state that the core wants to be installed, or is to be discarded."""
        state, self._built = self._built, None
        assert state is not None
        return state


def _snapshot_of(manifest: Manifest) -> Snapshot:
    """What the core has to know of a snapshot."""
    return Snapshot(manifest.index, manifest.term, Members.decode(manifest.membership).configuration)
