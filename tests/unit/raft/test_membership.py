"""Who is a member after a change, by tables: a story of changes, and the configuration after each of them.

In the tables `+4` adds a voter, `-4` removes a node, `l4` makes it a learner; before `!` stands what enters a joint
configuration.
"""

import pytest

from meteora.raft import Change, ChangeKind, ConfChange, Configuration, Transition, decode_conf_change
from meteora.raft.errors import InvalidConfChange
from meteora.raft.membership import enter_joint, leave_joint, simple_change
from meteora.raft.quorum import VoteResult
from meteora.raft.text import configuration_text

_KINDS = {"+": ChangeKind.ADD_VOTER, "-": ChangeKind.REMOVE, "l": ChangeKind.ADD_LEARNER}

NOTHING = Configuration()


def changes(text: str) -> tuple[Change, ...]:
    return tuple(Change(_KINDS[word[0]], int(word[1:])) for word in text.split())


def simple(configuration: Configuration, text: str) -> Configuration:
    return simple_change(configuration, changes(text))


def joint(configuration: Configuration, text: str, *, auto_leave: bool = False) -> Configuration:
    return enter_joint(configuration, changes(text), auto_leave=auto_leave)


# Simple changes: safety


@pytest.mark.parametrize(
    ("before", "change"),
    [
        # Without any voter, nobody could ever agree to anything again.
        (NOTHING, "l1"),
        (NOTHING, "-1"),
        (Configuration.of({1}), "-1"),
        (Configuration.of({1}), "l1"),
        (Configuration.of({1}, {2}), "-1"),
        (Configuration.of({1, 2}), "-1 -2"),
        (Configuration.of({1, 2}), "l1 l2"),
    ],
)
def test_a_simple_change_can_not_remove_all_voters(before: Configuration, change: str) -> None:
    with pytest.raises(InvalidConfChange, match="remove all voters"):
        simple(before, change)


@pytest.mark.parametrize(
    "change", ["+3 +4", "-1 +5", "-2 +5", "l1 +5", "+3 l1", pytest.param("-1 +3 l5", id="swap, with a learner")]
)
def test_a_simple_change_can_not_change_more_than_one_voter(change: str) -> None:
    with pytest.raises(InvalidConfChange, match="more than one voter"):
        simple(Configuration.of({1, 2}), change)


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        (NOTHING, "+1", "voters=(1)"),
        (Configuration.of({1}), "+2 l3", "voters=(1 2) learners=(3)"),
        (Configuration.of({1, 2}), "l2 l3 l4 l5", "voters=(1) learners=(2 3 4 5)"),
        (Configuration.of({1}, {2, 3, 4, 5}), "-2 -3 -4 -5", "voters=(1)"),
        (Configuration.of({1, 2, 3}), "-3", "voters=(1 2)"),
    ],
)
def test_a_simple_change_changes_one_voter_and_any_learners(before: Configuration, change: str, after: str) -> None:
    assert configuration_text(simple(before, change)) == after


# Simple changes: idempotency


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (Configuration.of({1}), "+1"),
        (Configuration.of({1, 2}), "+2 +2"),
        (Configuration.of({2}, {1}), "l1"),
        (Configuration.of({2}, {1}), "l1 l1"),
        (Configuration.of({2}), "-1"),
        (Configuration.of({2}), "-1 -4 -9"),
        (Configuration.of({2, 3}, {4}), "+2 l4 -5"),
    ],
)
def test_adding_who_is_there_and_removing_who_is_not_changes_nothing(before: Configuration, change: str) -> None:
    assert simple(before, change) == before


@pytest.mark.parametrize(
    ("once", "after"), [("+3", "voters=(1 2 3)"), ("l2", "voters=(1) learners=(2)"), ("-2", "voters=(1)")]
)
def test_a_simple_change_that_is_made_twice_is_made_once(once: str, after: str) -> None:
    before = Configuration.of({1, 2})
    assert configuration_text(simple(simple(before, once), once)) == after
    assert configuration_text(simple(before, f"{once} {once}")) == after


# Simple changes: promotion and demotion


@pytest.mark.parametrize(
    ("change", "after"),
    [
        ("l2", "voters=(1 3) learners=(2 4)"),
        ("+4", "voters=(1 2 3 4)"),
        # Pointless, but possible: the last word counts.
        ("l1 +1", "voters=(1 2 3) learners=(4)"),
        ("+2 l2", "voters=(1 3) learners=(2 4)"),
        ("-1 +1", "voters=(1 2 3) learners=(4)"),
        ("+4 l4", "voters=(1 2 3) learners=(4)"),
        ("-4 l4", "voters=(1 2 3) learners=(4)"),
    ],
)
def test_learners_become_voters_and_voters_learners_at_once(change: str, after: str) -> None:
    assert configuration_text(simple(Configuration.of({1, 2, 3}, {4}), change)) == after


# Joint configurations: safety


def test_a_joint_configuration_is_entered_and_left() -> None:
    inside = joint(Configuration.of({1}), "-1 +2 +3 l4")
    assert configuration_text(inside) == "voters=(2 3) outgoing=(1) learners=(4)"
    assert configuration_text(leave_joint(inside)) == "voters=(2 3) learners=(4)"


def test_a_joint_configuration_may_change_nothing() -> None:
    inside = joint(Configuration.of({1, 2}), "")
    assert configuration_text(inside) == "voters=(1 2) outgoing=(1 2)"
    assert leave_joint(inside) == Configuration.of({1, 2})


@pytest.mark.parametrize("change", ["", "+1", "l1"])
def test_a_joint_configuration_can_not_be_entered_without_voters(change: str) -> None:
    with pytest.raises(InvalidConfChange, match="without voters"):
        joint(NOTHING, change)


@pytest.mark.parametrize("change", ["", "+12", "-1"])
def test_a_joint_configuration_can_not_be_entered_twice(change: str) -> None:
    with pytest.raises(InvalidConfChange, match="joint configuration already"):
        joint(joint(Configuration.of({1, 2}), "+3"), change)


@pytest.mark.parametrize("change", ["l9", "+9", "-2", ""])
def test_a_simple_change_can_not_be_made_while_joint(change: str) -> None:
    with pytest.raises(InvalidConfChange, match="while the cluster is in a joint"):
        simple(joint(Configuration.of({1, 2}), "+3"), change)


@pytest.mark.parametrize("before", [NOTHING, Configuration.of({1}), Configuration.of({1, 2}, {3})])
def test_only_a_joint_configuration_can_be_left(before: Configuration) -> None:
    with pytest.raises(InvalidConfChange, match="not in a joint"):
        leave_joint(before)


def test_a_joint_configuration_can_not_be_left_twice() -> None:
    after = leave_joint(joint(Configuration.of({1}), "+2 +3"))
    with pytest.raises(InvalidConfChange, match="not in a joint"):
        leave_joint(after)


def test_a_simple_change_can_be_made_after_a_joint_configuration() -> None:
    after = simple(leave_joint(joint(Configuration.of({1}), "-1 +2 +3 l4")), "l9")
    assert configuration_text(after) == "voters=(2 3) learners=(4 9)"


@pytest.mark.parametrize("change", ["-1 -2", "l1 l2", "-1 l2"])
def test_a_joint_configuration_can_not_remove_all_voters_either(change: str) -> None:
    with pytest.raises(InvalidConfChange, match="remove all voters"):
        joint(Configuration.of({1, 2}), change)


# Joint configurations: idempotency


def test_the_last_word_on_each_node_counts_in_a_joint_configuration_too() -> None:
    inside = joint(Configuration.of({1}), "-1 -2 -9 +2 +3 +4 +2 +3 +4 l2 l2 -4 -4 l1 l1")
    assert configuration_text(inside) == "voters=(3) outgoing=(1) learners=(2) learners_next=(1)"
    assert configuration_text(leave_joint(inside)) == "voters=(3) learners=(1 2)"


def test_a_voter_that_is_removed_and_added_again_stays_voter() -> None:
    assert configuration_text(joint(Configuration.of({1, 2}), "-1 +1")) == "voters=(1 2) outgoing=(1 2)"


# Joint configurations: leaving by itself


@pytest.mark.parametrize("auto_leave", [True, False])
def test_whether_a_joint_configuration_is_left_by_itself_is_only_carried(auto_leave: bool) -> None:
    inside = joint(Configuration.of({1}), "+2 +3", auto_leave=auto_leave)
    assert inside.auto_leave is auto_leave
    assert leave_joint(inside) == Configuration.of({1, 2, 3})


def test_a_joint_configuration_can_not_be_entered_again_to_be_left_otherwise() -> None:
    inside = joint(Configuration.of({1}), "+2 +3", auto_leave=True)
    with pytest.raises(InvalidConfChange, match="already"):
        joint(inside, "", auto_leave=False)


# Joint configurations: voters that become learners


def test_a_demoted_voter_votes_until_the_joint_configuration_is_left() -> None:
    inside = joint(Configuration.of({1}), "+2 l1")
    assert configuration_text(inside) == "voters=(2) outgoing=(1) learners_next=(1)"
    assert inside.members == {1, 2}
    assert inside.all_voters == {1, 2}
    assert configuration_text(leave_joint(inside)) == "voters=(2) learners=(1)"


def test_a_demoted_voter_that_is_removed_after_all_does_not_come_back() -> None:
    inside = joint(Configuration.of({1, 2}), "l1 -1")
    assert configuration_text(inside) == "voters=(2) outgoing=(1 2)"
    assert leave_joint(inside) == Configuration.of({2})


def test_a_learner_that_is_promoted_in_a_joint_configuration_is_no_learner() -> None:
    inside = joint(Configuration.of({1}, {2, 3}), "+2 +4")
    assert configuration_text(inside) == "voters=(1 2 4) outgoing=(1) learners=(3)"


# Updates: etcd has a kind of change that carries news about a node and changes no membership. Here that is a change
# that adds who is there, with a context.


def test_an_update_changes_no_membership() -> None:
    before = Configuration.of({1, 2}, {3})
    update = ConfChange(changes("+1"), context=b"its new address")
    assert before.after(update) == before
    assert before.after(ConfChange(changes("l3"), context=b"its new address")) == before


# Node 0


@pytest.mark.parametrize("change", ["-0", "+0", "l0", "-0 +0 l0"])
def test_node_0_is_ignored(change: str) -> None:
    assert simple(Configuration.of({1}), change) == Configuration.of({1})
    assert joint(Configuration.of({1}), change) == Configuration.of({1})._replace(outgoing=frozenset({1}))


# How a change is made


@pytest.mark.parametrize(
    ("change", "after"),
    [
        (ConfChange(changes("+2")), "voters=(1 2)"),
        (ConfChange(changes("+2 +3")), "voters=(1 2 3) outgoing=(1) auto-leave"),
        (ConfChange(changes("+2"), Transition.JOINT_IMPLICIT), "voters=(1 2) outgoing=(1) auto-leave"),
        (ConfChange(changes("+2"), Transition.JOINT_EXPLICIT), "voters=(1 2) outgoing=(1)"),
        (ConfChange(changes("+2 l3"), Transition.JOINT_EXPLICIT), "voters=(1 2) outgoing=(1) learners=(3)"),
    ],
)
def test_a_change_is_simple_or_joint_as_it_says(change: ConfChange, after: str) -> None:
    assert configuration_text(Configuration.of({1}).after(change)) == after


@pytest.mark.parametrize("transition", list(Transition))
def test_a_change_without_changes_leaves_a_joint_configuration(transition: Transition) -> None:
    leave = ConfChange((), transition)
    assert leave.is_leave_joint
    assert not leave.enters_joint
    assert joint(Configuration.of({1}), "+2").after(leave) == Configuration.of({1, 2})


# What a configuration is asked


def test_a_joint_configuration_needs_both_halves() -> None:
    inside = joint(Configuration.of({1, 2, 3}), "-1 -2 -3 +4")
    assert inside.is_joint
    assert inside.committed({1: 9, 2: 9, 3: 9, 4: 5}) == 5
    assert inside.vote_result({1: True, 2: True}) is VoteResult.PENDING
    assert inside.vote_result({1: True, 2: True, 4: True}) is VoteResult.WON
    assert inside.vote_result({4: False}) is VoteResult.LOST


def test_learners_are_members_that_do_not_count() -> None:
    configuration = Configuration.of({1}, {2})
    assert configuration.members == {1, 2}
    assert configuration.committed({2: 9}) == 0
    assert configuration.vote_result({2: True}) is VoteResult.PENDING


# The encoding

ENCODED = ConfChange(changes("+1 -2 l3"), Transition.JOINT_EXPLICIT, b"opaque").encode()


@pytest.mark.parametrize(
    "change",
    [
        ConfChange(),
        ConfChange(context=b"only context"),
        ConfChange(changes("+1"), context=b"\x00"),
        ConfChange(changes("+18446744073709551615 -1 l1"), Transition.JOINT_IMPLICIT, b"x" * 1000),
    ],
)
def test_a_change_survives_its_encoding(change: ConfChange) -> None:
    assert decode_conf_change(change.encode()) == change


@pytest.mark.parametrize("length", range(len(ENCODED) - len(b"opaque")))
def test_a_change_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(InvalidConfChange):
        decode_conf_change(ENCODED[:length])


@pytest.mark.parametrize(
    ("position", "byte"),
    [
        pytest.param(0, 2, id="version"),
        pytest.param(1, 9, id="transition"),
        pytest.param(6, 9, id="kind"),
        pytest.param(2, 255, id="count"),
    ],
)
def test_a_change_of_another_release_is_refused(position: int, byte: int) -> None:
    encoded = bytearray(ENCODED)
    encoded[position] = byte
    with pytest.raises(InvalidConfChange):
        decode_conf_change(bytes(encoded))
