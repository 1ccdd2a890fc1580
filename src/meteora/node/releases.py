"""Which releases the members run, as they say when they open their streams; and what all of them can do together.

Rule: a member counts as able to do what it has said itself, in this run of this node, under the instance id that the
members know. Of any other nothing is known, and so nothing new is begun.
"""

import asyncio
from collections.abc import Set
from typing import Final

from meteora.features import Release
from meteora.node.members import Members

MAX_UNKNOWN: Final = 64
"""Nodes that have said what they run and are no members here yet; beyond, all of those are forgotten."""


class Releases:
    """What one node knows of the others' programs, and of its own."""

    def __init__(self, node_id: int, instance_id: int, own: Release) -> None:
        self._node_id = node_id
        self._said: dict[int, tuple[int, Release]] = {node_id: (instance_id, own)}
        self._proposed = (0, 0)
        self.raised = asyncio.Event()
        """Set when the cluster's level may have become a higher one."""

    def heard(self, sender: int, instance_id: int, release: Release, members: Members) -> None:
        """A node has opened its stream, and said what it runs."""
        known = members.by_id.keys() | {self._node_id}
        if len(self._said) >= len(known) + MAX_UNKNOWN:
            self._said = {each: said for each, said in self._said.items() if each in known}
        if sender != self._node_id:
            self._said[sender] = (instance_id, release)

    def common_level(self, members: Members, heard: Set[int]) -> int:
        """The highest level that all members are known to support, if all of them are there."""
        if not members.by_id or not members.by_id.keys() <= heard:
            return 0
        releases = [self._of(each, member.instance_id) for each, member in members.by_id.items()]
        return min(0 if release is None else release.level for release in releases)

    def proposed(self, term: int, level: int) -> None:
        """This node, as the leader of a term, has proposed a level."""
        self._proposed = (term, level)

    def proposed_in(self, term: int) -> int:
        """The level that this node has proposed in a term; 0 if none."""
        return self._proposed[1] if self._proposed[0] == term else 0

    def older_than(self, level: int, members: Members) -> str:
        """The members that are not known to support a level, in words for users; empty if there are none."""
        older = []
        for node_id, member in sorted(members.by_id.items()):
            release = self._of(node_id, member.instance_id)
            if release is None:
                older.append(f"node {node_id} has not said what it runs")
            elif release.level < level:
                older.append(f"node {node_id} runs {release}")
        return ", ".join(older)

    def _of(self, node_id: int, instance_id: int) -> Release | None:
        """What a member runs; None if it has not said so."""
        said = self._said.get(node_id)
        # Of a member that has yet to join, the instance id is not known; it may be anybody's.
        return said[1] if said is not None and said[0] == instance_id else None
