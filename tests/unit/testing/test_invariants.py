"""Each invariant of the simulation, broken on purpose: what is fed in is what a cluster must never show.

Every test begins with what is allowed, which must pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from meteora.errors import DiskFailure
from meteora.kv.command import Command, Operation, encode_batch
from meteora.kv.sessions import Outcome
from meteora.kv.state_machine import Applied
from meteora.raft.entry import Entry, EntryKind
from meteora.raft.log import Log
from meteora.raft.membership import Configuration
from meteora.raft.memory_log import MemoryLog
from meteora.raft.message import HardState, Message, MessageKind
from meteora.storage.raft_records import Base
from meteora.testing.disk import Cut, Disk, LogWrite
from meteora.testing.invariants import Invariants, Violation

THREE = Configuration.of([1, 2, 3])


@dataclass
class Node:
    """What is seen of a node."""

    node_id: int
    disk: Disk
    of_all: dict[int, Disk]
    term: int = 1
    is_leader: bool = False
    configuration: Configuration = THREE
    log: Log = field(default_factory=lambda: Log(MemoryLog(), committed=0, applied=0))
    state: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"n{self.node_id}#1"

    def disks(self) -> Mapping[int, Disk]:
        return self.of_all

    def holds(self, *entries: Entry, vote: int = 0) -> None:
        """On its disk, and in its log, from the first entry on."""
        self.disk.write_log(LogWrite(entries, 1, HardState(self.term, vote, 0)))
        self.disk.sync_log()
        self.log = log_of(*entries)

    def says(self, kind: MessageKind, to: int = 9, index: int = 0) -> Message:
        return Message(kind, self.node_id, to, self.term, index)


def log_of(*entries: Entry, committed: int = 0, applied: int = 0) -> Log:
    return Log(MemoryLog(entries), committed=committed, applied=applied)


def entries_of(*terms: int, data: bytes = b"") -> list[Entry]:
    return [Entry(term, index, data) for index, term in enumerate(terms, 1)]


def write(sequence: int, index: int) -> Entry:
    command = Command(Operation.PUT, 7, sequence, 1, False, b"key", b"value")
    return Entry(1, index, encode_batch([command]))


def done(sequence: int, outcome: Outcome = Outcome.APPLIED) -> list[Applied]:
    return [Applied(7, sequence, outcome)]


@pytest.fixture
def seen() -> Invariants:
    return Invariants()


@pytest.fixture
def nodes(tmp_path: Path) -> list[Node]:
    """Three of them, with nothing on their disks."""
    disks = {node_id: Disk(Random(1), tmp_path / str(node_id)) for node_id in (1, 2, 3)}
    return [Node(node_id, disk, disks) for node_id, disk in disks.items()]


def commit(seen: Invariants, nodes: Sequence[Node], *terms: int) -> None:
    """The first node leads the last of these terms, has its entries on all disks, and commits and applies them."""
    entries = entries_of(*terms)
    for node in nodes:
        node.term = terms[-1]
        node.holds(*entries)
        seen.appended(node, entries, 0, HardState(node.term))
        seen.goes_on_from(node, 0)
    nodes[0].is_leader = True
    seen.look_at(nodes[0])
    nodes[0].log = log_of(*entries, committed=len(terms), applied=len(terms))
    seen.look_at(nodes[0])
    seen.applied(nodes[0], entries, [])


# One leader a term


def test_two_leaders_of_one_term_are_reported(seen: Invariants, nodes: list[Node]) -> None:
    one, two, _ = nodes
    one.is_leader = two.is_leader = True
    seen.look_at(one)
    with pytest.raises(Violation, match="election safety: n1#1 and n2#1 both lead term 1"):
        seen.look_at(two)


@pytest.mark.parametrize(
    "kind", [MessageKind.APPEND, MessageKind.HEARTBEAT, MessageKind.SNAPSHOT, MessageKind.TIMEOUT_NOW]
)
def test_two_nodes_that_speak_as_the_leader_of_one_term_are_reported(
    seen: Invariants, nodes: list[Node], kind: MessageKind
) -> None:
    one, two, _ = nodes
    seen.sent(one, one.says(kind))
    with pytest.raises(Violation, match="one leader speaks for a term: n2#1"):
        seen.sent(two, two.says(kind))


def test_a_node_that_speaks_for_another_one_that_leads_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    one, two, _ = nodes
    one.is_leader = True
    seen.look_at(one)
    with pytest.raises(Violation, match="one leader speaks for a term: n2#1"):
        seen.sent(two, two.says(MessageKind.APPEND))


# Logs


def test_entries_that_differ_under_one_index_and_term_are_reported(seen: Invariants, nodes: list[Node]) -> None:
    one, two, _ = nodes
    seen.appended(one, entries_of(1, data=b"a"), 0, HardState(1))
    with pytest.raises(Violation, match="log matching: n2#1 holds another 1@1"):
        seen.appended(two, entries_of(1, data=b"b"), 0, HardState(1))


def test_equal_entries_after_different_ones_are_reported(seen: Invariants, nodes: list[Node]) -> None:
    one, two, _ = nodes
    seen.appended(one, entries_of(1, 3), 0, HardState(3))
    with pytest.raises(Violation, match="log matching: n2#1 holds another 2@3"):
        seen.appended(two, entries_of(2, 3), 0, HardState(3))


def test_an_entry_of_a_term_that_is_yet_to_come_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    with pytest.raises(Violation, match="log matching: n1#1 writes term 2 in 1"):
        seen.appended(nodes[0], entries_of(2), 0, HardState(1))


def test_a_committed_entry_that_changes_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    commit(seen, nodes, 1, 1)
    other = nodes[1]
    other.term = 2
    other.log = log_of(*entries_of(1, 2), committed=2)
    with pytest.raises(Violation, match="leader completeness: n2#1 takes 2@2 for committed, others 2@1"):
        seen.look_at(other)


def test_a_leader_without_a_committed_entry_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    commit(seen, nodes, 1, 1)
    other = nodes[1]
    other.term, other.is_leader, other.log = 2, True, log_of(*entries_of(1))
    with pytest.raises(Violation, match="leader completeness: n2#1 leads term 2 without 2@1"):
        seen.look_at(other)


def test_an_entry_of_an_earlier_term_that_is_committed_by_counting_is_reported(
    seen: Invariants, nodes: list[Node]
) -> None:
    leader = nodes[0]
    leader.term, leader.is_leader = 2, True
    seen.look_at(leader)
    leader.log = log_of(*entries_of(1), committed=1)
    with pytest.raises(Violation, match="only the own term is committed by counting: n1#1"):
        seen.look_at(leader)


def test_an_entry_that_is_committed_on_the_disk_of_a_minority_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    leader = nodes[0]
    leader.is_leader = True
    leader.holds(*entries_of(1))
    seen.look_at(leader)
    leader.log = log_of(*entries_of(1), committed=1)
    with pytest.raises(Violation, match=r"committed means durable on a majority: n1#1 commits 1@1, on disk at \[1\]"):
        seen.look_at(leader)


def test_marks_of_a_log_that_are_out_of_order_are_reported(seen: Invariants, nodes: list[Node]) -> None:
    commit(seen, nodes, 1, 1)
    nodes[0].log.applied = 3
    with pytest.raises(Violation, match="applied within committed within the log: n1#1: applied=3 committed=2"):
        seen.look_at(nodes[0])


def test_a_commit_index_beyond_the_end_of_the_log_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    commit(seen, nodes, 1, 1)
    nodes[0].log.committed = 3
    with pytest.raises(Violation, match="applied within committed within the log: n1#1: applied=2 committed=3"):
        seen.look_at(nodes[0])


@pytest.mark.parametrize("mark", ["term", "committed", "applied"])
def test_a_term_a_commit_index_or_an_applied_index_that_falls_is_reported(
    seen: Invariants, nodes: list[Node], mark: str
) -> None:
    commit(seen, nodes, 1, 2)
    node = nodes[0]
    node.log = log_of(*entries_of(1, 2), committed=1 + (mark != "committed"), applied=1 + (mark == "term"))
    node.term -= mark == "term"
    with pytest.raises(Violation, match=r"nothing goes back: n1#1: .* from \(2, 2, 2\)"):
        seen.look_at(node)


# Votes, terms and acknowledgements: what is said is on the disk, and a restart forgets nothing


def test_a_second_vote_in_a_term_is_reported_although_the_node_was_restarted(
    seen: Invariants, nodes: list[Node]
) -> None:
    voter = nodes[0]
    voter.holds(vote=2)
    seen.sent(voter, voter.says(MessageKind.VOTE_RESPONSE, to=2))
    seen.restarted(voter)
    voter.holds(vote=3)
    with pytest.raises(Violation, match="one vote a term: n1#1 votes for 3 after 2 in term 1"):
        seen.sent(voter, voter.says(MessageKind.VOTE_RESPONSE, to=3))


def test_a_candidate_that_has_voted_for_another_one_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    candidate = nodes[0]
    candidate.holds(vote=2)
    seen.sent(candidate, candidate.says(MessageKind.VOTE_RESPONSE, to=2))
    with pytest.raises(Violation, match="one vote a term: n1#1 votes for 1 after 2 in term 1"):
        seen.sent(candidate, candidate.says(MessageKind.VOTE))


def test_a_vote_that_is_not_on_the_disk_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    voter = nodes[0]
    voter.holds(vote=0)
    with pytest.raises(Violation, match="a vote is durable: n1#1 votes in term 1"):
        seen.sent(voter, voter.says(MessageKind.VOTE_RESPONSE, to=2))


def test_a_term_that_falls_over_a_restart_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    node = nodes[0]
    node.term = 5
    node.holds(vote=2)
    seen.sent(node, node.says(MessageKind.VOTE_RESPONSE, to=2))
    seen.restarted(node)
    node.term = 4
    with pytest.raises(Violation, match="terms never fall: n1#1 spoke in term 5, is in 4"):
        seen.restarted(node)


def test_an_entry_that_is_acknowledged_and_not_on_the_disk_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    node = nodes[0]
    node.holds(*entries_of(1))
    seen.sent(node, node.says(MessageKind.APPEND_RESPONSE, index=1))
    with pytest.raises(Violation, match="acknowledged means durable: n1#1 acknowledges 2, its disk ends at 1"):
        seen.sent(node, node.says(MessageKind.APPEND_RESPONSE, index=2))


def test_a_disk_that_is_written_after_it_has_failed_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    node = nodes[0]
    seen.appended(node, entries_of(1), 0, HardState(1))
    node.disk.fails_next_sync = True
    with pytest.raises(DiskFailure):
        node.disk.sync_log()
    with pytest.raises(Violation, match="a failed disk is not written again: n1#1 goes on"):
        seen.appended(node, entries_of(1), 0, HardState(1))
    with pytest.raises(Violation, match="a failed disk is not written again"):
        seen.cut(node, Base(0, 0), None)


# Members


def test_a_membership_change_that_does_not_wait_for_the_one_before_is_reported(
    seen: Invariants, nodes: list[Node]
) -> None:
    leader = nodes[0]
    leader.is_leader = True
    changes = [Entry(1, index, b"", EntryKind.CONF_CHANGE) for index in (1, 2)]
    leader.log = log_of(*changes, committed=1, applied=1)
    seen.appended(leader, changes, 0, HardState(1))
    leader.log = log_of(*changes, committed=1, applied=0)
    with pytest.raises(Violation, match="one membership change at a time: n1#1 proposes 2@1 before it has applied 1"):
        seen.appended(leader, changes, 0, HardState(1))


def test_members_that_differ_at_one_applied_index_are_reported(seen: Invariants, nodes: list[Node]) -> None:
    one, two, _ = nodes
    seen.look_at(one)
    two.configuration = Configuration.of([1, 2])
    with pytest.raises(Violation, match="same index, same members: n2#1"):
        seen.look_at(two)


# What is applied


def test_another_entry_that_is_applied_at_an_index_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    one, two, _ = nodes
    seen.applied(one, entries_of(1), [])
    with pytest.raises(Violation, match="state machine safety: n2#1 applies another entry than others at 1@2"):
        seen.applied(two, entries_of(2), [])


@pytest.mark.parametrize("index", [1, 3], ids=["twice", "after a gap"])
def test_an_entry_that_is_applied_twice_or_after_a_gap_is_reported(
    seen: Invariants, nodes: list[Node], index: int
) -> None:
    one, two, _ = nodes
    entries = entries_of(1, 1, 1)
    seen.applied(one, entries, [])
    seen.applied(two, entries[:1], [])
    with pytest.raises(Violation, match=f"state machine safety: n2#1 applies {index} after 1"):
        seen.applied(two, entries[index - 1 : index], [])


def test_a_state_machine_goes_on_from_what_a_crash_or_a_snapshot_has_left_it(
    seen: Invariants, nodes: list[Node]
) -> None:
    one, two, _ = nodes
    entries = entries_of(1, 1, 1)
    seen.applied(one, entries, [])
    seen.goes_on_from(one, 1)
    seen.applied(one, entries[1:], [])
    seen.goes_on_from(two, 2)
    seen.applied(two, entries[2:], [])
    assert seen.violation is None


def test_a_command_with_two_results_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    one, two, _ = nodes
    seen.applied(one, [write(1, 1)], done(1))
    with pytest.raises(Violation, match="same command, same result: n2#1 differs at 1"):
        seen.applied(two, [write(1, 1)], done(1, Outcome.EXPIRED))


def test_a_write_that_takes_effect_twice_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    seen.applied(nodes[0], [write(1, 1), write(1, 2)], done(1) + done(1, Outcome.DUPLICATE))
    with pytest.raises(Violation, match="a retry is applied once: write 1 of client 7 at 3"):
        seen.applied(nodes[0], [write(1, 3)], done(1))


def test_a_write_that_is_acknowledged_and_was_never_applied_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    seen.applied(nodes[0], [write(1, 1)], done(1))
    seen.acknowledged(7, 1)
    with pytest.raises(Violation, match="acknowledged means applied: write 2 of client 7 was never applied"):
        seen.acknowledged(7, 2)


def test_a_read_that_does_not_see_what_was_committed_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    seen.was_read(nodes[0], 5, committed_index=5)
    with pytest.raises(Violation, match="a read sees what was committed before: n1#1 has answered from 4, and 5 was"):
        seen.was_read(nodes[0], 4, committed_index=5)


def test_states_that_differ_at_one_applied_index_are_reported(seen: Invariants, nodes: list[Node]) -> None:
    one, two, _ = nodes
    seen.has_state(one, 5, digest=1)
    seen.has_state(two, 4, digest=2)
    with pytest.raises(Violation, match="same index, same state: n2#1 holds other bytes than were seen at 5"):
        seen.has_state(two, 5, digest=2)


# Snapshots and what is cut off


def test_a_log_that_is_cut_where_it_is_not_committed_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    commit(seen, nodes, 1, 1)
    with pytest.raises(Violation, match="committed before it is cut: n1#1 begins its log after 3@1; 2 is committed"):
        seen.cut(nodes[0], Base(3, 1), None)


def test_a_log_that_begins_beyond_what_is_committed_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    commit(seen, nodes, 1, 1)
    ahead = MemoryLog(entries_of(1, 1, 1))
    ahead.compact(3)
    nodes[1].log = Log(ahead, committed=3, applied=3)
    with pytest.raises(Violation, match="committed before it is cut: the log of n2#1 begins after 3"):
        seen.look_at(nodes[1])


def test_a_log_that_is_cut_beyond_what_the_state_would_survive_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    commit(seen, nodes, 1, 1)
    with pytest.raises(Violation, match=r"what is cut off is in the state: n1#1 cuts its log at 2, .* up to 0"):
        seen.cut(nodes[0], Base(2, 1), None)


def test_a_snapshot_of_what_is_not_committed_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    commit(seen, nodes, 1, 1)
    seen.installs(nodes[1], 2, 1, applied_index=0)
    with pytest.raises(Violation, match="committed before it is cut: n2#1 begins its log after 2@2"):
        seen.installs(nodes[1], 2, 2, applied_index=0)


def test_a_snapshot_over_a_newer_state_is_reported(seen: Invariants, nodes: list[Node]) -> None:
    commit(seen, nodes, 1, 1)
    with pytest.raises(Violation, match="nothing goes back: n2#1 installs a snapshot at 2 over what it has applied, 2"):
        seen.installs(nodes[1], 2, 1, applied_index=2)


# The end


def test_members_with_different_states_in_the_end_are_reported(seen: Invariants, nodes: list[Node]) -> None:
    seen.agree(nodes)
    nodes[2].state[b"key"] = b"value"
    with pytest.raises(Violation, match="replicas agree: n2#1 and n3#1"):
        seen.agree(nodes)


def test_members_with_different_logs_in_the_end_are_reported(seen: Invariants, nodes: list[Node]) -> None:
    for node in nodes:
        node.holds(*entries_of(1, 1, 1))
    begins_later = Cut(Base(2, 1), is_here=True, state_directory=None)
    nodes[1].disk.write_log(LogWrite((), 0, HardState(1), begins_later))
    nodes[1].disk.sync_log()
    seen.agree(nodes)
    nodes[2].holds(*entries_of(1, 1, 2))
    with pytest.raises(Violation, match="logs agree: n2#1 and n3#1 hold other entries after 2"):
        seen.agree(nodes)


def test_a_violation_ends_the_run_although_somebody_has_swallowed_it(seen: Invariants) -> None:
    seen.raise_violation()
    with pytest.raises(Violation):
        seen.acknowledged(7, 1)
    with pytest.raises(Violation, match="acknowledged means applied"):
        seen.raise_violation()
