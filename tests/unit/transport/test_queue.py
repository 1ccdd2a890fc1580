from meteora.raft.entry import Entry
from meteora.raft.message import Message, MessageKind
from meteora.transport.queue import MAX_BATCH_BYTES, MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, OutgoingQueue
from tests.unit.transport.peers import append, heartbeat

QUARTER_BATCH = b"\0" * (MAX_BATCH_BYTES // 4)


def offer(queue: OutgoingQueue, *messages: Message) -> bool:
    """True if all were taken."""
    taken = [queue.offer(message, {}) for message in messages]
    return all(taken)


def fill(queue: OutgoingQueue, data: bytes) -> int:
    """Offers one append again and again until it is not taken; how many were."""
    message, encoded, taken = append(1, data=data), dict[int, bytes](), 0
    while queue.offer(message, encoded):
        taken += 1
    return taken


def indices(queue: OutgoingQueue) -> list[int]:
    return [message.index for message in queue.take()]


def test_an_empty_queue_gives_nothing() -> None:
    assert OutgoingQueue().take() == []


def test_appends_and_proposals_leave_in_the_order_in_which_they_came() -> None:
    queue = OutgoingQueue()
    propose = Message(MessageKind.PROPOSE, 1, 2, entries=(Entry(0, 0, b"x"),))
    assert offer(queue, append(1), propose, append(2))
    assert [message.kind for message in queue.take()] == [MessageKind.APPEND, MessageKind.PROPOSE, MessageKind.APPEND]


def test_an_append_without_entries_keeps_its_place_among_appends() -> None:
    queue = OutgoingQueue()
    assert offer(queue, append(5), Message(MessageKind.APPEND, 1, 2, index=5))
    assert indices(queue) == [4, 5]


def test_small_messages_overtake_appends() -> None:
    queue = OutgoingQueue()
    assert offer(queue, append(1), heartbeat())
    assert [message.kind for message in queue.take()] == [MessageKind.HEARTBEAT, MessageKind.APPEND]


def test_small_messages_keep_their_order_among_themselves() -> None:
    queue = OutgoingQueue()
    responses = [Message(MessageKind.APPEND_RESPONSE, 1, 2, index=index) for index in range(5)]
    assert offer(queue, *responses)
    assert indices(queue) == [0, 1, 2, 3, 4]


def test_a_batch_is_bounded_in_bytes() -> None:
    queue = OutgoingQueue()
    assert offer(queue, *[append(index, data=QUARTER_BATCH) for index in range(1, 6)])
    # The header of each entry makes it longer than a quarter.
    assert (len(queue.take()), len(queue.take()), len(queue.take())) == (3, 2, 0)


def test_a_message_longer_than_a_batch_travels_alone() -> None:
    queue = OutgoingQueue()
    assert offer(queue, append(1), append(2, data=b"\0" * 2 * MAX_BATCH_BYTES), append(3))
    assert [indices(queue), indices(queue), indices(queue)] == [[0], [1], [2]]


def test_a_message_longer_than_the_whole_queue_is_taken_when_nothing_else_waits() -> None:
    queue = OutgoingQueue()
    assert offer(queue, append(1, data=bytes(MAX_QUEUED_BYTES + 1)))
    assert not offer(queue, append(2))


def test_waiting_appends_are_bounded_in_bytes() -> None:
    queue = OutgoingQueue()
    taken = fill(queue, QUARTER_BATCH)
    assert taken * len(QUARTER_BATCH) <= MAX_QUEUED_BYTES < (taken + 2) * len(QUARTER_BATCH)


def test_waiting_appends_are_bounded_in_number() -> None:
    assert fill(OutgoingQueue(), b"") == MAX_QUEUED_MESSAGES


def test_waiting_small_messages_are_bounded_in_number() -> None:
    queue = OutgoingQueue()
    assert offer(queue, *[heartbeat()] * MAX_QUEUED_MESSAGES)
    assert not offer(queue, heartbeat())


def test_small_messages_are_taken_when_appends_have_no_room() -> None:
    queue = OutgoingQueue()
    fill(queue, QUARTER_BATCH)
    assert offer(queue, heartbeat())


def test_appends_are_taken_when_small_messages_have_no_room() -> None:
    queue = OutgoingQueue()
    offer(queue, *[heartbeat()] * (MAX_QUEUED_MESSAGES + 1))
    assert offer(queue, append(1))


def test_there_is_room_again_once_a_batch_has_left() -> None:
    queue = OutgoingQueue()
    fill(queue, QUARTER_BATCH)
    queue.take()
    assert offer(queue, append(1, data=QUARTER_BATCH))


def test_a_cleared_queue_has_all_its_room_again() -> None:
    queue = OutgoingQueue()
    taken = fill(queue, QUARTER_BATCH)
    queue.clear()
    assert (len(queue), fill(queue, QUARTER_BATCH)) == (0, taken)
