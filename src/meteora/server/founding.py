"""Nodes that begin a cluster together: which of them founds it, and when.

All have the same list of addresses (`--initial-cluster`) and the same command line; nobody has to know whether this is
the first start. The rules, so that there are never two clusters:

- Only the first node of the list founds one.
- It does so only once every other node of the list has said that it is in none. One that is silent may be a member of
  a cluster that the first one has forgotten, with its disk: so it waits.
- As soon as one says that it is in a cluster, that one is joined, by the first node of the list as well.
- All must have the same list, and each address must be another data directory's: or a first node whose list is wrong,
  or whose addresses all lead to itself, would found a second cluster.
- Whose directory has the state of a member that was removed founds none: there is a cluster. Its members may all be
  others by now than those on the list, so they are asked as well where they were last known. Nor does the first node
  found one as long as another one has such a state.
- A node asks at its own address, too: two that both take themselves for the first would found one each. No answer from
  there is none that speaks against it, for not every network leads back.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import grpc

from meteora.observability.logs import get_logger
from meteora.pb import peer_pb2
from meteora.pb.peer_pb2_grpc import PeerServiceServicer, PeerServiceStub
from meteora.server.joining import PAUSE_SECONDS, Troubles, cause_of
from meteora.transport.dialler import Dialler

ANSWER_SECONDS = 2.0
"""For one answer: who is asked needs nobody else for it."""

_log = get_logger("join")


class Former(NamedTuple):
    """The cluster that this node was removed from."""

    cluster_id: int
    peers: Sequence[str]
    """Raft addresses of those who stayed, as it knew them last."""


class Newcomer(PeerServiceServicer):
    """What a node that is in no cluster yet says on its Raft port."""

    def __init__(self, instance_id: int, initial_cluster: Sequence[str], former: Former | None = None) -> None:
        """`former`: as of `meet`."""
        self._instance_id = instance_id
        self._initial_cluster = list(initial_cluster)
        self._former = former

    async def Meet(  # noqa: N802  the method's name in the proto
        self, request: peer_pb2.MeetReq, context: grpc.aio.ServicerContext[peer_pb2.MeetReq, peer_pb2.MeetReply]
    ) -> peer_pb2.MeetReply:
        """Say that this node is in no cluster, and never was, to who has the same list."""
        if list(request.initial_cluster) != self._initial_cluster:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"its --initial-cluster is {','.join(self._initial_cluster)}: all must have the same",
            )
        if self._former is not None:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"it was removed from cluster {self._former.cluster_id:016x}, where it is to be let in again first; if "
                "that is gone for good, start it with an empty directory",
            )
        return peer_pb2.MeetReply(instance_id=self._instance_id)

    async def _refuse(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: ARG002  whatever
        """Let the caller try again later."""
        await context.abort(grpc.StatusCode.UNAVAILABLE, "that node is in no cluster itself yet")

    Join = _refuse
    # grpcio takes coroutines for streams, too; the generated types don't say so.
    Exchange = _refuse  # type: ignore[assignment]
    SendSnapshot = _refuse  # type: ignore[assignment]


async def meet(
    dialler: Dialler, initial_cluster: Sequence[str], own_address: str, instance_id: int, former: Former | None = None
) -> Sequence[str]:
    """Ask until it is clear what to do: the addresses of members to join; none to found a cluster.

    `former`: what this node was removed from; None if it never was a member.
    """
    asked = tuple(dict.fromkeys((*initial_cluster, *(former.peers if former else ()))))
    others = [address for address in asked if address != own_address]
    troubles = {address: Troubles(_log, address) for address in asked}
    all_of_them = Troubles(_log, ",".join(others))
    request = peer_pb2.MeetReq(initial_cluster=initial_cluster)
    _log.info("asking who is in a cluster", peers=",".join(others), own_address=own_address)
    while True:
        answers = await asyncio.gather(*(_ask(dialler, address, request, troubles[address]) for address in asked))
        replies = {address: reply for address, reply in zip(asked, answers, strict=True) if reply is not None}
        clusters = {address: reply.cluster_id for address, reply in replies.items() if reply.cluster_id}
        # Where a member was once, there may be one of another cluster by now.
        if members := [each for each in clusters if each in initial_cluster or _is_of(former, clusters[each])]:
            return members
        instances = {address: reply.instance_id for address, reply in replies.items()}
        obstacle = _why_not_found(initial_cluster, own_address, instance_id, instances, former)
        if obstacle is None:
            return ()
        all_of_them.tell(obstacle)
        await asyncio.sleep(PAUSE_SECONDS)


def _is_of(former: Former | None, cluster_id: int) -> bool:
    return former is not None and former.cluster_id == cluster_id


def _why_not_found(
    initial_cluster: Sequence[str],
    own_address: str,
    instance_id: int,
    instances: Mapping[str, int],
    former: Former | None,
) -> str | None:
    """Why this node founds no cluster although nobody has said that he is in one; None if it does.

    `instances`: those who answered, by the addresses where they did.
    """
    if former is not None:
        return f"this node was removed from cluster {former.cluster_id:016x}, and founds no other one"
    found = {**instances, own_address: instance_id}
    if silent := [address for address in initial_cluster if address not in found]:
        return f"who is silent may be in a cluster: {', '.join(silent)}"
    if instances.get(own_address, instance_id) != instance_id:
        return f"{own_address}, its own address, leads to another node: see --advertise-address"
    namesakes = [address for address, instance in found.items() if instance == instance_id]
    if own_address not in initial_cluster and len(namesakes) > 1:
        return f"{namesakes[0]} is this node, which calls itself {own_address}: see --advertise-address"
    if own_address != initial_cluster[0]:
        return f"nobody is in a cluster yet; {initial_cluster[0]}, the first of --initial-cluster, is to found it"
    if len(set(found.values())) < len(found):
        return "several addresses of --initial-cluster lead to one node"
    return None


async def _ask(
    dialler: Dialler, address: str, request: peer_pb2.MeetReq, troubles: Troubles
) -> peer_pb2.MeetReply | None:
    """What the node there says; None if it says nothing that can be used."""
    try:
        async with dialler.open_channel(address) as channel:
            return await PeerServiceStub(channel).Meet(request, timeout=ANSWER_SECONDS)
    except grpc.aio.AioRpcError as failure:
        if failure.code() is grpc.StatusCode.UNIMPLEMENTED:
            # A node of an older release answers only once it is a member.
            return peer_pb2.MeetReply(cluster_id=1)
        troubles.tell(cause_of(failure, ANSWER_SECONDS))
        return None
