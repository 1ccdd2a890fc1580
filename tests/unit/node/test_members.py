import json

import pytest

from meteora.errors import Corruption
from meteora.node.members import MAX_REMOVED, Member, Members, decode_context, encode_context
from meteora.raft import Change, ChangeKind, ConfChange, Configuration

ONE = Member("127.0.0.1:5001", "127.0.0.1:7001", instance_id=11)
TWO = Member("127.0.0.1:5002", "127.0.0.1:7002", instance_id=2**64 - 1, promote=True)
BOTH = Members(Configuration.of(voters={1}, learners={2}), {1: ONE, 2: TWO})


def changed(members: Members, kind: ChangeKind, node_id: int, member: Member | None = None) -> Members:
    context = encode_context({node_id: member}) if member else b""
    change = ConfChange((Change(kind, node_id),), context=context)
    return members.after(change, members.configuration.after(change))


def test_a_record_comes_back_as_it_was_written() -> None:
    joint = Configuration(frozenset({1, 2}), frozenset({1, 3}), frozenset({4}), frozenset({3}), auto_leave=True)
    by_id = {1: ONE, 2: TWO, 3: Member("", ""), 4: ONE}
    members = Members(joint, by_id, ((5, 2**64 - 1), (6, 0)), removed_last=1)
    assert Members.decode(members.encode()) == members


def test_who_was_removed_before_somebody_else_was_so_long_ago() -> None:
    members = Members(Configuration.of({1, 2, 3, 4}), dict.fromkeys((1, 2, 3, 4), ONE))
    members = changed(changed(members, ChangeKind.REMOVE, 2), ChangeKind.ADD_LEARNER, 5, TWO)
    assert not members.was_removed_long_ago(2, ONE.instance_id)
    members = Members.decode(changed(members, ChangeKind.REMOVE, 3).encode())
    assert members.was_removed_long_ago(2, ONE.instance_id)
    assert not members.was_removed_long_ago(3, ONE.instance_id)


def test_who_was_removed_together_with_the_last_was_not_so_long_ago() -> None:
    members = Members(Configuration.of({1, 2, 3}), dict.fromkeys((1, 2, 3), ONE))
    both = members.after(ConfChange(()), Configuration.of({1}))
    assert not any(both.was_removed_long_ago(node_id, ONE.instance_id) for node_id in (2, 3))


def test_an_empty_record_has_no_members() -> None:
    assert Members.decode(b"") == Members()


@pytest.mark.parametrize(
    "record",
    [
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        json.dumps({"version": 1}).encode(),
        BOTH.encode().replace(b'"promote"', b'"demote"'),
        BOTH.encode().replace(b'"voters": [1]', b'"voters": 1'),
        BOTH.encode().replace(b'"voters": [1]', b'"voters": ["1"]'),
        BOTH.encode().replace(b'"auto_leave": false', b'"auto_leave": null'),
        BOTH.encode().replace(b'"removed_last": 0', b'"removed_last": "0"'),
        BOTH.encode().replace(b'"removed": []', b'"removed": [["a", "b"]]'),
        BOTH.encode().replace(b'"instance_id": 11', b'"instance_id": -11'),
        BOTH.encode().replace(b'"127.0.0.1:5001"', b'"\\ud800"'),
        b'{"version": 1, "voters": [], "outgoing": [], "learners": [], "learners_next": [], "auto_leave": false, '
        b'"removed": [], "members": []}',
        b"[" * 100_000,
    ],
)
def test_a_record_that_makes_no_sense_is_corruption(record: bytes) -> None:
    with pytest.raises(Corruption, match="the membership record can't be read"):
        Members.decode(record)


def test_a_record_of_another_release_is_refused_as_such() -> None:
    record = BOTH.encode().replace(b'"version": 1', b'"version": 2')
    with pytest.raises(Corruption, match="a membership record of version 2: written by another release"):
        Members.decode(record)


def test_a_context_comes_back_as_it_was_written() -> None:
    assert decode_context(encode_context({1: ONE, 2: TWO})) == {1: ONE, 2: TWO}


def test_an_empty_context_says_nothing_of_anybody() -> None:
    assert decode_context(b"") == {}


@pytest.mark.parametrize("context", [b"{", b"[]", b'{"one": {}}', b'{"1": {"kv": ""}}', b'{"1": 2}', b"[" * 100_000])
def test_a_context_that_makes_no_sense_is_corruption(context: bytes) -> None:
    with pytest.raises(Corruption, match="the context of a membership change can't be read"):
        decode_context(context)


def test_a_newcomer_is_known_by_what_the_change_says_of_it() -> None:
    three = Member("127.0.0.1:5003", "127.0.0.1:7003", instance_id=33)
    assert changed(BOTH, ChangeKind.ADD_LEARNER, 3, three).by_id == {1: ONE, 2: TWO, 3: three}


def test_a_member_whose_address_changes_stays_what_it_is_otherwise() -> None:
    moved = TWO._replace(raft_address="127.0.0.1:7222")
    after = changed(BOTH, ChangeKind.ADD_LEARNER, 2, moved)
    assert (after.by_id[2], after.configuration) == (moved, BOTH.configuration)


def test_a_change_without_a_context_leaves_the_addresses_as_they_are() -> None:
    assert changed(BOTH, ChangeKind.ADD_VOTER, 2).by_id == BOTH.by_id


def test_a_member_of_whom_nothing_was_said_has_no_address() -> None:
    assert changed(BOTH, ChangeKind.ADD_LEARNER, 3).by_id[3] == Member("", "")


def test_what_a_change_says_of_others_than_members_is_not_kept() -> None:
    change = ConfChange((Change(ChangeKind.ADD_VOTER, 2),), context=encode_context({9: ONE}))
    assert 9 not in BOTH.after(change, BOTH.configuration.after(change)).by_id


def test_a_removed_member_is_remembered_with_its_instance() -> None:
    after = changed(BOTH, ChangeKind.REMOVE, 2)
    assert (after.by_id, after.removed) == ({1: ONE}, ((2, TWO.instance_id),))


def test_a_member_that_changes_its_role_was_not_removed() -> None:
    assert changed(BOTH, ChangeKind.ADD_VOTER, 2).removed == ()


def test_of_removed_members_the_newest_are_remembered() -> None:
    many = tuple((node_id, 1) for node_id in range(10, 10 + MAX_REMOVED))
    after = changed(BOTH._replace(removed=many), ChangeKind.REMOVE, 2)
    assert after.removed == (*many[1:], (2, TWO.instance_id))
