"""How a leader brings the others' logs to its own, beyond the paper (`tests/paper`): what is late, lost or slow."""

import pytest

from meteora.raft import Entry, HardState, Message, MessageKind, RoleName, Settings
from meteora.raft.errors import InvariantViolation, ProposalDropped
from meteora.raft.progress import ProgressState
from tests.raft_network import acknowledge, cluster, lead, log_of, lone_member
from tests.unit.raft.leaders import appends, progress_of, replicating_leader

ONE_ENTRY = Settings(max_append_bytes=1)
"""With it, every append carries one entry."""


# Proposals


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_a_proposal_is_applied_by_all(size: int) -> None:
    network = cluster(range(1, size + 1))
    network.campaign(1)
    network.propose(1, b"x")
    assert all(member.commands() == [b"x"] for member in network.members.values())


def test_one_proposal_may_hold_several_entries() -> None:
    network = cluster()
    network.campaign(1)
    network.propose(1, b"x", b"y", b"z")
    assert network[3].commands() == [b"x", b"y", b"z"]
    assert len([message for message in network.log if message.kind is MessageKind.APPEND and message.entries]) == 4


def test_a_proposal_at_a_follower_is_passed_on_to_the_leader() -> None:
    network = cluster()
    network.campaign(1)
    network.propose(2, b"x")
    assert all(member.commands() == [b"x"] for member in network.members.values())


def test_a_proposal_without_a_leader_is_dropped_for_certain() -> None:
    with pytest.raises(ProposalDropped, match="no leader"):
        lone_member().raw.propose([b"x"])


def test_a_follower_does_not_pass_on_what_others_passed_to_it() -> None:
    """Unlike etcd: one hop only, or two nodes that each believe in the other would pass it to and fro."""
    member = lone_member()
    member.heard(MessageKind.HEARTBEAT, 2, term=1)
    for kind in (MessageKind.PROPOSE, MessageKind.READ_INDEX, MessageKind.TRANSFER_LEADER):
        assert member.heard(kind, 3, term=0, entries=(Entry(0, 0, b"x"),)) == []


@pytest.mark.parametrize(
    ("size", "reachable", "is_committed"), [(3, 1, True), (3, 0, False), (5, 2, True), (5, 1, False)]
)
def test_a_proposal_commits_if_a_majority_can_be_reached(size: int, reachable: int, is_committed: bool) -> None:
    network = cluster(range(1, size + 1))
    network.campaign(1)
    for absent in range(2 + reachable, size + 1):
        network.crash(absent)
    network.propose(1, b"x")
    assert (network[1].commands() == [b"x"]) is is_committed


def test_a_single_node_commits_alone() -> None:
    member = lone_member(voters=(1,))
    member.tick(10)
    member.propose(b"x")
    member.propose(b"y")
    assert (member.commit_index, member.commands()) == (3, [b"x", b"y"])


def test_nothing_of_an_earlier_term_commits_before_an_entry_of_the_new_one() -> None:
    network = cluster(range(1, 6))
    network.campaign(1)
    network.isolate(1, 2)
    network[1].raw.propose([b"a", b"b"])
    network.settle()
    network.heal()
    network.isolate(1)
    # n2 has what n1 proposed, and shows it to all but n1; its own entry gets nowhere.
    network.tick(10, 2, 3, 4, 5)
    network.drop(
        lambda message: message.kind is MessageKind.APPEND and any(entry.term == 2 for entry in message.entries)
    )
    network.campaign(2)
    assert network[2].role is RoleName.LEADER
    assert network[2].commit_index == 1


def test_all_of_earlier_terms_commits_with_the_first_entry_of_the_new_one() -> None:
    network = cluster(range(1, 6))
    network.campaign(1)
    network.isolate(1, 2)
    network[1].raw.propose([b"a", b"b"])
    network.settle()
    network.heal()
    network.isolate(1)
    network.tick(10, 2, 3, 4, 5)
    network.campaign(2)
    network.heal()
    network.tick(2)
    assert all(member.commands() == [b"a", b"b"] for member in network.members.values())
    assert {member.commit_index for member in network.members.values()} == {4}


@pytest.mark.parametrize(
    ("acknowledged", "commit"),
    [
        # The leader has 1@1 2@2, its opening entry 3@3, and 4@3 5@3. What the others have, and what is committed.
        ([], 5),
        ([0], 0),
        ([2], 0),
        ([3], 3),
        ([5], 5),
        ([0, 2], 0),
        ([2, 2], 0),
        ([0, 3], 3),
        ([2, 4], 4),
        ([4, 5], 5),
        # Two of three others are needed, and two of four.
        ([0, 0, 5], 0),
        ([2, 2, 5], 0),
        ([2, 4, 5], 4),
        ([0, 0, 0, 5], 0),
        ([0, 0, 3, 5], 3),
        ([1, 2, 2, 2], 0),
        ([5, 4, 3, 2], 4),
    ],
)
def test_what_is_committed_is_of_the_leaders_term_and_on_a_majority(acknowledged: list[int], commit: int) -> None:
    member = lone_member(voters=range(1, len(acknowledged) + 2), entries=log_of(1, 2))
    lead(member)
    member.propose(b"4", b"5")
    for peer, index in enumerate(acknowledged, start=2):
        acknowledge(member, peer, index=index)
    assert member.commit_index == commit


# What a follower does with an append


@pytest.mark.parametrize(
    ("index", "term", "sent", "commit", "after"),
    [
        # The log is 1@1 2@2 with nothing committed. Given: base, its term, the terms sent, the leader's commit index;
        # then the last index and the commit index, or None if the append is refused.
        (2, 3, (), 3, None),
        (3, 3, (), 3, None),
        (1, 1, (), 1, (2, 1)),
        (0, 0, (2,), 1, (1, 1)),
        (2, 2, (2, 2), 3, (4, 3)),
        (2, 2, (2,), 4, (3, 3)),
        (1, 1, (2,), 4, (2, 2)),
        # The commit index is not taken further than what this message has shown to match.
        (1, 1, (), 3, (2, 1)),
        (1, 1, (2,), 3, (2, 2)),
        (2, 2, (), 3, (2, 2)),
        (2, 2, (), 4, (2, 2)),
    ],
)
def test_a_follower_takes_an_append(
    index: int, term: int, sent: tuple[int, ...], commit: int, after: tuple[int, int] | None
) -> None:
    member = lone_member(entries=log_of(1, 2))
    entries = tuple(Entry(term, place) for place, term in enumerate(sent, start=index + 1))
    (answer,) = member.heard(MessageKind.APPEND, 2, index=index, log_term=term, entries=entries, commit=commit)
    if after is None:
        assert answer.reject
    else:
        assert (member.raw.status().last_index, member.commit_index) == after
        assert not answer.reject


def test_an_append_below_the_commit_index_is_answered_with_the_commit_index() -> None:
    member = lone_member(entries=log_of(1, 1, 1), hard_state=HardState(term=1, commit=2))
    answer = member.heard(MessageKind.APPEND, 2, index=1, log_term=1, entries=tuple(log_of(1, 1)[1:]))
    assert answer == [Message(MessageKind.APPEND_RESPONSE, 1, 2, term=1, index=2)]


def test_a_follower_acknowledges_only_what_is_durable() -> None:
    member = lone_member()
    member.holds_writes = True
    assert member.heard(MessageKind.APPEND, 2, term=1, entries=tuple(log_of(1, 1))) == []
    assert member.finish_write() == [Message(MessageKind.APPEND_RESPONSE, 1, 2, term=1, index=2)]


@pytest.mark.parametrize(("commit", "after"), [(0, 2), (2, 2), (3, 3)])
def test_a_follower_learns_the_commit_index_by_a_heartbeat_and_it_never_goes_back(commit: int, after: int) -> None:
    member = lone_member(entries=log_of(1, 1, 1), hard_state=HardState(term=1, commit=2))
    answer = member.heard(MessageKind.HEARTBEAT, 2, commit=commit, context=b"r")
    assert member.commit_index == after
    assert answer == [Message(MessageKind.HEARTBEAT_RESPONSE, 1, 2, term=1, context=b"r")]


def test_a_heartbeat_that_commits_what_a_follower_has_not_stops_it() -> None:
    """It had told the leader that it has it: its disk has lost it."""
    member = lone_member(entries=log_of(1))
    with pytest.raises(InvariantViolation, match="lost log"):
        member.heard(MessageKind.HEARTBEAT, 2, commit=2)


def test_what_was_written_for_an_earlier_leader_is_no_acknowledgement_to_a_later_one() -> None:
    """The ABA of a slow disk: entries go, and others come to their places, before the write of the first is done."""
    member = lone_member(2, voters=range(1, 8), entries=log_of(1))
    member.holds_writes = True
    first = tuple(Entry(2, index) for index in (2, 3))
    member.heard(MessageKind.APPEND, 1, term=2, index=1, log_term=1, entries=first)
    member.heard(MessageKind.APPEND, 3, term=3, index=1, log_term=1, entries=(Entry(3, 2), Entry(3, 3)))
    assert {(message.receiver, message.term) for message in member.finish_write()} == {(1, 2)}
    assert member.raw._raft.log.stable_index == 1
    assert member.work() == []
    assert (3, 3, 3) in {(message.receiver, message.term, message.index) for message in member.finish_write()}
    assert [member.disk.log.term(index) for index in (1, 2, 3)] == [1, 3, 3]


def test_entries_that_are_back_before_their_first_write_is_done_leave_no_gap_on_disk() -> None:
    """Found by reading: what came after them was written from its second or third entry on."""
    member = lone_member(2, voters=range(1, 8), entries=log_of(1))
    member.holds_writes = True
    first = (Entry(2, 2, b"a"), Entry(2, 3, b"b"))
    member.heard(MessageKind.APPEND, 1, term=2, index=1, log_term=1, entries=first)
    member.heard(MessageKind.APPEND, 3, term=3, index=1, log_term=1, entries=(Entry(3, 2, b"c"),))
    later = tuple(Entry(4, index) for index in (4, 5, 6))
    member.heard(MessageKind.APPEND, 4, term=4, index=1, log_term=1, entries=first + later)
    member.finish_write()
    member.work()
    member.finish_write()
    assert [member.disk.log.term(index) for index in range(1, 7)] == [1, 2, 2, 4, 4, 4]


# What a leader does with the answers


def test_an_acknowledgement_moves_a_peer_from_probing_to_replicating() -> None:
    member = lone_member()
    lead(member)
    assert progress_of(member, 2).state is ProgressState.PROBE
    acknowledge(member, 2)
    progress = progress_of(member, 2)
    assert (progress.state, progress.match, progress.next) == (ProgressState.REPLICATE, 1, 2)


def test_an_acknowledgement_of_what_already_matches_moves_a_probed_peer_too() -> None:
    member = replicating_leader()
    member.raw.unreachable(2)
    assert progress_of(member, 2).state is ProgressState.PROBE
    acknowledge(member, 2)
    assert progress_of(member, 2).state is ProgressState.REPLICATE


def test_an_old_acknowledgement_changes_nothing() -> None:
    member = replicating_leader()
    member.propose(b"x")
    acknowledge(member, 2)
    before = repr(progress_of(member, 2))
    assert acknowledge(member, 2, index=1) == []
    assert repr(progress_of(member, 2)) == before


def test_an_acknowledgement_sends_the_peer_what_it_waits_for() -> None:
    """While it was probed, nothing more was sent to it; what has come meanwhile goes with the first answer."""
    member = lone_member()
    lead(member)
    member.propose(b"x")
    assert appends(acknowledge(member, 2, index=1), 2) == [(1, [2])]


def test_each_batch_follows_the_acknowledgement_of_the_one_before_while_probing_and_then_none_waits() -> None:
    member = lone_member(settings=ONE_ENTRY)
    lead(member)
    member.raw.propose([b"a", b"b", b"c"])
    assert appends(member.work(), 2) == []
    assert appends(acknowledge(member, 2, index=1), 2) == [(1, [2]), (2, [3]), (3, [4])]


def test_a_refusal_makes_the_leader_probe_where_the_peer_may_match() -> None:
    member = lone_member(entries=log_of(1, 1, 1))
    lead(member)
    assert appends(member.heard(MessageKind.APPEND_RESPONSE, 2, index=3, reject=True, hint=1, log_term=1), 2) == [
        (1, [2, 3, 4])
    ]


def test_a_refusal_while_replicating_makes_the_leader_probe_again() -> None:
    member = replicating_leader()
    member.propose(b"lost")
    member.propose(b"arrives too early")
    assert appends(member.heard(MessageKind.APPEND_RESPONSE, 2, index=2, reject=True, hint=1, log_term=1), 2) == [
        (1, [2, 3])
    ]
    assert progress_of(member, 2).state is ProgressState.PROBE


def test_a_stale_refusal_sends_nothing() -> None:
    member = replicating_leader()
    before = repr(progress_of(member, 2))
    assert member.heard(MessageKind.APPEND_RESPONSE, 2, index=1, reject=True) == []
    assert repr(progress_of(member, 2)) == before


@pytest.mark.parametrize(
    ("leader", "follower", "probes"),
    [
        # The leader's opening entry comes after its log. Expected: the places that are tried; the last one matches.
        pytest.param((1, 1, 1), (1, 1), [3, 2], id="missing one"),
        pytest.param((1, 1, 1), (), [3, 0], id="missing all"),
        pytest.param((1, 3, 3, 3, 3), (1, 2, 2, 2, 2), [5, 1], id="the follower's term skips the leader's"),
        pytest.param((1, 2, 2, 2, 6), (1, 5, 5, 5, 5), [5, 4, 1], id="each skips a term of the other"),
        pytest.param((1, 3, 3, 5, 5), (1, 3, 3, 4, 4), [5, 3], id="parted one term ago"),
        pytest.param((2, 2, 2, 2, 9), (1, 1, 1, 1, 1, 1), [5, 0], id="nothing in common"),
        pytest.param((1, 2, 3, 9), (1, 2, 3, 4, 4, 4, 4, 4, 4), [4, 3], id="much too long"),
        pytest.param((1, 4, 4, 4, 4, 4, 4, 9), (1, 2, 3, 3, 3), [8, 1], id="several terms at once"),
    ],
)
def test_a_leader_finds_where_the_logs_part_term_by_term(
    leader: tuple[int, ...], follower: tuple[int, ...], probes: list[int]
) -> None:
    """Not entry by entry: the two hints skip every term that can't match (thesis 10.2.1)."""
    network = cluster(
        logs={1: log_of(*leader), 2: log_of(*follower), 3: log_of(*leader)},
        hard_states={node_id: HardState(term=9) for node_id in (1, 2, 3)},
    )
    network.campaign(1)
    tried = [message.index for message in network.log if message.kind is MessageKind.APPEND and message.receiver == 2]
    assert tried[: len(probes)] == probes
    assert network[2].log() == network[1].log()
    refusals = [message for message in network.log if message.reject and message.kind is MessageKind.APPEND_RESPONSE]
    assert len(refusals) == len(probes) - 1


def test_a_refusal_that_was_overtaken_does_not_stall_replication() -> None:
    """The refusals of two appends after a lost one arrive in the wrong order, and one of them twice."""
    network = cluster()
    network.campaign(1)
    network.drop(lambda message: message.kind is MessageKind.APPEND and message.receiver == 2)
    network.propose(1, b"lost")
    network.heal()
    network.delay(lambda message: message.kind is MessageKind.APPEND_RESPONSE and message.sender == 2)
    network.propose(1, b"a")
    network.propose(1, b"b")
    network.release(reverse=True, times=2)
    assert network[2].commands() == [b"lost", b"a", b"b"]


def test_appends_that_arrive_twice_and_in_the_wrong_order_do_no_harm() -> None:
    network = cluster()
    network.campaign(1)
    network.delay(lambda message: message.kind is MessageKind.APPEND and message.receiver == 3)
    for data in (b"a", b"b", b"c"):
        network.propose(1, data)
    network.release(reverse=True, times=2)
    network.tick(2)
    assert network[3].commands() == [b"a", b"b", b"c"]


def test_the_messages_of_an_old_leader_change_nothing() -> None:
    network = cluster()
    network.campaign(1)
    network.delay(lambda message: message.kind is MessageKind.APPEND and message.sender == 1)
    network[1].raw.propose([b"old"])
    network.settle()
    network.isolate(1)
    network.tick(10, 2, 3)
    network.campaign(2)
    network.propose(2, b"new")
    network.heal()
    network.release()
    network.tick(3)
    assert all(member.commands() == [b"new"] for member in network.members.values())


def test_a_follower_that_missed_the_commit_learns_it_by_the_next_heartbeat() -> None:
    network = cluster()
    network.campaign(1)
    network.propose(1, b"x")
    network.drop(lambda message: message.kind is MessageKind.APPEND and message.receiver == 3 and not message.entries)
    network.propose(1, b"y")
    assert network[3].commands() == [b"x"]
    network.tick()
    assert network[3].commands() == [b"x", b"y"]


def test_a_heartbeat_commits_no_more_than_the_peer_is_known_to_have() -> None:
    member = replicating_leader()
    member.propose(b"x")
    acknowledge(member, 2)
    beats = {message.receiver: message.commit for message in member.tick()}
    assert beats == {2: 2, 3: 1}


def test_an_answered_heartbeat_sends_a_peer_that_is_behind_what_it_misses() -> None:
    member = lone_member()
    lead(member)
    # The first probe was lost.
    assert appends(member.heard(MessageKind.HEARTBEAT_RESPONSE, 2), 2) == [(0, [1])]
    assert appends(member.heard(MessageKind.HEARTBEAT_RESPONSE, 2), 2) == [(0, [1])]
    acknowledge(member, 2)
    assert member.heard(MessageKind.HEARTBEAT_RESPONSE, 2) == []


def test_an_answered_heartbeat_brings_back_a_probed_peer_that_has_everything() -> None:
    network = cluster()
    network.campaign(1)
    network[1].raw.unreachable(2)
    network.tick()
    assert progress_of(network[1], 2).state is ProgressState.REPLICATE


def test_what_is_lost_while_replicating_is_found_out_by_a_heartbeat() -> None:
    network = cluster()
    network.campaign(1)
    network.drop(lambda message: message.kind is MessageKind.APPEND and message.receiver == 2)
    network.propose(1, b"x")
    network.propose(1, b"y")
    network.heal()
    network.tick()
    assert network[2].commands() == [b"x", b"y"]


def test_an_unreachable_peer_is_probed_again() -> None:
    member = replicating_leader()
    member.propose(b"x")
    assert progress_of(member, 2).next == 3
    member.raw.unreachable(2)
    progress = progress_of(member, 2)
    assert (progress.state, progress.next, progress.match) == (ProgressState.PROBE, 2, 1)


def test_unreachable_peers_are_nothing_to_those_who_do_not_replicate_to_them() -> None:
    member = lone_member()
    member.raw.unreachable(2)
    lead(member)
    before = repr(progress_of(member, 2))
    member.raw.unreachable(2)
    member.raw.unreachable(9)
    assert repr(progress_of(member, 2)) == before


def test_an_acknowledgement_beyond_the_log_stops_the_leader() -> None:
    """Nobody can have what was never sent: that log is another cluster's, or this one has lost its end."""
    member = replicating_leader()
    with pytest.raises(InvariantViolation, match="beyond the last index"):
        acknowledge(member, 2, index=9)


@pytest.mark.parametrize("kind", [MessageKind.APPEND_RESPONSE, MessageKind.HEARTBEAT_RESPONSE])
def test_the_answers_of_one_who_is_no_member_are_ignored(kind: MessageKind) -> None:
    member = replicating_leader()
    assert member.heard(kind, 9, index=1) == []


def test_a_leader_ignores_what_its_own_disk_says_of_an_earlier_term() -> None:
    """It led term 1 when it gave 2@1 to its disk, and leads term 3 when the disk is done with it; 2@2 is there now."""
    member = lone_member()
    lead(member)
    acknowledge(member, 2, 3)
    member.holds_writes = True
    member.propose(b"x")
    member.heard(MessageKind.APPEND, 2, term=2, index=1, log_term=1, entries=(Entry(2, 2),))
    member.raw._raft.become_candidate(is_pre_vote=False)
    member.raw._raft.become_leader()
    member.work()
    member.finish_write()
    assert progress_of(member, 1).match == 1
    member.work()
    member.finish_write()
    assert progress_of(member, 1).match == 3
