"""Commands, and the one encoding that they have inside a log entry.

An entry's data is a batch: a version (u8), then commands back to back. A command, big-endian: operation (u8), retry
(u8), client id, sequence, first outstanding (u64 each), key length, value length (u32 each), key, value. The entry
around it carries the checksum.

Rule: a replica that can't read a batch stops. Skipping a command would part it from those that could.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple

from meteora.errors import Corruption

BATCH_VERSION: Final = 1


class Operation(IntEnum):
    """What a command does; numbers are on disk and never reused."""

    PUT = 1
    DELETE = 2
    RAISE_LEVEL = 3
    """The cluster's feature level is the value's only byte from now on, if that is higher. Since level 1."""
    CHANGE_USERS = 4
    """The value is a `meteora.kv.users.Change`. Since level 1."""


class Command(NamedTuple):
    """One write, with what makes it safe to send again (see `meteora.kv.sessions`)."""

    operation: Operation
    client_id: int
    """Random and unique to one client; 0: applied each time that it arrives."""
    sequence: int
    """Counts this client's writes from 1."""
    first_outstanding: int
    """The lowest sequence that the client may still send again."""
    retry: bool
    """True when this write may have been sent before."""
    key: bytes
    value: bytes = b""


_HEADER: Final = struct.Struct(">BBQQQII")
_VERSION: Final = bytes([BATCH_VERSION])

COMMAND_OVERHEAD_BYTES: Final = _HEADER.size
"""What a command in a batch takes besides its key and value."""

# This is the path that every write takes, on every replica: enums are looked up and not built, and a Command is made
# by the tuple's own constructor, which takes half the time of its class's.
_OPERATIONS: Final = {int(operation): operation for operation in Operation}
_RETRY: Final = {0: False, 1: True}
_pack = _HEADER.pack
_unpack_from = _HEADER.unpack_from
_new = tuple.__new__


def raise_level(level: int) -> Command:
    """The command that raises the cluster's feature level."""
    return Command(Operation.RAISE_LEVEL, 0, 0, 0, False, b"", bytes([level]))


def encode_batch(commands: Iterable[Command]) -> bytes:
    """The data of an entry that carries these commands, in this order."""
    parts = [_VERSION]
    for operation, client_id, sequence, first_outstanding, retry, key, value in commands:
        parts += (
            _pack(operation, retry, client_id, sequence, first_outstanding, len(key), len(value)),
            key,
            value,
        )
    return b"".join(parts)


def decode_batch(data: bytes) -> list[Command]:
    """The commands in an entry's data. Raises `Corruption` if it is anything but a whole batch."""
    if data[:1] != _VERSION:
        raise Corruption(f"a batch of commands begins with {data[:1]!r}: it was written by another release")
    commands: list[Command] = []
    offset, end = 1, len(data)
    header_bytes = _HEADER.size
    try:
        while offset < end:
            operation, retry, client_id, sequence, first_outstanding, key_bytes, value_bytes = _unpack_from(
                data, offset
            )
            key_offset = offset + header_bytes
            value_offset = key_offset + key_bytes
            offset = value_offset + value_bytes
            commands.append(
                _new(
                    Command,
                    (
                        _OPERATIONS[operation],
                        client_id,
                        sequence,
                        first_outstanding,
                        _RETRY[retry],
                        data[key_offset:value_offset],
                        data[value_offset:offset],
                    ),
                )
            )
    except (struct.error, KeyError) as error:
        raise Corruption(f"command {len(commands)} of a batch can't be read: {error!r}") from error
    if offset != end:
        raise Corruption(f"a batch of commands of {end} bytes ends within command {len(commands) - 1}")
    return commands
