"""The state of a cluster as plain data, put together from what each node says of itself.

Pure. Nodes may disagree for a while: a node that is cut off keeps its last view. The members are those of the newest
view among the answers; what stands beside a member is what that member itself said.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from meteora.client.fate import Failure
from meteora.pb import raft_pb2

MemberRole = Literal["leader", "follower", "candidate", "learner", "unreachable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRoom:
    """What one node stores, and may store, by its own account."""

    stored_bytes: int
    """About: what was deleted just now still counts."""
    quota_bytes: int
    """0: none."""
    free_bytes: int
    """On its disk; 0 if it doesn't look."""
    min_free_bytes: int
    """What has to stay free there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProgress:
    """Where one node stands in the log, by its own account."""

    term: int
    commit_index: int
    applied_index: int
    last_index: int
    version: str
    """Of the program that the node runs."""
    level: int
    """What all members can do together, as of what the node has applied: a feature level, see docs/upgrading.md."""
    differing: tuple[int, ...]
    """The members whose state the node has seen to differ from its own: one of them has not done what the log says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """One member of the cluster."""

    node_id: int
    role: MemberRole
    """What the node said of itself; "unreachable" if it did not answer."""
    is_voter: bool
    """Whether it counts in a majority; a learner does not."""
    kv_address: str
    """host:port, as the node advertises it."""
    raft_address: str
    progress: NodeProgress | None
    """None if the node did not answer."""
    room: NodeRoom | None
    """Likewise, and if it runs a release that doesn't say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """The members of a cluster, by ascending id, and who leads."""

    cluster_id: str
    """16 hexadecimal digits, as in the nodes' logs."""
    leader_id: int | None
    """None while no leader is known: nothing can be read or written then."""
    members: tuple[MemberStatus, ...]
    level: int
    """The feature level that the newest view of the cluster has."""
    older_members: str
    """In words, which members keep it from a higher level that others support; empty if none do."""
    alarms: tuple[str, ...]
    """In words, why puts are refused: which members are short of room, and what to do. Empty if puts are taken."""


_ROLES: Final[Mapping[raft_pb2.Role, MemberRole]] = {
    raft_pb2.LEADER: "leader",
    raft_pb2.FOLLOWER: "follower",
    raft_pb2.CANDIDATE: "candidate",
    raft_pb2.PRE_CANDIDATE: "candidate",
}


def cluster_status(
    first: raft_pb2.NodeStatusReply, asked: Mapping[int, raft_pb2.NodeStatusReply | Failure]
) -> ClusterStatus:
    """The state of the cluster, from the answer of any node and what came back from each member that was asked then."""
    by_id = {first.node_id: first} | {
        node_id: answer
        for node_id, answer in asked.items()
        # Where several members advertise one address, the one that answers there speaks only for itself.
        if not isinstance(answer, Failure) and answer.node_id == node_id
    }
    newest = max(by_id.values(), key=lambda answer: (answer.term, answer.applied_index))
    latest = max(by_id.values(), key=lambda answer: answer.supported_level)
    members = sorted(newest.members, key=lambda member: member.id)
    return ClusterStatus(
        cluster_id=f"{newest.cluster_id:016x}",
        leader_id=newest.leader_id or None,
        members=tuple(_member(member, by_id.get(member.id)) for member in members),
        level=newest.level,
        older_members=latest.older_members if newest.level < latest.supported_level else "",
        alarms=_alarms(by_id.values()),
    )


def _alarms(answers: Iterable[raft_pb2.NodeStatusReply]) -> tuple[str, ...]:
    """Each once, as the member itself says it, if it has answered."""
    told: dict[tuple[int, int], str] = {}
    for answer in answers:
        for alarm in answer.alarms:
            if alarm.node_id == answer.node_id or (alarm.node_id, alarm.kind) not in told:
                told[alarm.node_id, alarm.kind] = alarm.message
    return tuple(told[key] for key in sorted(told))


def _room(answer: raft_pb2.NodeStatusReply) -> NodeRoom | None:
    if not (answer.stored_bytes or answer.quota_bytes or answer.free_bytes):
        return None
    return NodeRoom(
        stored_bytes=answer.stored_bytes,
        quota_bytes=answer.quota_bytes,
        free_bytes=answer.free_bytes,
        min_free_bytes=answer.min_free_bytes,
    )


def _member(member: raft_pb2.Member, answer: raft_pb2.NodeStatusReply | None) -> MemberStatus:
    return MemberStatus(
        node_id=member.id,
        role=_role(member, answer),
        is_voter=not member.learner,
        kv_address=member.address.kv_address,
        raft_address=member.address.raft_address,
        progress=None if answer is None else _progress(answer),
        room=None if answer is None else _room(answer),
    )


def _role(member: raft_pb2.Member, answer: raft_pb2.NodeStatusReply | None) -> MemberRole:
    if answer is None:
        return "unreachable"
    return "learner" if member.learner else _ROLES.get(answer.role, "follower")


def _progress(answer: raft_pb2.NodeStatusReply) -> NodeProgress:
    return NodeProgress(
        term=answer.term,
        commit_index=answer.commit_index,
        applied_index=answer.applied_index,
        last_index=answer.last_index,
        version=answer.version,
        level=answer.level,
        differing=tuple(answer.differing),
    )
