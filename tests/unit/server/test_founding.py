"""Who founds a cluster, and when: nodes that only say what they are, on real sockets."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import grpc
import pytest

from meteora.pb import peer_pb2
from meteora.pb.peer_pb2_grpc import PeerServiceServicer, PeerServiceStub, add_PeerServiceServicer_to_server
from meteora.rpc import create_rpc_server
from meteora.server.founding import Former, Newcomer, meet
from meteora.transport.dialler import Dialler

OWN = "127.0.0.1:1"
"""Of the node that asks; nobody asks it."""

WAIT_SECONDS = 1.2
"""For a node that ought to wait: it asks all others three times within it."""


class Member(PeerServiceServicer):
    async def Meet(self, request: peer_pb2.MeetReq, context: object) -> peer_pb2.MeetReply:
        return peer_pb2.MeetReply(cluster_id=7, instance_id=99)


class OlderMember(PeerServiceServicer):
    """A node of a release that didn't know Meet."""

    async def Meet(self, request: peer_pb2.MeetReq, context: "grpc.aio.ServicerContext[object, object]") -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method")


class Deaf(PeerServiceServicer):
    """A node that never answers."""

    async def Meet(self, request: peer_pb2.MeetReq, context: object) -> peer_pb2.MeetReply:
        await asyncio.Event().wait()
        raise AssertionError


async def serve(stack: AsyncExitStack, port: int, servicer: PeerServiceServicer) -> None:
    server = create_rpc_server("http2", "127.0.0.1", port, max_message_bytes=1 << 20)
    add_PeerServiceServicer_to_server(servicer, server)
    await server.start()
    stack.push_async_callback(server.stop, 0.0)


Others = Callable[[list[str]], Sequence[PeerServiceServicer | None]]
"""From the whole list to the two others in it; None is one that isn't there."""


async def members_met(ports: list[int], others: Others, *, is_first: bool = True) -> Sequence[str] | None:
    """What `meet` comes to; None if it goes on waiting."""
    addresses = [f"127.0.0.1:{port}" for port in ports]
    initial_cluster = [OWN, *addresses] if is_first else [*addresses, OWN]
    async with AsyncExitStack() as stack:
        for port, servicer in zip(ports, others(initial_cluster), strict=True):
            if servicer is not None:
                await serve(stack, port, servicer)
        try:
            return await asyncio.wait_for(meet(Dialler(), initial_cluster, OWN, instance_id=1), WAIT_SECONDS)
        except TimeoutError:
            return None


@pytest.fixture
def met(free_port: Callable[[], int]) -> Callable[..., Sequence[int] | None]:
    """Which of the two others are found to be members, by their place; () to found, None to wait."""

    def run(others: Others, *, is_first: bool = True) -> Sequence[int] | None:
        ports = [free_port(), free_port()]
        found = asyncio.run(members_met(ports, others, is_first=is_first))
        return None if found is None else [ports.index(int(each.rpartition(":")[2])) for each in found]

    return run


Met = Callable[..., "Sequence[int] | None"]


def test_the_first_founds_a_cluster_once_all_others_are_new(met: Met) -> None:
    assert met(lambda known: [Newcomer(2, known), Newcomer(3, known)]) == []


def test_no_other_than_the_first_founds_one(met: Met, caplog: pytest.LogCaptureFixture) -> None:
    assert met(lambda known: [Newcomer(2, known), Newcomer(3, known)], is_first=False) is None
    assert "the first of --initial-cluster, is to found it" in caplog.text


def test_the_first_waits_while_one_is_silent(met: Met) -> None:
    assert met(lambda known: [Newcomer(2, known), None]) is None


def test_a_member_is_joined_by_the_first_as_by_others(met: Met) -> None:
    assert met(lambda known: [None, Member()]) == [1]
    assert met(lambda known: [Newcomer(2, known), Member()], is_first=False) == [1]


def test_a_member_of_an_older_release_is_joined_too(met: Met) -> None:
    assert met(lambda known: [Newcomer(2, known), OlderMember()]) == [1]


def test_one_that_was_told_of_other_nodes_is_not_counted_on(met: Met) -> None:
    assert met(lambda known: [Newcomer(2, known), Newcomer(3, known[::-1])]) is None


def test_the_first_founds_no_second_cluster_with_one_that_was_removed_from_the_first(
    met: Met, caplog: pytest.LogCaptureFixture
) -> None:
    # Its own disk is empty, and who has stayed is on no list.
    assert met(lambda known: [Newcomer(2, known, Former(7, ["127.0.0.1:1"])), Newcomer(3, known)]) is None
    assert "it was removed from cluster 0000000000000007" in caplog.text


@pytest.mark.parametrize("instances", [(2, 2), (1, 3)])
def test_addresses_that_lead_to_one_node_are_no_cluster(
    instances: tuple[int, int], met: Met, caplog: pytest.LogCaptureFixture
) -> None:
    assert met(lambda known: [Newcomer(each, known) for each in instances]) is None
    assert "lead to one node" in caplog.text


@pytest.mark.parametrize(("cluster_id", "is_joined"), [(7, True), (8, False)])
def test_who_was_removed_joins_its_own_cluster_where_that_was_last(
    cluster_id: int, is_joined: bool, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    async def found() -> Sequence[str]:
        async with AsyncExitStack() as stack:
            await serve(stack, port, Member())
            former = Former(cluster_id, [f"127.0.0.1:{port}"])
            return await asyncio.wait_for(meet(Dialler(), [OWN], OWN, 1, former), WAIT_SECONDS)

    port = free_port()
    if is_joined:
        assert asyncio.run(found()) == [f"127.0.0.1:{port}"]
        return
    with pytest.raises(TimeoutError):
        asyncio.run(found())
    assert "was removed from cluster 0000000000000008, and founds no other one" in caplog.text


@pytest.fixture
def met_as_first(free_port: Callable[[], int]) -> Callable[[Others], Sequence[str] | None]:
    """What the first of a list of two comes to, at whose address somebody answers, too."""

    def run(others: Others) -> Sequence[str] | None:
        async def found() -> Sequence[str] | None:
            addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
            async with AsyncExitStack() as stack:
                for address, servicer in zip(addresses, others(addresses), strict=True):
                    assert servicer is not None
                    await serve(stack, int(address.rpartition(":")[2]), servicer)
                try:
                    return await asyncio.wait_for(meet(Dialler(), addresses, addresses[0], 1), WAIT_SECONDS)
                except TimeoutError:
                    return None

        return asyncio.run(found())

    return run


MetAsFirst = Callable[[Others], "Sequence[str] | None"]


def test_a_node_that_is_found_at_its_own_address_founds_a_cluster(met_as_first: MetAsFirst) -> None:
    assert met_as_first(lambda known: [Newcomer(1, known), Newcomer(2, known)]) == ()


def test_a_node_with_the_address_of_another_one_founds_none(
    met_as_first: MetAsFirst, caplog: pytest.LogCaptureFixture
) -> None:
    assert met_as_first(lambda known: [Newcomer(3, known), Newcomer(2, known)]) is None
    assert "its own address, leads to another node" in caplog.text


def test_a_node_with_the_address_of_a_member_is_to_hear_of_it_from_that_one(met_as_first: MetAsFirst) -> None:
    (member,) = met_as_first(lambda known: [Member(), Newcomer(2, known)]) or ()
    assert member.startswith("127.0.0.1:")


def test_one_that_is_on_the_list_by_another_name_is_told_so(
    free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    async def wait() -> None:
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        async with AsyncExitStack() as stack:
            for address, instance_id in zip(addresses, (1, 2), strict=True):
                await serve(stack, int(address.rpartition(":")[2]), Newcomer(instance_id, addresses))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(meet(Dialler(), addresses, "0.0.0.0:7000", 1), WAIT_SECONDS)
        assert f"{addresses[0]} is this node, which calls itself 0.0.0.0:7000: see --advertise-address" in caplog.text

    asyncio.run(wait())


def test_how_long_an_answer_was_waited_for_is_told_as_it_was(
    met: Met, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meteora.server.founding.ANSWER_SECONDS", 0.1)
    assert met(lambda known: [Newcomer(2, known), Deaf()]) is None
    assert "no answer within 0.1 s" in caplog.text


def test_one_that_is_not_on_the_list_joins_by_those_that_are(free_port: Callable[[], int]) -> None:
    async def found() -> tuple[Sequence[str], list[str]]:
        ports = [free_port(), free_port()]
        addresses = [f"127.0.0.1:{port}" for port in ports]
        async with AsyncExitStack() as stack:
            await serve(stack, ports[0], Member())
            await serve(stack, ports[1], Newcomer(3, addresses))
            return await meet(Dialler(), addresses, OWN, instance_id=1), addresses

    members, addresses = asyncio.run(found())
    assert members == addresses[:1]


def test_a_node_alone_in_its_list_founds_a_cluster() -> None:
    assert asyncio.run(meet(Dialler(), [OWN], OWN, instance_id=1)) == ()


@pytest.mark.parametrize(
    "call",
    [
        lambda stub: stub.Join(peer_pb2.JoinReq()),
        lambda stub: stub.Exchange().read(),
        lambda stub: stub.SendSnapshot().read(),
    ],
    ids=["Join", "Exchange", "SendSnapshot"],
)
def test_a_newcomer_lets_others_try_again_later(
    call: Callable[[PeerServiceStub], Awaitable[object]], free_port: Callable[[], int]
) -> None:
    async def refused() -> grpc.StatusCode:
        port = free_port()
        async with AsyncExitStack() as stack:
            await serve(stack, port, Newcomer(2, []))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await call(PeerServiceStub(channel))
            return failure.value.code()

    assert asyncio.run(refused()) is grpc.StatusCode.UNAVAILABLE
