from meteora.config import HIGHEST_MAX_REQUEST_BYTES, MAX_KEY_BYTES
from meteora.kv.command import Command, Operation
from meteora.kv.command import encode_batch as encode_commands
from meteora.node.writes import MAX_PENDING_BYTES
from meteora.raft import Entry, Message, MessageKind
from meteora.server.assembly import MAX_PEER_MESSAGE_BYTES
from meteora.transport.codec import encode_batch
from meteora.transport.interface import Identity
from meteora.transport.queue import MAX_QUEUED_MESSAGES, OutgoingQueue

LARGEST = (1 << 64) - 1
IDENTITY = Identity(LARGEST, LARGEST, LARGEST, "host:7000")


def longest_write() -> bytes:
    key, value = bytes(MAX_KEY_BYTES), bytes(HIGHEST_MAX_REQUEST_BYTES)
    return encode_commands([Command(Operation.PUT, LARGEST, LARGEST, LARGEST, True, key, value)])


def test_the_longest_write_that_can_be_allowed_fits_into_one_message_to_a_peer() -> None:
    queue = OutgoingQueue()
    entry = Entry(LARGEST, LARGEST, longest_write())
    small = Message(MessageKind.HEARTBEAT, 1, 2, LARGEST, commit=LARGEST, context=bytes(24))
    for _ in range(MAX_QUEUED_MESSAGES):
        assert queue.offer(small, {})
    assert queue.offer(Message(MessageKind.APPEND, 1, 2, LARGEST, LARGEST, LARGEST, LARGEST, (entry,)), {})
    batch = encode_batch(IDENTITY, 2, queue.take())
    assert not queue
    assert batch.ByteSize() <= MAX_PEER_MESSAGE_BYTES


def test_the_longest_write_that_can_be_allowed_may_wait_for_its_turn() -> None:
    assert len(longest_write()) <= MAX_PENDING_BYTES
