"""How the other members say that they are, asked for whoever looks at this node's page."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import grpc

from meteora.pb.common_pb2 import Null
from meteora.pb.raft_pb2 import NodeStatusReply
from meteora.pb.raft_pb2_grpc import RaftServiceStub
from meteora.server.access import AUTHORIZATION_KEY
from meteora.transport.dialler import Dialler

ANSWER_SECONDS: Final = 1.0
"""For a member to answer. It needs nobody else for it."""

KEPT_SECONDS: Final = 10.0
"""That channels are kept open after somebody asked."""


class PeerStatuses:
    """Asks members by their Raft addresses."""

    def __init__(self, dialler: Dialler, authorization: Callable[[], str]) -> None:
        """`authorization` proves to them that this node is a member; empty if nothing has to."""
        self._dialler = dialler
        self._authorization = authorization
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._asked_at = 0.0

    async def ask(self, addresses: Mapping[int, str]) -> dict[int, NodeStatusReply | None]:
        """What the members at these addresses answer; None where none does in time, or another node."""
        self._asked_at = asyncio.get_running_loop().time()
        await self._keep_only(set(addresses.values()))
        answers = await asyncio.gather(*(self._ask(member, address) for member, address in addresses.items()))
        return dict(zip(addresses, answers, strict=True))

    async def _ask(self, member: int, address: str) -> NodeStatusReply | None:
        if not address:
            return None
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = self._dialler.open_channel(address)
        proof = self._authorization()
        metadata = ((AUTHORIZATION_KEY, proof),) if proof else ()
        try:
            answer = await RaftServiceStub(channel).NodeStatus(Null(), timeout=ANSWER_SECONDS, metadata=metadata)
        except grpc.aio.AioRpcError:
            # The next time by another connection.
            await self._close(address)
            return None
        # Where a member was may be another one now.
        return answer if answer.node_id == member else None

    async def close_unused(self) -> None:
        """Closes the channels if nobody has asked for a while."""
        if asyncio.get_running_loop().time() - self._asked_at > KEPT_SECONDS:
            await self.close()

    async def close(self) -> None:
        """Closes all channels."""
        await self._keep_only(set())

    async def _keep_only(self, addresses: set[str]) -> None:
        for address in self._channels.keys() - addresses:
            await self._close(address)

    async def _close(self, address: str) -> None:
        # Somebody else may just have: two members may have the same address.
        channel = self._channels.pop(address, None)
        if channel is not None:
            await channel.close()
