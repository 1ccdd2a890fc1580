"""What a node makes of a snapshot: whether it begins its log anew, when it says so, and what happens until then."""

from collections.abc import Callable

import pytest

from meteora.raft import (
    Change,
    ChangeKind,
    ConfChange,
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Message,
    MessageKind,
    RoleName,
)
from meteora.raft.errors import InvariantViolation
from tests.raft_network import FullSnapshot, Member, lead, log_of, lone_member, stand

THREE = Configuration.of({1, 2, 3})


def snapshot_of(*terms: int, configuration: Configuration = THREE) -> FullSnapshot:
    """A snapshot of the state after entries of these terms."""
    snapshot = FullSnapshot(len(terms), terms[-1], configuration)
    snapshot.state = tuple(log_of(*terms))
    return snapshot


def receive(member: Member, snapshot: FullSnapshot, *, sender: int = 2, term: int = 3) -> list[Message]:
    return member.heard(MessageKind.SNAPSHOT, sender, term=term, snapshot=snapshot)


def answers(messages: list[Message]) -> list[tuple[int, int]]:
    """Who is told that the log matches up to where."""
    kind = MessageKind.APPEND_RESPONSE
    return [(message.receiver, message.index) for message in messages if message.kind is kind and not message.reject]


def standing(member: Member) -> tuple[int, int, int]:
    status = member.raw.status()
    return status.applied_index, status.commit_index, status.last_index


# Whether


@pytest.mark.parametrize(("terms", "is_restoring"), [((1,), True), ((1, 1, 3, 3, 3), False)])
def test_a_node_restores_until_the_snapshot_that_it_took_in_is_installed(
    terms: tuple[int, ...], is_restoring: bool
) -> None:
    member = lone_member(entries=log_of(*terms), hard_state=HardState(term=3))
    member.raw.step(Message(MessageKind.SNAPSHOT, 2, 1, term=3, snapshot=snapshot_of(1, 1, 3, 3, 3)))
    assert member.raw.is_restoring is is_restoring
    member.work()
    assert not member.raw.is_restoring


@pytest.mark.parametrize("terms", [(), (1,), (1, 1, 2, 2), (1, 1, 2, 2, 2, 2)])
def test_a_log_that_lacks_or_contradicts_a_snapshot_begins_anew_after_it(terms: tuple[int, ...]) -> None:
    """etcd: restore."""
    member = lone_member(entries=log_of(*terms), hard_state=HardState(term=2))
    left = receive(member, snapshot_of(1, 1, 3, 3, 3))
    assert answers(left) == [(2, 5)]
    assert standing(member) == (5, 5, 5)
    assert (member.disk.log.first_index(), member.disk.log.term(5)) == (6, 3)
    assert member.state == log_of(1, 1, 3, 3, 3)
    assert member.disk.hard_state == HardState(term=3, vote=0, commit=5)


def test_a_snapshot_of_what_is_committed_here_is_ignored() -> None:
    """etcd: restore ignores snapshot."""
    member = lone_member(entries=log_of(1, 1, 3), hard_state=HardState(term=3, commit=3))
    assert answers(receive(member, snapshot_of(1, 1))) == [(2, 3)]
    assert standing(member) == (3, 3, 3)


def test_a_snapshot_of_what_was_cut_off_here_is_ignored() -> None:
    member = lone_member(entries=log_of(1, 1, 3), hard_state=HardState(term=3, commit=3))
    member.work()
    member.save_state()
    member.compact(3)
    assert answers(receive(member, snapshot_of(1, 1))) == [(2, 3)]


def test_a_snapshot_of_what_is_in_the_log_only_tells_that_it_is_committed() -> None:
    """etcd: restore ignores snapshot, the commit index is fast-forwarded. What comes after it stays."""
    member = lone_member(entries=log_of(1, 1, 3), hard_state=HardState(term=3))
    assert answers(receive(member, snapshot_of(1, 1))) == [(2, 2)]
    assert standing(member) == (2, 2, 3)
    assert member.installed_snapshots == 0


@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param(Configuration.of({2, 3}, {1}), id="with learner, voter to learner"),
        pytest.param(Configuration.of({1, 2, 3}, {4}), id="with learner"),
        pytest.param(Configuration(frozenset({2, 3, 4}), frozenset({1, 2, 3})), id="with voters outgoing"),
        pytest.param(Configuration.of({2, 3}), id="without this node"),
    ],
)
def test_the_members_are_those_of_the_snapshot(configuration: Configuration) -> None:
    """etcd: restore with learner, with voters outgoing, voter to learner."""
    member = lone_member()
    receive(member, snapshot_of(1, 1, configuration=configuration))
    assert member.raw.configuration == member.disk.configuration == configuration


def test_a_learner_becomes_voter_by_a_snapshot() -> None:
    """etcd: restore learner promotion."""
    member = lone_member(3, voters=(1, 2), learners=(3,))
    receive(member, snapshot_of(1, 1))
    member.tick(10)
    assert member.role is RoleName.PRE_CANDIDATE


def candidate() -> Member:
    member = lone_member(hard_state=HardState(term=2))
    stand(member)
    assert member.role is RoleName.CANDIDATE
    return member


@pytest.mark.parametrize(("start", "term"), [(lone_member, 3), (candidate, 3), (candidate, 4)])
def test_whoever_gets_a_snapshot_follows_its_sender(start: Callable[[], Member], term: int) -> None:
    """etcd: restore from snapshot message."""
    member = start()
    receive(member, snapshot_of(1, 1), term=term)
    assert (member.role, member.raw.leader_id, member.raw.term) == (RoleName.FOLLOWER, 2, term)
    assert standing(member) == (2, 2, 2)


def test_a_snapshot_of_another_leader_of_the_same_term_stops_a_leader() -> None:
    member = lone_member()
    lead(member)
    with pytest.raises(InvariantViolation, match="both lead term 1"):
        receive(member, snapshot_of(1, 1), term=1)


def test_a_snapshot_that_was_long_on_its_way_is_taken_and_the_new_leader_told() -> None:
    member = lone_member(hard_state=HardState(term=4))
    member.heard(MessageKind.HEARTBEAT, 3)
    assert answers(receive(member, snapshot_of(1, 1), term=3)) == [(3, 2)]
    assert (member.raw.leader_id, member.raw.term, standing(member)) == (3, 4, (2, 2, 2))


def test_a_snapshot_of_a_lower_term_means_nothing_to_one_who_stands_for_election() -> None:
    member = candidate()
    assert receive(member, snapshot_of(1, 1), term=1) == []
    assert (member.role, standing(member)) == (RoleName.CANDIDATE, (0, 0, 0))


def test_a_snapshot_message_without_a_snapshot_is_a_bug() -> None:
    with pytest.raises(InvariantViolation, match="without a snapshot"):
        lone_member().heard(MessageKind.SNAPSHOT, 2, term=1)


# Until it is installed


def receiving(*terms: int, configuration: Configuration = THREE) -> Member:
    """One whose disk is at installing a snapshot of entries of these terms."""
    member = lone_member()
    member.holds_writes = True
    receive(member, snapshot_of(*terms, configuration=configuration))
    return member


def test_a_snapshot_is_acknowledged_when_it_is_installed() -> None:
    member = receiving(1, 1)
    assert member.writing is not None
    assert (member.writing.snapshot, member.writing.writes) == (snapshot_of(1, 1), True)
    assert (standing(member), member.raw.configuration) == ((0, 2, 2), THREE)
    assert answers(member.finish_write()) == [(2, 2)]
    assert standing(member) == (2, 2, 2)


def test_entries_after_a_snapshot_wait_for_it() -> None:
    """raft-rs: entries after snapshot."""
    member = lone_member()
    member.holds_writes = True
    member.heard(MessageKind.VOTE, 3, term=3)
    receive(member, snapshot_of(1, 1))
    member.heard(MessageKind.APPEND, 2, index=2, log_term=1, entries=(Entry(3, 3, b"x"),), commit=3)
    assert answers(member.finish_write()) == []
    member.work()
    assert member.writing is not None
    assert (member.writing.snapshot, member.writing.entries) == (snapshot_of(1, 1), (Entry(3, 3, b"x"),))
    assert member.commands() == []
    assert answers(member.finish_write()) == [(2, 2), (2, 3)]
    member.work()
    assert [entry.index for entry in member.state] == [1, 2, 3]


def test_the_write_before_a_snapshot_changes_nothing_of_the_log_that_begins_anew() -> None:
    """Its entries, 1 to 4, are gone from the log although they have just become durable."""
    member = lone_member()
    member.holds_writes = True
    member.heard(MessageKind.APPEND, 2, term=2, entries=tuple(log_of(2, 2, 2, 2)))
    receive(member, snapshot_of(1, 3, 3))
    member.heard(MessageKind.APPEND, 2, index=3, log_term=3, entries=(Entry(3, 4, b"4@3"),))
    member.finish_write()
    member.work()
    assert member.terms() == [1, 3, 3, 3]
    member.finish_write()
    member.work()
    assert (member.terms(), member.disk.log.last_index()) == ([1, 3, 3, 3], 4)


def test_what_was_handed_out_to_be_applied_is_dropped_with_a_snapshot() -> None:
    member = lone_member()
    member.holds_applies = True
    change = ConfChange((Change(ChangeKind.REMOVE, 3),))
    member.heard(
        MessageKind.APPEND, 2, term=1, entries=(Entry(1, 1, change.encode(), EntryKind.CONF_CHANGE),), commit=1
    )
    assert len(member.to_apply) == 1
    receive(member, snapshot_of(1, 1, 1))
    assert (list(member.to_apply), member.raw.configuration, standing(member)) == ([], THREE, (3, 3, 3))


def test_entries_that_were_handed_out_may_be_applied_until_the_snapshot_is_handed_out() -> None:
    member = lone_member()
    member.holds_applies = True
    member.heard(MessageKind.APPEND, 2, term=1, entries=tuple(log_of(1, 1)), commit=2)
    member.holds_writes = True
    member.heard(MessageKind.APPEND, 2, index=2, log_term=1, entries=tuple(log_of(1, 1, 1))[2:])
    receive(member, snapshot_of(1, 1, 3))
    member.apply(1)
    member.finish_write()
    member.work()
    member.finish_write()
    assert standing(member) == (3, 3, 3)


def test_nobody_campaigns_before_its_snapshot_is_installed() -> None:
    """Its members may be others."""
    member = receiving(1, 1)
    member.tick(40)
    assert member.role is RoleName.FOLLOWER
    member.finish_write()
    member.tick(40)
    assert member.role is RoleName.PRE_CANDIDATE


def test_a_crash_before_it_is_installed_leaves_all_as_it_was() -> None:
    member = receiving(1, 1)
    member.crash()
    member.start()
    assert standing(member) == (0, 0, 0)


def test_a_crash_after_it_is_installed_leaves_the_snapshot() -> None:
    """etcd: restart from snapshot."""
    member = receiving(1, 1)
    member.finish_write()
    member.crash()
    member.start()
    assert standing(member) == (2, 2, 2)
    member.heard(MessageKind.APPEND, 2, term=3, index=2, log_term=1, entries=(Entry(3, 3),), commit=3)
    member.finish_write()
    member.work()
    assert [entry.index for entry in member.state] == [1, 2, 3]


def test_a_newer_snapshot_that_comes_while_one_is_installed_is_installed_next() -> None:
    """raft-rs: several snapshots."""
    member = receiving(1, 1)
    receive(member, snapshot_of(1, 1, 3, 3, configuration=Configuration.of({1, 2})))
    member.finish_write()
    member.work()
    assert (standing(member), member.raw.configuration) == ((2, 4, 4), THREE)
    member.finish_write()
    assert (standing(member), member.raw.configuration) == ((4, 4, 4), Configuration.of({1, 2}))


def test_a_newer_snapshot_that_comes_before_the_first_is_handed_out_replaces_it() -> None:
    member = lone_member()
    member.holds_writes = True
    member.heard(MessageKind.VOTE, 3, term=3)
    receive(member, snapshot_of(1, 1))
    receive(member, snapshot_of(1, 1, 3))
    member.finish_write()
    member.work()
    member.finish_write()
    assert (standing(member), member.installed_snapshots) == ((3, 3, 3), 1)


def test_a_vote_speaks_for_the_snapshot_that_is_being_installed() -> None:
    member = receiving(1, 1, 3)
    member.tick(10)
    assert member.heard(MessageKind.VOTE, 3, term=4, index=2, log_term=1) == []
    left = [*member.finish_write(), *member.work(), *member.finish_write()]
    assert [message.reject for message in left if message.kind is MessageKind.VOTE_RESPONSE] == [True]
