"""What a read gives: from replies to what users get."""

from dataclasses import dataclass

from meteora.pb import common_pb2, kv_pb2


@dataclass(frozen=True, slots=True)
class SerializableRead:
    """A value as one node had it, and how old it may be."""

    value: bytes | None
    """None: there was no such key."""
    applied_index: int
    """The node had applied the log up to here at least."""
    staleness_seconds: float | None
    """Every write, on any node, that was acknowledged longer than this before the node answered is in what it read.
    Newer ones may be missing. None: the node can't tell, for it has not heard from a leader since it was started."""


def value_of(reply: kv_pb2.GetReply) -> bytes | None:
    """The value in a reply; None if there is no such key."""
    return None if reply.state == common_pb2.NOT_FOUND else reply.value


def serializable_read(reply: kv_pb2.GetReply) -> SerializableRead:
    """What a reply to a serializable read says."""
    is_known = reply.HasField("staleness_milliseconds")
    staleness_seconds = reply.staleness_milliseconds / 1000 if is_known else None
    return SerializableRead(value_of(reply), reply.applied_index, staleness_seconds)
