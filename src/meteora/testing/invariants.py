"""What must hold at every moment of a simulated run (paper, figure 3), looked at after every step and every message.

Everything here is seen from outside: what nodes send, what their disks hold, what they apply, what they say of
themselves. A violation is raised at once, so that the run ends at the first wrong step and not at its consequences.

- Election safety: a term has at most one leader, and nobody else sends what only a leader sends.
- Log matching: entries with the same index and term are the same, and so are the entries before them.
- Leader completeness: a new leader's log holds everything that was committed.
- State machine safety: no two nodes ever apply different entries at an index, and nobody leaves one out.
- What is applied is committed, and what is committed is in the log.
- What a leader commits is on the disks of a majority, and ends with an entry of its own term (figure 8).
- A vote is given once in a term, and an entry acknowledged, only by a node whose disk holds it.
- A leader proposes a membership change only once it has applied the one before.
- A disk that has failed is not written again before a new start.
- Terms never fall, restarts included; the commit index and the applied index never fall within a run of a node.
- A write that was acknowledged was applied, once.
- The log is cut only where it is committed, and only as far as the state survives a crash without it.
- A snapshot is installed over an older state only, and only what was committed.
- The same applied index, the same state, byte for byte, and the same membership: after a snapshot, and a crash, too.

And at the end of a run, when all members have applied all of the log: the same state, and the same log.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Protocol

from meteora.kv.command import decode_batch
from meteora.kv.sessions import Outcome
from meteora.kv.state_machine import Applied
from meteora.raft.entry import Entry, EntryKind
from meteora.raft.log import Log
from meteora.raft.membership import Configuration
from meteora.raft.message import HardState, Message, MessageKind
from meteora.raft.text import configuration_text
from meteora.storage.raft_records import Base
from meteora.testing.disk import Disk


class Violation(Exception):
    """An invariant does not hold; the message names it first."""


class Member(Protocol):
    """What is looked at of a running node."""

    log: Log
    """Of its core."""

    @property
    def name(self) -> str:
        """Of this data directory: a node that joins anew under an old id has another one."""

    @property
    def disk(self) -> Disk:
        """What it acknowledges must be here."""

    @property
    def term(self) -> int:
        """The term that its core is in."""

    @property
    def is_leader(self) -> bool:
        """Whether its core leads."""

    @property
    def configuration(self) -> Configuration:
        """Its core's."""

    def disks(self) -> Mapping[int, Disk]:
        """Those of all nodes, by node id."""


class Replica(Protocol):
    """What is looked at of a member once nothing happens any more."""

    @property
    def name(self) -> str:
        """Of its data directory."""

    @property
    def disk(self) -> Disk:
        """With its log."""

    @property
    def state(self) -> dict[bytes, bytes]:
        """Everything in the state machine's database."""


class Invariants:
    """All that was seen of a run."""

    def __init__(self) -> None:
        self.violation: Violation | None = None
        self._leaders: dict[int, str] = {}
        self._speakers: dict[int, str] = {}
        """Who has sent what only a leader sends, by term."""
        self._votes: dict[tuple[str, int], int] = {}
        self._entries: dict[tuple[int, int], tuple[int, Entry]] = {}
        """(term of the entry before, the entry) by (index, term), of all entries that were ever on a disk."""
        self._committed: list[int] = [0]
        """Terms of the committed entries, by index."""
        self._applied: list[Entry] = [Entry(0, 0)]
        """Everything that was applied, by index."""
        self._positions: dict[str, int] = {}
        """What each state machine has applied last."""
        self._results: dict[int, tuple[Applied, ...]] = {}
        """What came of the commands at each index."""
        self._effects: set[tuple[int, int]] = set()
        """The (client id, sequence) of every write that took effect."""
        self._seen: dict[str, tuple[int, int, int]] = {}
        """Term, commit and applied index of each running node at the last look."""
        self._configurations: dict[str, Configuration] = {}
        """Of each node at the last look."""
        self._states: dict[int, int] = {}
        """The digest of the state at each applied index at which one was seen."""
        self._memberships: dict[int, Configuration] = {}
        """The configuration at each applied index at which one was seen."""
        self._terms: dict[str, int] = {}
        """The highest term that each node has spoken in, restarts included."""

    @property
    def committed_index(self) -> int:
        """The highest index that is known to be committed."""
        return len(self._committed) - 1

    @property
    def leaders(self) -> int:
        """How many terms had a leader."""
        return len(self._leaders)

    def _ensure(self, condition: bool, invariant: str, detail: str) -> None:
        """Raise `Violation` unless the condition holds; whoever swallows it, the run ends at this step."""
        if not condition:
            self.violation = self.violation or Violation(f"{invariant}: {detail}")
            raise self.violation

    def raise_violation(self) -> None:
        """Whoever swallowed it."""
        if self.violation is not None:
            raise self.violation

    # After every step

    def look_at(self, member: Member) -> None:
        """Compare a node with what was seen before."""
        log = member.log
        self._ensure(
            log.applied <= log.committed <= log.last_index,
            "applied within committed within the log",
            f"{member.name}: {log}",
        )
        seen = (member.term, log.committed, log.applied)
        before = self._seen.get(member.name)
        self._seen[member.name] = seen
        if before is not None:
            fallen = any(now < then for now, then in zip(seen, before, strict=True))
            self._ensure(
                not fallen, "nothing goes back", f"{member.name}: term, commit, applied from {before} to {seen}"
            )
        self._note_commits(member, 0 if before is None else before[1])
        self._configurations[member.name] = member.configuration
        self._note_configuration(member)
        if member.is_leader:
            self._note_leader(member)

    def restarted(self, member: Member) -> None:
        """A node begins a new run: what it knows of commits may be older now, its term may not."""
        self._seen.pop(member.name, None)
        term = self._terms.get(member.name, 0)
        self._ensure(
            member.term >= term, "terms never fall", f"{member.name} spoke in term {term}, is in {member.term}"
        )

    def _note_configuration(self, member: Member) -> None:
        known = self._memberships.setdefault(member.log.applied, member.configuration)
        self._ensure(
            known == member.configuration,
            "same index, same members",
            f"{member.name} has {configuration_text(member.configuration)} at {member.log.applied}, others "
            f"{configuration_text(known)}",
        )

    def _note_leader(self, member: Member) -> None:
        is_new = member.term not in self._leaders
        leader = self._leaders.setdefault(member.term, member.name)
        self._ensure(
            leader == member.name, "election safety", f"{leader} and {member.name} both lead term {member.term}"
        )
        # Log matching says the rest.
        self._ensure(
            not is_new or member.log.matches(self.committed_index, self._committed[-1]),
            "leader completeness",
            f"{member.name} leads term {member.term} without {self.committed_index}@{self._committed[-1]}, which is "
            f"committed: {member.log}",
        )

    def _note_commits(self, member: Member, known: int) -> None:
        log = member.log
        base_index = log.first_index - 1
        self._ensure(
            base_index <= self.committed_index,
            "committed before it is cut",
            f"the log of {member.name} begins after {base_index}, and {self.committed_index} is committed",
        )
        self._ensure(
            not member.is_leader or log.committed <= self.committed_index or log.term(log.committed) == member.term,
            "only the own term is committed by counting",
            f"{member.name}, which leads term {member.term}, commits up to {log.committed}@{log.term(log.committed)}",
        )
        # What is before its base it has as a state.
        for index in range(max(known + 1, base_index), log.committed + 1):
            term = log.term(index)
            if index < len(self._committed):
                agreed = self._committed[index]
                self._ensure(
                    agreed == term,
                    "leader completeness",
                    f"{member.name} takes {index}@{term} for committed, others {index}@{agreed}",
                )
            else:
                self._committed.append(term)
                self._ensure_durable(member, index, term)

    def _ensure_durable(self, member: Member, index: int, term: int) -> None:
        """Of an entry that nobody knew to be committed before, a majority must have a copy on disk."""
        if member.is_leader:
            held = {node_id: disk.holds(index, term) * index for node_id, disk in member.disks().items()}
            # The entry itself, or one behind it, may have changed the membership within this step.
            configurations = {member.configuration, self._configurations.get(member.name, member.configuration)}
            self._ensure(
                any(configuration.committed(held) >= index for configuration in configurations),
                "committed means durable on a majority",
                f"{member.name} commits {index}@{term}, on disk at {[each for each, has in held.items() if has]}",
            )

    # Messages

    def sent(self, member: Member, message: Message) -> None:
        """A node has sent a message: what it says must be on its disk."""
        if message.kind is MessageKind.VOTE_RESPONSE and not message.reject:
            self._note_vote(member, message.term, message.receiver)
        elif message.kind is MessageKind.VOTE:
            self._note_vote(member, message.term, message.sender)
        elif message.kind is MessageKind.APPEND_RESPONSE and not message.reject:
            held = member.disk.last_index
            self._ensure(
                # With a later term on disk, the entry may have been replaced there since.
                message.index <= held or member.disk.hard_state.term > message.term,
                "acknowledged means durable",
                f"{member.name} acknowledges {message.index}, its disk ends at {held}",
            )
        elif message.kind in _OF_A_LEADER:
            self._note_speaker(member, message.term)
        if message.kind in _OF_A_DURABLE_TERM:
            self._terms[member.name] = max(self._terms.get(member.name, 0), message.term)

    def _note_speaker(self, member: Member, term: int) -> None:
        speaker = self._speakers.setdefault(term, member.name)
        leader = self._leaders.get(term, speaker)
        self._ensure(
            speaker == leader == member.name,
            "one leader speaks for a term",
            f"{member.name} sends as the leader of term {term}, which is {leader}, and {speaker} was heard",
        )

    def _note_vote(self, member: Member, term: int, candidate: int) -> None:
        vote = self._votes.setdefault((member.name, term), candidate)
        self._ensure(
            vote == candidate, "one vote a term", f"{member.name} votes for {candidate} after {vote} in term {term}"
        )
        state = member.disk.hard_state
        is_durable = state.term > term or state[:2] == (term, candidate)
        self._ensure(is_durable, "a vote is durable", f"{member.name} votes in term {term}, its disk says {state}")

    # Disks

    def appended(self, member: Member, entries: Sequence[Entry], previous_term: int, state: HardState) -> None:
        """Entries are on their way to a disk."""
        self._ensure(not member.disk.has_failed, "a failed disk is not written again", f"{member.name} goes on")
        for entry in entries:
            content = (previous_term, entry)
            known = self._entries.setdefault((entry.index, entry.term), content)
            self._ensure(
                known == content,
                "log matching",
                f"{member.name} holds another {entry.index}@{entry.term} than others, or after another entry",
            )
            previous_term = entry.term
        self._ensure_one_change(member, entries)
        self._ensure(
            previous_term <= state.term, "log matching", f"{member.name} writes term {previous_term} in {state.term}"
        )

    def _ensure_one_change(self, member: Member, entries: Sequence[Entry]) -> None:
        """A leader that writes a change of its own has applied those before it: it had when it proposed this one."""
        log = member.log if member.is_leader else None
        for entry in entries:
            if log is None or entry.kind is not EntryKind.CONF_CHANGE or entry.term != member.term:
                continue
            for index in range(log.applied + 1, entry.index):
                before = self._entries.get((index, log.term(index)))
                self._ensure(
                    before is None or before[1].kind is not EntryKind.CONF_CHANGE,
                    "one membership change at a time",
                    f"{member.name} proposes {entry.index}@{entry.term} before it has applied {index}",
                )

    def cut(self, member: Member, base: Base, state_directory: str | None) -> None:
        """A log is about to begin after `base`, with the state in `state_directory` (None: as before)."""
        disk = member.disk
        self._ensure(not disk.has_failed, "a failed disk is not written again", f"{member.name} cuts its log")
        self._ensure_committed(member, *base)
        durable_index, _ = disk.durable_position(state_directory or disk.state_directory)
        self._ensure(
            base.index <= durable_index,
            "what is cut off is in the state",
            f"{member.name} cuts its log at {base.index}, its state is durable up to {durable_index}",
        )

    def _ensure_committed(self, member: Member, index: int, term: int) -> None:
        self._ensure(
            index <= self.committed_index and self._committed[index] == term,
            "committed before it is cut",
            f"{member.name} begins its log after {index}@{term}; {self.committed_index} is committed",
        )

    # What is applied

    def installs(self, member: Member, index: int, term: int, applied_index: int) -> None:
        """A node replaces its state, which is at `applied_index`, by one at (index, term)."""
        self._ensure_committed(member, index, term)
        self._ensure(
            index > applied_index,
            "nothing goes back",
            f"{member.name} installs a snapshot at {index} over what it has applied, {applied_index}",
        )

    def goes_on_from(self, member: Member, index: int) -> None:
        """A node's state machine has a state at `index`: that of its disk when it starts, or that of a snapshot."""
        self._positions[member.name] = index

    def has_state(self, member: Member, index: int, digest: int) -> None:
        """A node's state at `index` has this digest."""
        known = self._states.setdefault(index, digest)
        self._ensure(
            known == digest, "same index, same state", f"{member.name} holds other bytes than were seen at {index}"
        )

    def applied(self, member: Member, entries: Sequence[Entry], results: Sequence[Applied]) -> None:
        """A node has applied entries, which led to these results."""
        taken = 0
        for entry in entries:
            self._note_applied(member, entry)
            count = self._command_count(entry)
            self._note_results(member, entry, tuple(results[taken : taken + count]))
            taken += count

    def _command_count(self, entry: Entry) -> int:
        known = self._results.get(entry.index)
        if known is not None:
            return len(known)
        return len(decode_batch(entry.data)) if entry.kind is EntryKind.COMMAND and entry.data else 0

    def _note_results(self, member: Member, entry: Entry, results: tuple[Applied, ...]) -> None:
        known = self._results.get(entry.index)
        if known is not None:
            self._ensure(known == results, "same command, same result", f"{member.name} differs at {entry.index}")
            return
        self._results[entry.index] = results
        for client_id, sequence, outcome in results:
            if client_id and outcome is Outcome.APPLIED:
                is_first = (client_id, sequence) not in self._effects
                self._effects.add((client_id, sequence))
                self._ensure(
                    is_first, "a retry is applied once", f"write {sequence} of client {client_id} at {entry.index}"
                )

    def acknowledged(self, client_id: int, sequence: int) -> None:
        """A client was told that its write is done."""
        self._ensure(
            (client_id, sequence) in self._effects,
            "acknowledged means applied",
            f"write {sequence} of client {client_id} was never applied",
        )

    def was_read(self, member: Member, applied_index: int, committed_index: int) -> None:
        """A node that has applied so much has answered a read, and so much was committed when it was asked."""
        self._ensure(
            applied_index >= committed_index,
            "a read sees what was committed before",
            f"{member.name} has answered from {applied_index}, and {committed_index} was committed",
        )

    def _note_applied(self, member: Member, entry: Entry) -> None:
        position = self._positions.get(member.name, 0)
        self._positions[member.name] = entry.index
        self._ensure(
            entry.index == position + 1 <= len(self._applied),
            "state machine safety",
            f"{member.name} applies {entry.index} after {position}; others had {len(self._applied) - 1}",
        )
        if entry.index == len(self._applied):
            self._applied.append(entry)
        self._ensure(
            self._applied[entry.index] == entry,
            "state machine safety",
            f"{member.name} applies another entry than others at {entry.index}@{entry.term}",
        )

    # At the end

    def agree(self, replicas: Sequence[Replica]) -> None:
        """All members have applied all of the log: they hold the same bytes, and the same entries as far as both do."""
        for one, other in pairwise(replicas):
            self._ensure(
                one.state == other.state,
                "replicas agree",
                f"{one.name} and {other.name} have applied the same log, but hold different bytes",
            )
            low = max(one.disk.base.index, other.disk.base.index)
            logs = [[each for each in replica.disk.entries if each.index > low] for replica in (one, other)]
            self._ensure(
                logs[0] == logs[1], "logs agree", f"{one.name} and {other.name} hold other entries after {low}"
            )


_OF_A_LEADER = frozenset({MessageKind.APPEND, MessageKind.HEARTBEAT, MessageKind.SNAPSHOT, MessageKind.TIMEOUT_NOW})

_OF_A_DURABLE_TERM = frozenset({MessageKind.APPEND_RESPONSE, MessageKind.VOTE, MessageKind.VOTE_RESPONSE})
"""Kinds that say that the sender's disk has their term. (A heartbeat may be answered before: after a crash in between
no other leader can win that term, because the voters of this one have it on their disks.)"""
