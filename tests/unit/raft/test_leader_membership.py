"""Membership at the leader: one change at a time, in force when applied; joint configurations; its own removal."""

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
    Settings,
    Transition,
    decode_conf_change,
)
from meteora.raft.errors import ChangePending, InvalidConfChange, ProposalDropped
from tests.raft_network import Member, Network, acknowledge, cluster, lead, lone_member
from tests.unit.raft.leaders import appends, progress_of, replicating_leader


def change(text: str, transition: Transition = Transition.AUTO) -> ConfChange:
    """`+4` adds a voter, `-4` removes a node, `l4` makes it a learner."""
    kinds = {"+": ChangeKind.ADD_VOTER, "-": ChangeKind.REMOVE, "l": ChangeKind.ADD_LEARNER}
    return ConfChange(tuple(Change(kinds[word[0]], int(word[1:])) for word in text.split()), transition)


def led_by_1(*voters: int, newcomers: tuple[int, ...] = ()) -> Network:
    network = cluster(voters or (1, 2, 3), newcomers=newcomers)
    network.campaign(1)
    return network


def propose(network: Network, node_id: int, wanted: ConfChange) -> None:
    network[node_id].raw.propose_conf_change(wanted)
    network.settle()


def last_entry(member: Member) -> Entry:
    return member.log()[-1]


# Proposing


def test_a_change_is_in_force_when_it_is_applied_not_when_it_is_proposed() -> None:
    member = replicating_leader()
    member.raw.propose_conf_change(change("+4"))
    member.work()
    assert member.raw.configuration == Configuration.of({1, 2, 3})
    acknowledge(member, 2)
    assert member.raw.configuration == Configuration.of({1, 2, 3, 4})


@pytest.mark.parametrize("wanted", [change("+4"), change("l4"), change("-3"), change("l3"), change("-3 +4 l5")])
def test_a_change_is_applied_by_all(wanted: ConfChange) -> None:
    network = led_by_1(newcomers=(4, 5))
    propose(network, 1, wanted)
    network.tick()
    target = Configuration.of({1, 2, 3}).after(wanted)
    if target.is_joint:
        target = target.after(ConfChange())
    assert all(network[node_id].raw.configuration == target for node_id in target.members)


def test_a_second_change_waits_until_the_first_is_applied() -> None:
    member = replicating_leader()
    member.raw.propose_conf_change(change("+4"))
    with pytest.raises(ChangePending, match="entry 2 is not applied yet"):
        member.raw.propose_conf_change(change("+5"))
    member.holds_applies = True
    member.work()
    acknowledge(member, 2)
    with pytest.raises(ChangePending):
        member.raw.propose_conf_change(change("+5"))
    member.apply(1)
    member.raw.propose_conf_change(change("+5"))


def test_a_second_change_that_comes_by_another_way_becomes_an_empty_entry() -> None:
    """It was passed on, or came with others in one proposal: the rest of the proposal is not lost for it."""
    member = replicating_leader()
    entries = (
        Entry(0, 0, change("+4").encode(), EntryKind.CONF_CHANGE),
        Entry(0, 0, b"x"),
        Entry(0, 0, change("+5").encode(), EntryKind.CONF_CHANGE),
    )
    member.heard(MessageKind.PROPOSE, 2, term=0, entries=entries)
    assert [(entry.kind, entry.data) for entry in member.log()[1:]] == [
        (EntryKind.CONF_CHANGE, change("+4").encode()),
        (EntryKind.COMMAND, b"x"),
        (EntryKind.COMMAND, b""),
    ]
    acknowledge(member, 2)
    assert member.raw.configuration == Configuration.of({1, 2, 3, 4})


@pytest.mark.parametrize(
    "data", [b"", b"\x01", change("-1 -2 -3").encode()], ids=["nothing", "cut short", "all voters"]
)
def test_a_change_that_makes_no_sense_becomes_an_empty_entry(data: bytes) -> None:
    member = replicating_leader()
    member.heard(MessageKind.PROPOSE, 2, term=0, entries=(Entry(0, 0, data, EntryKind.CONF_CHANGE),))
    assert last_entry(member) == Entry(1, 2)


@pytest.mark.parametrize("wanted", [change("-1 -2 -3"), ConfChange()], ids=["all voters", "leave, not joint"])
def test_a_change_that_makes_no_sense_is_refused_where_it_is_proposed(wanted: ConfChange) -> None:
    member = replicating_leader()
    with pytest.raises(InvalidConfChange):
        member.raw.propose_conf_change(wanted)
    assert member.raw.status().last_index == 1


def test_only_the_leader_takes_changes() -> None:
    member = lone_member()
    with pytest.raises(ProposalDropped, match="only the leader"):
        member.raw.propose_conf_change(change("+4"))


def test_a_change_is_dropped_when_too_much_waits_to_be_committed() -> None:
    member = replicating_leader(max_uncommitted_bytes=10)
    member.propose(b"x" * 10)
    with pytest.raises(ProposalDropped):
        member.raw.propose_conf_change(change("+4"))
    acknowledge(member, 2)
    member.raw.propose_conf_change(change("+4"))


def test_a_new_leader_takes_changes_only_once_all_of_its_old_log_is_applied() -> None:
    """There may be a change in it that is not applied yet."""
    member = lone_member(
        entries=[Entry(1, 1), Entry(1, 2, change("+4").encode(), EntryKind.CONF_CHANGE)],
        hard_state=HardState(term=1, commit=1),
    )
    lead(member)
    with pytest.raises(ChangePending):
        member.raw.propose_conf_change(change("+5"))
    acknowledge(member, 2)
    assert member.raw.configuration.voters == {1, 2, 3, 4}
    member.raw.propose_conf_change(change("+5"))


def test_an_empty_log_is_applied_from_the_start() -> None:
    member = lone_member()
    lead(member)
    member.raw.propose_conf_change(change("+4"))


def test_adding_the_same_node_twice_changes_nothing_the_second_time() -> None:
    network = led_by_1(1, newcomers=(2,))
    propose(network, 1, change("+2"))
    propose(network, 1, change("+2"))
    assert network[1].raw.configuration == network[2].raw.configuration == Configuration.of({1, 2})
    network.propose(1, b"x")
    assert network[2].commands() == [b"x"]


def test_a_change_that_does_not_fit_any_more_when_it_is_applied_changes_nothing() -> None:
    member = replicating_leader()
    with pytest.raises(InvalidConfChange):
        member.raw.apply_conf_change(ConfChange())
    assert member.raw.configuration == Configuration.of({1, 2, 3})


# Newcomers


def test_a_newcomer_gets_the_whole_log() -> None:
    network = led_by_1(newcomers=(4,))
    network.propose(1, b"x")
    propose(network, 1, change("l4"))
    assert network[4].commands() == [b"x"]
    assert network[4].log() == network[1].log()


def test_a_newcomer_counts_as_heard_from_so_that_the_leader_does_not_lose_its_quorum_by_adding_it() -> None:
    member = lone_member(voters=(1,))
    lead(member)
    member.tick(9)
    member.raw.propose_conf_change(change("+2"))
    member.work()
    assert member.raw.configuration.voters == {1, 2}
    member.tick(1)
    assert member.role is RoleName.LEADER
    member.tick(10)
    assert member.role is RoleName.FOLLOWER


def test_the_leader_probes_a_newcomer_at_once() -> None:
    member = replicating_leader()
    member.raw.propose_conf_change(change("l4"))
    member.work()
    assert appends(acknowledge(member, 2), 4) == [(2, [])]


@pytest.mark.parametrize("wanted", ["+4", "l4", "l3"])
def test_the_simple_and_the_joint_path_leave_the_leader_with_the_same_knowledge(wanted: str) -> None:
    outcomes = []
    for transition in (Transition.AUTO, Transition.JOINT_IMPLICIT):
        network = led_by_1(newcomers=(4,))
        propose(network, 1, change(wanted, transition))
        network.tick(2)
        configuration = network[1].raw.configuration
        caught_up = {
            peer: progress_of(network[1], peer).match == network[1].raw.status().last_index
            for peer in configuration.members
        }
        outcomes.append((configuration, caught_up))
    assert outcomes[0] == outcomes[1]
    assert all(outcomes[0][1].values())


# Removal


def test_a_removal_may_commit_what_waited() -> None:
    """Of two voters one is enough once the other is gone: what it had not acknowledged is committed at once."""
    member = lone_member(voters=(1, 2))
    lead(member)
    acknowledge(member, 2)
    member.raw.propose_conf_change(change("-2"))
    member.work()
    member.propose(b"x")
    assert member.commit_index == 1
    acknowledge(member, 2, index=2)
    assert member.raw.configuration == Configuration.of({1})
    assert (member.commit_index, member.commands()) == (3, [b"x"])


def test_what_a_removal_commits_is_told_to_the_others() -> None:
    member = lone_member(voters=(1, 2, 3, 4))
    lead(member)
    acknowledge(member, 2, 3, 4)
    member.raw.propose_conf_change(change("-4"))
    member.work()
    member.propose(b"x")
    acknowledge(member, 2)
    left = acknowledge(member, 3, index=2)
    assert member.commit_index == 3
    assert {message.commit for message in left if message.receiver in (2, 3)} >= {3}


def test_the_last_voter_can_not_be_removed() -> None:
    member = lone_member(voters=(1,), learners=(2,))
    lead(member)
    for wanted in ("-1", "l1"):
        with pytest.raises(InvalidConfChange):
            member.raw.propose_conf_change(change(wanted))


def test_nothing_more_is_sent_to_who_was_removed() -> None:
    member = replicating_leader()
    member.raw.propose_conf_change(change("-3"))
    member.work()
    acknowledge(member, 2)
    left = member.propose(b"x") + member.tick()
    assert {message.receiver for message in left} == {2}
    assert 3 not in member.raw.status().peers


def test_one_who_was_removed_can_not_win_and_does_not_disturb() -> None:
    network = led_by_1()
    # n3 does not learn of its removal.
    network.isolate(3)
    propose(network, 1, change("-3"))
    network.heal()
    network.tick(40)
    assert network.leaders() == [1]
    assert network[1].raw.term == 1


def test_a_leader_that_is_removed_steps_down_when_that_is_applied() -> None:
    """Meteora's only behaviour; in etcd it has to be asked for (a leader that stays is of no use to anybody)."""
    network = led_by_1()
    propose(network, 1, change("-1"))
    assert (network[1].role, network[1].raw.leader_id) == (RoleName.FOLLOWER, 0)
    assert network[1].raw.configuration == Configuration.of({2, 3})
    assert network[2].raw.configuration == network[3].raw.configuration == Configuration.of({2, 3})


def test_a_leader_that_is_removed_does_not_count_itself_for_what_comes_after() -> None:
    """Its last entries go out, and need the majority of the others from then on."""
    network = led_by_1()
    network[1].raw.propose_conf_change(change("-1"))
    network[1].raw.propose([b"after"])
    network.delay(lambda message: message.kind is MessageKind.APPEND_RESPONSE and message.sender == 3)
    network.settle()
    assert network[1].role is RoleName.FOLLOWER
    assert network[1].commands() == []
    network.delay(lambda _: False)
    network.release()
    network.tick(20, 2, 3)
    assert network.leaders() == [2]
    assert network[3].commands() == [b"after"]


def test_a_leader_that_is_removed_is_succeeded_at_once_by_the_one_with_the_longest_log() -> None:
    """Thesis 4.2.2. Nobody waits for an election timeout, nor for pre-votes."""
    network = led_by_1()
    network.cut(1, 2)
    network.log.clear()
    propose(network, 1, change("-1"))
    assert MessageKind.PRE_VOTE not in {message.kind for message in network.log}
    assert network.leaders() == [3]


def test_a_leader_that_is_removed_names_no_successor_that_does_not_answer() -> None:
    member = replicating_leader()
    member.propose(b"x")
    acknowledge(member, 2, 3)
    progress_of(member, 2).recent_active = False
    member.raw.propose_conf_change(change("-1"))
    member.work()
    left = acknowledge(member, 3)
    assert [message.receiver for message in left if message.kind is MessageKind.TIMEOUT_NOW] == [3]


def test_a_leader_that_leaves_with_a_joint_configuration_names_one_of_the_new_voters() -> None:
    network = led_by_1(1, 2, newcomers=(3,))
    propose(network, 1, change("-1 -2 +3"))
    assert network.leaders() == [3]
    assert network[3].raw.configuration == Configuration.of({3})


def test_a_successor_campaigns_once_it_has_applied_what_is_committed() -> None:
    network = led_by_1()
    network[2].holds_applies = True
    network.isolate(3)
    propose(network, 1, change("-1"))
    network.heal()
    assert network[2].role is RoleName.FOLLOWER
    network[2].apply(len(network[2].to_apply))
    network.settle()
    assert network.leaders() == [2]


def test_a_successor_that_applies_too_late_does_not_disturb() -> None:
    network = led_by_1()
    network[2].holds_applies = True
    network.isolate(3)
    propose(network, 1, change("-1"))
    network.heal()
    network.tick(10, 2)
    network[2].apply(len(network[2].to_apply))
    network.settle()
    assert network[2].role is RoleName.FOLLOWER


def test_a_leader_that_was_removed_can_neither_propose_nor_campaign() -> None:
    network = led_by_1()
    propose(network, 1, change("-1"))
    with pytest.raises(ProposalDropped):
        network[1].raw.propose([b"x"])
    network.tick(40, 1)
    network.campaign(1)
    assert (network[1].role, network[1].raw.term) == (RoleName.FOLLOWER, 1)


def test_a_leader_that_is_made_learner_steps_down_too() -> None:
    network = led_by_1()
    propose(network, 1, change("l1"))
    assert network[1].role is RoleName.FOLLOWER
    network.tick(20)
    assert network.leaders() == [2]
    network.propose(2, b"x")
    assert network[1].commands() == [b"x"]


def test_the_one_that_is_left_leads_although_it_missed_that_the_removal_is_committed() -> None:
    """Found by seeds: both are up and can talk, and there is no leader any more.

    n2 misses only the news that n1's removal is committed. So it asks n1 for its vote; n1 has the longer log and
    refuses, and as it is no voter, it does not campaign itself.
    """
    network = led_by_1(1, 2)
    network[1].raw.propose_conf_change(change("-1"))
    network.delay(lambda message: message.kind is MessageKind.APPEND_RESPONSE)
    network.settle()
    network.drop(lambda message: message.kind is MessageKind.APPEND)
    network.propose(1, b"longer")
    network.release()
    assert network[1].raw.configuration == Configuration.of({2})
    assert network[2].log() == network[1].log()[:2]
    network.heal()
    network.tick(100)
    assert network.leaders() == [2]


def test_those_who_are_left_elect_a_leader_although_only_one_of_them_knows_that_the_removal_is_committed() -> None:
    """Found by reading: the other one has the longer log, and asks for votes as if n1, which is gone, were a voter.

    n4 is down; n2 and n3 are a majority of those who are left.
    """
    network = led_by_1(1, 2, 3, 4)
    network.crash(4)
    network[1].raw.propose_conf_change(change("-1"))
    network.delay(lambda message: message.kind is MessageKind.APPEND_RESPONSE)
    network.settle()
    network.drop(lambda message: message.kind is MessageKind.APPEND and message.receiver == 2 and message.index == 2
                 and bool(message.entries))  # fmt: skip
    network.propose(1, b"longer")
    network.drop(lambda message: message.kind is MessageKind.APPEND and message.receiver == 3)
    network.release()
    # A heartbeat that n1 sent when it knew of the commit, and before it stepped down.
    network[2].heard(MessageKind.HEARTBEAT, 1, commit=2)
    assert network[1].raw.configuration == network[2].raw.configuration == Configuration.of({2, 3, 4})
    assert network[3].raw.configuration == Configuration.of({1, 2, 3, 4})
    assert network[3].raw.status().last_index > network[2].raw.status().last_index
    network.crash(1)
    network.heal()
    network.tick(100)
    assert len(network.leaders()) == 1


# Joint configurations


def test_a_joint_configuration_that_is_left_by_itself_is_left() -> None:
    network = led_by_1(newcomers=(4, 5))
    propose(network, 1, change("+4 +5"))
    assert network[1].raw.configuration == Configuration.of({1, 2, 3, 4, 5})
    kinds = [entry.kind for entry in network[1].log()]
    assert kinds == [EntryKind.COMMAND, EntryKind.CONF_CHANGE, EntryKind.CONF_CHANGE]
    assert decode_conf_change(last_entry(network[1]).data).is_leave_joint


def test_a_joint_configuration_that_is_left_on_demand_stays_until_then() -> None:
    network = led_by_1(newcomers=(4, 5))
    propose(network, 1, change("+4 +5", Transition.JOINT_EXPLICIT))
    network.tick(5)
    assert network[1].raw.configuration.is_joint
    with pytest.raises(InvalidConfChange):
        network[1].raw.propose_conf_change(change("-2"))
    propose(network, 1, ConfChange())
    assert network[1].raw.configuration == Configuration.of({1, 2, 3, 4, 5})
    with pytest.raises(InvalidConfChange):
        network[1].raw.propose_conf_change(ConfChange())


def test_a_single_change_may_be_made_joint_and_left_by_itself() -> None:
    network = led_by_1(newcomers=(4,))
    propose(network, 1, change("+4", Transition.JOINT_IMPLICIT))
    assert network[1].raw.configuration == Configuration.of({1, 2, 3, 4})
    assert len(network[1].log()) == 3


def test_a_new_leader_leaves_the_joint_configuration_that_it_finds() -> None:
    network = led_by_1(newcomers=(4, 5))
    network.drop(lambda message: any(entry.kind is EntryKind.CONF_CHANGE and len(entry.data) == 6 for entry in
                                     message.entries))  # fmt: skip
    propose(network, 1, change("+4 +5"))
    assert network[2].raw.configuration.is_joint
    network.crash(1)
    network.heal()
    network.tick(10, 2, 3, 4, 5)
    network.campaign(2)
    network.tick(2)
    assert network.leaders() == [2]
    assert network[2].raw.configuration == Configuration.of({1, 2, 3, 4, 5})


def test_leaving_a_joint_configuration_is_tried_again_if_it_can_not_be_proposed_at_once() -> None:
    network = led_by_1(newcomers=(4, 5))
    network.isolate(3)
    # While leadership is handed over, nothing is proposed.
    network.drop(lambda message: message.kind is MessageKind.APPEND_RESPONSE)
    network[1].raw.propose_conf_change(change("+4 +5"))
    network.settle()
    network[1].raw.transfer_leader(3)
    network.heal()
    network.isolate(3)
    network.post(network[1].heard(MessageKind.APPEND_RESPONSE, 2, index=2))
    network.settle()
    assert network[1].raw.configuration.is_joint
    network.tick(12)
    assert network[1].raw.configuration == Configuration.of({1, 2, 3, 4, 5})


def test_leaving_a_joint_configuration_waits_for_room() -> None:
    member = lone_member(settings=Settings(max_uncommitted_bytes=10))
    lead(member)
    acknowledge(member, 2, 3)
    member.raw.propose_conf_change(change("+4 +5"))
    member.work()
    member.raw._raft.role._uncommitted_bytes = 0  # type: ignore[union-attr]
    member.propose(b"x" * 100)
    acknowledge(member, 2, index=2)
    member.tick()
    assert member.raw.configuration.is_joint
    assert member.raw.status().last_index == 3
    acknowledge(member, 2, 4, 5, index=3)
    member.tick()
    assert decode_conf_change(last_entry(member).data).is_leave_joint


def test_while_joint_both_majorities_commit() -> None:
    member = lone_member(voters=(1,))
    lead(member)
    member.raw.propose_conf_change(change("+2 +3 -1", Transition.JOINT_EXPLICIT))
    member.work()
    assert member.raw.configuration.is_joint
    member.propose(b"x")
    acknowledge(member, 2)
    assert member.commit_index == 2
    acknowledge(member, 3)
    assert member.commit_index == 3


def test_a_leader_can_be_replaced_in_one_step() -> None:
    network = led_by_1(newcomers=(4,))
    propose(network, 1, change("-1 +4", Transition.JOINT_EXPLICIT))
    assert network[1].role is RoleName.LEADER
    network[1].raw.transfer_leader(4)
    network.settle()
    network.tick()
    assert network.leaders() == [4]
    propose(network, 4, ConfChange())
    assert network[4].raw.configuration == Configuration.of({2, 3, 4})
    network.tick(40)
    assert network.leaders() == [4]


def test_a_leader_that_leaves_with_the_joint_configuration_steps_down_then() -> None:
    network = led_by_1(newcomers=(4,))
    propose(network, 1, change("-1 +4", Transition.JOINT_EXPLICIT))
    propose(network, 1, ConfChange())
    assert network[1].role is RoleName.FOLLOWER
    network.tick(20)
    assert network.leaders() == [2]


def test_a_demoted_voter_votes_until_the_joint_configuration_is_left() -> None:
    network = led_by_1()
    propose(network, 1, change("l2 l3", Transition.JOINT_EXPLICIT))
    assert network[1].raw.configuration.learners_next == {2, 3}
    network.crash(2)
    network.crash(3)
    network.propose(1, b"x")
    assert network[1].commands() == []


# Without a word of its own


def test_answers_of_who_was_removed_are_ignored() -> None:
    member = replicating_leader()
    member.raw.propose_conf_change(change("-3"))
    member.work()
    acknowledge(member, 2)
    assert member.step(Message(MessageKind.HEARTBEAT_RESPONSE, 3, 1, term=1)) == []


# Who is there


def test_who_was_heard_in_this_election_timeout_or_the_one_before_counts_as_there() -> None:
    member = replicating_leader(election_ticks=10)
    assert member.raw.heard == {1, 2, 3}
    for _ in range(10):
        member.tick()
        member.heard(MessageKind.HEARTBEAT_RESPONSE, 2)
    assert member.raw.heard == {1, 2, 3}
    for _ in range(10):
        member.tick()
        member.heard(MessageKind.HEARTBEAT_RESPONSE, 2)
    assert member.raw.heard == {1, 2}


def test_who_does_not_lead_can_not_say_who_is_there() -> None:
    member = lone_member()
    assert member.raw.heard == frozenset()
    assert not member.raw.has_pending_change
