import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from meteora.features import Release
from meteora.raft.message import Message, MessageKind
from meteora.testing.loop import Process, SimulatedLoop
from meteora.testing.network import Network, SimulatedTransport
from meteora.transport.interface import Identity, IncomingSnapshot, Refusal, Room

CLUSTER_ID = 7


class Inbox:
    """What a node would be told."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self.introductions: list[int] = []
        self.lost: list[int] = []
        self.reports: list[tuple[int, bytes]] = []
        self.rooms: list[tuple[int, Room]] = []
        self.refusals: list[Refusal] = []
        self.refuses: Refusal | None = None

    def admits(self, sender: int, instance_id: int, level: int) -> Refusal | None:
        return self.refuses

    def introduced(self, sender: int, instance_id: int, raft_address: str, release: Release) -> None:
        self.introductions.append(sender)

    def receive(self, sender: int, messages: Sequence[Message]) -> None:
        self.received += messages

    def offered(self, sender: int, term: int, manifest: bytes) -> IncomingSnapshot:
        raise NotImplementedError

    def reported(self, sender: int, report: bytes) -> None:
        self.reports.append((sender, report))

    def room_told(self, sender: int, room: Room) -> None:
        self.rooms.append((sender, room))

    def unreachable(self, peer: int) -> None:
        self.lost.append(peer)

    def refused(self, peer: int, refusal: Refusal, detail: str) -> None:
        self.refusals.append(refusal)


class Node:
    """A process with a transport that listens."""

    def __init__(self, network: Network, node_id: int, cluster_id: int = CLUSTER_ID) -> None:
        self.address = f"n{node_id}:7001"
        self.inbox = Inbox()
        self.process: Process = network.loop.new_process(self.address)
        identity = Identity(cluster_id, node_id, node_id, self.address)
        self.transport = SimulatedTransport(network, self.process, identity, self.inbox)
        self._network = network
        network.endpoints[self.address] = self.transport

    def knows(self, other: "Node") -> None:
        """Open a stream."""
        peer = other.transport.identity.node_id
        self._network.loop.call_in(self.process, 0.0, self.transport.set_peers, {peer: other.address})

    def send(self, *messages: Message) -> None:
        self._network.loop.call_in(self.process, 0.0, self.transport.send, messages)


def run(story: Callable[[Network], Awaitable[None]]) -> None:
    loop = SimulatedLoop()  # type: ignore[abstract]

    async def within() -> None:
        await story(Network(loop, Random(1), Counter()))

    loop.run_until_complete(within())
    loop.forget()


def heartbeat(number: int) -> Message:
    return Message(MessageKind.HEARTBEAT, 1, 2, 1, commit=number)


async def two_that_talk(network: Network) -> tuple[Node, Node]:
    one, two = Node(network, 1), Node(network, 2)
    one.knows(two)
    await asyncio.sleep(1.0)
    return one, two


def test_what_is_sent_arrives_in_order_after_an_introduction() -> None:
    async def story(network: Network) -> None:
        one, two = await two_that_talk(network)
        sent = [heartbeat(number) for number in range(50)]
        for message in sent:
            one.send(message)
        await asyncio.sleep(1.0)
        assert two.inbox.introductions == [1]
        assert two.inbox.received == sent

    run(story)


def test_a_report_arrives_as_what_it_is() -> None:
    async def story(network: Network) -> None:
        one, two = await two_that_talk(network)
        network.loop.call_in(one.process, 0.0, one.transport.report, b"state")
        await asyncio.sleep(1.0)
        assert two.inbox.reports == [(1, b"state")]
        assert two.inbox.received == []

    run(story)


def test_what_room_a_node_has_arrives_as_what_it_is() -> None:
    room = Room(stored_bytes=1, is_over_quota=True)

    async def story(network: Network) -> None:
        one, two = await two_that_talk(network)
        network.loop.call_in(one.process, 0.0, one.transport.tell_room, room)
        await asyncio.sleep(1.0)
        assert two.inbox.rooms == [(1, room)]
        assert two.inbox.reports == []

    run(story)


def test_what_is_sent_before_the_stream_is_open_waits_for_it() -> None:
    async def story(network: Network) -> None:
        one, two = Node(network, 1), Node(network, 2)
        one.knows(two)
        one.send(heartbeat(1))
        await asyncio.sleep(1.0)
        assert two.inbox.received == [heartbeat(1)]

    run(story)


def test_a_cut_lets_nothing_through_one_way_and_the_sender_hears_of_it() -> None:
    async def story(network: Network) -> None:
        one, two = await two_that_talk(network)
        network.cut.add((one.address, two.address))
        for number in range(100):
            one.send(heartbeat(number))
        await asyncio.sleep(1.0)
        assert two.inbox.received == []
        assert one.inbox.lost
        assert network.passes(two.address, one.address)

    run(story)


def test_a_link_that_is_mended_carries_again() -> None:
    async def story(network: Network) -> None:
        one, two = await two_that_talk(network)
        network.cut.add((one.address, two.address))
        for number in range(100):
            one.send(heartbeat(number))
        network.heal()
        await asyncio.sleep(10.0)
        one.send(heartbeat(1))
        await asyncio.sleep(1.0)
        assert two.inbox.received[-1] == heartbeat(1)

    run(story)


def test_a_bad_network_loses_repeats_and_reorders() -> None:
    async def story(network: Network) -> None:
        one, two = await two_that_talk(network)
        network.loss_rate, network.duplicate_rate, network.reorder_rate = 0.02, 0.1, 0.1
        for number in range(1_000):
            one.send(heartbeat(number))
            await asyncio.sleep(0.01)
        await asyncio.sleep(10.0)
        arrived = [message.commit for message in two.inbox.received]
        assert 0 < len(set(arrived)) < 1_000
        assert len(arrived) > len(set(arrived))
        assert arrived != sorted(arrived)

    run(story)


def test_messages_that_take_a_detour_are_overtaken_by_those_that_were_sent_with_them_and_after() -> None:
    async def story(network: Network) -> None:
        one, two = await two_that_talk(network)
        network.detour_seconds = lambda message: 2.0 * (message.commit == 1)
        one.send(heartbeat(1), heartbeat(2))
        one.send(heartbeat(1))
        one.send(heartbeat(3))
        await asyncio.sleep(1.9)
        assert two.inbox.received == [heartbeat(2), heartbeat(3)]
        await asyncio.sleep(0.5)
        assert two.inbox.received == [heartbeat(2), heartbeat(3), heartbeat(1), heartbeat(1)]
        assert network.faults["took a detour"] == 2

    run(story)


def test_a_paused_receiver_takes_what_came_meanwhile_once_it_goes_on() -> None:
    async def story(network: Network) -> None:
        one, two = await two_that_talk(network)
        two.process.pause()
        one.send(heartbeat(1))
        await asyncio.sleep(5.0)
        assert two.inbox.received == []
        two.process.resume()
        await asyncio.sleep(0)
        assert two.inbox.received == [heartbeat(1)]

    run(story)


def test_a_stream_does_not_go_on_to_another_process_at_the_same_address() -> None:
    async def story(network: Network) -> None:
        one, two = await two_that_talk(network)
        two.process.kill()
        successor = Node(network, 2)
        one.send(heartbeat(1))
        await asyncio.sleep(5.0)
        assert one.inbox.lost == [2]
        assert successor.inbox.introductions == [1]
        assert successor.inbox.received == []

    run(story)


def test_a_node_of_another_cluster_is_refused_and_told_so_once() -> None:
    async def story(network: Network) -> None:
        stranger, two = Node(network, 1, cluster_id=8), Node(network, 2)
        stranger.knows(two)
        await asyncio.sleep(10.0)
        assert stranger.inbox.refusals == [Refusal.FOREIGN_CLUSTER]
        assert two.inbox.introductions == []

    run(story)


def test_a_member_that_is_removed_is_refused_on_the_stream_that_it_has() -> None:
    async def story(network: Network) -> None:
        one, two = await two_that_talk(network)
        two.inbox.refuses = Refusal.REMOVED_SENDER
        one.send(heartbeat(1))
        await asyncio.sleep(1.0)
        assert one.inbox.refusals == [Refusal.REMOVED_SENDER]
        assert two.inbox.received == []

    run(story)
