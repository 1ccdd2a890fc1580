import asyncio
import gzip
import struct
from collections.abc import Iterable

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.rpc.framing import MessageReader, frame, gunzip, whole_message
from meteora.rpc.status import CallFailed

MAX_MESSAGE_BYTES = 100


def reader_of(pieces: Iterable[bytes], encoding: bytes = b"identity") -> MessageReader:
    """Of a body that comes in pieces."""
    remaining = iter(pieces)

    async def read() -> bytes | None:
        return next(remaining, None)

    return MessageReader(read, encoding, MAX_MESSAGE_BYTES)


def read_all(reader: MessageReader) -> list[bytes]:
    """All messages of a body."""

    async def story() -> list[bytes]:
        messages = []
        while (message := await reader.read()) is not None:
            messages.append(message)
        return messages

    return asyncio.run(story())


def failure_of(reader: MessageReader) -> grpc.StatusCode:
    """The code that a body ends a call with."""
    with pytest.raises(CallFailed) as caught:
        read_all(reader)
    return caught.value.code


def test_a_message_is_preceded_by_its_length() -> None:
    assert frame(b"message") == b"\0\0\0\0\x07message"


@given(st.data(), st.lists(st.binary(max_size=MAX_MESSAGE_BYTES), max_size=5))
def test_messages_are_the_same_however_the_body_is_cut(data: st.DataObject, messages: list[bytes]) -> None:
    body = b"".join(map(frame, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert read_all(reader_of(pieces)) == messages


def test_what_is_kept_of_one_message_is_told_apart_from_what_is_kept_of_the_next() -> None:
    kept: list[int] = []
    pieces = iter([frame(b"message")[:8], frame(b"message")[8:] + frame(b"another")[:9]])

    async def read() -> bytes | None:
        return next(pieces, None)

    reader = MessageReader(read, b"identity", MAX_MESSAGE_BYTES, kept.append)
    assert asyncio.run(reader.read()) == b"message"
    assert kept == [8, 0, 9]


@given(st.data(), st.lists(st.binary(max_size=MAX_MESSAGE_BYTES), min_size=1, max_size=3))
def test_a_body_that_ends_within_a_message_is_an_error(data: st.DataObject, messages: list[bytes]) -> None:
    body = b"".join(map(frame, messages))
    last_starts = len(body) - len(frame(messages[-1]))
    end = data.draw(st.integers(last_starts + 1, len(body) - 1))
    assert failure_of(reader_of([body[:end]])) is grpc.StatusCode.INTERNAL


@given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from([b"gzip", b"identity"]))
def test_any_bytes_are_messages_or_an_error(pieces: list[bytes], encoding: bytes) -> None:
    try:
        messages = read_all(reader_of(pieces, encoding))
    except CallFailed:
        return
    assert all(len(message) <= MAX_MESSAGE_BYTES for message in messages)


def test_nothing_is_asked_for_before_it_is_needed() -> None:
    reader = reader_of([frame(b"one") + frame(b"two")])
    assert [asyncio.run(reader.read()), asyncio.run(reader.read())] == [b"one", b"two"]


def test_the_end_may_be_asked_for_again() -> None:
    reader = reader_of([])
    assert [asyncio.run(reader.read()), asyncio.run(reader.read())] == [None, None]


def test_a_length_beyond_the_limit_is_refused_before_the_message_has_come() -> None:
    prefix = struct.pack(">BI", 0, MAX_MESSAGE_BYTES + 1)
    reader = reader_of([prefix])
    assert failure_of(reader) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_body_that_breaks_off_is_no_end() -> None:
    async def read() -> bytes | None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(MessageReader(read, b"identity", MAX_MESSAGE_BYTES).read())


def test_a_request_that_must_have_a_message_may_not_be_empty() -> None:
    with pytest.raises(CallFailed, match="before its message was complete"):
        asyncio.run(reader_of([]).read_only())


def test_a_compressed_message_is_unpacked() -> None:
    body = struct.pack(">BI", 1, len(gzip.compress(b"message"))) + gzip.compress(b"message")
    assert read_all(reader_of([body], b"gzip")) == [b"message"]


@pytest.mark.parametrize(
    ("flag", "encoding", "code"),
    [
        (2, b"gzip", grpc.StatusCode.INTERNAL),
        (1, b"identity", grpc.StatusCode.INTERNAL),
        (1, b"snappy", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_a_flag_that_can_t_be_followed_is_an_error(flag: int, encoding: bytes, code: grpc.StatusCode) -> None:
    body = struct.pack(">BI", flag, 0)
    assert failure_of(reader_of([body], encoding)) is code


@given(st.binary(max_size=MAX_MESSAGE_BYTES))
def test_what_was_compressed_is_the_same_unpacked(message: bytes) -> None:
    assert gunzip(gzip.compress(message), MAX_MESSAGE_BYTES) == message


def test_a_message_is_not_unpacked_beyond_the_limit() -> None:
    with pytest.raises(CallFailed, match="more than 100 when decompressed"):
        gunzip(gzip.compress(bytes(MAX_MESSAGE_BYTES + 1)), MAX_MESSAGE_BYTES)


@pytest.mark.parametrize(
    "compressed",
    # Without the time: processes that run the tests side by side must name them alike.
    [
        b"",
        b"message",
        gzip.compress(b"message", mtime=0)[:-1],
        gzip.compress(b"message", mtime=0) * 2,
        gzip.compress(b"message", mtime=0) + b"x",
    ],
)
def test_what_is_not_one_gzip_stream_is_an_error(compressed: bytes) -> None:
    with pytest.raises(CallFailed, match="Decompression failed"):
        gunzip(compressed, MAX_MESSAGE_BYTES)


def test_a_message_in_one_piece_is_taken_as_it_is() -> None:
    assert whole_message(frame(b"message"), MAX_MESSAGE_BYTES) == b"message"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0\0",
        frame(b"message")[:-1],
        frame(b"message") + b"x",
        frame(bytes(MAX_MESSAGE_BYTES + 1)),
        b"\1" + frame(b"message")[1:],
    ],
)
def test_what_is_not_one_message_in_one_piece_is_left_to_a_reader(body: bytes) -> None:
    assert whole_message(body, MAX_MESSAGE_BYTES) is None
