import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.pb import peer_pb2
from meteora.raft.entry import Entry, EntryKind
from meteora.raft.message import Message, MessageKind
from meteora.transport.codec import MalformedBatch, decode_messages, encode_batch, encode_message
from meteora.transport.interface import Identity

IDENTITY = Identity(cluster_id=2**64 - 1, node_id=1, instance_id=7, raft_address="127.0.0.1:7001")

numbers = st.integers(0, 2**64 - 1)
entries = st.builds(Entry, numbers, numbers, st.binary(max_size=64), st.sampled_from(EntryKind))
messages = st.builds(
    Message,
    kind=st.sampled_from(sorted(set(MessageKind) - {MessageKind.SNAPSHOT})),
    sender=st.just(IDENTITY.node_id),
    receiver=st.just(2),
    term=numbers,
    index=numbers,
    log_term=numbers,
    commit=numbers,
    entries=st.lists(entries, max_size=4).map(tuple),
    reject=st.booleans(),
    hint=numbers,
    context=st.binary(max_size=32),
    snapshot=st.none(),
)


def through_the_wire(sent: list[Message]) -> peer_pb2.Batch:
    batch = encode_batch(IDENTITY, 2, [encode_message(message, {}) for message in sent])
    return peer_pb2.Batch.FromString(batch.SerializeToString())


@given(st.lists(messages, max_size=5))
def test_any_messages_arrive_as_they_were(sent: list[Message]) -> None:
    assert decode_messages(through_the_wire(sent)) == sent


@given(messages)
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
