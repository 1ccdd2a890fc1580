"""The connection to one peer: its queue, and the one task that keeps a stream open for it.

Rules:

- Each attempt has a connection of its own.
- What is sent in one turn of the event loop travels in one batch, in the same turn: no task is woken for it.
- Messages are taken while an attempt is made and while the stream is open. They are dropped in the pause between
  attempts, and what still waits when a stream ends is dropped with it: Raft sends again what still matters.
- Only changes are logged and told: connected, refused, and unreachable, once that has lasted for a while.
"""

import asyncio
import math
import random
import time
from typing import NamedTuple

from meteora.http2 import ClientConnection, StreamEnded
from meteora.observability.logs import get_logger
from meteora.raft.message import Message
from meteora.rpc.outgoing import OutgoingCall
from meteora.rpc.status import CallFailed
from meteora.transport.codec import (
    ADDRESS_METADATA_KEY,
    INSTANCE_METADATA_KEY,
    LEVEL_METADATA_KEY,
    REFUSAL_METADATA_KEY,
    VERSION_METADATA_KEY,
    EncodedEntries,
    encode_batch,
)
from meteora.transport.dialler import Dialler
from meteora.transport.interface import REMOVALS, Identity, Inbox, Refusal, Room
from meteora.transport.queue import OutgoingQueue

FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 1.0
"""Between attempts to connect: doubles from the first to the longest. A restarted peer is found within the latter."""

WELCOME_TIMEOUT_SECONDS = 3.0
"""To look up the name, connect and be let in. Long enough for a SYN to be lost once."""

UNREACHABLE_PATIENCE_SECONDS = 3.0
"""A peer that can't be reached for longer is logged: one that is just starting or stopping is no trouble."""

_EXCHANGE = "/meteora.peer.PeerService/Exchange"

_MAX_WELCOME_BYTES = 1024

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

    def __init__(self, identity: Identity, peer: int, address: str, inbox: Inbox, dialler: Dialler) -> None:
        self.address = address
        self._dialler = dialler
        self._identity = identity
        self._metadata = (
            (INSTANCE_METADATA_KEY, str(identity.instance_id)),
            (ADDRESS_METADATA_KEY, identity.raft_address),
            (LEVEL_METADATA_KEY, str(identity.release.level)),
            (VERSION_METADATA_KEY, identity.release.version),
        )
        self._peer = peer
        self._inbox = inbox
        self._queue = OutgoingQueue()
        self.sent_bytes = 0
        self._report = b""
        self._room: Room | None = None
        self._call: OutgoingCall | None = None
        """The open stream, once this node was let in."""
        self._is_pausing = self._is_flush_due = False
        self._is_loss_told = False
        self._back_off = BackOff()
        # What was logged last; None at first.
        self._state: str | None = None
        self._unreachable_since = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self.task = self._loop.create_task(self._run(), name=f"link to peer {peer} at {address}")

    @property
    def is_connected(self) -> bool:
        """Whether the peer has let this node in."""
        return self._call is not None

    def round_trip_seconds(self) -> float | None:
        """How long a packet takes to the peer and back; None if it is not known."""
        return None if self._call is None else self._call.stream.connection.round_trip_seconds()

    def send(self, message: Message, encoded: EncodedEntries) -> None:
        """Queues the message until `flush`, or drops it if there is no room or the peer can't be reached."""
        if self._is_pausing or not self._queue.offer(message, encoded):
            self._tell_loss()

    def report(self, report: bytes) -> None:
        """Sends what the node says of its state with the next batch, if the peer can be reached."""
        if not self._is_pausing:
            self._report = report
            self.flush()

    def tell_room(self, room: Room) -> None:
        """Sends what room the node has with the next batch, if the peer can be reached."""
        if not self._is_pausing:
            self._room = room
            self.flush()

    async def _run(self) -> None:
        while True:
            self._is_pausing = self._is_loss_told = False
            ending = await self._attempt()
            self._is_pausing = True
            self._queue.clear()
            self._report, self._room = b"", None
            self._tell_loss()
            self._tell_ending(ending)
            await asyncio.sleep(self._back_off.next_seconds())

    async def _attempt(self) -> Ending:
        """One connection and one stream, from dialling until it ends."""
        welcomed_by = self._loop.time() + WELCOME_TIMEOUT_SECONDS
        try:
            async with asyncio.timeout_at(welcomed_by):
                connection = await self._dialler.connect(self.address)
        except TimeoutError:
            return _no_answer()
        except ConnectionError as error:
            return Ending(f"UNAVAILABLE: {error}")
        try:
            return await self._exchange(connection, welcomed_by)
        finally:
            self._call = None
            connection.abort()
            await connection.closed

    async def _exchange(self, connection: ClientConnection, welcomed_by: float) -> Ending:
        try:
            call = OutgoingCall(
                connection, self.address, _EXCHANGE, self._metadata, max_message_bytes=_MAX_WELCOME_BYTES
            )
        except StreamEnded as ended:
            return Ending(f"UNAVAILABLE: {ended}")
        try:
            async with asyncio.timeout_at(welcomed_by):
                call.send(encode_batch(self._identity, self._peer, ()).SerializeToString())
                welcome = await call.read()
            if welcome is not None:
                await self._carry(call)
        except TimeoutError:
            return _no_answer()
        except (StreamEnded, CallFailed):
            pass  # The status of the call says more.
        return _ending_of(call)

    async def _carry(self, call: OutgoingCall) -> None:
        """Returns when the call ends; until then `send` sends."""
        self._back_off.opened()
        self._tell_connected()
        self._call = call
        self._flush()
        while await call.read() is not None:
            pass

    def flush(self) -> None:
        """Sends what is queued: at once, or, if that was done in this turn of the loop already, at its end."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._end_turn)
            self._flush()

    def _end_turn(self) -> None:
        self._is_flush_due = False
        self._flush()

    def _flush(self) -> None:
        """Sends what is queued, in as few batches as possible, as far as the peer has room for it."""
        call = self._call
        if call is None:
            return
        stream = call.stream
        while not stream.queue and not call.is_over and (self._queue or self._report or self._room):
            messages = self._queue.take()
            report, room, self._report, self._room = self._report, self._room, b"", None
            if not self._queue:
                self._is_loss_told = False
            batch = encode_batch(self._identity, self._peer, messages, report, room).SerializeToString()
            self.sent_bytes += len(batch)
            call.send(batch)
            # To the socket now; and what it takes makes room for the next one.
            stream.connection.flush()
        if stream.queue:
            stream.on_drained = self._flush

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


def _no_answer() -> Ending:
    return Ending(f"no answer within {WELCOME_TIMEOUT_SECONDS:g} s")


def _ending_of(call: OutgoingCall) -> Ending:
    """How a call ended that has ended."""
    code, details, metadata = call.ending()
    details = details or "the peer ended the stream"
    stated = dict(metadata).get(REFUSAL_METADATA_KEY)
    for refusal in Refusal:
        if refusal == stated:
            return Ending(details, refusal)
    return Ending(f"{code.name}: {details}")
