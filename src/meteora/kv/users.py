"""Who may do what: users, roles, and the tokens of those who have logged in; part of the replicated state.

A change names the revision of all this that it was decided on, and does nothing if there is another one by then: so who
decides (`meteora.server.administration`) looks at what there is, refuses what makes no sense, and tries again if others
were faster; and applying is the same everywhere, because it knows neither rules, nor times, nor chance.

"um"            ->  whether it is enabled, the revision, the members' secret
"uu" name       ->  a user: the hash of the password, roles
"ur" name       ->  a role: permissions
"ut" SHA-256    ->  the token with this digest: whose, and until when

Invariants: the revision rises with every change but of tokens alone. Tokens are kept as digests, so neither a disk nor
a log holds one. A user's tokens end with it, and with its password; all of them, when users are not enabled any more:
that is for applying to see to, because one may be issued between the decision and the change.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from enum import IntFlag
from typing import Any, Final, NamedTuple, Self

from meteora.errors import Corruption
from meteora.kv.json_records import flag, number, parsed, text

USERS_VERSION: Final = 1

USERS_PREFIX: Final = b"u"

ROOT: Final = "root"
"""The role, and the user, that may do everything."""

SECRET_BYTES: Final = 32
"""Of what members know one another by."""

FROM_KEY: Final = b"\x00"
"""As the end of a range: there is none."""

META_KEY: Final = b"um"
"""Whose record holds the members' secret."""

_USER_PREFIX: Final = b"uu"
_ROLE_PREFIX: Final = b"ur"
_TOKEN_PREFIX: Final = b"ut"


class Access(IntFlag):
    """What may be done with keys."""

    READ = 1
    WRITE = 2
    READWRITE = 3


_ACCESSES: Final = {access.value: access for access in (Access.READ, Access.WRITE, Access.READWRITE)}


class Permission(NamedTuple):
    """Access to the keys from `key` up to and without `range_end`.

    With no end only to `key`, with `FROM_KEY` as the end to all from there on.
    """

    access: Access
    key: bytes
    range_end: bytes = b""


class Role(NamedTuple):
    """What whoever has it may do; the role named `ROOT` may do everything."""

    permissions: tuple[Permission, ...] = ()


class User(NamedTuple):
    """One who may log in."""

    password_hash: str
    """With all that is needed to check it, but the password; empty if there is none, and so no way in."""
    roles: tuple[str, ...] = ()


class Token(NamedTuple):
    """One login."""

    user: str
    expires_at_ms: int
    """Since the epoch."""


class Change(NamedTuple):
    """What is to become of users, roles and tokens. None removes."""

    revision: int
    """It is made if the revision is still this one."""
    users: Mapping[str, User | None] = {}
    roles: Mapping[str, Role | None] = {}
    tokens: Mapping[bytes, Token | None] = {}
    """By the SHA-256 of the token."""
    enabled: bool | None = None
    """None: as it is."""
    secret: bytes = b""
    """By which members know one another from now on; empty: as before."""

    @property
    def is_of_tokens_alone(self) -> bool:
        """Whether it leaves alone what may be done."""
        return not (self.users or self.roles or self.secret) and self.enabled is None

    def encode(self) -> bytes:
        """As it stands in a command."""
        fields = {
            "version": USERS_VERSION,
            "revision": self.revision,
            "users": {name: None if user is None else _encode_user(user) for name, user in self.users.items()},
            "roles": {name: None if role is None else _encode_role(role) for name, role in self.roles.items()},
            "tokens": {digest.hex(): None if token is None else list(token) for digest, token in self.tokens.items()},
            "enabled": self.enabled,
            "secret": self.secret.hex(),
        }
        return json.dumps(fields).encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The change in a command. Raises `Corruption`."""
        try:
            fields = _checked(parsed(data))
            enabled = fields["enabled"]
            return cls(
                number(fields["revision"]),
                {text(name): None if user is None else _decode_user(user) for name, user in fields["users"].items()},
                {text(name): None if role is None else _decode_role(role) for name, role in fields["roles"].items()},
                {
                    bytes.fromhex(digest): None if token is None else _decode_token(token)
                    for digest, token in fields["tokens"].items()
                },
                None if enabled is None else flag(enabled),
                bytes.fromhex(fields["secret"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Corruption(f"a change of users can't be read: {error!r}") from error


class Users:
    """All of it, in memory. There is one of these for as long as a node runs: its content changes."""

    def __init__(self) -> None:
        self.is_enabled = False
        """Whether who is not logged in may do nothing."""
        self.revision = 0
        self.secret = b""
        """Known to members only. Empty until it was enabled first."""
        self.users: dict[str, User] = {}
        self.roles: dict[str, Role] = {}
        self.tokens: dict[bytes, Token] = {}

    def become(self, other: "Users") -> None:
        """Take over all that another one holds."""
        self.is_enabled, self.revision, self.secret = other.is_enabled, other.revision, other.secret
        self.users, self.roles, self.tokens = other.users, other.roles, other.tokens

    def load(self, pairs: Iterable[tuple[bytes, bytes]]) -> Self:
        """Add what was stored. Raises `Corruption`."""
        for key, record in pairs:
            take_record(self, key, record)
        return self

    def apply(self, change: Change) -> list[tuple[bytes, bytes | None]] | None:
        """Make the change: the records to store, None for those to remove. None if the revision is another one."""
        if change.revision != self.revision:
            return None
        change = change._replace(tokens={**self._ending(change), **change.tokens})
        _update(self.users, change.users)
        _update(self.roles, change.roles)
        _update(self.tokens, change.tokens)
        if change.enabled is not None:
            self.is_enabled = change.enabled
        self.secret = change.secret or self.secret
        self.revision += not change.is_of_tokens_alone
        return list(self._records(change))

    def _ending(self, change: Change) -> dict[bytes, Token | None]:
        """The tokens that end with a change, whether or not it names them."""
        if change.enabled is False:
            return dict.fromkeys(self.tokens)
        losing = {name for name, user in change.users.items() if self._loses_password(name, user)}
        return {digest: None for digest, token in self.tokens.items() if token.user in losing} if losing else {}

    def _loses_password(self, name: str, user: User | None) -> bool:
        known = self.users.get(name)
        return known is not None and (user is None or user.password_hash != known.password_hash)

    def has(self, change: Change) -> bool:
        """Whether all is as a change would have it."""
        return (
            all(self.users.get(name) == user for name, user in change.users.items())
            and all(self.roles.get(name) == role for name, role in change.roles.items())
            and all(self.tokens.get(digest) == token for digest, token in change.tokens.items())
            and change.enabled in (None, self.is_enabled)
        )

    def _records(self, change: Change) -> Iterator[tuple[bytes, bytes | None]]:
        for name, user in change.users.items():
            yield _USER_PREFIX + name.encode(), None if user is None else _record(_encode_user(user))
        for name, role in change.roles.items():
            yield _ROLE_PREFIX + name.encode(), None if role is None else _record(_encode_role(role))
        for digest, token in change.tokens.items():
            yield _TOKEN_PREFIX + digest, None if token is None else _record(list(token))
        if not change.is_of_tokens_alone:
            yield META_KEY, _meta_record(self, self.secret)


def take_record(users: Users, key: bytes, record: bytes) -> None:
    """Add one stored record. Raises `Corruption`."""
    kind, name = key[:2], key[2:]
    try:
        content = _checked(parsed(record))["content"]
        if kind == _USER_PREFIX:
            users.users[name.decode()] = _decode_user(content)
        elif kind == _ROLE_PREFIX:
            users.roles[name.decode()] = _decode_role(content)
        elif kind == _TOKEN_PREFIX:
            users.tokens[name] = _decode_token(content)
        elif key == META_KEY:
            users.is_enabled, users.revision = flag(content["enabled"]), number(content["revision"])
            users.secret = bytes.fromhex(content["secret"])
        else:
            raise Corruption("no release writes this key")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Corruption(f"a record of users or roles can't be read: {error!r}") from error


def with_secret(record: bytes, secret: bytes) -> bytes:
    """The record at `META_KEY`, with another secret; as it is if users are not enabled. Raises `Corruption`."""
    users = Users()
    take_record(users, META_KEY, record)
    return _meta_record(users, secret) if users.is_enabled else record


def _meta_record(users: Users, secret: bytes) -> bytes:
    return _record({"enabled": users.is_enabled, "revision": users.revision, "secret": secret.hex()})


def _record(content: Any) -> bytes:
    return json.dumps({"version": USERS_VERSION, "content": content}).encode()


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    if fields["version"] != USERS_VERSION:
        raise ValueError(f"version {fields['version']} is of another release")
    return fields


def _update(present: dict[Any, Any], changes: Mapping[Any, Any]) -> None:
    for name, value in changes.items():
        if value is None:
            present.pop(name, None)
        else:
            present[name] = value


def _encode_user(user: User) -> list[Any]:
    return [user.password_hash, list(user.roles)]


def _decode_user(fields: list[Any]) -> User:
    password_hash, roles = fields
    return User(text(password_hash), tuple(map(text, _items(roles))))


def _encode_role(role: Role) -> list[Any]:
    return [[each.access.value, each.key.hex(), each.range_end.hex()] for each in role.permissions]


def _decode_role(fields: list[Any]) -> Role:
    permissions = (
        Permission(_ACCESSES[number(access)], bytes.fromhex(key), bytes.fromhex(end))
        for access, key, end in _items(fields)
    )
    return Role(tuple(permissions))


def _decode_token(fields: list[Any]) -> Token:
    user, expires_at_ms = fields
    return Token(text(user), number(expires_at_ms))


def _items(fields: Any) -> list[Any]:
    if type(fields) is not list:
        raise ValueError(f"{fields!r} where a list should be")
    return fields
