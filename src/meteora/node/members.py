"""Who is in the cluster and where: the core's configuration with the members' addresses.

A record of it is kept with the applied index, in one atomic write of the state machine, so that the two can't disagree
after a crash. A membership change carries the new members' records as its context.

Rule: a release that does not know a field of these records stops at it, and must: it would leave it out of the record
that it writes, and have another state than the others. So another field belongs to a level of `meteora.features`, and
below that level it is not written.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from meteora.errors import Corruption
from meteora.kv.json_records import flag, number, parsed, text
from meteora.raft import ConfChange, Configuration

MEMBERS_VERSION = 1

_LATER = "; if a later release wrote it, start this node with that one"

MAX_REMOVED = 1_000
"""Former members that are remembered, so that they can be told; an older one is only not answered."""


class Member(NamedTuple):
    """One member as the others know it."""

    kv_address: str
    """host:port."""
    raft_address: str
    """host:port."""
    instance_id: int = 0
    """Drawn once for a data directory: another directory under the same node id is another node. 0: not known yet."""
    promote: bool = False
    """Becomes a voter by itself once it has caught up."""


class Members(NamedTuple):
    """The members at one point of the log: exactly those of the configuration are in `by_id`."""

    configuration: Configuration = Configuration()
    by_id: Mapping[int, Member] = {}
    removed: tuple[tuple[int, int], ...] = ()
    """(node id, instance id) of former members, oldest first; at most `MAX_REMOVED`."""
    removed_last: int = 0
    """How many of them the last change removed that removed anybody."""

    def after(self, change: ConfChange, configuration: Configuration) -> "Members":
        """The members once `change` has led to `configuration`."""
        known = {**self.by_id, **decode_context(change.context)}
        nowhere = Member("", "")
        by_id = {member: known.get(member, nowhere) for member in sorted(configuration.members)}
        gone = tuple((node_id, self.by_id[node_id].instance_id) for node_id in sorted(self.by_id.keys() - by_id.keys()))
        return Members(configuration, by_id, (self.removed + gone)[-MAX_REMOVED:], len(gone) or self.removed_last)

    def was_removed_long_ago(self, node_id: int, instance_id: int) -> bool:
        """Whether somebody else was removed since this former member was.

        Then a majority of those who remained without it knows that it was: a change is proposed only where the one
        before is applied, and so whoever has the entry of the later one has, by the same write, that the earlier one is
        committed.
        """
        return (node_id, instance_id) in self.removed[: len(self.removed) - self.removed_last]

    def encode(self) -> bytes:
        """The record that is kept with the applied index."""
        configuration = self.configuration
        record = {
            "version": MEMBERS_VERSION,
            "voters": sorted(configuration.voters),
            "outgoing": sorted(configuration.outgoing),
            "learners": sorted(configuration.learners),
            "learners_next": sorted(configuration.learners_next),
            "auto_leave": configuration.auto_leave,
            "removed": self.removed,
            "removed_last": self.removed_last,
            "members": {str(node_id): member._asdict() for node_id, member in self.by_id.items()},
        }
        return json.dumps(record).encode()

    @classmethod
    def decode(cls, record: bytes) -> Self:
        """The members in a record; none in an empty one. Raises `Corruption` if it can't be read."""
        if not record:
            return cls()
        try:
            fields = parsed(record)
            if fields["version"] != MEMBERS_VERSION:
                raise Corruption(f"a membership record of version {fields['version']}: written by another release")
            configuration = Configuration(
                _ids(fields["voters"]),
                _ids(fields["outgoing"]),
                _ids(fields["learners"]),
                _ids(fields["learners_next"]),
                flag(fields["auto_leave"]),
            )
            removed = tuple((number(node_id), number(instance_id)) for node_id, instance_id in fields["removed"])
            removed_last = number(fields.get("removed_last", len(removed)))
            return cls(configuration, _decode_members(fields["members"]), removed, removed_last)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Corruption(f"the membership record can't be read: {error!r}{_LATER}") from error


def encode_context(members: Mapping[int, Member]) -> bytes:
    """What a membership change carries about the nodes that it adds."""
    return json.dumps({str(node_id): member._asdict() for node_id, member in members.items()}).encode()


def decode_context(context: bytes) -> dict[int, Member]:
    """The members in a change's context; none in an empty one. Raises `Corruption` if it can't be read."""
    if not context:
        return {}
    try:
        return _decode_members(parsed(context))
    except (AttributeError, TypeError, ValueError) as error:
        raise Corruption(f"the context of a membership change can't be read: {error!r}{_LATER}") from error


def _decode_members(fields: Mapping[str, Any]) -> dict[int, Member]:
    return {number(int(node_id)): _decode_member(**each) for node_id, each in fields.items()}


def _decode_member(kv_address: Any, raft_address: Any, instance_id: Any = 0, promote: Any = False) -> Member:
    return Member(text(kv_address), text(raft_address), number(instance_id), flag(promote))


def _ids(fields: Any) -> frozenset[int]:
    return frozenset(map(number, fields))
