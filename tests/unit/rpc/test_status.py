from urllib.parse import unquote

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.rpc.status import MAX_DETAILS_CHARACTERS, number_of, status_headers


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_a_code_is_known_by_itself_and_by_its_number(code: grpc.StatusCode) -> None:
    assert number_of(code) == number_of(code.value[0]) == code.value[0]


@pytest.mark.parametrize("code", [-1, 17, "OK", None])
def test_what_is_no_code_is_an_error(code: int) -> None:
    with pytest.raises(ValueError, match="no gRPC status"):
        number_of(code)


def test_without_details_there_is_no_message() -> None:
    assert status_headers(0, "") == [(b"grpc-status", b"0")]


@pytest.mark.parametrize(
    ("details", "encoded"),
    [
        ("key not found", b"key not found"),
        ("100 %", b"100 %25"),
        ("ö", b"%C3%B6"),
        ("line\nline", b"line%0Aline"),
        ("~!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}", b"~!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}"),
        ("\x7f\x00", b"%7F%00"),
        ("\ud800", b"?"),
    ],
)
def test_a_message_is_percent_encoded(details: str, encoded: bytes) -> None:
    assert status_headers(2, details)[1] == (b"grpc-message", encoded)


@given(st.text(min_size=1, max_size=MAX_DETAILS_CHARACTERS, alphabet=st.characters(codec="utf-8")))
def test_a_message_can_be_read_again(details: str) -> None:
    (_, encoded) = status_headers(2, details)[1]
    assert unquote(encoded.decode("ascii")) == details


@given(st.text(min_size=1))
def test_a_message_is_printable_ascii(details: str) -> None:
    (_, encoded) = status_headers(2, details)[1]
    assert encoded.isascii()
    assert encoded.decode().isprintable()


def test_a_long_message_is_cut() -> None:
    (_, encoded) = status_headers(2, "x" * (MAX_DETAILS_CHARACTERS + 1))[1]
    assert encoded == b"x" * MAX_DETAILS_CHARACTERS
