import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from meteora.pb import peer_pb2
from meteora.pb.peer_pb2_grpc import PeerServiceServicer
from meteora.raft.message import MessageKind
from meteora.transport.dialler import Dialler
from meteora.transport.interface import Room
from meteora.transport.outgoing import GrpcTransport
from meteora.transport.queue import MAX_QUEUED_BYTES
from tests.unit.transport.peers import (
    SENDER,
    Cable,
    RecordingInbox,
    append,
    black_hole,
    heartbeat,
    listening,
    port_of,
    sending,
    serving,
    until,
    until_sent,
    unused_address,
)

MEBIBYTE = bytes(1024 * 1024)
ROOM = MAX_QUEUED_BYTES // len(MEBIBYTE) - 1
"""How many appends of a mebibyte find room in one queue: each is a little longer than that."""
TOO_MANY = 2 * ROOM


class SlowPeer(PeerServiceServicer):
    """Lets everybody in, and reads nothing more until it is told to."""

    def __init__(self) -> None:
        self.may_read = asyncio.Event()
        self.has_entered = asyncio.Event()
        self.messages: list[peer_pb2.Message] = []

    async def Exchange(
        self, request_iterator: AsyncIterator[peer_pb2.Batch], context: object
    ) -> AsyncIterator[peer_pb2.Welcome]:
        yield peer_pb2.Welcome(node_id=2)
        self.has_entered.set()
        await self.may_read.wait()
        async for batch in request_iterator:
            self.messages += batch.messages


def test_what_room_a_node_has_arrives_although_nothing_else_is_sent() -> None:
    room = Room(1, 2, 3, 4, is_over_quota=True, is_disk_low=False)

    async def story() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, sending(RecordingInbox(), {2: address}) as transport:
            transport.tell_room(room)
            await until(lambda: inbox.rooms)
            assert inbox.rooms == [(1, room)]
            assert inbox.reports == []

    asyncio.run(story())


def test_a_report_arrives_although_nothing_else_is_sent() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, sending(RecordingInbox(), {2: address}) as transport:
            transport.report(b"state")
            await until(lambda: inbox.reports)
            assert inbox.reports == [(1, b"state")]
            assert inbox.messages == []

    asyncio.run(story())


def test_messages_arrive_whole_and_appends_in_order() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, sending(RecordingInbox(), {2: address}) as transport:
            sent = [append(index, data=b"value %d" % index) for index in range(1, 501)]
            for message in sent:
                transport.send([message])
                await asyncio.sleep(0)
            await until(lambda: len(inbox.messages) >= len(sent))
            assert inbox.messages == sent

    asyncio.run(story())


def test_what_is_sent_while_connecting_arrives() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, sending(RecordingInbox(), {2: address}) as transport:
            transport.send([heartbeat()])
            await until(lambda: inbox.batches)
            assert inbox.batches == [(1, [heartbeat()])]

    asyncio.run(story())


def test_messages_go_to_their_receivers_only() -> None:
    async def story() -> None:
        second, third = RecordingInbox(), RecordingInbox()
        async with (
            listening(second, 2) as address_2,
            listening(third, 3) as address_3,
            sending(RecordingInbox(), {2: address_2, 3: address_3}) as transport,
        ):
            transport.send([append(1, 2), append(2, 3), heartbeat(9)])
            await until(lambda: second.messages and third.messages)
            assert (second.messages, third.messages) == ([append(1, 2)], [append(2, 3)])

    asyncio.run(story())


def test_what_is_sent_in_one_turn_of_the_loop_is_sent_at_once_and_the_rest_of_it_in_one_batch() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, sending(RecordingInbox(), {2: address}) as transport:
            await until_sent(transport, inbox)
            # One more round trip: nothing that was sent before is on its way any more.
            transport.send([heartbeat(commit=1)])
            await until(lambda: inbox.messages[-1].commit == 1)
            inbox.batches.clear()
            for index in range(1, 101):
                transport.send([append(index)])
            await until(lambda: len(inbox.messages) == 100)
            assert [len(messages) for _, messages in inbox.batches] == [1, 99]

    asyncio.run(story())


def test_an_entry_far_longer_than_a_batch_arrives() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, sending(RecordingInbox(), {2: address}) as transport:
            large = append(1, data=12 * MEBIBYTE)
            transport.send([large])
            await until(lambda: inbox.messages)
            assert inbox.messages == [large]

    asyncio.run(story())


def test_a_full_queue_empties_without_anything_else_being_sent() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, sending(RecordingInbox(), {2: address}) as transport:
            await until_sent(transport, inbox)
            transport.send([append(index, data=MEBIBYTE) for index in range(1, ROOM)])
            await until(lambda: len([each for each in inbox.messages if each.entries]) == ROOM - 1)

    asyncio.run(story())


def test_a_peer_that_never_accepts_costs_the_others_nothing() -> None:
    async def story(nowhere: str) -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, sending(RecordingInbox(), {2: address, 3: nowhere}) as transport:
            for index in range(1, TOO_MANY):
                transport.send([append(index, 3, data=MEBIBYTE), append(index, 2)])
            await until(lambda: len(inbox.messages) == TOO_MANY - 1)

    with black_hole() as nowhere:
        asyncio.run(story(nowhere))


def test_a_peer_that_does_not_read_costs_the_others_nothing() -> None:
    async def story() -> None:
        inbox, slow = RecordingInbox(), SlowPeer()
        async with (
            listening(inbox) as address,
            serving(slow) as slow_address,
            sending(RecordingInbox(), {2: address, 3: slow_address}) as transport,
        ):
            await slow.has_entered.wait()
            for index in range(1, TOO_MANY):
                transport.send([append(index, 3, data=MEBIBYTE), append(index, 2)])
            await until(lambda: len(inbox.messages) == TOO_MANY - 1)

    asyncio.run(story())


def test_what_finds_no_room_is_dropped_and_the_loss_is_told_once() -> None:
    async def story() -> None:
        ours, slow = RecordingInbox(), SlowPeer()
        async with serving(slow) as address, sending(ours, {2: address}) as transport:
            await slow.has_entered.wait()
            for index in range(1, TOO_MANY):
                transport.send([append(index, data=MEBIBYTE)])
            transport.send([heartbeat()])
            slow.may_read.set()
            # One was sent before the queue filled up, and the heartbeat has room of its own.
            await until(lambda: len(slow.messages) == ROOM + 2)
            assert ours.lost == [2]

    asyncio.run(story())


def test_a_loss_is_told_again_once_the_queue_was_empty() -> None:
    async def story() -> None:
        ours, slow = RecordingInbox(), SlowPeer()
        async with serving(slow) as address, sending(ours, {2: address}) as transport:
            slow.may_read.set()
            await slow.has_entered.wait()
            transport.send([append(index, data=MEBIBYTE) for index in range(1, TOO_MANY)])
            await until(lambda: len(slow.messages) == ROOM)
            assert ours.lost == [2]
            transport.send([append(index, data=MEBIBYTE) for index in range(1, TOO_MANY)])
            await until(lambda: len(slow.messages) == 2 * ROOM)
            assert ours.lost == [2, 2]

    asyncio.run(story())


def test_the_node_is_not_called_from_within_its_own_send() -> None:
    async def story(nowhere: str) -> None:
        ours = RecordingInbox()
        async with sending(ours, {2: nowhere}) as transport:
            transport.send([append(index, data=MEBIBYTE) for index in range(1, TOO_MANY)])
            assert ours.lost == []
            await until(lambda: ours.lost == [2])

    with black_hole() as nowhere:
        asyncio.run(story(nowhere))


def test_a_heartbeat_overtakes_a_full_queue_of_appends() -> None:
    async def story() -> None:
        ours, slow = RecordingInbox(), SlowPeer()
        async with serving(slow) as address, sending(ours, {2: address}) as transport:
            await slow.has_entered.wait()
            transport.send([append(index, data=MEBIBYTE) for index in range(1, TOO_MANY)])
            await until(lambda: ours.lost)
            transport.send([heartbeat()])
            slow.may_read.set()
            await until(lambda: len(slow.messages) == ROOM + 1)
            # What gRPC had in its buffers already comes first.
            assert [message.kind for message in slow.messages].index(MessageKind.HEARTBEAT) < len(slow.messages) // 4

    asyncio.run(story())


def test_messages_flow_again_after_the_peer_restarted() -> None:
    async def story() -> None:
        inbox, ours = RecordingInbox(), RecordingInbox()
        async with AsyncExitStack() as stack:
            async with listening(inbox) as address:
                transport = await stack.enter_async_context(sending(ours, {2: address}))
                await until_sent(transport, inbox)
            await until(lambda: ours.lost)
            async with listening(inbox, port=port_of(address)):
                await until_sent(transport, inbox)

    asyncio.run(story())


def test_what_was_queued_for_a_dead_peer_is_not_sent_when_it_is_back() -> None:
    async def story() -> None:
        inbox, ours = RecordingInbox(), RecordingInbox()
        address = unused_address()
        async with sending(ours, {2: address}) as transport:
            transport.send([append(1)])
            await until(lambda: ours.lost)
            async with listening(inbox, port=port_of(address)):
                await until_sent(transport, inbox)
                assert append(1) not in inbox.messages

    asyncio.run(story())


def test_a_peer_that_hangs_is_noticed_without_anything_being_sent() -> None:
    async def story() -> None:
        inbox, ours = RecordingInbox(), RecordingInbox()
        async with AsyncExitStack() as stack:
            cable = Cable(await stack.enter_async_context(listening(inbox)))
            near_end = await stack.enter_async_context(cable.laid())
            transport = await stack.enter_async_context(sending(ours, {2: near_end}))
            await until_sent(transport, inbox)
            cable.cut()
            await until(lambda: ours.lost)

    asyncio.run(story())


def test_a_peer_whose_address_changed_is_dialled_there() -> None:
    async def story() -> None:
        before, after = RecordingInbox(), RecordingInbox()
        async with (
            listening(before) as old_address,
            listening(after) as new_address,
            sending(RecordingInbox(), {2: old_address}) as transport,
        ):
            await until_sent(transport, before)
            transport.set_peers({2: new_address})
            await until_sent(transport, after)

    asyncio.run(story())


def test_a_peer_that_stays_is_not_disturbed_when_others_come_and_go() -> None:
    async def story() -> None:
        inbox, ours = RecordingInbox(), RecordingInbox()
        async with listening(inbox) as address, sending(ours, {2: address}) as transport:
            await until_sent(transport, inbox)
            transport.set_peers({2: address, 3: unused_address()})
            await until(lambda: ours.lost)
            transport.set_peers({2: address})
            await until_sent(transport, inbox)
            assert 2 not in ours.lost

    asyncio.run(story())


def test_nothing_is_sent_to_a_peer_that_was_taken_away() -> None:
    async def story() -> None:
        taken_away, stays = RecordingInbox(), RecordingInbox()
        async with (
            listening(taken_away, 2) as address_2,
            listening(stays, 3) as address_3,
            sending(RecordingInbox(), {2: address_2, 3: address_3}) as transport,
        ):
            await until_sent(transport, taken_away, 2)
            transport.set_peers({3: address_3})
            transport.send([append(1, 2)])
            await until_sent(transport, stays, 3)
            assert append(1, 2) not in taken_away.messages

    asyncio.run(story())


def test_a_wildcard_address_can_be_dialled() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address:
            wildcard = f"0.0.0.0:{port_of(address)}"
            async with sending(RecordingInbox(), {2: wildcard}) as transport:
                await until_sent(transport, inbox)

    asyncio.run(story())


def test_closing_leaves_no_task_and_no_thread_behind() -> None:
    async def story(nowhere: str) -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address:
            transport = GrpcTransport(SENDER, RecordingInbox(), Dialler())
            transport.set_peers({2: address, 3: nowhere, 4: unused_address()})
            await until_sent(transport, inbox)
            await transport.close()
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    threads = set(threading.enumerate())
    with black_hole() as nowhere:
        asyncio.run(story(nowhere))
    gc.collect()
    assert set(threading.enumerate()) <= threads


def test_what_is_sent_after_closing_is_dropped() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address:
            async with sending(RecordingInbox(), {2: address}) as transport:
                await until_sent(transport, inbox)
            transport.send([append(1)])
            async with sending(RecordingInbox(), {2: address}) as another:
                await until_sent(another, inbox)
            assert append(1) not in inbox.messages

    asyncio.run(story())
