from meteora.client.reading import SerializableRead, serializable_read, value_of
from meteora.pb import common_pb2, kv_pb2


def test_a_value_may_be_empty_and_is_then_not_absent() -> None:
    assert value_of(kv_pb2.GetReply(state=common_pb2.OK)) == b""
    assert value_of(kv_pb2.GetReply(state=common_pb2.NOT_FOUND)) is None


def test_a_bound_of_0_is_not_taken_for_none() -> None:
    reply = kv_pb2.GetReply(state=common_pb2.OK, value=b"v", applied_index=7, staleness_milliseconds=0)
    assert serializable_read(reply) == SerializableRead(b"v", 7, 0.0)


def test_a_reply_without_a_bound_has_none() -> None:
    reply = kv_pb2.GetReply(state=common_pb2.NOT_FOUND, applied_index=7)
    assert serializable_read(reply) == SerializableRead(None, 7, None)


def test_a_bound_is_in_seconds() -> None:
    reply = kv_pb2.GetReply(state=common_pb2.OK, value=b"v", staleness_milliseconds=1250)
    assert serializable_read(reply).staleness_seconds == 1.25
