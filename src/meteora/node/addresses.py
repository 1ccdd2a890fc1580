"""Where each peer can be reached: what the membership records, what it says itself, and who is still told goodbye.

What a node says of itself is newer than the record: it came back elsewhere, or has joined by an entry that is yet to
come here, maybe from itself, if it leads. Without answers to it there may be no progress at all.

Bounds: `MAX_STRANGERS` nodes that are no members are known; the first of them is forgotten.
"""

from typing import NamedTuple

from meteora.node.members import Member, Members

FAREWELL_SECONDS = 1.0
"""How long a removed member is still sent what was queued for it: that its removal is committed, above all."""

MAX_STRANGERS = 64
"""Nodes that are answered although they are no members here yet: more than join while this node is behind."""


class _Contact(NamedTuple):
    """What a peer says of itself when it opens its stream."""

    instance_id: int
    raft_address: str

    def is_of(self, member: Member) -> bool:
        """Whether it speaks of this member, as far as both are known, and not of another one with the same id."""
        return 0 in (self.instance_id, member.instance_id) or self.instance_id == member.instance_id


class PeerAddresses:
    """The Raft addresses of the peers of one node. Times are the loop's, in seconds."""

    def __init__(self, node_id: int, members: Members) -> None:
        self._node_id = node_id
        self._members = members
        self._contacts: dict[int, _Contact] = {}
        self._farewells: dict[int, str] = {}
        self._farewell_ends_at = 0.0

    def by_peer(self) -> dict[int, str]:
        """All that there are, by node id."""
        recorded = {peer: each.raft_address for peer, each in self._members.by_id.items() if peer != self._node_id}
        stated = {peer: contact.raft_address for peer, contact in self._contacts.items()}
        return {**self._farewells, **recorded, **stated}

    def stated(self, peer: int, instance_id: int, raft_address: str) -> None:
        """A peer has said where it is."""
        self._contacts[peer] = _Contact(instance_id, raft_address)
        strangers = [each for each in self._contacts if each not in self._members.by_id]
        if len(strangers) > MAX_STRANGERS:
            del self._contacts[strangers[0]]

    def switch_to(self, members: Members, now: float) -> None:
        """The membership is `members` from now on: who is in it no more is there for a while yet."""
        self._farewells = {peer: at for peer, at in self.by_peer().items() if peer not in members.by_id}
        self._farewell_ends_at = now + FAREWELL_SECONDS
        self._forget_old_contacts(members)
        self._members = members

    def end_farewell(self, now: float) -> bool:
        """Forget those who were removed, once what they were last told has had the time to arrive; whether it was."""
        is_over = bool(self._farewells) and now >= self._farewell_ends_at
        if is_over:
            self._farewells = {}
        return is_over

    def _forget_old_contacts(self, members: Members) -> None:
        """What a member said of itself holds until it is removed, or `members` gives another address in its place."""
        if self._node_id not in self._members.by_id:
            return  # As it catches up, a newcomer passes what is long over.
        for peer, before in self._members.by_id.items():
            contact = self._contacts.get(peer)
            # Who catches up may have heard of a successor under the same id, and has yet to pass its forerunner's end.
            if contact is None or not contact.is_of(before):
                continue
            after = members.by_id.get(peer)
            has_moved = after is not None and after.raft_address != before.raft_address
            if after is None or (has_moved and contact.raft_address == before.raft_address):
                del self._contacts[peer]
