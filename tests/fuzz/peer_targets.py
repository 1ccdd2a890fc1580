"""The peers' port: batches that are nearly right, what a receiver lets through, and what the core makes of that.

The core believes members, as Raft does: they may fail, but do not lie. What transport lets through must be well formed;
a member that lies all the same (two leaders in a term, acknowledgements of what was never sent) may stop a node, by an
`InvariantViolation` that says so, and must do no other harm: no other error, and no committed entry that changes.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from meteora.errors import MeteoraError
from meteora.features import Release
from meteora.kv.rolling_hash import decode_checkpoints, encode_checkpoints
from meteora.node.divergence import DivergenceAlarm
from meteora.node.room import RoomWatch
from meteora.pb import peer_pb2
from meteora.raft import Configuration, Entry, EntryKind, HardState, RawNode, Settings
from meteora.raft.entry import decode_entry
from meteora.raft.errors import CorruptEntry, InvalidConfChange, InvariantViolation, ProposalDropped
from meteora.raft.membership import decode_conf_change
from meteora.raft.memory_log import MemoryLog
from meteora.raft.message import Message, MessageKind
from meteora.raft.text import message_text
from meteora.transport.codec import PROTOCOL_VERSION, MalformedBatch, decode_messages
from meteora.transport.incoming import PeerReceiver, _stated_by
from meteora.transport.interface import Identity, IncomingSnapshot, Refusal, Room, SnapshotChunk, SnapshotPosition
from tests.fuzz.choices import Choices
from tests.fuzz.messages import message_of
from tests.fuzz.wire import nothing_logged, run

CLUSTER, NODE = 7, 2

LIES = (
    "both lead term",
    "beyond the last index",
    "would replace a committed one",
    "lost log?",
)
"""What a node says that stops because a member has lied: each is a broken promise of Raft's, found."""


def batch_from(choices: Choices) -> peer_pb2.Batch:
    """A batch that is nearly right."""
    sender = 1 + choices.byte() % 2 * 2 if choices.byte() < 230 else choices.small()
    batch = peer_pb2.Batch(
        protocol_version=PROTOCOL_VERSION if choices.byte() < 250 else choices.small() & 0xFFFF_FFFF,
        cluster_id=CLUSTER if choices.byte() < 250 else choices.small(),
        sender=sender,
        receiver=NODE if choices.byte() < 250 else choices.small(),
        messages=[_message(choices) for _ in range(choices.byte() % 4)],
    )
    beside = choices.byte()
    if beside > 230:
        batch.state_report = choices.chunk()
    elif beside > 200:
        batch.room.CopyFrom(message_of(peer_pb2.Room, choices))
    return batch


def _message(choices: Choices) -> peer_pb2.Message:
    index, term = choices.small(), choices.small()
    is_right = choices.byte() < 200
    entries = []
    for number in range(choices.byte() % 4):
        at, of = (index + number + 1, term) if is_right else (choices.small(), choices.small())
        kind = EntryKind.CONF_CHANGE if choices.byte() > 230 else EntryKind.COMMAND
        encoded = Entry(of & (2**64 - 1), at & (2**64 - 1), choices.chunk(), kind).encode()
        entries.append(encoded if choices.byte() < 250 else choices.chunk())
    return peer_pb2.Message(
        kind=choices.byte() % 16,
        term=term,
        index=index,
        log_term=choices.small(),
        commit=choices.small(),
        entries=entries,
        reject=choices.flag(),
        hint=choices.small(),
        context=choices.one_of((b"", b"transfer", b"lease", choices.chunk())) if choices.flag() else b"",
    )


class _Inbox:
    """What a node offers, as far as it is of interest here."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def admits(self, sender: int, instance_id: int, level: int) -> Refusal | None:
        assert 0 <= instance_id < 2**64, "an instance id that no record can hold"
        return Refusal.REMOVED_SENDER if sender == 9 else None

    def introduced(self, sender: int, instance_id: int, raft_address: str, release: Release) -> None:
        assert sender not in (0, NODE), "a sender that can't be"

    def receive(self, sender: int, messages: Sequence[Message]) -> None:
        assert sender not in (0, NODE), "a sender that can't be"
        assert all(each.sender == sender and each.receiver == NODE for each in messages)
        self.messages += messages

    def reported(self, sender: int, report: bytes) -> None:
        decode_checkpoints(report)

    def room_told(self, sender: int, room: Room) -> None:
        watch = RoomWatch(NODE, 0, 0)
        watch.told(sender, room, now=0.0)
        watch.judge({sender}, now=0.0)

    def offered(self, sender: int, term: int, manifest: bytes) -> IncomingSnapshot:
        if term % 2:
            raise MeteoraError("not now")
        return _Incoming()

    def unreachable(self, peer: int) -> None:
        pass

    def refused(self, peer: int, refusal: Refusal, detail: str) -> None:
        pass


class _Incoming:
    """A snapshot of which three chunks are wanted."""

    def __init__(self) -> None:
        self.written = 0
        self.is_closed = False

    @property
    def is_complete(self) -> bool:
        return self.written >= 3

    async def begin(self) -> SnapshotPosition:
        return SnapshotPosition(0, 0)

    async def write(self, chunk: SnapshotChunk) -> SnapshotPosition:
        self.written += 1
        return chunk.position

    async def finish(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


class _Aborted(Exception):
    """The stream was ended with a status."""


class _Context:
    """What a servicer sees of its call."""

    def __init__(self, metadata: Sequence[tuple[str, str]]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return self._metadata

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    async def abort(self, code: grpc.StatusCode, details: str, metadata: Any = ()) -> NoReturn:
        assert code in {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.DATA_LOSS}
        raise _Aborted(details)


async def _stream(items: Sequence[Any]) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item


def _batches(choices: Choices) -> list[peer_pb2.Batch]:
    batches = []
    while choices and len(batches) < 12:
        batches.append(batch_from(choices))
    return batches


async def _exchange(batches: Sequence[peer_pb2.Batch], instance: str) -> list[Message]:
    inbox = _Inbox()
    receiver = PeerReceiver(Identity(CLUSTER, NODE, 1, "127.0.0.1:1"), inbox)
    context: Any = _Context((("meteora-instance", instance), ("meteora-raft-address", instance)))
    with suppress(_Aborted):
        async for welcome in receiver.Exchange(_stream(batches), context):
            assert welcome.node_id == NODE
    return inbox.messages


def peer_exchange(data: bytes) -> None:
    """Batches on a stream: garbage, other clusters, forged senders, wrong numbers."""
    choices = Choices(data)
    instance = choices.chunk().decode("latin-1") if choices.flag() else str(choices.small())
    run(_ignoring_result(_exchange(_batches(choices), instance)))


async def _ignoring_result(work: Any) -> None:
    await work


def peer_bytes(data: bytes) -> None:
    """Anything as a batch, a part of a snapshot, an entry, a change of membership, a report."""
    with suppress(DecodeError, MalformedBatch):
        decode_messages(peer_pb2.Batch.FromString(data))
    with suppress(CorruptEntry):
        assert decode_entry(data).encode() == data
    with suppress(InvalidConfChange):
        decode_conf_change(data)
    checkpoints = decode_checkpoints(data)
    assert not checkpoints or encode_checkpoints(checkpoints) == data
    alarm = DivergenceAlarm(NODE)
    alarm.heard(1, data)
    alarm.compare(checkpoints, Configuration.of((1, 2, 3)), 1)


async def _send_snapshot(choices: Choices) -> None:
    receiver = PeerReceiver(Identity(CLUSTER, NODE, 1, "127.0.0.1:1"), _Inbox())
    sender = 1 if choices.byte() < 230 else choices.small()
    offer = peer_pb2.SnapshotOffer(
        protocol_version=PROTOCOL_VERSION,
        cluster_id=CLUSTER if choices.byte() < 240 else choices.small(),
        sender=sender,
        receiver=NODE,
        term=choices.small(),
        manifest=choices.chunk(),
    )
    parts = [peer_pb2.SnapshotPart(offer=offer)] if choices.byte() < 240 else []
    while choices and len(parts) < 8:
        position = {"table_number": choices.small() & 0xFFFF_FFFF, "offset_bytes": choices.small()}
        parts.append(peer_pb2.SnapshotPart(data=choices.chunk(), checksum=choices.small() & 0xFFFF_FFFF, **position))
    with suppress(_Aborted):
        context: Any = _Context(())
        async for _ in receiver.SendSnapshot(_stream(parts), context):
            pass


def peer_snapshot(data: bytes) -> None:
    """A snapshot that is offered by anyone, and parts that belong nowhere."""
    run(_send_snapshot(Choices(data)))


class _Member:
    """A core with a disk that answers at once, in a cluster of three."""

    def __init__(self) -> None:
        self.disk = MemoryLog()
        self.committed: list[Entry] = []
        self.node = RawNode(
            NODE,
            self.disk,
            hard_state=HardState(),
            configuration=Configuration.of((1, 2, 3)),
            applied=0,
            settings=Settings(),
            random_below=lambda bound: bound // 2,
        )

    def settle(self) -> None:
        """Does all that is ready, and looks at it."""
        for _ in range(64):
            if not self.node.has_ready:
                return
            ready = self.node.ready()
            for message in ready.messages:
                message_text(message)
            if ready.persist is not None:
                assert ready.persist.snapshot is None
                self.disk.append(ready.persist.entries)
                self.node.persisted(ready.persist)
            self._apply(ready.committed)
            for fetch in ready.fetches:
                self.node.fetched(fetch, self.disk.entries(fetch.low, fetch.high, fetch.max_bytes))
            for peer in ready.snapshots_wanted:
                self.node.snapshot_finished(peer, ok=False)
        raise AssertionError("the core always has more to do")

    def _apply(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            assert entry.index == len(self.committed) + 1, "applied out of order"
            self.committed.append(entry)
            if entry.kind is EntryKind.CONF_CHANGE:
                with suppress(InvalidConfChange):
                    self.node.apply_conf_change(decode_conf_change(entry.data))
            self.node.applied(entry.index)

    def look(self) -> None:
        """Raises unless what was committed is still in the log as it was."""
        for entry in self.committed:
            assert self.disk.entries(entry.index, entry.index + 1, 1 << 30)[0] == entry, "a committed entry changed"


def raft_core(data: bytes) -> None:
    """Whatever messages transport lets through, into the core of a member, between ticks and requests of its own."""
    choices, member = Choices(data), _Member()
    receiver = PeerReceiver(Identity(CLUSTER, NODE, 1, "127.0.0.1:1"), _Inbox())
    try:
        with nothing_logged():
            for _ in range(64):
                if not choices:
                    break
                _disturb(choices, member, receiver)
                member.settle()
                member.look()
    except InvariantViolation as error:
        if not any(lie in str(error) for lie in LIES):
            raise


def _disturb(choices: Choices, member: _Member, receiver: PeerReceiver) -> None:
    node = member.node
    action = choices.byte() % 16
    if action == 0:
        for _ in range(1 + choices.byte() % 30):
            node.tick()
    elif action == 1:
        node.campaign()
    elif action == 2:
        with suppress(ProposalDropped):
            node.propose([choices.chunk()])
    elif action == 3:
        node.read_index(choices.chunk() or b"x")
    elif action == 4:
        node.unreachable(1 + choices.byte() % 4)
    elif action == 5:
        # The answers that make it a leader.
        for kind in (MessageKind.PRE_VOTE_RESPONSE, MessageKind.VOTE_RESPONSE):
            node.step(Message(kind, 3, NODE, max(1, node.term)))
            member.settle()
    else:
        _receive(node, receiver, batch_from(choices))


def _receive(node: RawNode, receiver: PeerReceiver, batch: peer_pb2.Batch) -> None:
    """What `PeerReceiver` does with a batch, and the node with its messages."""
    context: Any = _Context(())
    stated = _stated_by(context)
    if receiver._refusal_of(batch, stated) is not None:
        return
    with suppress(MalformedBatch):
        for message in receiver._checked(context, stated, batch):
            with suppress(ProposalDropped):
                node.step(message)
