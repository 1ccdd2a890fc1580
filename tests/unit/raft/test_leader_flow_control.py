"""How fast a leader sends, and how much it takes in: windows, probes, and what may wait to be committed."""

import pytest

from meteora.raft import Entry, Message, MessageKind, Settings
from meteora.raft.errors import ProposalDropped
from tests.raft_network import Member, acknowledge, cluster, lead, lone_member
from tests.unit.raft.leaders import appends, progress_of, replicating_leader


def filled(messages: int = 3) -> Member:
    """A leader that has filled its window to both peers, with entries 2 to `messages` + 1."""
    member = replicating_leader(max_inflight_messages=messages)
    for count in range(messages):
        assert appends(member.propose(b"%d" % count), 2) == [(count + 1, [count + 2])]
    return member


# Probing


def test_a_probed_peer_has_one_append_under_way() -> None:
    member = lone_member()
    assert appends(lead(member), 2) == [(0, [1])]
    for _ in range(3):
        assert appends(member.propose(b"x"), 2) == []


def test_each_answered_heartbeat_lets_one_more_probe_through_which_brings_all_that_waits() -> None:
    member = lone_member()
    lead(member)
    for last in (1, 2, 3):
        assert appends(member.heard(MessageKind.HEARTBEAT_RESPONSE, 2), 2) == [(0, list(range(1, last + 1)))]
        assert appends(member.propose(b"x"), 2) == []


def test_the_heartbeats_of_reads_let_no_probe_through() -> None:
    member = replicating_leader()
    member.raw.unreachable(3)
    member.propose(b"x")
    assert member.heard(MessageKind.HEARTBEAT_RESPONSE, 3, context=b"some read") == []


# The window


def test_a_window_fills_and_then_nothing_is_sent() -> None:
    member = filled(3)
    assert appends(member.propose(b"one too many"), 2) == []
    assert progress_of(member, 2).inflights.is_full
    assert progress_of(member, 2).paused


def test_each_peer_has_its_own_window() -> None:
    member = filled(3)
    acknowledge(member, 3)
    sent = member.propose(b"x")
    assert (appends(sent, 2), appends(sent, 3)) == ([], [(4, [5])])


@pytest.mark.parametrize(("index", "freed"), [(2, 1), (3, 2), (4, 3)])
def test_an_acknowledgement_frees_all_that_it_covers(index: int, freed: int) -> None:
    member = filled(3)
    acknowledge(member, 2, index=index)
    assert len(progress_of(member, 2).inflights) == 3 - freed


def test_a_freed_window_is_filled_again_at_once() -> None:
    member = filled(3)
    for _ in range(5):
        assert appends(member.propose(b"waits"), 2) == []
    # What waited travels together, in one append.
    assert appends(acknowledge(member, 2, index=2), 2)[-1] == (4, [5, 6, 7, 8, 9])


def test_an_old_acknowledgement_frees_nothing() -> None:
    member = filled(3)
    acknowledge(member, 2, index=3)
    acknowledge(member, 2, index=2)
    acknowledge(member, 2, index=1)
    assert len(progress_of(member, 2).inflights) == 1


def test_an_answered_heartbeat_lets_one_empty_append_through_a_full_window() -> None:
    """It asks whether the peer is still there, and tells it the commit index; if an append was lost, it is refused."""
    member = filled(3)
    for _ in range(3):
        assert appends(member.heard(MessageKind.HEARTBEAT_RESPONSE, 2), 2) == [(4, [])]
        assert appends(member.propose(b"still full"), 2) == []
    assert len(progress_of(member, 2).inflights) == 3


def test_a_stream_that_stopped_at_its_window_goes_on_after_a_heartbeat() -> None:
    network = cluster(settings=Settings(max_inflight_messages=2))
    network.campaign(1)
    network.drop(lambda message: message.kind is MessageKind.APPEND_RESPONSE and message.sender == 3)
    for data in (b"a", b"b", b"c", b"d"):
        network.propose(1, data)
    assert progress_of(network[1], 3).paused
    network.heal()
    network.tick(2)
    assert network[3].commands() == [b"a", b"b", b"c", b"d"]


def test_a_window_is_full_by_its_bytes_too() -> None:
    member = replicating_leader(max_inflight_bytes=1000)
    assert appends(member.propose(b"x" * 900), 2) == [(1, [2])]
    assert appends(member.propose(b"x" * 900), 2) == [(2, [3])]
    assert appends(member.propose(b"x"), 2) == []
    assert appends(acknowledge(member, 2, index=2), 2)[-1] == (3, [4])


def test_one_append_holds_what_its_limit_allows_but_never_nothing() -> None:
    member = replicating_leader(max_append_bytes=100)
    sent = member.propose(b"x" * 30, b"y" * 30, b"z" * 300, b"end")
    assert appends(sent, 2) == [(1, [2])]
    assert appends(acknowledge(member, 2, index=2), 2) == [(2, [3]), (3, [4]), (4, [5])]


# What may wait to be committed


def test_proposals_are_dropped_while_too_many_bytes_wait_to_be_committed() -> None:
    member = replicating_leader(max_uncommitted_bytes=100)
    member.propose(b"x" * 60)
    member.propose(b"x" * 40)
    with pytest.raises(ProposalDropped, match="too many bytes"):
        member.propose(b"x")
    assert member.raw.status().last_index == 3


def test_proposals_are_taken_again_once_what_waited_is_about_to_be_applied() -> None:
    member = replicating_leader(max_uncommitted_bytes=100)
    member.propose(b"x" * 60)
    member.propose(b"x" * 40)
    acknowledge(member, 2, index=2)
    with pytest.raises(ProposalDropped):
        member.propose(b"x" * 61)
    member.propose(b"x" * 60)


def test_a_proposal_larger_than_the_limit_is_taken_if_nothing_waits() -> None:
    member = replicating_leader(max_uncommitted_bytes=100)
    member.propose(b"x" * 1000)
    with pytest.raises(ProposalDropped):
        member.propose(b"x")
    acknowledge(member, 2)
    member.propose(b"x" * 1000)


def test_empty_proposals_are_never_too_many() -> None:
    member = replicating_leader(max_uncommitted_bytes=1)
    for _ in range(100):
        member.propose(b"")
    assert member.raw.status().last_index == 101


def test_a_proposal_is_dropped_whole_or_not_at_all() -> None:
    member = replicating_leader(max_uncommitted_bytes=100)
    member.propose(b"x")
    with pytest.raises(ProposalDropped):
        member.propose(b"fits", b"x" * 100)
    assert member.raw.status().last_index == 2


def test_what_an_earlier_leader_left_does_not_count() -> None:
    """Its size was not counted when this node took it in as a follower; when it commits, the sum must not go wrong."""
    network = cluster(settings=Settings(max_uncommitted_bytes=100))
    network.campaign(1)
    network.drop(lambda message: message.kind is MessageKind.APPEND_RESPONSE)
    network.propose(1, b"x" * 90)
    network.isolate(1)
    network.tick(10, 2, 3)
    network.campaign(2)
    network.heal()
    network.isolate(1)
    network.tick(2)
    assert network[2].commands() == [b"x" * 90]
    network.drop(lambda message: message.kind is MessageKind.APPEND)
    network.propose(2, b"x" * 100)
    with pytest.raises(ProposalDropped):
        network[2].raw.propose([b"x"])


def test_the_log_of_a_leader_that_is_cut_off_does_not_grow_without_bound() -> None:
    network = cluster(settings=Settings(max_uncommitted_bytes=1000))
    network.campaign(1)
    network.isolate(1)
    dropped = 0
    for _ in range(100):
        try:
            network.propose(1, b"x" * 100)
        except ProposalDropped:
            dropped += 1
    assert dropped == 90
    network.heal()
    network.tick()
    network.propose(1, b"y")
    assert network[2].commands()[-1] == b"y"


def test_a_passed_on_proposal_that_is_dropped_is_told_to_who_delivers_it() -> None:
    member = replicating_leader(max_uncommitted_bytes=1)
    member.propose(b"xx")
    with pytest.raises(ProposalDropped):
        member.raw.step(Message(MessageKind.PROPOSE, 2, 1, entries=(Entry(0, 0, b"x"),)))


def test_what_an_earlier_leadership_left_uncommitted_does_not_count_in_the_next() -> None:
    """raft-rs: uncommitted size with leader change."""
    member = replicating_leader(max_uncommitted_bytes=100)
    member.propose(b"x" * 100)
    member.heard(MessageKind.HEARTBEAT, 2, term=2)
    lead(member)
    member.propose(b"x" * 100)
    with pytest.raises(ProposalDropped):
        member.propose(b"x")
