"""The sending end of a snapshot: a channel of its own, so that nothing else waits behind it.

The receiver answers each chunk with what it wants next. Up to `WINDOW_CHUNKS` are on their way at a time, so that
neither end waits for the line; if an answer is not what was going to be sent next, what was on its way is lost, and it
goes on from there.
"""

import asyncio
from collections import deque

import grpc

from meteora.observability.logs import get_logger
from meteora.pb import peer_pb2
from meteora.pb.peer_pb2_grpc import PeerServiceStub
from meteora.transport.codec import INSTANCE_METADATA_KEY, LEVEL_METADATA_KEY, PROTOCOL_VERSION
from meteora.transport.dialler import Dialler
from meteora.transport.interface import (
    Identity,
    OutgoingSnapshot,
    SnapshotChunk,
    SnapshotNotSent,
    SnapshotPosition,
    SnapshotUnusable,
)

WINDOW_CHUNKS = 8
"""Sent and not answered yet: with chunks of 256 KiB what a 1 Gbit/s line of 16 ms holds."""

PATIENCE_SECONDS = 30.0
"""For one answer: the receiver may have to fsync a whole table first, on a slow disk."""

PROGRESS_SECONDS = 5.0
"""Between log lines about one snapshot."""

SnapshotCall = grpc.aio.StreamStreamCall[peer_pb2.SnapshotPart, peer_pb2.SnapshotWanted]

_log = get_logger("transport")


async def send_snapshot(
    dialler: Dialler, identity: Identity, peer: int, address: str, snapshot: OutgoingSnapshot
) -> None:
    """Send it to the peer at this address. Raises `SnapshotNotSent`, `SnapshotUnusable` among them."""
    async with dialler.open_channel(address) as channel:
        metadata = (
            (INSTANCE_METADATA_KEY, str(identity.instance_id)),
            (LEVEL_METADATA_KEY, str(identity.release.level)),
        )
        call = PeerServiceStub(channel).SendSnapshot(metadata=metadata)
        await send_over(call, identity, peer, snapshot)


async def send_over(call: SnapshotCall, identity: Identity, peer: int, snapshot: OutgoingSnapshot) -> None:
    """Send it to the peer at the other end of this call, and end that. Raises as `send_snapshot`."""
    try:
        await call.write(peer_pb2.SnapshotPart(offer=_offer(identity, peer, snapshot)))
        await _Sending(call, peer, snapshot).run()
    except TimeoutError:
        raise SnapshotNotSent(f"node {peer} gave no answer for {PATIENCE_SECONDS:g} s") from None
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
        # The status of the call says more.
        raise SnapshotNotSent(f"node {peer} ended it: {await call.details() or await call.code()}") from error
    finally:
        call.cancel()


def _offer(identity: Identity, receiver: int, snapshot: OutgoingSnapshot) -> peer_pb2.SnapshotOffer:
    return peer_pb2.SnapshotOffer(
        protocol_version=PROTOCOL_VERSION,
        cluster_id=identity.cluster_id,
        sender=identity.node_id,
        receiver=receiver,
        term=snapshot.term,
        manifest=snapshot.manifest,
    )


class _Sending:
    """One snapshot on its way."""

    def __init__(self, call: SnapshotCall, peer: int, snapshot: OutgoingSnapshot) -> None:
        self._call = call
        self._peer = peer
        self._snapshot = snapshot
        self._next: SnapshotPosition | None = None
        """What is to be sent; None if nothing is left."""
        self._expected: deque[SnapshotPosition] = deque()
        """The answers to what is on its way, if all goes well."""
        self._sent_bytes = 0
        self._told_at = asyncio.get_running_loop().time()

    async def run(self) -> None:
        wanted = await self._answer()
        self._next = _position(wanted)
        while not wanted.is_complete:
            await self._fill_window()
            wanted = await self._answer()
            if _position(wanted) != self._expected.popleft():
                wanted = await self._start_over(wanted)

    async def _fill_window(self) -> None:
        while self._next is not None and len(self._expected) < WINDOW_CHUNKS:
            await self._send_next(self._next)
        if not self._expected:
            raise SnapshotNotSent(f"node {self._peer} wants more than there is")

    async def _send_next(self, position: SnapshotPosition) -> None:
        found = await self._snapshot.read(position)
        if found is None:
            self._next = None
            return
        chunk, self._next = found
        await self._call.write(_part(chunk))
        self._expected.append(self._next)
        self._sent_bytes += len(chunk.data)
        self._tell_progress()

    async def _start_over(self, wanted: peer_pb2.SnapshotWanted) -> peer_pb2.SnapshotWanted:
        """Wait until all that is on its way is answered; go on from what is wanted then."""
        while self._expected:
            self._expected.popleft()
            wanted = await self._answer()
        self._next = _position(wanted)
        return wanted

    async def _answer(self) -> peer_pb2.SnapshotWanted:
        async with asyncio.timeout(PATIENCE_SECONDS):
            wanted = await self._call.read()
        if not isinstance(wanted, peer_pb2.SnapshotWanted):
            raise SnapshotNotSent(f"node {self._peer} ended it: {await self._call.details() or 'no reason was given'}")
        if wanted.refusal:
            kind = SnapshotUnusable if wanted.is_damaged else SnapshotNotSent
            raise kind(f"node {self._peer} ended it: {wanted.refusal}")
        return wanted

    def _tell_progress(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= PROGRESS_SECONDS:
            self._told_at = now
            _log.info("sending a snapshot", peer=self._peer, sent_mebibytes=self._sent_bytes >> 20)


def _position(wanted: peer_pb2.SnapshotWanted) -> SnapshotPosition:
    return SnapshotPosition(wanted.table_number, wanted.offset_bytes)


def _part(chunk: SnapshotChunk) -> peer_pb2.SnapshotPart:
    (table_number, offset_bytes), data, checksum = chunk
    return peer_pb2.SnapshotPart(table_number=table_number, offset_bytes=offset_bytes, data=data, checksum=checksum)
