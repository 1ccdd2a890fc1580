import pytest

from bench import payloads
from meteora.pb.kv_pb2 import GetReq, PutReq


@pytest.mark.parametrize("value_bytes", [0, 64, 127, 128, 65536])
def test_a_put_is_one_that_meteora_understands(value_bytes: int) -> None:
    expected = PutReq(key=payloads.key(0), value=b"v" * value_bytes)
    assert PutReq.FromString(payloads.put(value_bytes).message) == expected


def test_a_get_is_one_that_meteora_understands() -> None:
    assert GetReq.FromString(payloads.get(42).message) == GetReq(key=payloads.key(42))


def test_the_frame_has_the_length_of_the_message() -> None:
    body = payloads.put(1024).body
    assert (body[0], int.from_bytes(body[1:5], "big")) == (0, len(body) - 5)


@pytest.mark.parametrize("value_bytes", [64, 65536])
def test_key_and_value_stand_where_the_template_says(value_bytes: int) -> None:
    put = payloads.put(value_bytes)
    key = put.body[put.key_offset : put.key_offset + payloads.KEY_BYTES]
    value = put.body[put.value_offset : put.value_offset + put.value_bytes]
    assert (key, value) == (payloads.key(0), b"v" * value_bytes)
