"""The node's `Transport` over gRPC: a `PeerLink` to each of the other members."""

import asyncio
from collections.abc import Mapping, Sequence

from meteora.raft.message import Message
from meteora.transport.codec import EncodedEntries
from meteora.transport.dialler import Dialler
from meteora.transport.interface import Identity, Inbox, OutgoingSnapshot, Room, SnapshotNotSent
from meteora.transport.link import PeerLink
from meteora.transport.snapshots import send_snapshot


class GrpcTransport:
    """Sends to every other member over a stream of its own. Made and used on one event loop.

    Owns the tasks of its links: each is there until its link was closed, and none after `close`.
    """

    def __init__(self, identity: Identity, inbox: Inbox, dialler: Dialler) -> None:
        self._identity = identity
        self._inbox = inbox
        self._dialler = dialler
        self._links: dict[int, PeerLink] = {}
        # Of all links that have not ended yet, those being closed included.
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, messages: Sequence[Message]) -> None:
        """See `Transport.send`."""
        encoded: EncodedEntries = {}
        links: dict[PeerLink, None] = {}
        for message in messages:
            link = self._links.get(message.receiver)
            if link is not None:
                link.send(message, encoded)
                links[link] = None
        for link in links:
            link.flush()

    def report(self, report: bytes) -> None:
        """See `Transport.report`."""
        for link in self._links.values():
            link.report(report)

    def tell_room(self, room: Room) -> None:
        """See `Transport.tell_room`."""
        for link in self._links.values():
            link.tell_room(room)

    def set_peers(self, addresses: Mapping[int, str]) -> None:
        """See `Transport.set_peers`."""
        for peer, link in list(self._links.items()):
            if addresses.get(peer) != link.address:
                self._links.pop(peer).task.cancel()
        for peer, address in addresses.items():
            if peer not in self._links:
                self._links[peer] = self._open(peer, address)

    @property
    def links(self) -> Mapping[int, PeerLink]:
        """To each peer. Only to be looked at."""
        return self._links

    async def send_snapshot(self, peer: int, snapshot: OutgoingSnapshot) -> None:
        """See `Transport.send_snapshot`."""
        link = self._links.get(peer)
        if link is None:
            raise SnapshotNotSent(f"node {peer} is no peer any more")
        await send_snapshot(self._dialler, self._identity, peer, link.address, snapshot)

    async def close(self) -> None:
        """See `Transport.close`."""
        self.set_peers({})
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _open(self, peer: int, address: str) -> PeerLink:
        link = PeerLink(self._identity, peer, address, self._inbox, self._dialler)
        self._tasks.add(link.task)
        link.task.add_done_callback(self._ended)
        return link

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # A link only ends when it is told to. Raising here hands a bug to the loop's exception handler.
            task.result()
