"""The simulated network: what it loses, delays, repeats and cuts; and each node's `Transport` on it.

A stream to a peer is opened, refused, broken and opened again as the real one is, and the node is told what the real
transport would tell it. The network is worse than TCP: what it loses may be lost in silence, and what it delivers may
come late, in another order, or twice. Messages travel as the core's own objects: those are immutable, so nothing is
shared by accident, and their encoding has tests of its own.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Protocol

from meteora.raft.message import Message
from meteora.testing.loop import Process, SimulatedLoop
from meteora.testing.snapshot_streams import SnapshotEndpoint, send_snapshot
from meteora.transport.incoming import PeerReceiver
from meteora.transport.interface import Identity, Inbox, OutgoingSnapshot, Refusal, Room, SnapshotNotSent, Transport

CONNECT_TIMEOUT_SECONDS = 3.0
"""As the real transport's."""

FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 1.0
"""As the real transport's."""


class Endpoint(Protocol):
    """What listens at an address."""

    process: Process
    identity: Identity
    inbox: Inbox
    snapshots: SnapshotEndpoint


class Network:
    """Who can reach whom, and how badly."""

    def __init__(self, loop: SimulatedLoop, random: Random, faults: Counter[str]) -> None:
        self.loop = loop
        self.random = random
        self.faults = faults
        self.endpoints: dict[str, Endpoint] = {}
        """Who listens, by Raft address."""
        self.cut: set[tuple[str, str]] = set()
        """Pairs of addresses, from and to, between which nothing passes."""
        self.mean_delay_seconds = 0.002
        self.loss_rate = 0.0
        self.duplicate_rate = 0.0
        self.reorder_rate = 0.0
        self.spoil_rate = 0.0
        """Of the chunks of snapshots."""
        self.detour_seconds: Callable[[Message], float] = lambda _message: 0.0
        """How much longer than others a message is on its way."""
        self.watch: Callable[[Message], None] = lambda _message: None
        """Sees every message that a node sends, at the moment when it does."""
        self.watch_delivery: Callable[[Sequence[Message]], None] = lambda _messages: None
        """Sees every batch that arrives."""

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self.cut.clear()
        self.mean_delay_seconds = 0.002
        self.loss_rate = self.duplicate_rate = self.reorder_rate = self.spoil_rate = 0.0
        self.detour_seconds = lambda _message: 0.0

    def passes(self, sender: str, receiver: str) -> bool:
        """Whether a single packet gets from one address to the other now."""
        if (sender, receiver) in self.cut:
            self.faults["dropped at a cut"] += 1
            return False
        if self.random.random() < self.loss_rate:
            self.faults["lost"] += 1
            return False
        return True

    def delay_seconds(self) -> float:
        """How long a packet takes."""
        return self.random.expovariate(1 / self.mean_delay_seconds)

    def spoils(self) -> bool:
        """Whether a chunk of a snapshot arrives spoilt."""
        is_spoilt = self.random.random() < self.spoil_rate
        self.faults["chunk spoilt"] += is_spoilt
        return is_spoilt

    def snapshot_receiver(self, address: str) -> SnapshotEndpoint | None:
        """Who takes snapshots at this address now."""
        endpoint = self.endpoints.get(address)
        return None if endpoint is None else endpoint.snapshots


class SimulatedTransport(Transport):
    """The streams of one node to its peers."""

    def __init__(
        self, network: Network, process: Process, identity: Identity, inbox: Inbox, chunk_bytes: int = 1 << 18
    ) -> None:
        """Snapshots are sent in chunks of about `chunk_bytes`."""
        self._network = network
        self.process = process
        self.identity = identity
        self.inbox = inbox
        # Nobody joins by this receiver (see `Machine.admit`).
        self.snapshots = SnapshotEndpoint(process, PeerReceiver(identity, inbox))  # type: ignore[abstract]
        self._chunk_bytes = chunk_bytes
        self._streams: dict[int, _Stream] = {}

    def send(self, messages: Sequence[Message]) -> None:
        """Pass messages on; those to nobody are dropped. What is sent together to one peer travels together."""
        packets: dict[int, list[Message]] = {}
        for message in messages:
            self._network.watch(message)
            packets.setdefault(message.receiver, []).append(message)
        for peer, packet in packets.items():
            if peer in self._streams:
                self._streams[peer].send(packet)

    def report(self, report: bytes) -> None:
        """Pass a report on to all peers, as a packet of its own."""
        for stream in self._streams.values():
            stream.report(report)

    def tell_room(self, room: Room) -> None:
        """Likewise."""
        for stream in self._streams.values():
            stream.report(room)

    def set_peers(self, addresses: Mapping[int, str]) -> None:
        """Open, close and re-point streams."""
        for peer, stream in list(self._streams.items()):
            if addresses.get(peer) != stream.address:
                stream.close()
                del self._streams[peer]
        for peer, address in addresses.items():
            if peer not in self._streams:
                self._streams[peer] = _Stream(self._network, self, peer, address)

    async def send_snapshot(self, peer: int, snapshot: OutgoingSnapshot) -> None:
        """On a call of its own (`meteora.testing.snapshot_streams`)."""
        stream = self._streams.get(peer)
        if stream is None:
            raise SnapshotNotSent(f"node {peer} is no peer any more")
        await send_snapshot(
            self._network,
            self.process,
            self.identity,
            snapshot,
            peer=peer,
            address=stream.address,
            chunk_bytes=self._chunk_bytes,
        )

    async def close(self) -> None:
        """End every stream."""
        self.set_peers({})


Packet = list[Message] | bytes | Room
"""Messages, or a report of a state, or of room."""


class _Stream:
    """One stream to one peer: dialled, open, or in the pause between two attempts."""

    def __init__(self, network: Network, owner: SimulatedTransport, peer: int, address: str) -> None:
        self.address = address
        self._network = network
        self._owner = owner
        self._peer = peer
        self._queue: list[Message] = []
        self._attempt = 0
        self._is_open = self._is_pausing = self._is_closed = False
        self._is_loss_told = False
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._last_arrival = 0.0
        self._told_refusal: Refusal | None = None
        self._endpoint: Endpoint | None = None
        """Who let this node in: when the process behind an address is another one, the stream breaks."""
        self._dial()

    def send(self, packet: list[Message]) -> None:
        if self._is_pausing:
            self._tell_loss()
        elif self._is_open:
            self._transmit(packet)
        else:
            self._queue += packet

    def report(self, report: bytes | Room) -> None:
        if self._is_open:
            self._transmit(report)

    def close(self) -> None:
        self._is_closed = True
        self._queue.clear()

    # Opening

    def _dial(self) -> None:
        if self._is_closed:
            return
        self._is_pausing = self._is_loss_told = False
        self._attempt += 1
        network, attempt = self._network, self._attempt
        network.loop.call_later(CONNECT_TIMEOUT_SECONDS, self._time_out, attempt)
        if network.passes(self._owner.identity.raft_address, self.address):
            network.loop.call_in(network.loop.outside, network.delay_seconds(), self._knock, attempt)

    def _time_out(self, attempt: int) -> None:
        if attempt == self._attempt and not self._is_open:
            self.end(attempt)

    def _knock(self, attempt: int) -> None:
        """The introduction arrives at the address."""
        endpoint = self._network.endpoints.get(self.address)
        if endpoint is None:
            self._answer(self.end, attempt)
        else:
            self._network.loop.call_in(endpoint.process, 0.0, self._introduce, endpoint, attempt)

    def _introduce(self, endpoint: Endpoint, attempt: int) -> None:
        """In the receiver's process."""
        refusal = self._refusal_of(endpoint)
        if refusal is None:
            self._endpoint = endpoint
            sender = self._owner.identity
            endpoint.inbox.introduced(sender.node_id, sender.instance_id, sender.raft_address, sender.release)
            self._answer(self._welcome, attempt)
        else:
            self._answer(self._refused, attempt, refusal)

    def _refusal_of(self, endpoint: Endpoint) -> Refusal | None:
        sender = self._owner.identity
        if endpoint.identity.cluster_id != sender.cluster_id:
            return Refusal.FOREIGN_CLUSTER
        if endpoint.identity.node_id != self._peer:
            return Refusal.WRONG_RECEIVER
        return endpoint.inbox.admits(sender.node_id, sender.instance_id, sender.release.level)

    def _answer(self, callback: Callable[..., None], *arguments: object) -> None:
        """Tell the sender, if that gets through."""
        network = self._network
        if network.passes(self.address, self._owner.identity.raft_address):
            network.loop.call_in(self._owner.process, network.delay_seconds(), callback, *arguments)

    def _welcome(self, attempt: int) -> None:
        if attempt == self._attempt and not self._is_pausing:
            self._is_open = True
            self._told_refusal = None
            self._pause_seconds = FIRST_PAUSE_SECONDS
            queue, self._queue = self._queue, []
            if queue:
                self._transmit(queue)

    def _refused(self, attempt: int, refusal: Refusal) -> None:
        if attempt == self._attempt and not self._is_closed:
            if refusal is not self._told_refusal:
                self._told_refusal = refusal
                self._owner.inbox.refused(self._peer, refusal, "simulated")
            self.end(attempt)

    def end(self, attempt: int) -> None:
        """The attempt, or the stream that came of it, is over."""
        if attempt != self._attempt or self._is_closed or self._is_pausing:
            return
        self._is_open, self._is_pausing = False, True
        self._queue.clear()
        self._tell_loss()
        self._network.loop.call_later(self._pause_seconds * self._network.random.uniform(0.5, 1), self._dial)
        self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)

    def _tell_loss(self) -> None:
        if not self._is_loss_told:
            self._is_loss_told = True
            self._network.loop.call_soon(self._owner.inbox.unreachable, self._peer)

    # Carrying

    def _transmit(self, packet: Packet) -> None:
        network = self._network
        if not network.passes(self._owner.identity.raft_address, self.address):
            # Sooner or later the connection is found to be dead; meanwhile what is sent is lost in silence.
            if network.random.random() < 0.2:
                self.end(self._attempt)
            return
        if isinstance(packet, list):
            packet = self._send_round(packet)
            if not packet:
                return
        self._post(packet, self._arrival())
        if network.random.random() < network.duplicate_rate:
            network.faults["duplicated"] += 1
            self._post(packet, network.delay_seconds() * 100)

    def _send_round(self, messages: list[Message]) -> list[Message]:
        """Post those that take a detour, each by itself; the others."""
        detours = [self._network.detour_seconds(message) for message in messages]
        if not any(detours):
            return messages
        for message, seconds in zip(messages, detours, strict=True):
            if seconds:
                self._network.faults["took a detour"] += 1
                self._post([message], self._network.delay_seconds() + seconds)
        return [message for message, seconds in zip(messages, detours, strict=True) if not seconds]

    def _arrival(self) -> float:
        """The delay of the next packet: in order, mostly."""
        network = self._network
        delay_seconds = network.delay_seconds()
        if network.random.random() < network.reorder_rate:
            network.faults["reordered"] += 1
            return delay_seconds * 10
        self._last_arrival = max(self._last_arrival, network.loop.now + delay_seconds)
        return self._last_arrival - network.loop.now

    def _post(self, packet: Packet, delay_seconds: float) -> None:
        self._network.loop.call_in(
            self._network.loop.outside, delay_seconds, self._arrive, packet, self._attempt, self._endpoint
        )

    def _arrive(self, packet: Packet, attempt: int, addressee: Endpoint | None) -> None:
        """However late it is: no other process gets it that listens at that address by now."""
        if addressee is None or self._network.endpoints.get(self.address) is not addressee:
            self._answer(self.end, attempt)
        else:
            self._network.loop.run_in(addressee.process, self._take, addressee, packet, attempt)

    def _take(self, endpoint: Endpoint, packet: Packet, attempt: int) -> None:
        """In the receiver's process."""
        refusal = self._refusal_of(endpoint)
        if refusal is not None:
            self._answer(self._refused, attempt, refusal)
            return
        sender = self._owner.identity.node_id
        if isinstance(packet, bytes):
            endpoint.inbox.reported(sender, packet)
        elif isinstance(packet, Room):
            endpoint.inbox.room_told(sender, packet)
        else:
            self._network.watch_delivery(packet)
            endpoint.inbox.receive(sender, packet)
