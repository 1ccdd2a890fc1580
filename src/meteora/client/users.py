"""Roles as users of the client see them, and what they are on the wire. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

from meteora.pb import auth_pb2

Access = Literal["read", "write", "readwrite"]

_TYPES: Final[dict[Access, auth_pb2.Permission.Type]] = {
    "read": auth_pb2.Permission.READ,
    "write": auth_pb2.Permission.WRITE,
    "readwrite": auth_pb2.Permission.READWRITE,
}
_ACCESSES: Final = {kind: access for access, kind in _TYPES.items()}


@dataclass(frozen=True, slots=True)
class Permission:
    """Access to the keys from `key` up to and without `range_end`.

    With an empty `range_end` it is to `key` alone; with one byte 0, to all keys from `key` on. For a prefix see
    `end_of_prefix`.
    """

    access: Access
    key: bytes
    range_end: bytes = b""

    def to_message(self) -> auth_pb2.Permission:
        """As it is on the wire."""
        return auth_pb2.Permission(type=_TYPES[self.access], key=self.key, range_end=self.range_end)


@dataclass(frozen=True, slots=True)
class UsersStatus:
    """Whether users are enabled."""

    enabled: bool
    revision: int
    """Rises with each change of users and roles."""


def permissions_of(reply: auth_pb2.RoleGetReply) -> tuple[Permission, ...]:
    """The permissions in a reply."""
    return tuple(Permission(_ACCESSES[each.type], each.key, each.range_end) for each in reply.permissions)


def end_of_prefix(prefix: bytes) -> bytes:
    """The `range_end` of the keys that begin with `prefix`."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else b"\x00"
