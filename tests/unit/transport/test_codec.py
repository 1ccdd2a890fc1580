import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.pb import peer_pb2
from meteora.raft.entry import Entry, EntryKind
from meteora.raft.message import Message, MessageKind
from meteora.transport.codec import MAX_NUMBER, MalformedBatch, decode_messages, encode_batch, encode_message
from meteora.transport.interface import Identity

IDENTITY = Identity(cluster_id=2**64 - 1, node_id=1, instance_id=7, raft_address="127.0.0.1:7001")

WITHOUT_TERM = (MessageKind.PROPOSE, MessageKind.READ_INDEX, MessageKind.TRANSFER_LEADER)

numbers = st.integers(0, MAX_NUMBER)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """What a member could say."""
    kind = draw(st.sampled_from(sorted(set(MessageKind) - {MessageKind.SNAPSHOT})))
    index, term = draw(numbers), 0 if kind in WITHOUT_TERM else draw(st.integers(1, MAX_NUMBER))
    has_entries = kind in (MessageKind.PROPOSE, MessageKind.APPEND)
    data = draw(st.lists(st.binary(max_size=64), max_size=4)) if has_entries else []
    return Message(
        kind,
        sender=IDENTITY.node_id,
        receiver=2,
        term=term,
        index=index,
        log_term=draw(st.integers(0, term)),
        commit=draw(numbers),
        entries=tuple(
            Entry(term, at, each, draw(st.sampled_from(EntryKind))) for at, each in enumerate(data, index + 1)
        ),
        reject=draw(st.booleans()),
        hint=draw(numbers),
        context=draw(st.binary(max_size=32)),
    )


def through_the_wire(sent: list[Message]) -> peer_pb2.Batch:
    batch = encode_batch(IDENTITY, 2, [encode_message(message, {}) for message in sent])
    return peer_pb2.Batch.FromString(batch.SerializeToString())


@given(st.lists(messages(), max_size=5))
def test_any_messages_arrive_as_they_were(sent: list[Message]) -> None:
    assert decode_messages(through_the_wire(sent)) == sent


@given(messages())
def test_what_arrives_has_the_types_that_the_core_matches_on(sent: Message) -> None:
    (received,) = decode_messages(through_the_wire([sent]))
    assert isinstance(received.kind, MessageKind)
    assert all(isinstance(entry.kind, EntryKind) for entry in received.entries)


def test_a_batch_says_who_sends_it_to_whom() -> None:
    batch = through_the_wire([])
    assert (batch.protocol_version, batch.cluster_id, batch.sender, batch.receiver) == (1, 2**64 - 1, 1, 2)


def test_entries_travel_in_the_encoding_that_they_have_on_disk() -> None:
    entry = Entry(3, 7, b"data")
    encoded = encode_message(Message(MessageKind.APPEND, 1, 2, entries=(entry,)), {})
    assert list(encoded.entries) == [entry.encode()]


def test_an_entry_for_several_peers_is_encoded_once() -> None:
    entry = Entry(3, 7, b"data")
    encoded: dict[int, bytes] = {}
    encode_message(Message(MessageKind.APPEND, 1, 2, entries=(entry,)), encoded)
    (first,) = encoded.values()
    encode_message(Message(MessageKind.APPEND, 1, 3, entries=(entry,)), encoded)
    assert encoded[id(entry)] is first


def test_entries_that_are_equal_but_not_the_same_are_told_apart() -> None:
    ours, theirs = Entry(0, 0, b"ours"), Entry(0, 0, b"theirs")
    encoded = encode_message(Message(MessageKind.PROPOSE, 1, 2, entries=(ours, theirs)), {})
    assert list(encoded.entries) == [ours.encode(), theirs.encode()]


def test_a_corrupt_entry_is_found_and_named() -> None:
    corrupt = bytearray(Entry(3, 7, b"data").encode())
    corrupt[-1] ^= 1
    batch = encode_batch(IDENTITY, 2, [peer_pb2.Message(kind=MessageKind.APPEND, entries=[bytes(corrupt)])])
    with pytest.raises(MalformedBatch, match="APPEND message: entry 7@3: checksum"):
        decode_messages(batch)


@pytest.mark.parametrize("kind", [0, MessageKind.SNAPSHOT, max(MessageKind) + 1])
def test_a_message_of_unknown_kind_is_malformed(kind: int) -> None:
    batch = encode_batch(IDENTITY, 2, [peer_pb2.Message(kind=kind)])
    with pytest.raises(MalformedBatch, match=f"kind {kind},"):
        decode_messages(batch)


@pytest.mark.parametrize(
    "message",
    [
        Message(MessageKind.HEARTBEAT, 1, 2),
        Message(MessageKind.PROPOSE, 1, 2, term=1),
        Message(MessageKind.HEARTBEAT, 1, 2, term=2**63),
        Message(MessageKind.HEARTBEAT, 1, 2, term=1, commit=2**64 - 1),
        Message(MessageKind.HEARTBEAT, 1, 2, term=1, entries=(Entry(1, 1),)),
        Message(MessageKind.APPEND, 1, 2, term=1, entries=(Entry(1, 2),)),
        Message(MessageKind.APPEND, 1, 2, term=1, entries=(Entry(1, 1), Entry(1, 1))),
        Message(MessageKind.APPEND, 1, 2, term=3, entries=(Entry(3, 1), Entry(2, 2))),
        Message(MessageKind.APPEND, 1, 2, term=3, log_term=2, index=1, entries=(Entry(1, 2),)),
        Message(MessageKind.APPEND, 1, 2, term=3, entries=(Entry(4, 1),)),
        Message(MessageKind.APPEND, 1, 2, term=3, index=1, log_term=4),
    ],
    ids=[
        "no term",
        "a term where none is",
        "a term that can't be counted on from",
        "a commit index, likewise",
        "entries where none are",
        "a gap before the entries",
        "an index twice",
        "terms that go back",
        "terms that go back at the first entry",
        "an entry of the future",
        "a base of the future",
    ],
)
def test_what_no_member_says_is_malformed(message: Message) -> None:
    with pytest.raises(MalformedBatch, match=f"^{message.kind.name} message"):
        decode_messages(through_the_wire([message]))
