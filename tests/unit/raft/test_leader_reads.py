"""Reads by ReadIndex: confirmed by a majority, at an index that is not below anything committed before they were asked.

There are no lease reads in this version: every read is confirmed.
"""

import pytest

from meteora.raft import Change, ChangeKind, ConfChange, Message, MessageKind, ReadState, RoleName
from tests.raft_network import Network, acknowledge, cluster, lead, lone_member, stand
from tests.unit.raft.leaders import leader_of, replicating_leader


def led_by_1(size: int = 3) -> Network:
    network = cluster(range(1, size + 1))
    network.campaign(1)
    return network


def read(network: Network, node_id: int, context: bytes) -> list[ReadState]:
    network[node_id].raw.read_index(context)
    network.settle()
    return network[node_id].read_states


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("commits", [0, 3])
def test_a_read_at_the_leader_is_confirmed_at_its_commit_index(size: int, commits: int) -> None:
    network = led_by_1(size)
    for _ in range(commits):
        network.propose(1, b"x")
    assert read(network, 1, b"r") == [ReadState(b"r", 1 + commits)]


@pytest.mark.parametrize("reader", [2, 3])
def test_a_read_at_a_follower_is_confirmed_by_the_leader(reader: int) -> None:
    network = led_by_1()
    network.propose(1, b"x")
    assert read(network, reader, b"r") == [ReadState(b"r", 2)]


def test_a_single_node_confirms_its_reads_alone() -> None:
    member = lone_member(voters=(1,))
    lead(member)
    member.raw.read_index(b"r")
    assert member.work() == []
    assert member.read_states == [ReadState(b"r", 1)]


def test_a_read_waits_for_a_majority() -> None:
    member = lone_member(voters=range(1, 6))
    lead(member)
    acknowledge(member, 2, 3)
    member.raw.read_index(b"r")
    beats = member.work()
    assert beats == [Message(MessageKind.HEARTBEAT, 1, peer, term=1, commit=commit, context=b"1") for peer, commit in
                     [(2, 1), (3, 1), (4, 0), (5, 0)]]  # fmt: skip
    member.heard(MessageKind.HEARTBEAT_RESPONSE, 2, context=b"1")
    member.heard(MessageKind.HEARTBEAT_RESPONSE, 2, context=b"1")
    assert member.read_states == []
    member.heard(MessageKind.HEARTBEAT_RESPONSE, 3, context=b"1")
    assert member.read_states == [ReadState(b"r", 1)]


def test_the_index_is_that_of_when_the_read_was_asked_for() -> None:
    member = replicating_leader()
    member.raw.read_index(b"r")
    member.work()
    member.propose(b"later")
    acknowledge(member, 2)
    member.heard(MessageKind.HEARTBEAT_RESPONSE, 2, context=b"1")
    assert member.read_states == [ReadState(b"r", 1)]


def test_answers_to_ordinary_heartbeats_confirm_nothing() -> None:
    member = replicating_leader()
    member.raw.read_index(b"r")
    member.work()
    member.heard(MessageKind.HEARTBEAT_RESPONSE, 2)
    assert member.read_states == []


def test_learners_confirm_nothing() -> None:
    network = cluster((1, 2), (3, 4))
    network.campaign(1)
    network.crash(2)
    assert read(network, 1, b"r") == []


def test_one_round_confirms_all_reads_before_it() -> None:
    network = led_by_1()
    network.delay(lambda message: message.context in (b"1", b"2"))
    read(network, 1, b"a")
    read(network, 1, b"b")
    assert read(network, 1, b"c") == [ReadState(context, 1) for context in (b"a", b"b", b"c")]


def test_a_read_whose_heartbeats_were_lost_is_confirmed_by_the_next_ones() -> None:
    network = led_by_1()
    network.drop(lambda message: message.kind is MessageKind.HEARTBEAT)
    assert read(network, 1, b"r") == []
    network.heal()
    network.tick(1, 1)
    assert network[1].read_states == [ReadState(b"r", 1)]


# A new leader


def test_a_read_waits_until_a_new_leader_has_committed_in_its_term() -> None:
    """Before that, its commit index may be lower than that of the leader before (thesis 6.4)."""
    network = led_by_1()
    network.propose(1, b"x")
    network.isolate(1)
    network.drop(lambda message: message.kind is MessageKind.APPEND_RESPONSE)
    network.tick(10, 2, 3)
    network.campaign(2)
    assert network[2].role is RoleName.LEADER
    assert read(network, 2, b"r") == []
    assert read(network, 3, b"q") == []
    network.heal()
    network.isolate(1)
    network.tick(2)
    assert network[2].read_states == [ReadState(b"r", 3)]
    assert network[3].read_states == [ReadState(b"q", 3)]


def test_a_read_that_waits_for_a_new_leader_is_asked_for_twice_and_answered_once() -> None:
    member = lone_member()
    lead(member)
    for _ in range(2):
        member.raw.read_index(b"r")
    acknowledge(member, 2)
    member.heard(MessageKind.HEARTBEAT_RESPONSE, 2, context=b"1")
    assert member.read_states == [ReadState(b"r", 1)]


def test_a_new_leader_that_is_behind_on_applying_serves_no_stale_read() -> None:
    """The index says from when on: the reader waits until its state machine is there."""
    network = led_by_1()
    network[2].holds_applies = True
    network.propose(1, b"x")
    network.crash(1)
    network.tick(10, 2, 3)
    network.campaign(2)
    assert read(network, 2, b"r") == [ReadState(b"r", 3)]
    assert network[2].raw.status().applied_index < 3


def test_an_old_leader_that_is_cut_off_confirms_nothing() -> None:
    network = led_by_1()
    network.isolate(1)
    network.tick(12, 2, 3)
    network.propose(network.leaders()[-1], b"new")
    assert network[1].role is RoleName.LEADER
    assert read(network, 1, b"r") == []
    network.heal()
    network.tick(3)
    assert network[1].role is RoleName.FOLLOWER
    assert network[1].read_states == []


def test_a_read_that_was_passed_on_to_an_old_leader_is_asked_for_again_at_the_new_one() -> None:
    network = led_by_1()
    network.isolate(1)
    assert read(network, 2, b"r") == []
    network.tick(10, 2, 3)
    network.campaign(3)
    assert read(network, 2, b"r") == [ReadState(b"r", 2)]


def test_the_answer_of_a_leader_that_was_deposed_meanwhile_is_still_good() -> None:
    """The read was confirmed after it had been asked for; that there is a newer term takes nothing from it."""
    member = lone_member()
    member.heard(MessageKind.HEARTBEAT, 2, term=1)
    member.raw.read_index(b"r")
    member.work()
    member.heard(MessageKind.READ_INDEX_RESPONSE, 2, term=2, index=1, context=b"r")
    assert member.read_states == [ReadState(b"r", 1)]


def test_a_read_without_a_leader_is_not_answered() -> None:
    member = lone_member()
    member.raw.read_index(b"r")
    assert member.work() == []
    assert member.read_states == []


def test_reads_that_wait_are_gone_when_the_leader_steps_down() -> None:
    member = replicating_leader()
    member.raw.read_index(b"r")
    member.work()
    member.heard(MessageKind.HEARTBEAT, 2, term=2)
    member.heard(MessageKind.HEARTBEAT_RESPONSE, 3, term=2, context=b"1")
    stand(member)
    assert member.read_states == []


# The same read again


def test_a_read_that_is_asked_for_again_is_answered_for_each_time_that_it_was_confirmed() -> None:
    network = led_by_1()
    assert read(network, 3, b"r") == [ReadState(b"r", 1)]
    network.propose(1, b"x")
    assert read(network, 3, b"r") == [ReadState(b"r", 1), ReadState(b"r", 2)]


def test_a_read_that_is_asked_for_twice_before_it_is_confirmed_is_answered_once() -> None:
    member = replicating_leader()
    for _ in range(2):
        member.heard(MessageKind.READ_INDEX, 3, term=0, context=b"r")
    answers = member.heard(MessageKind.HEARTBEAT_RESPONSE, 2, context=b"1")
    assert answers == [Message(MessageKind.READ_INDEX_RESPONSE, 1, 3, term=1, index=1, context=b"r")]


def test_a_late_answer_to_the_heartbeats_of_a_read_that_was_asked_again_confirms_no_other_read() -> None:
    """Found by reading: with both, an old leader confirmed a read of its own that nobody had been asked about."""
    network = led_by_1()
    network.delay(lambda message: message.kind is MessageKind.HEARTBEAT_RESPONSE and message.sender == 3)
    assert read(network, 3, b"retried") == [ReadState(b"retried", 1)]
    (late,) = [message for message in network.held_back if message.context == b"1"]
    retry = Message(MessageKind.READ_INDEX, 3, 1, context=b"retried")
    # n3 may have sent the retry before it came to know of n2's leadership.
    network.isolate(1)
    network.tick(12, 2, 3)
    network.propose(network.leaders()[-1], b"new")
    assert network[2].commit_index == 3
    assert read(network, 1, b"stale") == []
    network[1].step(retry)
    network[1].step(late)
    assert all(state.index >= 3 for state in network[1].read_states if state.context == b"stale")


# Memory


def test_nothing_of_a_read_stays_with_the_leader_once_it_is_answered() -> None:
    network = led_by_1()
    for count in range(10):
        read(network, 1 + count % 3, b"%d" % count)
    assert len(leader_of(network[1])._reads) == 0


# Membership


def test_a_read_is_confirmed_when_the_quorum_shrinks_to_those_who_have_answered() -> None:
    network = led_by_1(4)
    network.isolate(3)
    network.isolate(4)
    network.crash(4)
    network[1].raw.propose_conf_change(ConfChange((Change(ChangeKind.REMOVE, 4),)))
    network.settle()
    assert read(network, 1, b"r") == []
    # The change is committed by n3, which hears no heartbeats.
    network.heal()
    network.drop(lambda message: message.kind is MessageKind.HEARTBEAT)
    network.tick(1, 1)
    network[1].heard(MessageKind.APPEND_RESPONSE, 3, index=2)
    network.settle()
    assert network[1].raw.configuration.voters == {1, 2, 3}
    assert network[1].read_states == [ReadState(b"r", 1)]


def test_an_answer_goes_to_a_reader_that_is_no_member_any_more() -> None:
    """It asked while it was one; what it does with the answer is its own business."""
    member = replicating_leader()
    member.heard(MessageKind.READ_INDEX, 9, term=0, context=b"r")
    answers = member.heard(MessageKind.HEARTBEAT_RESPONSE, 2, context=b"1")
    assert [(answer.kind, answer.receiver) for answer in answers] == [(MessageKind.READ_INDEX_RESPONSE, 9)]
