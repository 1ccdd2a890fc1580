import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from meteora.pb.common_pb2 import Null
from meteora.pb.raft_pb2 import NodeStatusReply
from meteora.pb.raft_pb2_grpc import RaftServiceServicer, add_RaftServiceServicer_to_server
from meteora.rpc import RpcServer, create_rpc_server
from meteora.server.access import AUTHORIZATION_KEY
from meteora.server.peer_statuses import PeerStatuses
from meteora.transport.dialler import Dialler
from tests.unit.transport.peers import black_hole, until, unused_address


class Saying(RaftServiceServicer):
    """Says that it is one node; remembers who asked."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.authorizations: list[str | None] = []

    async def NodeStatus(self, request: Null, context: Any) -> NodeStatusReply:
        self.authorizations.append(dict(context.invocation_metadata()).get(AUTHORIZATION_KEY))
        return NodeStatusReply(node_id=self.node_id)


@asynccontextmanager
async def serving(servicer: RaftServiceServicer, port: int = 0) -> AsyncIterator[RpcServer]:
    server = create_rpc_server("http2", "127.0.0.1", port, max_message_bytes=1024)
    add_RaftServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    await server.start()
    try:
        yield server
    finally:
        await server.stop(None)


@asynccontextmanager
async def asking(authorization: str = "") -> AsyncIterator[PeerStatuses]:
    statuses = PeerStatuses(Dialler(), lambda: authorization)
    try:
        yield statuses
    finally:
        await statuses.close()


async def who_answers(statuses: PeerStatuses, addresses: dict[int, str]) -> dict[int, int | None]:
    """By the member, the id of the node."""
    answers = await statuses.ask(addresses)
    return {each: None if answer is None else answer.node_id for each, answer in answers.items()}


def test_members_are_asked_at_their_addresses_with_a_proof_of_membership() -> None:
    async def run() -> None:
        member = Saying(2)
        async with serving(member) as server, asking("Member proof") as statuses:
            assert await who_answers(statuses, {2: f"127.0.0.1:{server.port}"}) == {2: 2}
        assert member.authorizations == ["Member proof"]

    asyncio.run(run())


def test_who_is_not_there_or_silent_or_without_an_address_takes_nobody_elses_answer_away() -> None:
    async def run() -> None:
        with black_hole() as silent:
            async with serving(Saying(2)) as server, asking() as statuses:
                addresses = {2: f"127.0.0.1:{server.port}", 3: unused_address(), 4: silent, 5: ""}
                assert await who_answers(statuses, addresses) == {2: 2, 3: None, 4: None, 5: None}

    asyncio.run(run())


def test_another_node_at_a_members_address_is_not_taken_for_the_member() -> None:
    async def run() -> None:
        async with serving(Saying(4)) as server, asking() as statuses:
            address = f"127.0.0.1:{server.port}"
            assert await who_answers(statuses, {3: address, 4: address}) == {3: None, 4: 4}

    asyncio.run(run())


def test_two_members_with_one_address_may_both_be_gone() -> None:
    async def run() -> None:
        async with asking() as statuses:
            address = unused_address()
            assert await who_answers(statuses, {3: address, 4: address}) == {3: None, 4: None}

    asyncio.run(run())


def test_who_comes_back_is_heard_again() -> None:
    async def run() -> None:
        async with asking() as statuses:
            async with serving(Saying(2)) as server:
                address = f"127.0.0.1:{server.port}"
                assert await who_answers(statuses, {2: address}) == {2: 2}
            assert await who_answers(statuses, {2: address}) == {2: None}
            async with serving(Saying(2), server.port):
                assert await who_answers(statuses, {2: address}) == {2: 2}

    asyncio.run(run())


def test_who_is_no_member_any_more_is_hung_up_on() -> None:
    async def run() -> None:
        async with serving(Saying(2)) as server, asking() as statuses:
            await who_answers(statuses, {2: f"127.0.0.1:{server.port}"})
            assert server.connection_counts["2"] == 1
            await who_answers(statuses, {})
            await until(lambda: server.connection_counts["2"] == 0)

    asyncio.run(run())
