"""Changes of membership, whatever they are: invariants, one outcome by either path, and a second implementation.

The second implementation keeps a role for each node in each half instead of sets of nodes for each role.
"""

import hypothesis
import pytest
from hypothesis import strategies

from meteora.raft import Change, ChangeKind, ConfChange, Configuration, Transition
from meteora.raft.errors import InvalidConfChange
from meteora.raft.membership import enter_joint, leave_joint, simple_change

many = hypothesis.settings(max_examples=300)
nodes = strategies.integers(0, 6)
changes = strategies.builds(Change, strategies.sampled_from(ChangeKind), nodes)
change_lists = strategies.lists(changes, max_size=6).map(tuple)
conf_changes = strategies.builds(ConfChange, change_lists, strategies.sampled_from(Transition))


@strategies.composite
def ordinary(draw: strategies.DrawFn) -> Configuration:
    """A configuration with at least one voter."""
    members = draw(strategies.dictionaries(strategies.integers(1, 6), strategies.booleans(), min_size=1))
    voters = {node for node, votes in members.items() if votes}
    hypothesis.assume(voters)
    return Configuration.of(voters, members.keys() - voters)


def tried(before: Configuration, change: ConfChange) -> Configuration | None:
    """What the change makes of it; None if it can't be made."""
    try:
        return before.after(change)
    except InvalidConfChange:
        return None


# Against a second implementation


def slow_roles(before: Configuration, change: tuple[Change, ...]) -> dict[int, str]:
    """Each member's role after some changes that are made at once, one word each: the last one on a node counts."""
    roles = dict.fromkeys(before.voters, "voter") | dict.fromkeys(before.learners, "learner")
    last_words = {node: kind for kind, node in change if node}
    for node, kind in last_words.items():
        if kind is ChangeKind.REMOVE:
            roles.pop(node, None)
        else:
            roles[node] = "voter" if kind is ChangeKind.ADD_VOTER else "learner"
    return roles


def slow_after(before: Configuration, change: ConfChange) -> Configuration | None:
    """The ordinary configuration in the end, whether by the simple path or by the joint one; None if it is refused."""
    roles = slow_roles(before, change.changes)
    voters = {node for node, role in roles.items() if role == "voter"}
    is_simple = len(change.changes) == 1 and change.transition is Transition.AUTO
    if not change.changes or not voters:
        return None
    if is_simple and len(voters.symmetric_difference(before.voters)) > 1:
        return None
    return Configuration.of(voters, roles.keys() - voters)


@many
@hypothesis.given(ordinary(), conf_changes)
def test_a_change_is_what_the_second_implementation_says(before: Configuration, change: ConfChange) -> None:
    after = tried(before, change)
    if after is not None and after.is_joint:
        assert after.outgoing == before.voters
        after = leave_joint(after)
    assert after == slow_after(before, change)


# Whatever the story


@many
@hypothesis.given(ordinary(), strategies.lists(conf_changes, max_size=8))
def test_every_configuration_keeps_the_invariants(before: Configuration, story: list[ConfChange]) -> None:
    for change in story:
        before = tried(before, change) or before
        assert before.voters
        assert not before.learners & before.all_voters
        assert before.learners_next <= before.outgoing - before.voters
        if not before.is_joint:
            assert not before.learners_next
            assert not before.auto_leave
        assert 0 not in before.members


@many
@hypothesis.given(ordinary(), changes)
def test_one_change_ends_in_the_same_configuration_by_the_simple_and_the_joint_path(
    before: Configuration, change: Change
) -> None:
    simple = tried(before, ConfChange((change,)))
    joint = tried(before, ConfChange((change,), Transition.JOINT_EXPLICIT))
    assert (joint and leave_joint(joint)) == simple


@many
@hypothesis.given(ordinary(), change_lists)
def test_changes_one_by_one_end_in_the_same_configuration_as_all_at_once(
    before: Configuration, story: tuple[Change, ...]
) -> None:
    after = before
    for change in story:
        try:
            after = simple_change(after, (change,))
        except InvalidConfChange:
            hypothesis.reject()
    assert leave_joint(enter_joint(before, story, auto_leave=False)) == after


@many
@hypothesis.given(ordinary(), changes)
def test_any_majority_before_a_simple_change_meets_any_majority_after_it(before: Configuration, change: Change) -> None:
    after = tried(before, ConfChange((change,)))
    hypothesis.assume(after is not None)
    assert after is not None
    smallest_before, smallest_after = len(before.voters) // 2 + 1, len(after.voters) // 2 + 1
    assert smallest_before + smallest_after > len(before.voters | after.voters)


@many
@hypothesis.given(ordinary(), conf_changes)
def test_a_change_that_is_refused_changes_nothing(before: Configuration, change: ConfChange) -> None:
    copy = Configuration(*before)
    tried(before, change)
    assert before == copy


# Rebuilding


def rebuilding(target: Configuration) -> list[ConfChange]:
    """Changes that lead from nothing to `target`: the outgoing half first, then the way into the joint one."""
    first = target.outgoing or target.voters
    story = [ConfChange((Change(ChangeKind.ADD_VOTER, node),)) for node in sorted(first)]
    words = [Change(ChangeKind.REMOVE, node) for node in target.outgoing]
    words += [Change(ChangeKind.ADD_VOTER, node) for node in target.voters]
    words += [Change(ChangeKind.ADD_LEARNER, node) for node in target.learners | target.learners_next]
    if target.is_joint:
        transition = Transition.JOINT_IMPLICIT if target.auto_leave else Transition.JOINT_EXPLICIT
        return [*story, ConfChange(tuple(words), transition)]
    return story + [ConfChange((word,)) for word in words]


@many
@hypothesis.given(ordinary(), change_lists, strategies.booleans(), strategies.booleans())
def test_any_configuration_can_be_rebuilt_by_changes(
    before: Configuration, story: tuple[Change, ...], is_joint: bool, auto_leave: bool
) -> None:
    target = before
    if is_joint:
        try:
            target = enter_joint(before, story, auto_leave=auto_leave)
        except InvalidConfChange:
            hypothesis.reject()
    rebuilt = Configuration()
    for change in rebuilding(target):
        rebuilt = rebuilt.after(change)
    assert rebuilt == target


def test_nothing_can_be_done_to_nobody_but_to_add_a_voter() -> None:
    assert Configuration().after(ConfChange((Change(ChangeKind.ADD_VOTER, 1),))) == Configuration.of({1})
    with pytest.raises(InvalidConfChange):
        Configuration().after(ConfChange((Change(ChangeKind.ADD_LEARNER, 1),)))
