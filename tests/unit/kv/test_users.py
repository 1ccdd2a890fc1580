"""What a change of users does: on its revision and on no other, to memory and to disk alike."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.errors import Corruption
from meteora.kv.command import Command, Operation, raise_level
from meteora.kv.sessions import Outcome
from meteora.kv.state_check import check_state
from meteora.kv.state_machine import StateMachine
from meteora.kv.users import Access, Change, Permission, Role, Token, User, Users, take_record
from meteora.storage.rocks import KEY_VALUE, Rocks, WriteBatch
from tests.unit.kv.state_machines import entry_of, everything_in, opened, put

names = st.text(min_size=1, max_size=5)
permissions = st.builds(Permission, st.sampled_from(list(Access)), st.binary(max_size=3), st.binary(max_size=3))
changes = st.builds(
    Change,
    st.integers(0, 3),
    st.dictionaries(names, st.none() | st.builds(User, names, st.lists(names).map(tuple)), max_size=3),
    st.dictionaries(names, st.none() | st.builds(Role, st.lists(permissions, max_size=3).map(tuple)), max_size=3),
    st.dictionaries(
        st.binary(min_size=32, max_size=32), st.none() | st.builds(Token, names, st.integers(0, 2**50)), max_size=3
    ),
    st.none() | st.booleans(),
    st.binary(max_size=4),
)


def command(change: Change) -> Command:
    return Command(Operation.CHANGE_USERS, 0, 0, 0, False, b"", change.encode())


def content_of(users: Users) -> tuple[object, ...]:
    return (users.is_enabled, users.revision, users.secret, users.users, users.roles, users.tokens)


@given(changes)
def test_a_change_is_read_as_it_was_written(change: Change) -> None:
    assert Change.decode(change.encode()) == change


@given(st.lists(changes, max_size=8))
def test_what_is_stored_is_what_is_in_memory(story: list[Change]) -> None:
    users, stored = Users(), dict[bytes, bytes]()
    for change in story:
        for key, record in users.apply(change) or ():
            if record is None:
                stored.pop(key, None)
            else:
                stored[key] = record
    assert content_of(Users().load(stored.items())) == content_of(users)


@given(changes, st.integers(0, 3))
def test_a_change_that_was_decided_on_another_revision_does_nothing(change: Change, revision: int) -> None:
    users = Users()
    users.revision = revision
    before = content_of(users)
    if users.apply(change) is None:
        assert change.revision != revision
        assert content_of(users) == before
    else:
        assert change.revision == revision
        assert users.has(change)


def test_a_token_leaves_the_revision_as_it_is_and_all_else_raises_it() -> None:
    users = Users()
    users.apply(Change(0, tokens={b"t" * 32: Token("alice", 1)}))
    assert users.revision == 0
    users.apply(Change(0, users={"alice": User("")}))
    users.apply(Change(1, enabled=True))
    assert users.revision == 2


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (Change(2, {"alice": None}), {"bob"}),
        (Change(2, {"alice": User("new")}), {"bob"}),
        (Change(2, {"alice": User("hash", ("role",))}), {"alice", "bob"}),
        (Change(2, roles={"alice": None}), {"alice", "bob"}),
        (Change(2, enabled=False), set()),
    ],
)
def test_tokens_end_with_what_they_rest_on_although_they_came_after_the_decision(
    change: Change, left: set[str]
) -> None:
    users, stored = Users(), dict[bytes, bytes | None]()
    for each in (
        Change(0, {"alice": User("hash"), "bob": User("hash")}),
        Change(1, enabled=True),
        # Neither changes the revision that the last one was decided on.
        Change(2, tokens={b"a" * 32: Token("alice", 1)}),
        Change(2, tokens={b"b" * 32: Token("bob", 1)}),
        change,
    ):
        stored.update(users.apply(each) or ())
    assert {token.user for token in users.tokens.values()} == left
    assert content_of(Users().load((key, record) for key, record in stored.items() if record)) == content_of(users)


def test_users_outlive_a_restart_and_touch_no_key(tmp_path: Path) -> None:
    with opened(tmp_path / "kv") as machine:
        machine.apply([entry_of(1, put(b"u", b"1"), command(Change(0, {"alice": User("hash")}, enabled=True)))])
        before = content_of(machine.users)
    with opened(tmp_path / "kv") as machine:
        assert content_of(machine.users) == before
        assert machine.users.users == {"alice": User("hash")}
        assert everything_in(machine) == {b"u": b"1"}


def test_a_change_that_comes_too_late_is_refused_and_the_entry_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path / "kv") as machine:
        late = command(Change(7, {"alice": User("")}))
        outcomes = [each.outcome for each in machine.apply([entry_of(1, late, put(b"a", b"1"))])]
        assert outcomes == [Outcome.REFUSED, Outcome.APPLIED]
        assert (machine.users.users, everything_in(machine)) == ({}, {b"a": b"1"})


def test_a_snapshot_carries_users(tmp_path: Path) -> None:
    async def story(machine: StateMachine, other: StateMachine) -> None:
        manifest = await machine.create_snapshot(tmp_path / "snapshot")
        assert manifest is not None
        state = await other.build(tmp_path / "snapshot", manifest, tmp_path / "built")
        assert state is not None
        known = other.users
        await other.adopt(state)
        assert known is other.users
        assert content_of(known) == content_of(machine.users)

    with opened(tmp_path / "kv") as machine, opened(tmp_path / "other") as other:
        machine.apply([entry_of(1, command(Change(0, {"alice": User("hash", ("r",))}, {"r": Role()}, enabled=True)))])
        other.apply([entry_of(1, command(Change(0, {"bob": User("gone")})))])
        asyncio.run(story(machine, other))


CHANGE = Change(1, {"alice": User("hash", ("reader",))}, {"reader": Role((Permission(Access.READ, b"a"),))})


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"[]", b"{}", b'{"version": 2}', b"\xff", b"[" * 100_000),
        *(CHANGE.encode().replace(b'"revision": 1', b'"revision": ' + each) for each in (b"Infinity", b"-1", b'"1"')),
        CHANGE.encode().replace(b'"alice"', b'"\\ud800"'),
        CHANGE.encode().replace(b'["reader"]', b'"reader"'),
        CHANGE.encode().replace(b'["reader"]', b"[[]]"),
        CHANGE.encode().replace(b'[1, "61", ""]', b'[4, "61", ""]'),
        CHANGE.encode().replace(b'"tokens": {}', b'"tokens": {"00": "ab"}'),
        CHANGE.encode().replace(b'"enabled": null', b'"enabled": 1'),
    ],
)
def test_a_change_that_can_not_be_read_is_corruption(data: bytes) -> None:
    assert data != CHANGE.encode()
    with pytest.raises(Corruption):
        Change.decode(data)


@pytest.mark.parametrize(
    ("key", "record"),
    [
        *((b"uu1", b""), (b"um", b'{"version": 1, "content": 1}'), (b"ux", b'{"version": 1, "content": 1}')),
        (b"uu1", b"[" * 100_000),
        (b"uu1", b'{"version": 1, "content": ["hash", "root"]}'),
        (b"ur1", b'{"version": 1, "content": [[8, "", ""]]}'),
        (b"ut1", b'{"version": 1, "content": [[], 1]}'),
        (b"um", b'{"version": 1, "content": {"enabled": "no", "revision": 1, "secret": ""}}'),
        (b"um", b'{"version": 1, "content": {"enabled": true, "revision": null, "secret": ""}}'),
    ],
)
def test_a_record_that_can_not_be_read_is_corruption(key: bytes, record: bytes) -> None:
    with pytest.raises(Corruption):
        take_record(Users(), key, record)


def test_a_check_of_the_state_reads_users_and_tells_what_is_damaged(tmp_path: Path) -> None:
    with opened(tmp_path / "kv") as machine:
        machine.apply([entry_of(1, raise_level(1), command(Change(0, {"alice": User("hash")})))])
    told: list[str] = []
    check_state(tmp_path / "kv", told.append)
    assert told == []
    database = Rocks(tmp_path / "kv", KEY_VALUE)
    batch = WriteBatch()
    batch.put(b"uualice", b"nonsense")
    database.write(batch)
    database.flush()
    database.close()
    check_state(tmp_path / "kv", told.append)
    assert len(told) == 1
    assert "uualice" in told[0]
