"""What must hold after every command of every story, whatever the story is about (paper figure 3)."""

from collections.abc import Iterable, Sequence

from meteora.raft import Entry, RoleName
from meteora.raft.text import entry_text
from tests.scenarios.cluster import Member


class Invariants:
    """Remembers what was seen once, and holds all that comes later against it."""

    def __init__(self) -> None:
        self._leaders: dict[int, tuple[int, int]] = {}
        """By term: who leads it, and after how many starts: a node that forgot its term must not lead it again."""
        self._entries: dict[tuple[int, int], tuple[Entry, int]] = {}
        """By index and term: the entry, and the term of the one before it."""
        self._committed: dict[int, Entry] = {}

    def broken(self, members: Iterable[Member]) -> list[str]:
        """What does not hold now, in words."""
        return [line for member in members if member.is_up for line in self._broken_at(member)]

    def _broken_at(self, member: Member) -> list[str]:
        entries = _all_entries(member)
        log = member.core._raft.log
        base_term = log.term(log.first_index - 1)
        return (
            self._election_safety(member)
            + self._log_matching(base_term, entries)
            + self._state_machine_safety(member, entries)
        )

    def _election_safety(self, member: Member) -> list[str]:
        if member.core.role is not RoleName.LEADER:
            return []
        leader = (member.node_id, member.starts)
        if self._leaders.setdefault(member.core.term, leader) == leader:
            return []
        return [f"term {member.core.term} has a second leader, n{member.node_id}"]

    def _log_matching(self, base_term: int, entries: Sequence[Entry]) -> list[str]:
        before = [base_term, *(entry.term for entry in entries)]
        return [
            f"{entry_text(entry)} is not the same in all logs, or follows another entry"
            for entry, previous_term in zip(entries, before, strict=False)
            if self._entries.setdefault((entry.index, entry.term), (entry, previous_term)) != (entry, previous_term)
        ]

    def _state_machine_safety(self, member: Member, entries: Sequence[Entry]) -> list[str]:
        commit_index = member.core.status().commit_index
        committed = [entry for entry in entries if entry.index <= commit_index]
        return [
            f"n{member.node_id} has committed {entry_text(entry)}, another {entry_text(self._committed[entry.index])}"
            for entry in committed
            if self._committed.setdefault(entry.index, entry) != entry
        ]


def _all_entries(member: Member) -> list[Entry]:
    """The whole log as the core sees it, from where it begins."""
    log = member.core._raft.log
    first, durable = log.first_index, log.stable_index
    stored = member.disk.log.entries(first, durable + 1, 1 << 62) if durable >= first else []
    return [*stored, *(log._unstable)]
