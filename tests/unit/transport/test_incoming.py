import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from meteora.pb import peer_pb2
from meteora.pb.peer_pb2_grpc import PeerServiceStub
from meteora.raft.entry import Entry
from meteora.raft.message import MessageKind
from meteora.transport.codec import PROTOCOL_VERSION
from meteora.transport.interface import Refusal
from tests.unit.transport.peers import CLUSTER, SENDER, RecordingInbox, events_of, listening, sending, until, until_sent

HEARTBEAT = peer_pb2.Message(kind=MessageKind.HEARTBEAT, term=3)


def batch(*messages: peer_pb2.Message, **header: int) -> peer_pb2.Batch:
    """A batch from node 1 to node 2, but for what `header` says."""
    correct = {"protocol_version": PROTOCOL_VERSION, "cluster_id": CLUSTER, "sender": 1, "receiver": 2}
    return peer_pb2.Batch(**(correct | header), messages=messages)


def corrupt_append() -> peer_pb2.Message:
    encoded = bytearray(Entry(3, 7, b"data").encode())
    encoded[-1] ^= 1
    return peer_pb2.Message(kind=MessageKind.APPEND, entries=[bytes(encoded)])


@asynccontextmanager
async def stream_to(
    inbox: RecordingInbox,
) -> AsyncIterator[grpc.aio.StreamStreamCall[peer_pb2.Batch, peer_pb2.Welcome]]:
    """A stream to node 2, on which nothing was said yet."""
    async with listening(inbox) as address, grpc.aio.insecure_channel(address) as channel:
        yield PeerServiceStub(channel).Exchange()


def test_who_introduces_itself_is_welcomed() -> None:
    async def story() -> None:
        async with stream_to(RecordingInbox()) as call:
            await call.write(batch())
            assert await call.read() == peer_pb2.Welcome(node_id=2)

    asyncio.run(story())


def test_an_introduction_is_no_message_for_the_node() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with stream_to(inbox) as call:
            await call.write(batch())
            await call.write(batch(HEARTBEAT))
            await until(lambda: inbox.batches)
            assert [len(messages) for _, messages in inbox.batches] == [1]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("header", "refusal", "detail"),
    [
        (
            {"protocol_version": PROTOCOL_VERSION + 1},
            Refusal.PROTOCOL_VERSION,
            "node 2 speaks version 1 of the protocol, not 2",
        ),
        (
            {"cluster_id": 0xBAD},
            Refusal.FOREIGN_CLUSTER,
            "node 2 belongs to cluster 0000000000005eed, not 0000000000000bad",
        ),
        (
            {"receiver": 3},
            Refusal.WRONG_RECEIVER,
            "this is node 2, not node 3: two nodes have the same address",
        ),
        (
            {"sender": 2},
            Refusal.FORGED_SENDER,
            "node 2 can't be who sends this to node 2",
        ),
        (
            {"sender": 0},
            Refusal.FORGED_SENDER,
            "node 0 can't be who sends this to node 2",
        ),
        (
            {"sender": 9},
            Refusal.REMOVED_SENDER,
            "node 9 was removed from the cluster",
        ),
    ],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["first batch", "later batch"])
def test_a_refusal_has_a_reason_for_people_and_one_for_programs(
    header: dict[str, int], refusal: Refusal, detail: str, is_first: bool
) -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        inbox.refusals[9] = Refusal.REMOVED_SENDER
        async with stream_to(inbox) as call:
            if not is_first:
                await call.write(batch())
                await call.read()
            await call.write(batch(HEARTBEAT, **header))
            assert (await call.code(), await call.details()) == (grpc.StatusCode.FAILED_PRECONDITION, detail)
            assert (await call.trailing_metadata())["meteora-refusal"] == refusal.value
            assert inbox.batches == []

    asyncio.run(story())


def test_a_node_that_is_removed_while_its_stream_is_open_is_refused_from_then_on() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with stream_to(inbox) as call:
            await call.write(batch(HEARTBEAT))
            await call.read()
            await until(lambda: inbox.batches)
            inbox.refusals[1] = Refusal.REMOVED_SENDER
            await call.write(batch(HEARTBEAT))
            assert await call.code() == grpc.StatusCode.FAILED_PRECONDITION
            assert len(inbox.batches) == 1

    asyncio.run(story())


def test_the_node_is_asked_about_the_instance_that_sends() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, sending(RecordingInbox(), {2: address}) as transport:
            await until_sent(transport, inbox)
            assert inbox.instance_ids == {1: SENDER.instance_id}

    asyncio.run(story())


@pytest.mark.parametrize("stated", ["", "-1", "seven", "9" * 5000])
def test_an_instance_id_that_makes_no_sense_is_as_good_as_none(stated: str) -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, grpc.aio.insecure_channel(address) as channel:
            call = PeerServiceStub(channel).Exchange(metadata=(("meteora-instance", stated),))
            await call.write(batch())
            await call.read()
            assert inbox.instance_ids == {1: 0}

    asyncio.run(story())


def test_a_foreign_cluster_is_logged_once_however_often_it_tries(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        theirs = RecordingInbox()
        async with (
            listening(RecordingInbox(), cluster_id=0xBAD) as address,
            sending(theirs, {2: address}),
        ):
            await until(lambda: len(theirs.lost) == 3)

    caplog.set_level(logging.INFO, "meteora.transport")
    asyncio.run(story())
    (refused,) = [event for event in events_of(caplog) if event.startswith("peer refused")]
    assert "sender=1 sender_address=ipv4:127.0.0.1:" in refused
    assert "reason=foreign-cluster" in refused


def test_a_batch_with_a_corrupt_entry_is_dropped_whole_and_ends_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with stream_to(inbox) as call:
            await call.write(batch(HEARTBEAT, corrupt_append()))
            assert await call.code() == grpc.StatusCode.DATA_LOSS
            assert inbox.batches == []

    asyncio.run(story())
    (event,) = events_of(caplog)
    assert event.startswith("batch dropped sender=1")
    assert "entry 7@3: checksum" in event


def test_one_stream_that_is_ended_leaves_the_others_open() -> None:
    async def story() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, grpc.aio.insecure_channel(address) as channel:
            healthy, broken = PeerServiceStub(channel).Exchange(), PeerServiceStub(channel).Exchange()
            await healthy.write(batch())
            await broken.write(batch(corrupt_append()))
            assert await broken.code() == grpc.StatusCode.DATA_LOSS
            await healthy.write(batch(HEARTBEAT))
            await until(lambda: inbox.batches)

    asyncio.run(story())


def test_the_inbox_learns_where_a_sender_can_be_reached() -> None:
    async def scenario() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, sending(RecordingInbox(), {2: address}):
            await until(lambda: inbox.addresses == {1: SENDER.raft_address})

    asyncio.run(scenario())


def test_the_inbox_learns_what_a_sender_runs() -> None:
    async def scenario() -> None:
        inbox = RecordingInbox()
        async with listening(inbox) as address, sending(RecordingInbox(), {2: address}):
            await until(lambda: inbox.releases == {1: SENDER.release})

    asyncio.run(scenario())
