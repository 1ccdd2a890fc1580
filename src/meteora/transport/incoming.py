"""The receiving end: checks who sends, and hands what is well-formed to the node's `Inbox`.

Rule: every batch is checked, not only the first one, because a node can be removed while its stream is open.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import NamedTuple, NoReturn

import grpc

from meteora.errors import MeteoraError, SnapshotDamaged
from meteora.features import Release
from meteora.observability.logs import OnceLog, get_logger
from meteora.pb import peer_pb2
from meteora.pb.peer_pb2_grpc import PeerServiceServicer
from meteora.raft.message import Message
from meteora.rpc import each_request
from meteora.transport.codec import (
    ADDRESS_METADATA_KEY,
    INSTANCE_METADATA_KEY,
    LEVEL_METADATA_KEY,
    PROTOCOL_VERSION,
    REFUSAL_METADATA_KEY,
    VERSION_METADATA_KEY,
    MalformedBatch,
    decode_messages,
    decode_room,
)
from meteora.transport.interface import (
    REMOVALS,
    Identity,
    Inbox,
    IncomingSnapshot,
    Refusal,
    SnapshotChunk,
    SnapshotPosition,
)

PATIENCE_SECONDS = 30.0
"""For the next part of a snapshot: who stands still must not keep others from sending theirs."""

MAX_COUNTED_SENDERS = 1024
"""Whose bytes are counted: more than a cluster has members."""

_MAX_NUMBER = 2**64 - 1
_MAX_DIGITS = len(str(_MAX_NUMBER))
_MAX_VERSION_CHARACTERS = 40

_Context = grpc.aio.ServicerContext[peer_pb2.Batch, peer_pb2.Welcome]
_SnapshotContext = grpc.aio.ServicerContext[peer_pb2.SnapshotPart, peer_pb2.SnapshotWanted]

_Introduction = peer_pb2.Batch | peer_pb2.SnapshotOffer
"""Both say who sends, to whom, in which cluster."""

_log = get_logger("transport")


class SnapshotStalled(MeteoraError):
    """Its sender sends no more of a snapshot. It stays inside this room: the stream is ended."""


class _Stated(NamedTuple):
    """What a sender says of itself when it opens a stream."""

    instance_id: int
    """0 if that is nothing that makes sense."""
    release: Release


class _Refused(Exception):
    """Nothing is taken from who sent this batch."""

    def __init__(self, refusal: Refusal, batch: peer_pb2.Batch) -> None:
        super().__init__(refusal)
        self.refusal = refusal
        self.batch = batch


class PeerReceiver(PeerServiceServicer):
    """`PeerService.Exchange`, on any host of standard asynchronous servicers. Whoever serves it adds `Join`."""

    def __init__(self, identity: Identity, inbox: Inbox) -> None:
        self._identity = identity
        self._inbox = inbox
        self._refusals = OnceLog(_log)
        self.received_bytes: dict[int, int] = {}
        """By the sender."""

    async def SendSnapshot(  # noqa: N802  the method's name in the proto
        self, request_iterator: AsyncIterator[peer_pb2.SnapshotPart], context: _SnapshotContext
    ) -> AsyncIterator[peer_pb2.SnapshotWanted]:
        """Takes a snapshot that is offered; ends the stream when it has it, or with the reason why it wants none."""
        offer = (await anext(request_iterator, peer_pb2.SnapshotPart())).offer
        refusal = self._refusal_of(offer, _stated_by(context))
        if refusal is not None:
            await self._refuse(offer, refusal, context)
        try:
            incoming = self._inbox.offered(offer.sender, offer.term, offer.manifest)
        except MeteoraError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        try:
            async with aclosing(_take(request_iterator, incoming)) as answers:
                async for wanted in answers:
                    yield wanted
        except MeteoraError as error:
            yield peer_pb2.SnapshotWanted(refusal=str(error), is_damaged=isinstance(error, SnapshotDamaged))
            async for _ in request_iterator:
                pass  # What was on its way.

    async def Exchange(  # noqa: N802  the method's name in the proto
        self, request_iterator: AsyncIterator[peer_pb2.Batch], context: _Context
    ) -> AsyncIterator[peer_pb2.Welcome]:
        """Takes batches for as long as they are in order; ends the stream with FAILED_PRECONDITION or DATA_LOSS."""
        stated = _stated_by(context)
        try:
            introduction = await anext(request_iterator, None)
            if introduction is None:
                return
            messages = self._checked(context, stated, introduction)
            address = _value_of(context, ADDRESS_METADATA_KEY)
            self._inbox.introduced(introduction.sender, stated.instance_id, address, stated.release)
            yield peer_pb2.Welcome(node_id=self._identity.node_id)
            self._pass_on(introduction, messages)
            await each_request(request_iterator, partial(self._take, context, stated))
        except _Refused as refused:
            await self._refuse(refused.batch, refused.refusal, context)
        except MalformedBatch as error:
            await context.abort(grpc.StatusCode.DATA_LOSS, str(error))

    def _take(self, context: _Context, stated: _Stated, batch: peer_pb2.Batch) -> None:
        self._pass_on(batch, self._checked(context, stated, batch))

    def _checked(self, context: _Context, stated: _Stated, batch: peer_pb2.Batch) -> list[Message]:
        """The messages of a batch. Raises `_Refused` or `MalformedBatch`."""
        refusal = self._refusal_of(batch, stated)
        if refusal is not None:
            raise _Refused(refusal, batch)
        try:
            return decode_messages(batch)
        except MalformedBatch as error:
            _log.error("batch dropped", sender=batch.sender, sender_address=context.peer(), cause=error)
            raise

    def _pass_on(self, batch: peer_pb2.Batch, messages: Sequence[Message]) -> None:
        self._count(batch)
        if messages:
            self._inbox.receive(batch.sender, messages)
        if batch.state_report:
            self._inbox.reported(batch.sender, batch.state_report)
        if batch.HasField("room"):
            self._inbox.room_told(batch.sender, decode_room(batch.room))

    def _count(self, batch: peer_pb2.Batch) -> None:
        received = self.received_bytes
        # Who is let in may not be known here yet; and one that lies must not fill the memory.
        if batch.sender in received or len(received) < MAX_COUNTED_SENDERS:
            received[batch.sender] = received.get(batch.sender, 0) + batch.ByteSize()

    def _refusal_of(self, batch: _Introduction, stated: _Stated) -> Refusal | None:
        if batch.protocol_version != PROTOCOL_VERSION:
            return Refusal.PROTOCOL_VERSION
        if batch.cluster_id != self._identity.cluster_id:
            return Refusal.FOREIGN_CLUSTER
        if batch.receiver != self._identity.node_id:
            return Refusal.WRONG_RECEIVER
        if batch.sender in (0, self._identity.node_id):
            return Refusal.FORGED_SENDER
        return self._inbox.admits(batch.sender, stated.instance_id, stated.release.level)

    async def _refuse(self, batch: _Introduction, refusal: Refusal, context: _Context | _SnapshotContext) -> NoReturn:
        detail = self._explain(batch, refusal)
        # Who was removed in good order is told so, too, if it asks.
        tell = self._refusals.info if refusal in REMOVALS else self._refusals.warning
        tell(
            "peer refused",
            (batch.sender, batch.cluster_id, refusal),
            sender=batch.sender,
            sender_address=context.peer(),
            reason=refusal,
            detail=detail,
        )
        metadata = ((REFUSAL_METADATA_KEY, refusal.value),)
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, detail, metadata)

    def _explain(self, batch: _Introduction, refusal: Refusal) -> str:
        """The refusal in words, for the logs of both ends."""
        cluster_id, node_id = self._identity.cluster_id, self._identity.node_id
        match refusal:
            case Refusal.PROTOCOL_VERSION:
                return f"node {node_id} speaks version {PROTOCOL_VERSION} of the protocol, not {batch.protocol_version}"
            case Refusal.FOREIGN_CLUSTER:
                return f"node {node_id} belongs to cluster {cluster_id:016x}, not {batch.cluster_id:016x}"
            case Refusal.WRONG_RECEIVER:
                return f"this is node {node_id}, not node {batch.receiver}: two nodes have the same address"
            case Refusal.FORGED_SENDER:
                return f"node {batch.sender} can't be who sends this to node {node_id}"
            case Refusal.REMOVED_SENDER | Refusal.REMOVED_LONG_AGO:
                return f"node {batch.sender} was removed from the cluster"
            case Refusal.RELEASE_TOO_OLD:
                return f"node {batch.sender} runs a release that is too old for this cluster: start it with a later one"


def _stated_by(context: _Context | _SnapshotContext) -> _Stated:
    version = _value_of(context, VERSION_METADATA_KEY)[:_MAX_VERSION_CHARACTERS]
    release = Release(_number_of(context, LEVEL_METADATA_KEY), version)
    return _Stated(_number_of(context, INSTANCE_METADATA_KEY), release)


def _number_of(context: _Context | _SnapshotContext, key: str) -> int:
    value = _value_of(context, key)
    number = int(value) if len(value) <= _MAX_DIGITS and value.isdecimal() else 0
    return number if number <= _MAX_NUMBER else 0


def _value_of(context: _Context | _SnapshotContext, key: str) -> str:
    """What the sender states under `key`; empty if nothing."""
    values = (value for stated_key, value in context.invocation_metadata() or () if stated_key == key)
    return str(next(values, ""))


async def _take(
    parts: AsyncIterator[peer_pb2.SnapshotPart], incoming: IncomingSnapshot
) -> AsyncGenerator[peer_pb2.SnapshotWanted, None]:
    """Writes what comes; yields what is wanted, until that is nothing. Raises `MeteoraError`."""
    try:
        position = await incoming.begin()
        while not incoming.is_complete:
            yield _wanted(position)
            part = await _next_part(parts)
            if part is None:
                return
            chunk = SnapshotChunk(SnapshotPosition(part.table_number, part.offset_bytes), part.data, part.checksum)
            position = await incoming.write(chunk)
        # Who sent it goes on from there at once, so the node must know of it by then.
        await incoming.finish()
        yield _wanted(position, is_complete=True)
    finally:
        incoming.close()


async def _next_part(parts: AsyncIterator[peer_pb2.SnapshotPart]) -> peer_pb2.SnapshotPart | None:
    """None at the end. Raises `SnapshotStalled`."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await anext(parts, None)
    except TimeoutError:
        raise SnapshotStalled(f"nothing more came of the snapshot for {PATIENCE_SECONDS:g} s") from None


def _wanted(position: SnapshotPosition, *, is_complete: bool = False) -> peer_pb2.SnapshotWanted:
    table_number, offset_bytes = position
    return peer_pb2.SnapshotWanted(table_number=table_number, offset_bytes=offset_bytes, is_complete=is_complete)
