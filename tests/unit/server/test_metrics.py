import asyncio
from collections.abc import Iterator
from pathlib import Path

from meteora.observability import metrics
from meteora.observability.metrics import Sample
from meteora.rpc import create_rpc_server
from meteora.server.access import Gate
from meteora.server.metrics import NodeMetrics
from meteora.server.passwords import Logins
from meteora.server.tls import NodeTls
from meteora.storage.disk_space import DiskSpace
from meteora.transport.dialler import Dialler
from meteora.transport.incoming import PeerReceiver
from meteora.transport.interface import Identity
from meteora.transport.outgoing import GrpcTransport
from meteora.web import Request, Response, WebApplication
from tests.unit.node.nodes import Network, Running, running, three, until
from tests.unit.transport.peers import unused_address


class Counting(NodeMetrics):
    """Counts how often it reads."""

    reads = 0

    def read(self) -> Iterator[Sample]:
        self.reads += 1
        return super().read()


def transport_of(one: Running) -> GrpcTransport:
    return GrpcTransport(Identity(1, one.node.node_id, 1, "host:7000"), one.node, Dialler())


def metrics_of(one: Running, logins: Logins | None = None, transport: GrpcTransport | None = None) -> Counting:
    """Those of a node that nothing is served of."""
    identity = Identity(1, one.node.node_id, 1, "host:7000")
    return Counting(
        node=one.node,
        transport=transport or transport_of(one),
        receiver=PeerReceiver(identity, one.node),
        servers={"kv": create_rpc_server("http2", "127.0.0.1", 0, max_message_bytes=1024)},
        tls=NodeTls(),
        gate=Gate(one.node),
        logins=logins or Logins(),
    )


def values(read: NodeMetrics, metric: metrics.Metric) -> dict[tuple[str, ...], object]:
    """By the labels."""
    return {labels: value for each, labels, value in read.read() if each is metric}


def test_a_peer_counts_as_heard_just_after_the_quorum_was_checked_too(tmp_path: Path) -> None:
    # Until the answers to the next heartbeats the core has heard of nobody since.
    async def run() -> None:
        async with three(tmp_path) as trio:
            node, peers = trio.leader.node, [each.node.node_id for each in trio.followers]
            await until(lambda: all(map(node.hears, peers)))
            await until(lambda: not any(node.status().peers[peer].recent_active for peer in peers))
            active = values(metrics_of(trio.leader), metrics.PEER_ACTIVE)
            assert active == {(str(peer),): True for peer in peers}

    asyncio.run(run())


def test_of_a_peer_that_the_leader_has_never_heard_no_lag_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old = trio.leader
            trio.network.cut_off.add(old.node.node_id)
            new = await trio.until_replaced(old)
            read, lost = metrics_of(new), (str(old.node.node_id),)
            assert lost not in values(read, metrics.PEER_LAG)
            assert lost not in values(read, metrics.PEER_MATCH_INDEX)
            assert values(read, metrics.PEER_ACTIVE)[lost] is False

    asyncio.run(run())


def test_a_follower_tells_nothing_that_only_a_leader_knows(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            read = metrics_of(trio.followers[0])
            for metric in (metrics.PEER_LAG, metrics.PEER_MATCH_INDEX, metrics.PEER_ACTIVE):
                assert values(read, metric) == {}

    asyncio.run(run())


def test_who_is_no_member_has_no_metrics_of_his_own(tmp_path: Path) -> None:
    # Whoever reaches the Raft port may say that he is one, under as many ids as he likes.
    async def run() -> None:
        async with three(tmp_path) as trio:
            transport = transport_of(trio.leader)
            member, stranger = trio.followers[0].node.node_id, 1000
            transport.set_peers({member: unused_address(), stranger: unused_address()})
            read = metrics_of(trio.leader, transport=transport)
            for metric in (metrics.PEER_CONNECTED, metrics.PEER_SENT_BYTES, metrics.PEER_RECEIVED_BYTES):
                assert set(values(read, metric)) == {(str(member),)}
            await transport.close()

    asyncio.run(run())


def test_a_disk_that_nobody_looks_at_is_not_told_to_be_full(tmp_path: Path) -> None:
    async def free_bytes(folder: str, min_free_bytes: int) -> list[object]:
        def look() -> DiskSpace:
            return DiskSpace(size_bytes=1 << 40, free_bytes=1 << 39)

        async with running(tmp_path / folder, Network(), min_free_bytes=min_free_bytes, disk_space=look) as one:
            await one.until_leading()
            if min_free_bytes:
                await until(lambda: one.node.room.free_bytes)
            return list(values(metrics_of(one), metrics.FREE_BYTES).values())

    assert asyncio.run(free_bytes("looks", 1)) == [1 << 39]
    assert asyncio.run(free_bytes("looks not", 0)) == []


def test_logins_are_counted_by_what_came_of_them(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            logins = Logins()
            logins.begin("alice", "host")
            logins.note_failure()
            for _ in range(2):
                logins.begin("alice", "host")
                logins.note_success("alice", "host")
            counted = values(metrics_of(one, logins), metrics.AUTH_LOGINS)
            assert counted == {("succeeded",): 2, ("failed",): 1, ("refused",): 0}

    asyncio.run(run())


async def scrapes(read: NodeMetrics, count: int, accept: bytes = b"") -> list[Response]:
    """So many that come in one turn of the loop."""
    web = WebApplication(0)
    read.add_to(web)
    request = Request(method="GET", target="/metrics", headers=[(b"accept", accept)])
    return await asyncio.gather(*(web.respond(request) for _ in range(count)))


def test_scrapes_that_come_together_are_read_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            read = metrics_of(one)
            assert len({response.body for response in await scrapes(read, 100)}) == 1
            assert read.reads == 1

    asyncio.run(run())


def test_a_scrape_tells_what_was_before_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            logins = Logins()
            read = metrics_of(one, logins)
            for count in (1, 2):
                logins.note_failure()
                [response] = await scrapes(read, 1)
                assert f'meteora_auth_logins_total{{result="failed"}} {count}.0'.encode() in response.body

    asyncio.run(run())


def test_whoever_goes_takes_no_others_scrape_with_him(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            read = metrics_of(one)
            first, second = (asyncio.create_task(scrapes(read, 1)) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            [response] = await second
            assert (response.status, first.cancelled()) == (200, True)

    asyncio.run(run())
