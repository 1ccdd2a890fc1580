"""The connection to one peer: its queue, and the one task that keeps a stream open and empties the queue into it.

Rules:

- Each attempt has a channel of its own, so that nothing of gRPC's own back-off outlives a failure.
- Messages are taken while an attempt is made and while the stream is open. They are dropped in the pause between
  attempts, and what still waits when a stream ends is dropped with it: Raft sends again what still matters.
- Only changes are logged and told: connected, refused, and unreachable, once that has lasted for a while.
"""

import asyncio
import math
import random
import time
from typing import NamedTuple

import grpc

from meteora.observability.logs import get_logger
from meteora.pb import peer_pb2
from meteora.pb.peer_pb2_grpc import PeerServiceStub
from meteora.raft.message import Message
from meteora.transport.channel import open_channel
from meteora.transport.codec import (
    ADDRESS_METADATA_KEY,
    INSTANCE_METADATA_KEY,
    REFUSAL_METADATA_KEY,
    EncodedEntries,
    encode_batch,
)
from meteora.transport.interface import REMOVALS, Identity, Inbox, Refusal
from meteora.transport.queue import OutgoingQueue

FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 1.0
"""Between attempts to connect: doubles from the first to the longest. A restarted peer is found within the latter."""

WELCOME_TIMEOUT_SECONDS = 3.0
"""To look up the name, connect and be let in. Long enough for a SYN to be lost once."""

UNREACHABLE_PATIENCE_SECONDS = 3.0
"""A peer that can't be reached for longer is logged: one that is just starting or stopping is no trouble."""

_Call = grpc.aio.StreamStreamCall[peer_pb2.Batch, peer_pb2.Welcome]

_log = get_logger("transport")


class Ending(NamedTuple):
    """How an attempt or a stream ended."""

    cause: str
    refusal: Refusal | None = None


class BackOff:
    """Pauses between attempts: doubling, with jitter, so that peers don't all call a restarted node at once.

    Starts anew only after a stream that outlived the longest pause: one that breaks as soon as it is opened must not be
    opened twenty times a second.
    """

    __slots__ = ("_opened_at", "_pause_seconds")

    def __init__(self) -> None:
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._opened_at = math.inf

    def opened(self) -> None:
        """The attempt succeeded: from now on there is a stream."""
        self._opened_at = time.monotonic()

    def next_seconds(self) -> float:
        """The pause to make now that the attempt, or its stream, has ended."""
        if time.monotonic() - self._opened_at > MAX_PAUSE_SECONDS:
            self._pause_seconds = FIRST_PAUSE_SECONDS
        self._opened_at = math.inf
        pause_seconds = self._pause_seconds * random.uniform(0.5, 1)
        self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)
        return pause_seconds


class PeerLink:
    """Sends to one peer, at one address, until its task is cancelled."""

    def __init__(self, identity: Identity, peer: int, address: str, inbox: Inbox) -> None:
        self.address = address
        self._identity = identity
        self._metadata = (
            (INSTANCE_METADATA_KEY, str(identity.instance_id)),
            (ADDRESS_METADATA_KEY, identity.raft_address),
        )
        self._peer = peer
        self._inbox = inbox
        self._queue = OutgoingQueue()
        self._report = b""
        # Something waits in the queue, or to be reported, or the call has ended.
        self._wake = asyncio.Event()
        self._is_pausing = False
        self._is_loss_told = False
        self._back_off = BackOff()
        # What was logged last; None at first.
        self._state: str | None = None
        self._unreachable_since = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self.task = self._loop.create_task(self._run(), name=f"link to peer {peer} at {address}")

    def send(self, message: Message, encoded: EncodedEntries) -> None:
        """Queues the message, or drops it if there is no room or the peer can't be reached."""
        if not self._is_pausing and self._queue.offer(message, encoded):
            self._wake.set()
        else:
            self._tell_loss()

    def report(self, report: bytes) -> None:
        """Sends what the node says of its state with the next batch, if the peer can be reached."""
        if not self._is_pausing:
            self._report = report
            self._wake.set()

    async def _run(self) -> None:
        while True:
            self._is_pausing = self._is_loss_told = False
            ending = await self._attempt()
            self._is_pausing = True
            self._queue.clear()
            self._report = b""
            self._tell_loss()
            self._tell_ending(ending)
            await asyncio.sleep(self._back_off.next_seconds())

    async def _attempt(self) -> Ending:
        """One channel and one stream, from dialling until it ends."""
        async with open_channel(self.address) as channel:
            call = PeerServiceStub(channel).Exchange(metadata=self._metadata)
            call.add_done_callback(lambda _: self._wake.set())
            try:
                await self._introduce(call)
                await self._carry(call)
            except TimeoutError:
                return Ending(f"no answer within {WELCOME_TIMEOUT_SECONDS:g} s")
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass  # The status of the call says more.
            return await _ending_of(call)

    async def _introduce(self, call: _Call) -> None:
        """Waits until the peer lets this node in, or ends the call."""
        async with asyncio.timeout(WELCOME_TIMEOUT_SECONDS):
            await call.write(encode_batch(self._identity, self._peer, ()))
            welcome = await call.read()
        if isinstance(welcome, peer_pb2.Welcome):
            self._back_off.opened()
            self._tell_connected()

    async def _carry(self, call: _Call) -> None:
        """Sends what is queued, in as few batches as possible, until the call ends."""
        while not call.done():
            messages = self._queue.take()
            report, self._report = self._report, b""
            if not self._queue:
                self._is_loss_told = False
            if messages or report:
                await call.write(encode_batch(self._identity, self._peer, messages, report))
            else:
                self._wake.clear()
                await self._wake.wait()

    def _tell_loss(self) -> None:
        """Tells the node that something was lost: once until the queue was empty, or the next attempt begins."""
        if not self._is_loss_told:
            self._is_loss_told = True
            # Not from within the node's own call of `send`.
            self._loop.call_soon(self._inbox.unreachable, self._peer)

    def _tell_connected(self) -> None:
        self._state = "connected"
        self._unreachable_since = math.inf
        _log.info("peer connected", peer=self._peer, address=self.address)

    def _tell_ending(self, ending: Ending) -> None:
        state = ending.refusal or "unreachable"
        now = time.monotonic()
        self._unreachable_since = min(self._unreachable_since, now)
        is_early = ending.refusal is None and now - self._unreachable_since < UNREACHABLE_PATIENCE_SECONDS
        if state == self._state or is_early:
            return
        self._state = state
        if ending.refusal is None:
            _log.warning("peer unreachable", peer=self._peer, address=self.address, cause=ending.cause)
        else:
            # To be told that one was removed is the end of an orderly removal, too.
            tell = _log.info if ending.refusal in REMOVALS else _log.error
            tell("refused by peer", peer=self._peer, address=self.address, reason=state, detail=ending.cause)
            self._loop.call_soon(self._inbox.refused, self._peer, ending.refusal, ending.cause)


async def _ending_of(call: _Call) -> Ending:
    """How a call ended that has ended."""
    details = await call.details() or "the peer ended the stream"
    code, metadata = await call.code(), await call.trailing_metadata()
    stated = metadata.get(REFUSAL_METADATA_KEY)
    for refusal in Refusal:
        if refusal == stated:
            return Ending(details, refusal)
    return Ending(f"{code.name}: {details}")
