"""What waits to be sent to one peer.

Invariants:

- Bounded in messages and in bytes. What finds no room is not taken; nothing that was taken is dropped to make room.
- Appends and proposals keep their order, because a follower refuses an append that leaves a gap.
- Everything else is small, goes first and has room of its own: a heartbeat or a vote never waits behind more than the
  batch that is being sent, and is never dropped because of appends. Raft takes it in any order.
"""

from collections import deque

from meteora.pb import peer_pb2
from meteora.raft.message import Message, MessageKind
from meteora.transport.codec import EncodedEntries, encode_message

MAX_BATCH_BYTES = 1024 * 1024
"""Of entries in one batch; a longer message travels alone. A heartbeat waits behind one batch: 8 ms at 1 Gbit/s."""

MAX_QUEUED_BYTES = 32 * 1024 * 1024
"""Of entries waiting for one peer: what a 1 Gbit/s link carries in a quarter of a second."""

MAX_QUEUED_MESSAGES = 4096
"""Waiting for one peer, in each of the two queues: far above what the core's window of appends in flight lets out."""

_BULK_KINDS = frozenset({MessageKind.APPEND, MessageKind.PROPOSE})


class OutgoingQueue:
    """Two bounded queues: bulk messages in order, and small ones that overtake them."""

    __slots__ = ("_bulk", "_bulk_bytes", "_small")

    def __init__(self) -> None:
        self._small: deque[peer_pb2.Message] = deque()
        self._bulk: deque[tuple[peer_pb2.Message, int]] = deque()
        self._bulk_bytes = 0

    def __len__(self) -> int:
        return len(self._small) + len(self._bulk)

    def offer(self, message: Message, encoded: EncodedEntries) -> bool:
        """Takes the message if there is room for it. True if it was taken."""
        if message.kind in _BULK_KINDS:
            return self._offer_bulk(message, encoded)
        if len(self._small) >= MAX_QUEUED_MESSAGES:
            return False
        self._small.append(encode_message(message, encoded))
        return True

    def take(self) -> list[peer_pb2.Message]:
        """Removes what goes into the next batch: everything, up to `MAX_BATCH_BYTES`. Empty if nothing waits."""
        messages = list(self._small)
        self._small.clear()
        batch_bytes = 0
        while self._bulk and (batch_bytes == 0 or batch_bytes + self._bulk[0][1] <= MAX_BATCH_BYTES):
            message, size_bytes = self._bulk.popleft()
            messages.append(message)
            batch_bytes += size_bytes
        self._bulk_bytes -= batch_bytes
        return messages

    def clear(self) -> None:
        """Drops everything."""
        self._small.clear()
        self._bulk.clear()
        self._bulk_bytes = 0

    def _offer_bulk(self, message: Message, encoded: EncodedEntries) -> bool:
        size_bytes = sum([entry.size_bytes() for entry in message.entries])
        # A message of any size fits into an empty queue: otherwise one above the bound could never be sent.
        if self._bulk and not self._has_room(size_bytes):
            return False
        self._bulk.append((encode_message(message, encoded), size_bytes))
        self._bulk_bytes += size_bytes
        return True

    def _has_room(self, size_bytes: int) -> bool:
        return len(self._bulk) < MAX_QUEUED_MESSAGES and self._bulk_bytes + size_bytes <= MAX_QUEUED_BYTES
