import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.rpc.metadata import decode_metadata, encode_metadata
from meteora.rpc.status import CallFailed

KEYS = st.from_regex(r"x-[0-9a-z_.-]*[0-9a-z]", fullmatch=True).filter(lambda key: not key.endswith("-bin"))
TEXTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


@given(st.lists(st.tuples(KEYS, TEXTS) | st.tuples(KEYS.map("{}-bin".format), st.binary())))
def test_metadata_survives_the_wire(metadata: list[tuple[str, str | bytes]]) -> None:
    assert list(decode_metadata(encode_metadata(metadata))) == metadata


def test_an_entry_is_a_pair_with_names() -> None:
    (metadatum,) = decode_metadata([(b"key", b"value")])
    assert (metadatum.key, metadatum.value) == metadatum == ("key", "value")


@pytest.mark.parametrize("name", [b"te", b"host", b"content-type", b"grpc-timeout", b"grpc-encoding"])
def test_headers_of_the_protocol_are_no_metadata(name: bytes) -> None:
    assert decode_metadata([(name, b"value")]) == ()


@pytest.mark.parametrize("padded", [b"/w==", b"/w", b"/w="])
def test_padding_may_be_left_out(padded: bytes) -> None:
    assert decode_metadata([(b"key-bin", padded)]) == (("key-bin", b"\xff"),)


def test_values_that_were_joined_are_parted() -> None:
    assert decode_metadata([(b"key-bin", b"/w==, AA")]) == (("key-bin", b"\xff"), ("key-bin", b"\0"))


@pytest.mark.parametrize("value", [b"!", b"a", b"/w /w", b"\xff"])
def test_base64_that_is_none_ends_the_call(value: bytes) -> None:
    with pytest.raises(CallFailed, match="'key-bin'"):
        decode_metadata([(b"key-bin", value)])


def test_text_under_a_binary_key_is_sent_as_its_bytes() -> None:
    assert encode_metadata([("key-bin", "ö")]) == [(b"key-bin", b"w7Y")]


def test_rich_details_of_a_status_may_be_sent() -> None:
    assert encode_metadata([("grpc-status-details-bin", b"\0")]) == [(b"grpc-status-details-bin", b"AA")]


@pytest.mark.parametrize(
    "key", ["", "Upper", "with space", "ö", "a:b", "grpc-status", "grpc-message", "content-type", "te"]
)
def test_a_key_that_can_t_be_sent_is_an_error(key: str) -> None:
    with pytest.raises(ValueError, match="can't be a key"):
        encode_metadata([(key, "value")])


@pytest.mark.parametrize("value", ["ö", "line\n", b"\xff", "\x7f"])
def test_a_value_that_can_t_be_sent_is_an_error(value: str | bytes) -> None:
    with pytest.raises(ValueError, match="not printable ASCII"):
        encode_metadata([("key", value)])
