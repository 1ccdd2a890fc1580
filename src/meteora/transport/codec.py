"""Raft messages to protobuf and back: the only module that knows both forms.

Entries travel in the one encoding that they have on disk too, checksum included; no entry leaves here unchecked.

What a member says is believed, as Raft does it: members may fail, but do not lie. But what no member could say is no
message: one without a term, entries that leave gaps or go back in terms, numbers that would soon be too large to count
on from. The core takes such things for a broken invariant, and stops its node.
"""

from collections.abc import Iterable

from meteora.errors import MeteoraError
from meteora.pb import peer_pb2
from meteora.raft.entry import Entry, decode_entry
from meteora.raft.errors import CorruptEntry
from meteora.raft.message import Message, MessageKind
from meteora.transport.interface import Identity, Room

PROTOCOL_VERSION = 1
"""Raised when an older release would misread what this one sends: it is then refused instead."""

REFUSAL_METADATA_KEY = "meteora-refusal"
"""Trailing metadata of a stream that was refused: a `Refusal`, for programs. The status details are for people."""

INSTANCE_METADATA_KEY = "meteora-instance"
"""Metadata that opens a stream: the sender's instance id, in decimal."""

ADDRESS_METADATA_KEY = "meteora-raft-address"
"""Metadata that opens a stream: host:port of the sender, for a receiver that has yet to learn who the members are."""

LEVEL_METADATA_KEY = "meteora-level"
"""Metadata that opens a stream: the feature level that the sender supports, in decimal. Absent: 0."""

VERSION_METADATA_KEY = "meteora-version"
"""Metadata that opens a stream: the version of the sender's program, for people."""

EncodedEntries = dict[int, bytes]
"""Encodings by the `id` of their entry. Only valid for as long as something else keeps those entries alive."""

MAX_NUMBER = 2**63 - 1
"""Of terms and indexes: what is on disk, and one more, has room in 64 bits for ever."""

_WITHOUT_TERM = frozenset({MessageKind.PROPOSE, MessageKind.READ_INDEX, MessageKind.TRANSFER_LEADER})

_KINDS = {kind.value: kind for kind in MessageKind if kind is not MessageKind.SNAPSHOT}
"""A snapshot's message is handed to the core by the node that has received the snapshot; no batch carries one."""


class MalformedBatch(MeteoraError):
    """A batch that no healthy node of this protocol version sends. It stays inside this room: the stream is ended."""


def encode_message(message: Message, encoded: EncodedEntries) -> peer_pb2.Message:
    """The message without its sender and receiver, which its batch carries.

    Takes encodings from `encoded` and adds what it had to encode itself.
    """
    return peer_pb2.Message(
        kind=message.kind,
        term=message.term,
        index=message.index,
        log_term=message.log_term,
        commit=message.commit,
        entries=[_encode_once(entry, encoded) for entry in message.entries],
        reject=message.reject,
        hint=message.hint,
        context=message.context,
    )


def encode_batch(
    identity: Identity,
    receiver: int,
    messages: Iterable[peer_pb2.Message],
    state_report: bytes = b"",
    room: Room | None = None,
) -> peer_pb2.Batch:
    """What travels as one gRPC message. With nothing in it, it is an introduction."""
    return peer_pb2.Batch(
        protocol_version=PROTOCOL_VERSION,
        cluster_id=identity.cluster_id,
        sender=identity.node_id,
        receiver=receiver,
        messages=messages,
        state_report=state_report,
        room=None if room is None else peer_pb2.Room(**room._asdict()),
    )


def decode_messages(batch: peer_pb2.Batch) -> list[Message]:
    """The messages of a batch, all checked. Raises `MalformedBatch` if any of them can't be read."""
    return [_decode_message(message, batch.sender, batch.receiver) for message in batch.messages]


def decode_room(room: peer_pb2.Room) -> Room:
    """What a peer says of its room."""
    return Room(*[getattr(room, field) for field in Room._fields])


def _encode_once(entry: Entry, encoded: EncodedEntries) -> bytes:
    known = encoded.get(id(entry))
    if known is None:
        known = encoded[id(entry)] = entry.encode()
    return known


def _decode_message(message: peer_pb2.Message, sender: int, receiver: int) -> Message:
    kind = _KINDS.get(message.kind)
    if kind is None:
        raise MalformedBatch(f"a message of kind {message.kind}, which is not in version {PROTOCOL_VERSION}")
    try:
        entries = tuple([decode_entry(encoded) for encoded in message.entries])
    except CorruptEntry as error:
        raise MalformedBatch(f"{kind.name} message: {error}") from error
    _ensure_possible(kind, message, entries)
    return Message(
        kind,
        sender,
        receiver,
        message.term,
        message.index,
        message.log_term,
        message.commit,
        entries,
        message.reject,
        message.hint,
        message.context,
    )


def _ensure_possible(kind: MessageKind, message: peer_pb2.Message, entries: tuple[Entry, ...]) -> None:
    """Raises `MalformedBatch` for what no member says, whatever has happened to it."""
    if (message.term == 0) != (kind in _WITHOUT_TERM):
        raise MalformedBatch(f"{kind.name} message with term {message.term}")
    if max(message.term, message.index, message.log_term, message.commit, message.hint) > MAX_NUMBER:
        raise MalformedBatch(f"{kind.name} message with a number above {MAX_NUMBER}")
    if kind is MessageKind.APPEND:
        _ensure_log(message, entries)
    elif entries and kind is not MessageKind.PROPOSE:
        raise MalformedBatch(f"{kind.name} message with entries")


def _ensure_log(message: peer_pb2.Message, entries: tuple[Entry, ...]) -> None:
    """Raises `MalformedBatch` unless the entries can follow what the message says they do in a log."""
    index, term = message.index, message.log_term
    for entry in entries:
        index += 1
        if entry.index != index or entry.term < term:
            raise MalformedBatch(
                f"APPEND message: entry {entry.index}@{entry.term} where {index}@{term} or later must be"
            )
        term = entry.term
    if term > message.term:
        raise MalformedBatch(f"APPEND message of term {message.term} with an entry of term {term}")
