"""What a member may propose: all that can be applied, and nothing else."""

import json
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meteora.features import SUPPORTED_LEVEL
from meteora.kv.command import Command, Operation, encode_batch, raise_level
from meteora.kv.proposals import MAX_PROPOSAL_BYTES, refusal_of
from meteora.kv.users import Change, User
from meteora.raft.entry import Entry
from tests.unit.kv.state_machines import delete, opened, put

CHANGE = Change(0, {"ann": User("hash", ("root",))}, enabled=True, secret=b"s")


def change_users(value: bytes) -> Command:
    return Command(Operation.CHANGE_USERS, 7, 1, 1, False, b"", value)


def refusal(*commands: Command, level: int = SUPPORTED_LEVEL) -> str:
    return refusal_of(encode_batch(commands), level)


@pytest.mark.parametrize("level", [0, SUPPORTED_LEVEL])
def test_puts_and_deletes_may_be_proposed_at_any_level(level: int) -> None:
    assert refusal(put(b"a", b"1"), delete(b"b"), level=level) == ""


def test_users_may_be_changed_at_the_level_that_has_them() -> None:
    assert refusal(put(b"a", b"1"), change_users(CHANGE.encode())) == ""
    assert refusal(change_users(CHANGE.encode()), level=0) == "CHANGE_USERS at feature level 0"


@pytest.mark.parametrize("level", [0, 1, 255])
def test_only_a_leader_raises_the_level(level: int) -> None:
    assert refusal(put(b"a", b"1"), raise_level(level)) == "only a leader proposes RAISE_LEVEL"


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        (b"", "written by another release"),
        (b"\x02", "written by another release"),
        (b"\x01garbage", "command 0 of a batch can't be read"),
        (encode_batch([put(b"a", b"1")])[:-1], "ends within command 0"),
    ],
)
def test_what_is_no_batch_is_refused(batch: bytes, why: str) -> None:
    assert why in refusal_of(batch, SUPPORTED_LEVEL)


HALF_A_CHARACTER = '"\\ud800"'
LISTS_WITHOUT_END = "[" * 100_000
NO_INTEGER = "1e999"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("users", f"{{{HALF_A_CHARACTER}: null}}"),
        ("roles", f"{{{HALF_A_CHARACTER}: null}}"),
        ("users", '{"ann": 1}'),
        ("roles", '{"r": [1]}'),
        ("tokens", '{"no digest": null}'),
        ("tokens", LISTS_WITHOUT_END),
        ("revision", NO_INTEGER),
        ("secret", "1"),
    ],
)
def test_a_change_of_users_that_can_not_be_made_is_refused(field: str, text: str) -> None:
    fields = {**json.loads(Change(0).encode()), field: "here"}
    value = json.dumps(fields).replace('"here"', text).encode()
    assert "a change of users can't be read" in refusal(change_users(value))


@pytest.mark.parametrize("what", ['"more": [[]], ', '"enabled": [[]], '], ids=["unknown", "overridden"])
def test_a_change_of_users_with_more_in_it_than_is_taken_is_refused(what: str) -> None:
    # Nested deep enough, it can be read here, and not where the stack is deeper.
    value = CHANGE.encode().replace(b"{", b"{" + what.encode(), 1)
    assert Change.decode(value) == CHANGE
    assert "no member writes it so" in refusal(change_users(value))


def test_a_batch_without_commands_is_refused() -> None:
    assert refusal() == "a batch without commands"


def test_the_longest_write_may_be_proposed_and_nothing_that_is_longer() -> None:
    overhead = len(encode_batch([put(b"", b"")]))
    assert refusal(put(b"", bytes(MAX_PROPOSAL_BYTES - overhead))) == ""
    assert "the longest write" in refusal(put(b"", bytes(MAX_PROPOSAL_BYTES - overhead + 1)))


texts = st.text(st.characters(exclude_categories=[]), max_size=3)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(texts, each, max_size=3),
    max_leaves=6,
)
numbers = st.integers(0, (1 << 64) - 1)


@st.composite
def commands(draw: st.DrawFn) -> Command:
    """Anything that a member could say, near to what one says."""
    operation = draw(st.sampled_from(Operation))
    value = draw(st.binary(max_size=3))
    if operation is Operation.CHANGE_USERS:
        fields = json.loads(CHANGE.encode())
        value = json.dumps({**fields, **draw(st.dictionaries(st.sampled_from(sorted(fields)), jsons))}).encode()
    retry, key = draw(st.booleans()), draw(st.binary(max_size=3))
    return Command(operation, draw(numbers), draw(numbers), draw(numbers), retry, key, value)


def test_whatever_is_let_through_can_be_applied(tmp_path: Path) -> None:
    indexes = count(1)

    @settings(deadline=None)
    @given(st.lists(commands(), max_size=3), st.integers(-3, 0))
    def apply(several: list[Command], cut: int) -> None:
        batch = encode_batch(several)
        batch = batch[: len(batch) + cut]
        if not refusal_of(batch, SUPPORTED_LEVEL):
            machine.apply([Entry(1, next(indexes), batch)])

    with opened(tmp_path / "kv") as machine:
        apply()
        assert machine.applied_index > 0
