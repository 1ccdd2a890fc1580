"""The form on the wire, against what hyperframe reads and writes."""

import hyperframe.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.http2 import frames
from meteora.http2.frames import ConnectionFault, ErrorCode, Setting


def parsed(data: bytes) -> hyperframe.frame.Frame:
    """A frame as hyperframe reads it."""
    head = memoryview(data[:9])
    found, length = hyperframe.frame.Frame.parse_frame_header(head)
    assert length == len(data) - 9
    found.parse_body(memoryview(data[9:]))
    return found


def test_settings_are_read_as_they_were_meant() -> None:
    settings = {Setting.INITIAL_WINDOW_SIZE: 2**31 - 1, Setting.ENABLE_PUSH: 0}
    assert parsed(frames.settings_frame(settings)).settings == settings


def test_room_is_read_as_it_was_meant() -> None:
    found = parsed(frames.window_update_frame(7, 2**31 - 1))
    assert (found.stream_id, found.window_increment) == (7, 2**31 - 1)


def test_the_end_of_a_stream_is_read_as_it_was_meant() -> None:
    found = parsed(frames.rst_stream_frame(7, ErrorCode.CANCEL))
    assert (found.stream_id, found.error_code) == (7, ErrorCode.CANCEL)


def test_the_end_of_a_connection_is_read_as_it_was_meant() -> None:
    found = parsed(frames.goaway_frame(7, ErrorCode.ENHANCE_YOUR_CALM, "too much"))
    assert (found.last_stream_id, found.error_code, found.additional_data) == (7, 11, b"too much")


def test_a_reason_however_long_fits_a_frame_that_every_peer_takes() -> None:
    reason = "\N{SNOWMAN}" * frames.MIN_FRAME_BYTES
    assert len(frames.goaway_frame(7, ErrorCode.PROTOCOL_ERROR, reason)) <= frames.MIN_FRAME_BYTES


@pytest.mark.parametrize("length", [0, 1, 0xFFFF, 0x10000, 0x12345])
def test_the_length_of_a_payload_takes_three_bytes(length: int) -> None:
    assert frames.frame(frames.DATA, 0, 1, bytes(length))[:3] == length.to_bytes(3)


def test_the_reserved_bit_of_a_number_is_not_looked_at() -> None:
    assert frames.word_of(b"\xff\xff\xff\xff") == 2**31 - 1


def test_a_code_has_all_of_its_bits() -> None:
    assert frames.code_of(b"\0\0\0\0\xff\xff\xff\xff", 4) == 2**32 - 1


def test_settings_keep_their_order_known_or_not() -> None:
    pairs = [(4, 1), (0xFFFF, 2), (4, 3)]
    payload = b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in pairs)
    assert frames.settings_of(payload) == pairs


@given(st.binary(max_size=300), st.integers(0, 255))
def test_padding_is_taken_off(data: bytes, padding: int) -> None:
    padded = hyperframe.frame.DataFrame(1, data, pad_length=padding, flags=["PADDED"]).serialize()[9:]
    assert frames.without_padding(padded) == data


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x05data", b"\xff" * 255])
def test_padding_longer_than_its_frame_is_an_error(payload: bytes) -> None:
    with pytest.raises(ConnectionFault) as caught:
        frames.without_padding(payload)
    assert caught.value.code == ErrorCode.PROTOCOL_ERROR
