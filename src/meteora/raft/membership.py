"""Who is in the cluster, and how that changes: functions from one configuration to the next.

A configuration takes effect when its entry is applied, not when it is appended, and a leader proposes a change only
when the one before is applied (as in etcd). One voter at a time may come or go by a simple change, because then any
majority of the old configuration meets any majority of the new one; more than one goes through a joint configuration
(thesis 4.1, 4.3).

Invariants of every `Configuration` that the functions here return:
- there is at least one voter;
- a node is a voter or a learner, never both;
- `learners_next` are voters of the outgoing half that become learners when the joint configuration is left;
- `outgoing`, `learners_next` and `auto_leave` are empty outside a joint configuration.
"""

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple, Self

from meteora.raft.errors import InvalidConfChange
from meteora.raft.quorum import VoteResult, joint_committed, joint_vote

CONF_CHANGE_VERSION = 1

_HEADER = struct.Struct(">BBI")
_CHANGE = struct.Struct(">BQ")


class ChangeKind(IntEnum):
    """What happens to one node; the numbers are those of the public ConfChangeType."""

    ADD_VOTER = 0
    REMOVE = 1
    ADD_LEARNER = 2


class Transition(IntEnum):
    """Whether a change goes through a joint configuration."""

    AUTO = 0
    """Only if it must: more than one change. The joint configuration is left by itself."""
    JOINT_IMPLICIT = 1
    """Always; left by itself."""
    JOINT_EXPLICIT = 2
    """Always; stays until an empty change is proposed."""


class Change(NamedTuple):
    """One node's part in a change."""

    kind: ChangeKind
    node_id: int


class ConfChange(NamedTuple):
    """A proposed change of membership. Without any changes it leaves the joint configuration."""

    changes: tuple[Change, ...] = ()
    transition: Transition = Transition.AUTO
    context: bytes = b""
    """Opaque to the core; kept with the entry."""

    @property
    def is_leave_joint(self) -> bool:
        """Whether this change only leaves a joint configuration."""
        return not self.changes

    @property
    def enters_joint(self) -> bool:
        """Whether the configuration after this change is a joint one."""
        return len(self.changes) > 1 or (bool(self.changes) and self.transition is not Transition.AUTO)

    def encode(self) -> bytes:
        """The data of a CONF_CHANGE entry."""
        header = _HEADER.pack(CONF_CHANGE_VERSION, self.transition, len(self.changes))
        return header + b"".join(_CHANGE.pack(*change) for change in self.changes) + self.context


def decode_conf_change(data: bytes) -> ConfChange:
    """The change that a CONF_CHANGE entry's data encodes. Raises `InvalidConfChange` if it is none."""
    try:
        version, transition, count = _HEADER.unpack_from(data)
        end = _HEADER.size + count * _CHANGE.size
        pairs = list(_CHANGE.iter_unpack(data[_HEADER.size : end]))
        if version != CONF_CHANGE_VERSION or len(pairs) != count:
            raise InvalidConfChange(f"version {version}, {len(pairs)} of {count} changes")
        changes = tuple(Change(ChangeKind(kind), node_id) for kind, node_id in pairs)
        return ConfChange(changes, Transition(transition), data[end:])
    except (struct.error, ValueError) as error:
        raise InvalidConfChange(str(error)) from error


class Configuration(NamedTuple):
    """The members of the cluster at one point of the log."""

    voters: frozenset[int] = frozenset()
    outgoing: frozenset[int] = frozenset()
    learners: frozenset[int] = frozenset()
    learners_next: frozenset[int] = frozenset()
    auto_leave: bool = False

    @classmethod
    def of(cls, voters: Iterable[int] = (), learners: Iterable[int] = ()) -> Self:
        """An ordinary configuration."""
        return cls(voters=frozenset(voters), learners=frozenset(learners))

    @property
    def is_joint(self) -> bool:
        """Whether two majorities must agree."""
        return bool(self.outgoing)

    @property
    def all_voters(self) -> frozenset[int]:
        """The voters of both halves."""
        return self.voters | self.outgoing

    @property
    def members(self) -> frozenset[int]:
        """All who receive the log."""
        return self.voters | self.outgoing | self.learners

    def committed(self, matched: Mapping[int, int]) -> int:
        """The highest index that the voters' majorities have."""
        return joint_committed(self.voters, self.outgoing, matched)

    def vote_result(self, votes: Mapping[int, bool]) -> VoteResult:
        """Where a vote among the voters stands."""
        return joint_vote(self.voters, self.outgoing, votes)

    def has_majority(self, nodes: Iterable[int]) -> bool:
        """Whether these nodes can commit and elect by themselves."""
        return self.vote_result(dict.fromkeys(nodes, True)) is VoteResult.WON

    def after(self, change: ConfChange) -> "Configuration":
        """The configuration once `change` is applied. Raises `InvalidConfChange` if it can't be made from this one."""
        if change.is_leave_joint:
            return leave_joint(self)
        if change.enters_joint:
            return enter_joint(self, change.changes, auto_leave=change.transition is not Transition.JOINT_EXPLICIT)
        return simple_change(self, change.changes)


def simple_change(configuration: Configuration, changes: Iterable[Change]) -> Configuration:
    """At most one voter comes or goes. Raises `InvalidConfChange` otherwise, or while joint."""
    if configuration.is_joint:
        raise InvalidConfChange("a simple change can't be made while the cluster is in a joint configuration")
    after = _with_changes(configuration, changes)
    if len(configuration.voters ^ after.voters) > 1:
        raise InvalidConfChange("more than one voter changes without a joint configuration")
    return after


def enter_joint(configuration: Configuration, changes: Iterable[Change], *, auto_leave: bool) -> Configuration:
    """The joint configuration in which the old voters and the new ones must both agree.

    Raises `InvalidConfChange` if already joint, or if there are no voters to begin with.
    """
    if configuration.is_joint:
        raise InvalidConfChange("the cluster is in a joint configuration already")
    if not configuration.voters:
        raise InvalidConfChange("a joint configuration can't be entered without voters")
    return _with_changes(configuration._replace(outgoing=configuration.voters, auto_leave=auto_leave), changes)


def leave_joint(configuration: Configuration) -> Configuration:
    """The configuration after the joint one. Raises `InvalidConfChange` if it is not joint."""
    if not configuration.is_joint:
        raise InvalidConfChange("the cluster is not in a joint configuration")
    return Configuration.of(configuration.voters, configuration.learners | configuration.learners_next)


def _with_changes(configuration: Configuration, changes: Iterable[Change]) -> Configuration:
    for kind, node_id in changes:
        # etcd uses node 0 for "changed my mind"; a change that does nothing is easier to reason about than an error.
        if node_id:
            configuration = _CHANGERS[kind](configuration, node_id)
    if not configuration.voters:
        raise InvalidConfChange("the change would remove all voters")
    return configuration


def _add_voter(configuration: Configuration, node_id: int) -> Configuration:
    return configuration._replace(
        voters=configuration.voters | {node_id},
        learners=configuration.learners - {node_id},
        learners_next=configuration.learners_next - {node_id},
    )


def _add_learner(configuration: Configuration, node_id: int) -> Configuration:
    removed = _remove(configuration, node_id)
    if node_id in configuration.outgoing:
        return removed._replace(learners_next=removed.learners_next | {node_id})
    return removed._replace(learners=removed.learners | {node_id})


def _remove(configuration: Configuration, node_id: int) -> Configuration:
    return configuration._replace(
        voters=configuration.voters - {node_id},
        learners=configuration.learners - {node_id},
        learners_next=configuration.learners_next - {node_id},
    )


_CHANGERS = {ChangeKind.ADD_VOTER: _add_voter, ChangeKind.REMOVE: _remove, ChangeKind.ADD_LEARNER: _add_learner}
