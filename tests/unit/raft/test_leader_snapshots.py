"""A peer that needs what was cut off gets a snapshot: when it is wanted, what is sent meanwhile, and what ends it."""

import pytest

from meteora.raft import Change, ChangeKind, ConfChange, HardState, Message, MessageKind, RoleName, Snapshot
from meteora.raft.errors import InvariantViolation
from meteora.raft.progress import ProgressState
from tests.raft_network import Member, Network, acknowledge, cluster, lead, log_of, lone_member
from tests.unit.raft.leaders import appends, progress_of, replicating_leader

CUT = 4
"""The entries up to here are cut off."""


def leader_of_a_cut_log() -> Member:
    """Leads term 2 with entries 1 to 7; n2 is up to date, and n3 is being probed."""
    member = lone_member(entries=log_of(1, 1, 1, 1, 1, 1), hard_state=HardState(term=1, commit=6))
    lead(member)
    acknowledge(member, 2)
    member.save_state()
    member.compact(CUT)
    return member


def refuse(member: Member, hint: int, *, log_term: int = 1) -> None:
    """n3 refuses the probe at 6: its log ends at `hint`."""
    member.heard(MessageKind.APPEND_RESPONSE, 3, index=6, reject=True, hint=hint, log_term=log_term)


def leader_that_owes_a_snapshot() -> Member:
    member = leader_of_a_cut_log()
    refuse(member, 1)
    assert member.snapshots_wanted == [3]
    return member


# Wanted


@pytest.mark.parametrize(("hint", "wanted"), [(0, [3]), (1, [3]), (CUT - 1, [3]), (CUT, []), (CUT + 1, [])])
def test_a_snapshot_is_wanted_for_a_peer_that_needs_what_was_cut_off(hint: int, wanted: list[int]) -> None:
    member = leader_of_a_cut_log()
    refuse(member, hint, log_term=1 if hint else 0)
    assert member.snapshots_wanted == wanted
    assert (progress_of(member, 3).state is ProgressState.SNAPSHOT) == bool(wanted)


def test_a_snapshot_is_wanted_once_until_it_is_reported() -> None:
    member = leader_that_owes_a_snapshot()
    refuse(member, 0, log_term=0)
    member.heard(MessageKind.HEARTBEAT_RESPONSE, 3)
    member.tick()
    member.raw.unreachable(3)
    member.work()
    assert member.snapshots_wanted == [3]


def test_a_peer_that_is_not_heard_gets_no_snapshot_until_it_is() -> None:
    """etcd: ignore providing snapshot."""
    member = leader_of_a_cut_log()
    progress_of(member, 3).recent_active = False
    progress_of(member, 3).next = 1
    progress_of(member, 3).paused = False
    member.propose(b"x")
    assert member.snapshots_wanted == []
    member.heard(MessageKind.HEARTBEAT_RESPONSE, 3)
    assert member.snapshots_wanted == [3]


def test_what_is_wanted_is_forgotten_when_the_leader_steps_down_before_anybody_has_taken_it() -> None:
    member = leader_of_a_cut_log()
    refusal = Message(MessageKind.APPEND_RESPONSE, 3, 1, 2, index=6, reject=True, hint=1, log_term=1)
    member.raw.step(refusal)
    member.raw.step(Message(MessageKind.HEARTBEAT, 2, 1, 3))
    member.work()
    assert member.snapshots_wanted == []


def test_entries_that_were_cut_off_while_they_were_read_can_not_be_sent() -> None:
    member = lone_member(entries=log_of(1, 1, 1, 1, 1, 1), hard_state=HardState(term=1, commit=6))
    lead(member)
    acknowledge(member, 2)
    member.holds_fetches = True
    member.disk.log.first_in_memory = 8
    refuse(member, 1)
    member.save_state()
    member.compact(CUT)
    member.answer_fetches()
    assert appends(member.work(), 3) == []
    assert member.snapshots_wanted == [3]


# Meanwhile


def test_while_a_snapshot_is_on_its_way_nothing_but_heartbeats_goes_there() -> None:
    """etcd: pending snapshot pauses replication."""
    member = leader_that_owes_a_snapshot()
    left = [
        *member.propose(b"x"),
        *acknowledge(member, 2),
        *member.tick(),
        *member.heard(MessageKind.HEARTBEAT_RESPONSE, 3),
    ]
    assert {message.kind for message in left if message.receiver == 3} == {MessageKind.HEARTBEAT}


def test_the_message_of_a_snapshot_names_the_leader_and_its_term() -> None:
    member = leader_that_owes_a_snapshot()
    snapshot = member.snapshot()
    message = member.raw.snapshot_started(3, snapshot)
    assert message == Message(MessageKind.SNAPSHOT, 1, 3, 2, snapshot=snapshot)


@pytest.mark.parametrize("peer", [2, 4])
def test_nobody_else_is_sent_a_snapshot(peer: int) -> None:
    member = leader_that_owes_a_snapshot()
    assert member.raw.snapshot_started(peer, member.snapshot()) is None


def test_who_does_not_lead_sends_no_snapshot() -> None:
    member = lone_member(entries=log_of(1))
    assert member.raw.snapshot_started(3, Snapshot(1, 1, member.raw.configuration)) is None
    member.raw.snapshot_finished(3, ok=True)
    assert member.role is RoleName.FOLLOWER


def test_a_snapshot_of_what_is_not_committed_is_a_bug() -> None:
    member = leader_that_owes_a_snapshot()
    with pytest.raises(InvariantViolation, match="not committed"):
        member.raw.snapshot_started(3, Snapshot(8, 2, member.raw.configuration))


# The end of it


def test_an_acknowledgement_that_reaches_into_the_log_ends_it() -> None:
    """etcd: snapshot succeeds via append response; no report is needed."""
    member = leader_that_owes_a_snapshot()
    member.propose(b"x")
    member.send_snapshot(3)
    left = acknowledge(member, 3, index=7)
    assert progress_of(member, 3).state is ProgressState.REPLICATE
    assert appends(left, 3) == [(7, [8])]


@pytest.mark.parametrize(("index", "state"), [(CUT - 1, ProgressState.SNAPSHOT), (CUT, ProgressState.REPLICATE)])
def test_an_acknowledgement_that_does_not_reach_into_the_log_does_not_end_it(index: int, state: ProgressState) -> None:
    member = leader_that_owes_a_snapshot()
    acknowledge(member, 3, index=index)
    assert (progress_of(member, 3).state, progress_of(member, 3).match) == (state, index)


def test_after_a_snapshot_has_arrived_the_peer_is_probed_behind_it_at_its_next_heartbeat() -> None:
    """etcd: snapshot succeeds."""
    member = leader_that_owes_a_snapshot()
    member.send_snapshot(3)
    member.raw.snapshot_finished(3, ok=True)
    assert appends(member.propose(b"x"), 3) == []
    assert appends(member.heard(MessageKind.HEARTBEAT_RESPONSE, 3), 3) == [(7, [8])]


def test_a_snapshot_that_failed_is_wanted_again_at_the_next_heartbeat() -> None:
    """etcd: snapshot failure, snapshot abort."""
    member = leader_that_owes_a_snapshot()
    member.send_snapshot(3)
    member.raw.snapshot_finished(3, ok=False)
    member.propose(b"x")
    assert member.snapshots_wanted == [3]
    member.heard(MessageKind.HEARTBEAT_RESPONSE, 3)
    assert member.snapshots_wanted == [3, 3]


def test_a_report_that_comes_after_the_acknowledgement_changes_nothing() -> None:
    member = leader_that_owes_a_snapshot()
    member.send_snapshot(3)
    acknowledge(member, 3)
    for ok in (True, False):
        member.raw.snapshot_finished(3, ok=ok)
        assert progress_of(member, 3).state is ProgressState.REPLICATE


def test_a_report_about_one_who_has_left_changes_nothing() -> None:
    member = leader_that_owes_a_snapshot()
    member.raw.propose_conf_change(ConfChange((Change(ChangeKind.REMOVE, 3),)))
    member.work()
    acknowledge(member, 2)
    member.raw.snapshot_finished(3, ok=True)
    assert member.raw.snapshot_started(3, member.snapshot()) is None
    assert 3 not in member.raw.status().peers


# In a cluster


def cluster_with_one_behind(learners: tuple[int, ...] = ()) -> Network:
    """n1 leads, and has cut off what n3 has missed."""
    network = cluster((1, 2, 3) if not learners else (1, 2), learners)
    network.campaign(1)
    network.isolate(3)
    network.propose(1, b"a", b"b")
    network[1].save_state()
    network[1].compact(len(network[1].state))
    network.heal()
    network.tick()
    return network


@pytest.mark.parametrize("learners", [(), (3,)])
def test_one_who_is_behind_catches_up_by_a_snapshot(learners: tuple[int, ...]) -> None:
    """etcd: provide snapshot, slow node restore, learner receives snapshot."""
    network = cluster_with_one_behind(learners)
    network.send_snapshots()
    assert network[3].commands() == [b"a", b"b"]
    network.propose(1, b"c")
    assert network[3].commands() == [b"a", b"b", b"c"]
    assert network[3].installed_snapshots == 1


def test_leadership_is_handed_over_to_one_who_needs_a_snapshot_once_it_has_caught_up() -> None:
    """etcd: leader transfer after snapshot."""
    network = cluster_with_one_behind()
    network[1].raw.transfer_leader(3)
    network.settle()
    assert network.leaders() == [1]
    network.send_snapshots()
    assert network.leaders() == [3]


def test_a_newcomer_learns_the_members_from_the_snapshot() -> None:
    network = cluster((1,), newcomers=(2,))
    network.campaign(1)
    network.propose(1, b"a")
    network[1].save_state()
    network[1].compact(2)
    network[1].raw.propose_conf_change(ConfChange((Change(ChangeKind.ADD_LEARNER, 2),)))
    network.settle()
    network.send_snapshots()
    assert network[2].raw.configuration == network[1].raw.configuration
    assert network[2].commands() == [b"a"]


def test_a_leader_that_lost_and_won_again_wants_the_snapshot_anew() -> None:
    member = leader_that_owes_a_snapshot()
    member.heard(MessageKind.HEARTBEAT, 2, term=member.raw.term + 1)
    lead(member)
    member.heard(MessageKind.APPEND_RESPONSE, 3, index=7, reject=True, hint=1, log_term=1)
    assert member.snapshots_wanted == [3, 3]


def test_the_window_is_empty_after_a_snapshot() -> None:
    member = replicating_leader(max_inflight_messages=1)
    member.propose(b"a")
    acknowledge(member, 2)
    member.save_state()
    member.compact(2)
    member.raw.unreachable(3)
    member.heard(MessageKind.HEARTBEAT_RESPONSE, 3)
    assert member.snapshots_wanted == [3]
    acknowledge(member, 3, index=2)
    assert appends(member.propose(b"b"), 3) == [(2, [3])]
