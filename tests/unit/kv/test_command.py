"""Commands as bytes and back."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.errors import Corruption
from meteora.kv.command import Command, Operation, decode_batch, encode_batch

numbers = st.integers(0, (1 << 64) - 1)
commands = st.builds(
    Command,
    operation=st.sampled_from(Operation),
    client_id=numbers,
    sequence=numbers,
    first_outstanding=numbers,
    retry=st.booleans(),
    key=st.binary(max_size=50),
    value=st.binary(max_size=50),
)


def batch_of(*several: Command) -> bytes:
    return encode_batch(several)


PUT = Command(Operation.PUT, 7, 3, 2, False, b"key", b"value")
DELETE = Command(Operation.DELETE, 7, 4, 2, True, b"key")


@given(st.lists(commands))
def test_commands_come_back(several: list[Command]) -> None:
    assert decode_batch(batch_of(*several)) == several


@pytest.mark.parametrize("command", [PUT, DELETE])
def test_a_command_comes_back_with_the_types_of_its_fields(command: Command) -> None:
    (decoded,) = decode_batch(batch_of(command))
    assert [type(field) for field in decoded] == [Operation, int, int, int, bool, bytes, bytes]
    assert type(decoded) is Command


def test_a_batch_begins_with_its_version() -> None:
    assert batch_of() == b"\x01"


def test_the_bytes_of_a_command_never_change() -> None:
    """What is in the logs of clusters that run: a failure here is a new version of the format."""
    assert batch_of(PUT).hex() == (
        "01010000000000000000070000000000000003000000000000000200000003000000056b657976616c7565"
    )


def test_the_largest_key_and_value_come_back() -> None:
    command = PUT._replace(key=b"k" * 65_536, value=b"v" * 1_572_864)
    assert decode_batch(batch_of(command)) == [command]


def test_every_cut_of_a_batch_is_corruption() -> None:
    batch = batch_of(PUT, DELETE)
    whole = {1, len(batch_of(PUT)), len(batch)}
    for length in range(len(batch)):
        if length not in whole:
            with pytest.raises(Corruption):
                decode_batch(batch[:length])


def test_bytes_after_the_last_command_are_corruption() -> None:
    with pytest.raises(Corruption, match="command 1 of a batch can't be read"):
        decode_batch(batch_of(PUT) + b"x")


@pytest.mark.parametrize(
    ("position", "byte", "message"),
    [
        pytest.param(0, 2, "written by another release", id="version"),
        pytest.param(1, 0, "command 0 .* can't be read", id="operation"),
        pytest.param(1, 255, "command 0 .* can't be read", id="operation that is not known"),
        pytest.param(2, 2, "command 0 .* can't be read", id="retry"),
        pytest.param(27, 1, "ends within command 0", id="key length"),
        pytest.param(31, 255, "ends within command 0", id="value length"),
    ],
)
def test_a_field_that_cannot_be_is_corruption(position: int, byte: int, message: str) -> None:
    batch = bytearray(batch_of(PUT))
    batch[position] = byte
    with pytest.raises(Corruption, match=message):
        decode_batch(bytes(batch))


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_numbers_beyond_64_bits_cannot_be_encoded(number: int) -> None:
    for command in (
        PUT._replace(client_id=number),
        PUT._replace(sequence=number),
        PUT._replace(first_outstanding=number),
    ):
        with pytest.raises(struct.error):
            encode_batch([command])
