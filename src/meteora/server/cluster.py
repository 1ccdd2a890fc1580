"""Changes of the members and of the leader, asked for anywhere: made by the leader, to whom others pass them on.

- A newcomer joins as a learner, and becomes a voter by itself once it has caught up: until then it can't cost the
  cluster its majority.
- A data directory joins under a node id once. The same directory may ask again (its first answer may have been lost);
  another one with the same id is refused, because the id's votes and acknowledgements are not on its disk.
- A data directory that was removed is never let in again, even if it was removed before it had begun.
- A leader that is to be removed hands over first, and is removed by its successor: who takes a member out stays, and
  so what the others must know of that is not lost.
- Leadership goes only to a voter that the leader hears: writes wait until it has taken over.
- A removal that is asked for again, here or by who passed it on, names the data directory: the id may be another's.
- Who was let in because users were not enabled is refused once they are: the node may have had yet to hear of it, and
  it passes a request on in its own name.
- What would leave too few voters that answer to be a majority is refused, unless it is forced: it could not be undone
  until enough of them are there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Self, TypeVar

import grpc
from google.protobuf.message import DecodeError

from meteora.addresses import parse_address
from meteora.errors import (
    ChangeRefused,
    ConfigurationError,
    InvalidRequest,
    NotApplied,
    OutcomeUnknown,
    Unauthenticated,
)
from meteora.features import Release, since
from meteora.node.members import Member, encode_context
from meteora.node.node import Node
from meteora.observability.logs import get_logger
from meteora.pb import common_pb2, peer_pb2, raft_pb2
from meteora.pb.peer_pb2_grpc import PeerServiceStub
from meteora.pb.raft_pb2_grpc import RaftServiceStub
from meteora.raft import Change, ChangeKind, ConfChange
from meteora.server.access import AUTHORIZATION_KEY
from meteora.server.statuses import error_of
from meteora.transport.dialler import Dialler

FORWARDED_KEY = "meteora-forwarded"
"""Metadata of a request that came from another node: it is not passed on again."""

HAND_OVER_SECONDS = 2.0
"""Two election timeouts: after that the transfer has failed."""

HEARD_SECONDS = 1.0
"""For a new leader to hear of everybody: a heartbeat or two, and some patience with a busy machine."""

_POLL_SECONDS = 0.05

_Answer = TypeVar("_Answer")

_log = get_logger("cluster")


class Cluster:
    """The membership as something that can be changed from any node."""

    def __init__(
        self,
        node: Node,
        cluster_id: int,
        dialler: Dialler,
        authorization: Callable[[], str] = lambda: "",
        *,
        has_proven_peers: bool = False,
    ) -> None:
        """`authorization` proves to other members that this node is one; `has_proven_peers`: who asks to join has."""
        self._node = node
        self._dialler = dialler
        self._authorization = authorization
        self._has_proven_peers = has_proven_peers
        self.is_for_everybody = False
        """Whether whoever asks was let in because users were not enabled."""
        self.cluster_id = cluster_id

    def as_admitted(self) -> Self:
        """The same, for one caller that was let in by the state as it is now."""
        one = copy(self)
        one.is_for_everybody = not self._node.users.is_enabled
        return one

    def _ensure_admitted(self) -> None:
        """Raises `Unauthenticated` for whoever would not have been let in by what is known by now."""
        if self.is_for_everybody and self._node.users.is_enabled:
            raise Unauthenticated("users were enabled meanwhile: nothing was changed; log in, and try again")

    async def join(self, request: peer_pb2.JoinReq, deadline: float, *, was_forwarded: bool) -> None:
        """Add the caller, or let it in again. `deadline` is in the loop's time.

        Raises `InvalidRequest`, `ChangeRefused` if the id belongs to another node or this directory was removed,
        `NotApplied`, or `OutcomeUnknown`.
        """
        if not (request.node_id and request.instance_id and request.address.raft_address):
            raise InvalidRequest("who joins has a node_id and an instance_id that are not 0, and a raft_address")
        _ensure_address(request.address)
        remaining = await self._wait_for_leader(deadline)
        if not self._node.leads:
            await self._pass_on(lambda channel: _join_there(channel, request, remaining, self._metadata), was_forwarded)
            return
        member = Member(request.address.kv_address, request.address.raft_address, request.instance_id, promote=True)
        await self._admit(request.node_id, member, Release(request.level, request.version), deadline)

    async def _admit(self, node_id: int, newcomer: Member, release: Release, deadline: float) -> None:
        is_new = False

        def admission() -> ConfChange | None:
            nonlocal is_new
            self._ensure_new_enough(release)
            known = self._known_as(node_id, newcomer.instance_id)
            self._ensure_expected(node_id, known)
            is_new = known is None or known.instance_id == 0
            # If it has joined before, the promise to promote it stands as it was made; its address may be new.
            member = newcomer if known is None else newcomer._replace(promote=known.promote)
            return None if member == known else _change_of(self._kind_of(node_id), node_id, member)

        if await self._change(admission, deadline):
            _log.info("a node joined" if is_new else "a member moved", node=node_id, address=newcomer.raft_address)

    def _ensure_new_enough(self, release: Release) -> None:
        """Raises `ChangeRefused` if a release can't take part in what the cluster does."""
        level = self._node.level_to_come
        if release.level < level:
            raise ChangeRefused(
                f"this cluster has feature level {level}, and this node runs {release}: start it with {since(level)}"
            )

    def _ensure_expected(self, node_id: int, known: Member | None) -> None:
        """Raises `ChangeRefused` for a newcomer that root has not announced, where nothing else proves who it is."""
        if known is None and self._node.users.is_enabled and not self._has_proven_peers:
            raise ChangeRefused(
                f"users are enabled, so root has to add node {node_id} before it joins: "
                f"meteora add-member -i {node_id} RAFT_ADDRESS"
            )

    def _known_as(self, node_id: int, instance_id: int) -> Member | None:
        """What is known of the data directory that asks to join; None if nothing. Raises `ChangeRefused`."""
        members = self._node.members
        if (node_id, instance_id) in members.removed:
            # Let in again, it would be taken for the removed one, and told so.
            raise ChangeRefused(
                f"node {node_id} was removed from the cluster; to join it anew, start it with -p and an empty directory"
            )
        known = members.by_id.get(node_id)
        if known is not None and known.instance_id not in (0, instance_id):
            raise ChangeRefused(
                f"node id {node_id} belongs to the member at {known.raft_address}: choose another id (-i), or, if that "
                f"node or its data is lost for good, remove it first: meteora leave -i {node_id}"
            )
        return known

    def _kind_of(self, node_id: int) -> ChangeKind:
        """The kind of change that leaves the role of a member as it is; a newcomer begins as a learner."""
        is_voter = node_id in self._node.members.configuration.voters
        return ChangeKind.ADD_VOTER if is_voter else ChangeKind.ADD_LEARNER

    async def change(self, request: raft_pb2.ConfChange, deadline: float, *, was_forwarded: bool) -> common_pb2.State:
        """Make the change that a user asked for: OK, or NOT_FOUND for the removal of a node that is no member.

        Raises `InvalidRequest`, `ChangeRefused` if it makes no sense now, `Unauthenticated` (see `as_admitted`),
        `NotApplied`, or `OutcomeUnknown`.
        """
        if request.node_id == 0:
            raise InvalidRequest("node_id is missing: 0 is no node's id")
        if request.change_type not in raft_pb2.ConfChangeType.values():
            raise InvalidRequest(f"change_type {request.change_type} is none that this release knows")
        if request.change_type != raft_pb2.RemoveNode:
            _ensure_address(_address_in(request.context))
        return await self._make(request, deadline, was_forwarded=was_forwarded)

    async def _make(self, request: raft_pb2.ConfChange, deadline: float, *, was_forwarded: bool) -> common_pb2.State:
        remaining = await self._wait_for_leader(deadline)
        if not self._node.leads:
            return await self._pass_on(
                lambda channel: _change_there(channel, request, remaining, self._metadata), was_forwarded
            )
        if request.change_type == raft_pb2.RemoveNode:
            if request.node_id == self._node.node_id:
                return await self._remove_by_successor(request, deadline)
            is_member = await self._change(lambda: self._removal(request), deadline, is_forced=request.force)
            return common_pb2.OK if is_member else common_pb2.NOT_FOUND
        await self._change(lambda: self._addition(request), deadline, is_forced=request.force)
        return common_pb2.OK

    async def _remove_by_successor(self, request: raft_pb2.ConfChange, deadline: float) -> common_pb2.State:
        """Remove this node, which leads: hand over, unless the removal will be refused anyway, and ask who leads then.

        Whoever passed the request on did so to the one that led: that it goes on from here is no going round.
        """
        removal = await self._decided(lambda: self._removal(request), deadline, is_forced=request.force)
        if removal is None:
            return common_pb2.NOT_FOUND
        request = self._own_removal(force=request.force)
        await self._hand_over(deadline)
        if self._node.leads:
            raise NotApplied(f"node {self._node.node_id} leads, and no other could take over; nothing was changed")
        remaining = await self._wait_for_leader(deadline)
        return await self._pass_on(
            lambda channel: _change_there(channel, request, remaining, self._metadata), was_forwarded=False
        )

    def _addition(self, request: raft_pb2.ConfChange) -> ConfChange:
        known = self._node.members.by_id.get(request.node_id)
        address = _address_in(request.context)
        if known is None and not address.raft_address:
            raise InvalidRequest(_NEEDS_ADDRESS)
        member = known or Member("", "")
        if address.raft_address:
            member = member._replace(kv_address=address.kv_address, raft_address=address.raft_address)
        is_voter = request.change_type == raft_pb2.AddNode
        member = member._replace(promote=is_voter and request.node_id not in self._node.members.configuration.voters)
        kind = self._kind_of(request.node_id) if is_voter else ChangeKind.ADD_LEARNER
        return _change_of(kind, request.node_id, member)

    def _own_removal(self, *, force: bool = False) -> raft_pb2.ConfChange:
        me = self._node.node_id
        known = self._node.members.by_id.get(me)
        instance_id = 0 if known is None else known.instance_id
        return raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=me, instance_id=instance_id, force=force)

    def _removal(self, request: raft_pb2.ConfChange) -> ConfChange | None:
        """None if the node is no member, or another one than was meant."""
        members, node_id = self._node.members, request.node_id
        known = members.by_id.get(node_id)
        if known is None or request.instance_id not in (0, known.instance_id):
            return None
        if members.configuration.voters == {node_id}:
            raise ChangeRefused(f"node {node_id} is the last voter: without it there is no cluster; just stop it")
        return ConfChange((Change(ChangeKind.REMOVE, node_id),))

    async def _change(
        self, decide: Callable[[], ConfChange | None], deadline: float, *, is_forced: bool = False
    ) -> bool:
        """Make the change that `decide` names, at the instant at which it does; False if it names none.

        Raises as `_decided`, and as `Node.change_membership`.
        """
        change = await self._decided(decide, deadline, is_forced=is_forced)
        if change is not None:
            await self._node.change_membership(change, deadline)
        return change is not None

    async def _decided(
        self, decide: Callable[[], ConfChange | None], deadline: float, *, is_forced: bool
    ) -> ConfChange | None:
        """What `decide` says of the members as they are at the instant at which this returns.

        Raises `ChangeRefused` if too few of the voters that the change would leave are there, unless it is forced;
        `NotApplied` if this node doesn't lead, or can't tell whether it does; `Unauthenticated` (see `as_admitted`).
        """
        # A leader that was deposed and doesn't know it knows of no member that joined or left since.
        await self._node.catch_up(deadline)
        self._ensure_admitted()
        loop = asyncio.get_running_loop()
        patience_ends_at = min(loop.time() + HEARD_SECONDS, deadline)
        while True:
            await self._node.wait_for_changes(deadline)
            # No `await` from here to the proposal: what was decided would be about members that are no more.
            change = decide()
            silent = self._node.silent_voters_after(change) if change is not None else frozenset()
            if change is None or not silent:
                return change
            if is_forced:
                _log.warning("a change is forced that leaves no majority", silent=", ".join(map(str, sorted(silent))))
                return change
            if loop.time() >= patience_ends_at:
                raise self._stranding(change, silent)
            await asyncio.sleep(_POLL_SECONDS)

    def _stranding(self, change: ConfChange, silent: frozenset[int]) -> ChangeRefused:
        by_id = self._node.members.by_id
        left = self._node.members.configuration.after(change).voters
        names = ", ".join(f"node {node_id} at {by_id[node_id].raft_address}" for node_id in sorted(silent))
        return ChangeRefused(
            f"of the voters that would be left ({', '.join(map(str, sorted(left)))}) too many are silent to be a "
            f"majority: {names}; start what is silent, or, if it is lost for good, remove that first: "
            f"meteora leave -i {min(silent)}; or force the change"
        )

    async def transfer(self, node_id: int, deadline: float, *, was_forwarded: bool) -> None:
        """Let `node_id` lead: it does when this returns, or did already. `deadline` is in the loop's time.

        Raises `InvalidRequest`, `ChangeRefused` if it is no voter or is silent, `Unauthenticated` (see `as_admitted`),
        `NotApplied`, or `OutcomeUnknown`.
        """
        if node_id == 0:
            raise InvalidRequest("node_id is missing: 0 is no node's id")
        remaining = await self._wait_for_leader(deadline)
        if not self._node.leads:
            before = self._node.leader_id
            await self._pass_on(
                lambda channel: _transfer_there(channel, node_id, remaining, self._metadata), was_forwarded
            )
            await self._hear_of_successor(before, node_id, deadline)
        elif node_id != self._node.node_id:
            await self._find_ready(node_id, deadline)
            self._ensure_admitted()
            await self._node.hand_over_to(node_id, deadline)
            _log.info("handed leadership over, as was asked for", leader=node_id)

    async def _find_ready(self, successor: int, deadline: float) -> None:
        """Raises `ChangeRefused` if `successor` could not lead. A leader that is new has yet to hear of everybody."""
        loop = asyncio.get_running_loop()
        patience_ends_at = min(loop.time() + HEARD_SECONDS, deadline)
        while True:
            self._check_voter(successor)
            if self._node.hears(successor) or not self._node.leads:
                return
            if loop.time() >= patience_ends_at:
                at = self._node.members.by_id[successor].raft_address
                raise ChangeRefused(f"node {successor} at {at} is silent: it can't lead until it is heard from again")
            await asyncio.sleep(_POLL_SECONDS)

    def _check_voter(self, node_id: int) -> None:
        members = self._node.members
        voters = ", ".join(map(str, sorted(members.configuration.voters)))
        if node_id not in members.by_id:
            raise ChangeRefused(f"node {node_id} is no member of the cluster; those who could lead: {voters}")
        if node_id not in members.configuration.voters:
            what = "being removed" if node_id in members.configuration.outgoing else "a learner, which gets no votes"
            raise ChangeRefused(f"node {node_id} is {what}; those who could lead: {voters}")

    async def _hear_of_successor(self, before: int, successor: int, deadline: float) -> None:
        """Until this node has heard who leads in place of `before`, so that its answer names the right one."""
        while before != successor and self._node.leader_id in (0, before):
            if asyncio.get_running_loop().time() >= deadline:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def leave(self, timeout_seconds: float) -> bool:
        """Take this node out of the cluster. False if it stays, as the last voter or no member. Raises as `change`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        request = self._own_removal()
        if self._may_leave:
            # Once: if all leave together, they must not go on handing leadership to one another.
            await self._hand_over(deadline)
        while self._may_leave:
            try:
                await self._make(request, deadline, was_forwarded=False)
            except (NotApplied, OutcomeUnknown):
                # The leader may just be leaving, too.
                if loop.time() >= deadline:
                    raise
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return True
        return False

    @property
    def _may_leave(self) -> bool:
        configuration, me = self._node.members.configuration, self._node.node_id
        return me in configuration.members and configuration.voters != {me}

    async def _hand_over(self, deadline: float) -> None:
        if self._node.leads and len(self._node.members.configuration.voters) > 1:
            await self._node.hand_over(min(HAND_OVER_SECONDS, deadline - asyncio.get_running_loop().time()))

    async def _wait_for_leader(self, deadline: float) -> float:
        """The seconds that are left once a leader is known. Raises `NotApplied` if none turns up."""
        if not await self._node.wait_for_leader(deadline):
            raise NotApplied("no leader: a majority of the members can't be reached; nothing was changed")
        return max(deadline - asyncio.get_running_loop().time(), _POLL_SECONDS)

    @property
    def _metadata(self) -> "_Metadata":
        """Of what this node asks another one to do, in the name of whoever asked this one."""
        authorization = self._authorization()
        return ((FORWARDED_KEY, "1"), *([(AUTHORIZATION_KEY, authorization)] if authorization else []))

    async def _pass_on(self, call: Callable[[grpc.aio.Channel], Awaitable[_Answer]], was_forwarded: bool) -> _Answer:
        leader_id = self._node.leader_id
        leader = self._node.members.by_id.get(leader_id)
        if was_forwarded or leader is None:
            raise NotApplied(f"node {self._node.node_id} doesn't lead; nothing was changed, try again")
        async with self._dialler.open_channel(leader.raft_address) as channel:
            self._ensure_admitted()
            try:
                return await call(channel)
            except grpc.aio.AioRpcError as failure:
                raise error_of(failure, f"the leader, node {leader_id}, answered") from failure


_NEEDS_ADDRESS = "to add a node, context must be its serialized meteora.common.NodeAddress"

_Metadata = tuple[tuple[str, str], ...]


def _address_in(context: bytes) -> common_pb2.NodeAddress:
    try:
        return common_pb2.NodeAddress.FromString(context)
    except DecodeError as error:
        raise InvalidRequest(_NEEDS_ADDRESS) from error


def _ensure_address(address: common_pb2.NodeAddress) -> None:
    """Raise `InvalidRequest` unless what is said of a node is where one could be."""
    for name, text in (("kv_address", address.kv_address), ("raft_address", address.raft_address)):
        try:
            if text:
                parse_address(text)
        except ConfigurationError as error:
            raise InvalidRequest(f"{name}: {error}") from error


def _change_of(kind: ChangeKind, node_id: int, member: Member) -> ConfChange:
    return ConfChange((Change(kind, node_id),), context=encode_context({node_id: member}))


async def _join_there(
    channel: grpc.aio.Channel, request: peer_pb2.JoinReq, timeout_seconds: float, metadata: _Metadata
) -> None:
    await PeerServiceStub(channel).Join(request, timeout=timeout_seconds, metadata=metadata)


async def _change_there(
    channel: grpc.aio.Channel, request: raft_pb2.ConfChange, timeout_seconds: float, metadata: _Metadata
) -> common_pb2.State:
    stub = RaftServiceStub(channel)
    reply = await stub.ChangeConfig(request, timeout=timeout_seconds, metadata=metadata)
    return reply.state


async def _transfer_there(channel: grpc.aio.Channel, node_id: int, timeout_seconds: float, metadata: _Metadata) -> None:
    request = raft_pb2.TransferReq(node_id=node_id)
    await RaftServiceStub(channel).TransferLeadership(request, timeout=timeout_seconds, metadata=metadata)
