"""The door: what a `Ready` holds and when, what may be told to a node, and what it is after a restart."""

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
    PeerStatus,
    Persist,
    RoleName,
    Settings,
    Status,
)
from meteora.raft.errors import InvariantViolation
from tests.raft_network import Member, acknowledge, cluster, lead, log_of, lone_member, stand
from tests.unit.raft.leaders import replicating_leader

# Steps


def test_a_message_from_this_node_itself_is_refused() -> None:
    with pytest.raises(InvariantViolation, match="came back"):
        lone_member().raw.step(Message(MessageKind.HEARTBEAT, 1, 1, term=1))


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in MessageKind
        if kind not in (MessageKind.PROPOSE, MessageKind.READ_INDEX, MessageKind.TRANSFER_LEADER)
    ],
)
def test_a_message_without_a_term_is_refused_where_it_needs_one(kind: MessageKind) -> None:
    with pytest.raises(InvariantViolation, match="without a term"):
        lone_member().raw.step(Message(kind, 2, 1))


def test_a_message_that_is_taken_is_not_written_out() -> None:
    class Unreadable(bytes):
        def __repr__(self) -> str:
            raise AssertionError("this would take milliseconds for each megabyte")

    member = lone_member(entries=log_of(1))
    member.raw.step(
        Message(MessageKind.APPEND, 2, 1, term=1, index=1, log_term=1, entries=(Entry(1, 2, Unreadable()),))
    )
    assert member.raw.status().last_index == 2


# Ready


def test_a_new_node_has_nothing_to_do() -> None:
    member = lone_member(entries=log_of(1, 1), hard_state=HardState(term=1, vote=2, commit=0))
    assert not member.raw.has_ready
    ready = member.raw.ready()
    assert (ready.messages, ready.persist, ready.committed, ready.read_states, ready.fetches) == ([], None, (), [], [])


def test_a_ready_holds_all_that_is_pending_and_the_next_one_nothing_of_it() -> None:
    member = lone_member(voters=(1,))
    member.raw.campaign()
    for _ in range(2):
        persist = member.raw.ready().persist
        assert persist is not None
        member.disk.write(persist)
        member.raw.persisted(persist)
    member.raw.propose([b"x"])
    ready = member.raw.ready()
    assert ready.persist is not None
    assert ready.persist.entries == (Entry(1, 1), Entry(1, 2, b"x"))
    assert ready.committed == ()
    assert not member.raw.has_ready
    member.disk.write(ready.persist)
    member.raw.persisted(ready.persist)
    assert member.raw.has_ready
    ready = member.raw.ready()
    assert list(ready.committed) == [Entry(1, 1), Entry(1, 2, b"x")]
    assert (ready.messages, ready.persist) == ([], None)
    assert not member.raw.has_ready
    member.raw.applied(2)
    assert not member.raw.has_ready


def test_the_hard_state_is_persisted_with_whatever_changes_it() -> None:
    member = lone_member(hard_state=HardState(term=1))
    member.holds_writes = True
    member.heard(MessageKind.VOTE, 2, term=3)
    assert member.writing is not None
    assert member.writing.hard_state == HardState(term=3, vote=2)
    assert member.writing.writes


def test_the_commit_index_goes_with_the_entries_but_alone_is_no_reason_to_write() -> None:
    member = lone_member(hard_state=HardState(term=1))
    member.heard(MessageKind.APPEND, 2, entries=tuple(log_of(1, 1)), commit=1)
    assert member.disk.hard_state == HardState(term=1, commit=1)
    member.heard(MessageKind.HEARTBEAT, 2, commit=2)
    assert member.commit_index == 2
    assert member.disk.hard_state.commit == 1


def test_an_acknowledgement_of_nothing_new_waits_for_no_disk() -> None:
    member = lone_member(entries=log_of(1))
    member.holds_writes = True
    member.heard(MessageKind.APPEND, 2, index=1, log_term=1)
    persist = member.writing
    assert persist is not None
    assert not persist.writes
    assert persist == Persist(None, (), (Message(MessageKind.APPEND_RESPONSE, 1, 2, term=1, index=1),))


def test_one_write_is_under_way_at_a_time_and_the_next_holds_all_that_came_meanwhile() -> None:
    member = replicating_leader()
    member.holds_writes = True
    for payload in (b"a", b"b", b"c"):
        member.propose(payload)
    assert member.writing is not None
    assert [entry.data for entry in member.writing.entries] == [b"a"]
    assert not member.raw.has_ready
    member.finish_write()
    member.work()
    assert [entry.data for entry in member.writing.entries] == [b"b", b"c"]


def test_appends_go_out_two_deep_while_the_disk_is_at_the_first() -> None:
    """The pipeline of asynchronous storage: sends, writes and applications, each in its own time."""
    network = cluster()
    network.campaign(1)
    network[2].holds_writes = network[3].holds_writes = True
    network.propose(1, b"a")
    network.propose(1, b"b")
    assert network[2].terms() == [1, 1, 1]
    assert network[1].commit_index == 1
    network.finish_writes(2)
    assert network[1].commit_index == 3
    network[1].holds_applies = True
    network.propose(1, b"c")
    assert [entry.data for entry in network[1].to_apply] == [b"c"]


def test_only_the_write_that_is_under_way_can_end() -> None:
    member = replicating_leader()
    member.holds_writes = True
    member.propose(b"x")
    persist = member.writing
    assert persist is not None
    with pytest.raises(InvariantViolation, match="not the write that is under way"):
        member.raw.persisted(Persist(*persist))
    member.raw.persisted(persist)
    with pytest.raises(InvariantViolation, match="not the write that is under way"):
        member.raw.persisted(persist)


def test_what_is_committed_but_not_durable_here_is_not_applied_here() -> None:
    """Or the state machine could be ahead of its own log after a crash."""
    network = cluster()
    network.campaign(1)
    network[1].holds_writes = True
    network.propose(1, b"x")
    assert network[1].commit_index == 2
    assert (network[1].commands(), network[2].commands()) == ([], [b"x"])
    network.finish_writes(1)
    assert network[1].commands() == [b"x"]


def test_committed_entries_come_in_pages() -> None:
    member = lone_member(entries=log_of(1, 1, 1), settings=Settings(max_apply_bytes=1))
    member.heard(MessageKind.HEARTBEAT, 2, term=1, commit=3)
    assert member.state == log_of(1, 1, 1)
    member = lone_member(entries=log_of(1, 1, 1), settings=Settings(max_apply_bytes=1))
    member.raw.step(Message(MessageKind.HEARTBEAT, 2, 1, term=1, commit=3))
    assert [len(member.raw.ready().committed) for _ in range(4)] == [1, 1, 1, 0]


# Proposals of changes


def test_a_change_of_membership_is_an_entry_and_comes_back_to_be_applied() -> None:
    member = lone_member(voters=(1,))
    lead(member)
    member.holds_applies = True
    change = ConfChange((Change(ChangeKind.ADD_LEARNER, 2),), context=b"address")
    member.raw.propose_conf_change(change)
    member.work()
    (entry,) = member.to_apply
    assert entry == Entry(1, 2, change.encode(), EntryKind.CONF_CHANGE)
    assert member.raw.configuration == Configuration.of({1})
    assert member.raw.apply_conf_change(change) == member.raw.configuration == Configuration.of({1}, {2})


# Membership changes, and what the disk knows of them


REMOVE_2 = ConfChange((Change(ChangeKind.REMOVE, 2),))


def with_a_committed_removal() -> Member:
    """The leader of two whose peer has just acknowledged its own removal, and whose disk is not done with that."""
    member = lone_member(voters=(1, 2))
    lead(member)
    acknowledge(member, 2)
    member.raw.propose_conf_change(REMOVE_2)
    member.work()
    member.holds_writes = True
    return member


def test_a_membership_change_is_applied_once_the_disk_knows_that_it_is_committed() -> None:
    member = with_a_committed_removal()
    acknowledge(member, 2)
    assert member.commit_index == 2
    assert member.writing == Persist(HardState(term=1, vote=1, commit=2), (), ())
    assert member.raw.configuration == Configuration.of({1, 2})
    member.finish_write()
    member.work()
    assert member.raw.configuration == Configuration.of({1})


def test_nobody_is_told_that_a_membership_change_is_committed_before_the_disk_of_the_leader_knows() -> None:
    member = with_a_committed_removal()
    told = acknowledge(member, 2) + member.tick()
    assert {message.commit for message in told if message.kind in (MessageKind.APPEND, MessageKind.HEARTBEAT)} == {1}
    member.finish_write()
    assert [message.commit for message in member.work() if message.receiver == 2] == [2]


def test_what_was_committed_before_a_membership_change_need_not_wait_for_it() -> None:
    member = lone_member(voters=(1, 2))
    lead(member)
    acknowledge(member, 2)
    member.propose(b"x")
    member.raw.propose_conf_change(REMOVE_2)
    member.work()
    member.holds_writes = True
    told = acknowledge(member, 2)
    assert member.commands() == [b"x"]
    assert [message.commit for message in told] == [2]


def test_a_follower_learns_of_a_membership_change_and_its_commit_by_one_write() -> None:
    member = lone_member(voters=(1, 2))
    member.holds_writes = True
    change = Entry(1, 1, ConfChange((Change(ChangeKind.ADD_VOTER, 3),)).encode(), EntryKind.CONF_CHANGE)
    member.heard(MessageKind.APPEND, 2, term=1, entries=(change,), commit=1)
    member.finish_write()
    member.work()
    assert member.writing is None
    assert member.raw.configuration == Configuration.of({1, 2, 3})


def test_a_membership_change_that_is_replaced_holds_nothing_up() -> None:
    member = lone_member()
    change = Entry(1, 1, ConfChange((Change(ChangeKind.ADD_VOTER, 4),)).encode(), EntryKind.CONF_CHANGE)
    member.heard(MessageKind.APPEND, 2, term=1, entries=(change,))
    member.heard(MessageKind.APPEND, 3, term=2, entries=tuple(log_of(2)))
    member.holds_writes = True
    member.heard(MessageKind.HEARTBEAT, 3, commit=1)
    assert member.commands() == [b"1@2"]


def test_a_crash_forgets_no_membership_change_that_was_applied() -> None:
    member = with_a_committed_removal()
    member.holds_writes = False
    acknowledge(member, 2)
    member.crash()
    member.start()
    member.work()
    assert member.raw.configuration == Configuration.of({1})


def test_a_membership_change_that_was_not_known_to_be_committed_waits_for_the_disk_after_a_restart_too() -> None:
    member = with_a_committed_removal()
    member.crash()
    member.start()
    member.holds_writes = False
    lead(member)
    member.holds_writes = True
    acknowledge(member, 2)
    assert (member.commit_index, member.raw.configuration) == (3, Configuration.of({1, 2}))
    member.finish_write()
    member.work()
    assert member.raw.configuration == Configuration.of({1})


# Restart


def test_a_node_starts_again_with_its_term_vote_and_log() -> None:
    member = lone_member()
    lead(member)
    acknowledge(member, 2)
    member.propose(b"x")
    before = (member.raw.term, member.log())
    member.crash()
    member.start()
    assert (member.raw.term, member.log()) == before
    assert member.raw._raft.vote == 1
    assert member.role is RoleName.FOLLOWER


def test_a_vote_survives_a_crash() -> None:
    member = lone_member()
    member.heard(MessageKind.VOTE, 2, term=1)
    member.crash()
    member.start()
    assert member.heard(MessageKind.VOTE, 3, term=1)[0].reject
    assert not member.heard(MessageKind.VOTE, 2, term=1)[0].reject


def test_a_vote_that_was_not_written_was_not_given() -> None:
    member = lone_member()
    member.holds_writes = True
    assert member.heard(MessageKind.VOTE, 2, term=1) == []
    member.crash()
    member.start()
    member.holds_writes = False
    assert not member.heard(MessageKind.VOTE, 3, term=1)[0].reject


def test_a_node_applies_again_from_where_its_state_machine_is() -> None:
    network = cluster()
    network.campaign(1)
    network.propose(1, b"a")
    network[1].save_state()
    network.propose(1, b"b")
    network.crash(1)
    network[1].start()
    assert network[1].commands() == [b"a"]
    network.settle()
    network.tick(30)
    assert network[1].commands() == [b"a", b"b"]


def test_a_state_machine_that_is_gone_is_built_again_from_the_log() -> None:
    network = cluster()
    network.campaign(1)
    network.propose(1, b"a", b"b")
    network.crash(3)
    network.propose(1, b"c")
    network.restart(3)
    network.tick(2)
    assert network[3].commands() == [b"a", b"b", b"c"]


@pytest.mark.parametrize("max_apply_bytes", [1, 50, 1 << 20])
def test_no_entry_is_lost_or_repeated_over_restarts_with_small_pages(max_apply_bytes: int) -> None:
    member = lone_member(voters=(1,), settings=Settings(max_apply_bytes=max_apply_bytes))
    for round_number in range(5):
        lead(member)
        member.propose(*[b"%d.%d" % (round_number, count) for count in range(4)])
        member.save_state()
        member.crash()
        member.start()
        member.work()
    assert member.commands() == [b"%d.%d" % (one, count) for one in range(5) for count in range(4)]


def test_what_is_applied_was_committed_although_the_commit_index_on_disk_is_older() -> None:
    member = lone_member(entries=log_of(1, 1, 1), hard_state=HardState(term=1, commit=1))
    member.disk.state = tuple(log_of(1, 1))
    member.start()
    assert (member.commit_index, member.raw.status().applied_index) == (2, 2)


@pytest.mark.parametrize(("commit", "applied"), [(3, 0), (0, 3)])
def test_a_log_that_is_shorter_than_what_was_committed_stops_the_node(commit: int, applied: int) -> None:
    member = lone_member(entries=log_of(1, 1))
    member.disk.hard_state = HardState(term=1, commit=commit)
    member.disk.state = tuple(log_of(*[1] * applied))
    with pytest.raises(InvariantViolation):
        member.start()


def test_a_crash_loses_what_was_being_written_and_it_is_sent_again() -> None:
    network = cluster()
    network.campaign(1)
    network[3].holds_writes = True
    network.propose(1, b"x")
    network.crash(3)
    network[3].holds_writes = False
    network.restart(3)
    assert network[3].disk.log.last_index() == 1
    network.tick(2)
    assert network[3].commands() == [b"x"]


def test_all_crash_at_once_and_nothing_that_was_committed_is_lost() -> None:
    network = cluster()
    network.campaign(1)
    network.propose(1, b"x")
    for node_id in (1, 2, 3):
        network.crash(node_id)
    for node_id in (1, 2, 3):
        network.restart(node_id)
    network.tick(20)
    assert all(member.commands() == [b"x"] for member in network.members.values())


# Status


def test_the_status_of_a_follower() -> None:
    member = lone_member()
    member.heard(MessageKind.APPEND, 2, term=3, entries=tuple(log_of(1, 3)), commit=1)
    assert member.raw.status() == Status(1, RoleName.FOLLOWER, 3, 2, 1, 1, 2, Configuration.of({1, 2, 3}), {})
    assert (member.raw.leader_id, member.raw.transferee) == (2, 0)


def test_the_status_of_a_leader_knows_its_peers() -> None:
    member = lone_member()
    lead(member)
    acknowledge(member, 2)
    assert member.raw.status().peers == {
        1: PeerStatus(1, 2, recent_active=True),
        2: PeerStatus(1, 2, recent_active=True),
        3: PeerStatus(0, 1, recent_active=False),
    }


def role_after(*steps: str) -> RoleName:
    member: Member = lone_member()
    for step in steps:
        match step:
            case "campaign":
                member.raw.campaign()
                member.work()
            case "stand":
                stand(member)
            case "lead":
                lead(member)
    return member.role


@pytest.mark.parametrize(
    ("steps", "role"),
    [
        ((), RoleName.FOLLOWER),
        (("campaign",), RoleName.PRE_CANDIDATE),
        (("stand",), RoleName.CANDIDATE),
        (("lead",), RoleName.LEADER),
    ],
)
def test_a_role_has_a_name(steps: tuple[str, ...], role: RoleName) -> None:
    assert role_after(*steps) is role


def test_who_leads_says_so_and_nobody_else() -> None:
    network = cluster()
    network.campaign(1)
    assert [network[node].raw.leads for node in (1, 2, 3)] == [True, False, False]
