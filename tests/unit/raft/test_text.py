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
    Snapshot,
    Transition,
)
from meteora.raft import MessageKind as Kind
from meteora.raft.text import (
    change_text,
    configuration_text,
    data_text,
    entry_text,
    hard_state_text,
    message_text,
)

REPLACE = ConfChange((Change(ChangeKind.REMOVE, 1), Change(ChangeKind.ADD_LEARNER, 5)), Transition.JOINT_IMPLICIT)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", '""'),
        (b"x", '"x"'),
        (b'say "hi"', '"say \\"hi\\""'),
        (b"\xff\x00", '"\\xff\\x00"'),
        (b"x" * 32, f'"{"x" * 32}"'),
        (b"x" * 33, f'"{"x" * 32}…" (33 bytes)'),
    ],
)
def test_data_is_quoted_and_cut_short(data: bytes, text: str) -> None:
    assert data_text(data) == text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (ConfChange((Change(ChangeKind.ADD_VOTER, 4),)), "+n4"),
        (REPLACE, "-n1 learner+n5 (joint implicit)"),
        (ConfChange((Change(ChangeKind.REMOVE, 2),), Transition.JOINT_EXPLICIT), "-n2 (joint explicit)"),
        (ConfChange(), "leave joint"),
    ],
)
def test_changes(change: ConfChange, text: str) -> None:
    assert change_text(change) == text


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (Entry(2, 8), "8@2"),
        (Entry(2, 8, b"x"), '8@2 "x"'),
        (Entry(2, 8, REPLACE.encode(), EntryKind.CONF_CHANGE), "8@2 -n1 learner+n5 (joint implicit)"),
    ],
)
def test_entries(entry: Entry, text: str) -> None:
    assert entry_text(entry) == text


def test_a_change_that_can_not_be_read_is_named_one() -> None:
    assert entry_text(Entry(2, 8, b"?", EntryKind.CONF_CHANGE)).startswith("8@2 bad conf change (")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message(Kind.PROPOSE, 2, 1, entries=(Entry(0, 0, b"x"), Entry(0, 0, b"y"))), 'n2@0 → n1 Propose ["x" "y"]'),
        (
            Message(Kind.APPEND, 1, 3, term=2, index=7, log_term=1, commit=7, entries=(Entry(2, 8, b"x"), Entry(2, 9))),
            'n1@2 → n3 Append base=7@1 [8@2 "x" 9@2] commit=7',
        ),
        (Message(Kind.APPEND, 1, 3, term=2), "n1@2 → n3 Append base=0@0 [] commit=0"),
        (Message(Kind.APPEND_RESPONSE, 3, 1, term=2, index=9), "n3@2 → n1 AppendResponse matches 9"),
        (
            Message(Kind.APPEND_RESPONSE, 3, 1, term=2, index=9, reject=True, hint=4, log_term=1),
            "n3@2 → n1 AppendResponse rejects 9 hint=4@1",
        ),
        (Message(Kind.VOTE, 1, 2, term=3, index=9, log_term=2), "n1@3 → n2 Vote last=9@2 commit=0@0"),
        (
            Message(Kind.VOTE, 1, 2, term=3, index=9, log_term=2, context=b"transfer"),
            'n1@3 → n2 Vote last=9@2 commit=0@0 context="transfer"',
        ),
        (Message(Kind.PRE_VOTE, 1, 2, term=3, index=9, log_term=2), "n1@3 → n2 PreVote last=9@2 commit=0@0"),
        (Message(Kind.VOTE_RESPONSE, 2, 1, term=3), "n2@3 → n1 VoteResponse granted"),
        (
            Message(Kind.PRE_VOTE_RESPONSE, 2, 1, term=3, reject=True, commit=8, hint=2),
            "n2@3 → n1 PreVoteResponse refused commit=8@2",
        ),
        (Message(Kind.HEARTBEAT, 1, 2, term=3, commit=5), "n1@3 → n2 Heartbeat commit=5"),
        (Message(Kind.HEARTBEAT_RESPONSE, 2, 1, term=3, context=b"r1"), 'n2@3 → n1 HeartbeatResponse context="r1"'),
        (Message(Kind.READ_INDEX, 2, 1, context=b"r1"), 'n2@0 → n1 ReadIndex context="r1"'),
        (
            Message(Kind.READ_INDEX_RESPONSE, 1, 2, term=3, index=5, context=b"r1"),
            'n1@3 → n2 ReadIndexResponse index=5 context="r1"',
        ),
        (Message(Kind.TIMEOUT_NOW, 1, 2, term=3), "n1@3 → n2 TimeoutNow"),
        (Message(Kind.TRANSFER_LEADER, 2, 1, index=3), "n2@0 → n1 TransferLeader index=3"),
        (
            Message(Kind.SNAPSHOT, 1, 2, term=3, snapshot=Snapshot(7, 2, Configuration.of({1, 2}, {3}))),
            "n1@3 → n2 Snapshot 7@2 voters=(1 2) learners=(3)",
        ),
        (Message(Kind.SNAPSHOT, 1, 2, term=3), "n1@3 → n2 Snapshot"),
    ],
)
def test_messages(message: Message, text: str) -> None:
    assert message_text(message) == text


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_message_has_a_text(kind: Kind) -> None:
    assert message_text(Message(kind, 1, 2, term=3)).startswith("n1@3 → n2 ")


def test_hard_states() -> None:
    assert hard_state_text(HardState(2, 1, 7)) == "term=2 vote=1 commit=7"


@pytest.mark.parametrize(
    ("configuration", "text"),
    [
        (Configuration(), ""),
        (Configuration.of({10, 2, 1}), "voters=(1 2 10)"),
        (Configuration.of({1}, {3, 2}), "voters=(1) learners=(2 3)"),
        (Configuration.of({1, 2}).after(REPLACE), "voters=(2) outgoing=(1 2) learners=(5) auto-leave"),
        (
            Configuration(frozenset({2}), frozenset({1}), frozenset(), frozenset({1})),
            "voters=(2) outgoing=(1) learners_next=(1)",
        ),
    ],
)
def test_configurations(configuration: Configuration, text: str) -> None:
    assert configuration_text(configuration) == text
