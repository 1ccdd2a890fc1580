"""Header compression, against the library's own encoder and decoder."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.http2.frames import ConnectionFault, ErrorCode, StreamFault
from meteora.http2.headers import (
    MAX_HEADERS_BYTES,
    TABLE_EMPTIED,
    Header,
    HeaderDecoder,
    Headers,
    check_request,
    content_length_of,
    encode_headers,
)
from tests.unit.http2.peers import REQUEST

INDEXED_METHOD_GET = b"\x82"

names = st.sampled_from([b":path", b":method", b"accept", b"a", b"b", b"long-name" * 20])
values = st.one_of(st.sampled_from([b"", b"GET", b"/", b"x" * 5_000]), st.binary(max_size=200))
header_lists = st.lists(st.tuples(names, values), max_size=6)


def incremental(name: bytes, value: bytes) -> bytes:
    """A literal field that is put into the dynamic table, its strings shorter than 127 bytes."""
    return b"\x40" + bytes((len(name),)) + name + bytes((len(value),)) + value


def plain(decoded: object) -> Headers:
    return [(bytes(name), bytes(value)) for name, value in decoded]  # type: ignore[attr-defined]


# What is sent


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.binary(max_size=40_000)), max_size=5))
def test_what_is_encoded_is_what_a_decoder_finds(headers: Headers) -> None:
    assert plain(hpack.Decoder(1 << 20).decode(encode_headers(headers), raw=True)) == headers


@pytest.mark.parametrize("length", [126, 127, 128, 254, 255, 256, 16_510, 16_511, 40_000])
def test_a_string_of_any_length_is_found_whole(length: int) -> None:
    headers = [(b"name", b"v" * length)]
    assert plain(hpack.Decoder().decode(encode_headers(headers), raw=True)) == headers


def test_what_is_encoded_leaves_the_dynamic_table_alone() -> None:
    decoder = hpack.Decoder()
    decoder.decode(encode_headers([*REQUEST, (b"name", b"value")]))
    assert not decoder.header_table.dynamic_entries


def test_a_table_that_is_emptied_is_understood_by_a_decoder_that_allows_none() -> None:
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 0
    assert plain(decoder.decode(TABLE_EMPTIED + encode_headers(REQUEST), raw=True)) == REQUEST


# What is received


@given(st.lists(st.tuples(header_lists, st.booleans(), st.sampled_from([None, None, 0, 40, 100, 4_096])), max_size=12))
def test_headers_are_what_the_library_finds_in_them(
    requests: list[tuple[list[Header], bool, int | None]],
) -> None:
    encoder, reference, ours = hpack.Encoder(), hpack.Decoder(), HeaderDecoder()
    for headers, huffman, table_bytes in requests:
        if table_bytes is not None:
            encoder.header_table_size = table_bytes
        block = encoder.encode(headers, huffman=huffman)
        assert ours.decode(block) == plain(reference.decode(block, raw=True)) == headers


@given(
    st.lists(
        st.tuples(
            # Few of them, so that the same bytes come again.
            st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.sampled_from([b"1", b"2", b"3"])), max_size=2),
            st.sampled_from([None, None, None, 0, 40, 4_096]),
        ),
        max_size=30,
    )
)
def test_the_same_bytes_mean_the_same_in_one_generation(requests: list[tuple[list[Header], int | None]]) -> None:
    encoder, ours = hpack.Encoder(), HeaderDecoder()
    known: dict[bytes, Headers] = {}
    for headers, table_bytes in requests:
        if table_bytes is not None:
            encoder.header_table_size = table_bytes
        block = encoder.encode(headers)
        if block in known:
            assert known[block] == headers
            continue
        generation = ours.generation
        decoded = ours.decode(block)
        if ours.generation == generation:
            known[block] = decoded
        else:
            known.clear()


@pytest.mark.parametrize(
    "block",
    [
        incremental(b"name", b"value"),
        b"\x41\x04test",  # With a name from the static table.
        incremental(b"n" * 100, b"v" * 100),
        b"\x20",  # The table is emptied,
        b"\x3f\x45",  # and made 100 bytes long.
        b"\x20\x3f\xe1\x1f",  # And both.
    ],
)
def test_a_block_that_changes_the_table_begins_a_generation(block: bytes) -> None:
    decoder = HeaderDecoder()
    before = decoder.generation
    decoder.decode(block)
    assert decoder.generation != before


def test_a_field_too_large_for_the_table_begins_a_generation() -> None:
    decoder = HeaderDecoder()
    decoder.decode(incremental(b"name", b"value"))
    before = decoder.generation
    decoder.decode(b"\x40\x01n\x7f\xc1\x26" + b"v" * 5_056)  # Which empties it.
    assert decoder.generation != before


@pytest.mark.parametrize("block", [b"", INDEXED_METHOD_GET, b"\xbe", encode_headers(REQUEST), b"\x0f\x2f\x01v"])
def test_a_block_that_leaves_the_table_alone_begins_no_generation(block: bytes) -> None:
    decoder = HeaderDecoder()
    decoder.decode(incremental(b"name", b"value"))
    before = decoder.generation
    decoder.decode(block)
    assert decoder.generation == before


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="index 0"),
        pytest.param(b"\xbe", id="an index beyond the table"),
        pytest.param(b"\x00\x05name", id="a name cut off"),
        pytest.param(b"\x00\x04name\x05val", id="a value cut off"),
        pytest.param(b"\x00\x04name", id="no value"),
        pytest.param(b"\x40", id="no name"),
        pytest.param(b"\x00\x84\xff\xff\xff\xff\x01v", id="Huffman codes of the end"),
        pytest.param(b"\x3f\xe2\x1f", id="a table larger than was allowed"),
        pytest.param(INDEXED_METHOD_GET + TABLE_EMPTIED, id="a size of the table behind a field"),
        pytest.param(b"\xff" + b"\x80" * 10 + b"\x01", id="a number without end"),
        pytest.param(b"\xff", id="a number cut off"),
    ],
)
def test_a_malformed_block_ends_the_connection(block: bytes) -> None:
    with pytest.raises(ConnectionFault) as caught:
        HeaderDecoder().decode(block)
    assert caught.value.code == ErrorCode.COMPRESSION_ERROR


def test_headers_as_large_as_allowed_are_taken() -> None:
    headers = [(b"name", b"v" * (MAX_HEADERS_BYTES - 32 - len(b"name")))]
    assert HeaderDecoder().decode(encode_headers(headers)) == headers


def test_headers_larger_than_allowed_end_the_connection() -> None:
    headers = [(b"name", b"v" * (MAX_HEADERS_BYTES - 31 - len(b"name")))]
    with pytest.raises(ConnectionFault):
        HeaderDecoder().decode(encode_headers(headers))


def test_a_few_bytes_that_stand_for_large_headers_end_the_connection() -> None:
    decoder = HeaderDecoder()
    decoder.decode(b"\x40\x04name\x7f\xa1\x1e" + b"v" * 4_000)
    with pytest.raises(ConnectionFault):
        decoder.decode(b"\xbe" * 20)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_random_bytes_are_headers_or_end_the_connection(blocks: list[bytes]) -> None:
    decoder, codes = HeaderDecoder(), []
    for block in blocks:
        try:
            decoder.decode(block)
        except ConnectionFault as fault:
            codes.append(fault.code)
            break
    assert codes in ([], [ErrorCode.COMPRESSION_ERROR])


# Requests


def test_a_request_is_taken() -> None:
    check_request([*REQUEST, (b"te", b"trailers"), (b"content-type", b"application/grpc")])


def test_a_request_needs_no_authority() -> None:
    check_request([header for header in REQUEST if header[0] != b":authority"])


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="none"),
        pytest.param([*REQUEST, (b"Name", b"value")], id="uppercase"),
        pytest.param([*REQUEST, (b"", b"value")], id="no name"),
        pytest.param([*REQUEST, (b"connection", b"close")], id="connection"),
        pytest.param([*REQUEST, (b"keep-alive", b"1")], id="keep-alive"),
        pytest.param([*REQUEST, (b"proxy-connection", b"close")], id="proxy-connection"),
        pytest.param([*REQUEST, (b"transfer-encoding", b"chunked")], id="transfer-encoding"),
        pytest.param([*REQUEST, (b"upgrade", b"h2c")], id="upgrade"),
        pytest.param([*REQUEST, (b"te", b"gzip")], id="te"),
        pytest.param([*REQUEST, (b":path", b"/")], id="a path twice"),
        pytest.param([*REQUEST, (b":status", b"200")], id="a response's"),
        pytest.param([*REQUEST, (b":unknown", b"")], id="an unknown pseudo-header"),
        pytest.param([*REQUEST[:3], (b"name", b"value"), REQUEST[3]], id="a pseudo-header behind a regular one"),
        *[
            pytest.param([each for each in REQUEST if each[0] != name], id=f"no {name.decode()}")
            for name in (b":method", b":scheme", b":path")
        ],
    ],
)
def test_headers_that_are_no_requests_are_an_error_of_their_stream(headers: Headers) -> None:
    with pytest.raises(StreamFault) as caught:
        check_request(headers)
    assert caught.value.code == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([], None),
        ([(b"content-length", b"0")], 0),
        ([(b"content-length", b"0012")], 12),
        ([(b"content-length", b"12"), (b"content-length", b"12")], 12),
    ],
)
def test_headers_say_how_long_the_body_is(headers: Headers, length: int | None) -> None:
    assert content_length_of(headers) == length


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1.5", b"0x10", b" 1", b"\xc2\xb2", b"1_0", b"9" * 5_000])
def test_a_length_that_is_none_is_an_error_of_its_stream(value: bytes) -> None:
    with pytest.raises(StreamFault):
        content_length_of([(b"content-length", value)])


def test_two_different_lengths_are_an_error_of_their_stream() -> None:
    with pytest.raises(StreamFault):
        content_length_of([(b"content-length", b"1"), (b"content-length", b"2")])
