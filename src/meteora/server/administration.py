"""Changes of users and roles, and logins: what makes sense is decided here, on the state as it is.

Each change is decided anew until none came in between (see `meteora.kv.users`). The rules, all of them here:

- While users are enabled there is a user root with a password and the role root: what would end that is refused.
- Whoever asks for a change must be allowed to on the very state that it is decided on: a right that ended meanwhile, be
  it while a password was hashed, makes none any more.
- The role root is there without being made, and has no permissions: it needs none.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import partial
from time import time
from typing import Final, Self

from meteora.config import MAX_KEY_BYTES
from meteora.errors import ChangeRefused, InvalidRequest, NotApplied, OutcomeUnknown, Unauthenticated
from meteora.kv.users import FROM_KEY, ROOT, SECRET_BYTES, Change, Permission, Role, Token, User, Users
from meteora.node.node import Node
from meteora.observability.logs import get_logger
from meteora.server.access import digest_of
from meteora.server.passwords import Logins, Passwords

MAX_NAME_CHARACTERS: Final = 128
MAX_NAMES: Final = 10_000
"""Users, and roles: all are in memory."""

MAX_PERMISSIONS: Final = 1_000
"""Of one role."""

MAX_TOKENS: Final = 20_000
"""That are valid at the same time. Beyond, the one that expires first ends."""

TOKEN_BYTES: Final = 32

_HOW_TO_ENABLE: Final = "meteora user add root, then meteora user grant-role root root"

_log = get_logger("users")


@dataclass(frozen=True, slots=True)
class Login:
    """A token that was issued."""

    token: str
    ttl_seconds: float


class Administration:
    """Users and roles as something that can be changed from any node."""

    def __init__(self, node: Node, passwords: Passwords, *, token_ttl_seconds: float) -> None:
        self._node = node
        self._passwords = passwords
        self._token_ttl_seconds = token_ttl_seconds
        self.logins = Logins()
        self.ensure_allowed: Callable[[], None] = lambda: None
        """Raises unless whoever asks for changes may make them, by the state as it is then."""

    def asked_for(self, ensure_allowed: Callable[[], None]) -> Self:
        """The same, for one caller."""
        one = copy(self)
        one.ensure_allowed = ensure_allowed
        return one

    # Logins

    async def log_in(self, name: str, password: str, address: str, deadline: float) -> Login:
        """A token for a name and a password, asked for from `address`. `deadline` is in the loop's time.

        Raises `Unauthenticated`; `ChangeRefused` if users are not enabled; `Overloaded`; else as `_change`.
        """
        if len(name) > MAX_NAME_CHARACTERS:
            raise InvalidRequest(f"a name has at most {MAX_NAME_CHARACTERS} characters")
        self.logins.check(name, address)
        await self._node.catch_up(deadline)
        _ensure_enabled(self._node.users)
        known = self._node.users.users.get(name)
        begin = partial(self.logins.begin, name, address)
        if not await self._passwords.is_right(known and known.password_hash, password, begin):
            self.logins.note_failure()
            _log.warning("a login failed", user=name, address=address)
            raise Unauthenticated("wrong user name or password")
        self.logins.note_success(name, address)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        record = Token(name, int((time() + self._token_ttl_seconds) * 1000))

        def issue(users: Users) -> Change:
            _ensure_enabled(users)
            now = users.users.get(name)
            if known is None or now is None or now.password_hash != known.password_hash:
                raise Unauthenticated("wrong user name or password")
            return Change(users.revision, tokens={**_surplus(users), digest_of(token): record})

        await self._change(issue, deadline)
        return Login(token, self._token_ttl_seconds)

    # On and off

    async def enable(self, deadline: float) -> None:
        """Let only those in who have logged in. Raises as `_change`."""

        def change(users: Users) -> Change:
            root = users.users.get(ROOT)
            if root is None or not root.password_hash or ROOT not in root.roles:
                raise ChangeRefused(f"there must be a user root with a password and the role root: {_HOW_TO_ENABLE}")
            return Change(users.revision, enabled=True, secret=secrets.token_bytes(SECRET_BYTES))

        await self._change(change, deadline)
        _log.info("users were enabled")

    async def disable(self, deadline: float) -> None:
        """Let everybody in again. All tokens end. Raises as `_change`."""
        await self._change(lambda users: Change(users.revision, enabled=False), deadline)
        _log.info("users were disabled")

    # Users

    async def add_user(self, name: str, password: str, deadline: float) -> None:
        """Add a user; without a password it can't log in. Raises as `_change`."""
        _check_name(name)
        if ":" in name:
            raise InvalidRequest("a user's name has no colon: commands would take what follows for a password")
        password_hash = await self._passwords.hash(password) if password else ""

        def change(users: Users) -> Change:
            if name in users.users:
                raise ChangeRefused(f"there is a user {name!r} already")
            _check_count("users", users.users)
            return Change(users.revision, users={name: User(password_hash)})

        await self._change(change, deadline)

    async def delete_user(self, name: str, deadline: float) -> None:
        """Remove a user, and its tokens. Raises as `_change`."""

        def change(users: Users) -> Change:
            _user(users, name)
            _keep_root(users, name)
            return Change(users.revision, users={name: None})

        await self._change(change, deadline)

    async def change_password(self, name: str, password: str, deadline: float) -> None:
        """Give a user another password: its tokens end. Raises as `_change`."""
        if not password:
            raise InvalidRequest("a password can't be empty")
        password_hash = await self._passwords.hash(password)

        def change(users: Users) -> Change:
            user = _user(users, name)
            return Change(users.revision, users={name: user._replace(password_hash=password_hash)})

        await self._change(change, deadline)

    async def grant_role(self, name: str, role: str, deadline: float) -> None:
        """Give a user a role. Raises as `_change`."""

        def change(users: Users) -> Change:
            user = _user(users, name)
            if role != ROOT:
                _role(users, role)
            if role in user.roles:
                raise ChangeRefused(f"user {name!r} has the role {role!r} already")
            return Change(users.revision, users={name: user._replace(roles=(*user.roles, role))})

        await self._change(change, deadline)

    async def revoke_role(self, name: str, role: str, deadline: float) -> None:
        """Take a role from a user. Raises as `_change`."""

        def change(users: Users) -> Change:
            user = _user(users, name)
            if role not in user.roles:
                raise ChangeRefused(f"user {name!r} does not have the role {role!r}")
            if role == ROOT:
                _keep_root(users, name)
            return Change(users.revision, users={name: _without(user, role)})

        await self._change(change, deadline)

    # Roles

    async def add_role(self, role: str, deadline: float) -> None:
        """Add a role without permissions. Raises as `_change`."""
        _check_name(role)

        def change(users: Users) -> Change:
            if role == ROOT or role in users.roles:
                raise ChangeRefused(f"there is a role {role!r} already")
            _check_count("roles", users.roles)
            return Change(users.revision, roles={role: Role()})

        await self._change(change, deadline)

    async def delete_role(self, role: str, deadline: float) -> None:
        """Remove a role, from all who have it, too. Raises as `_change`."""

        def change(users: Users) -> Change:
            _role(users, role)
            holders = {name: _without(user, role) for name, user in users.users.items() if role in user.roles}
            return Change(users.revision, users=holders, roles={role: None})

        await self._change(change, deadline)

    async def grant_permission(self, role: str, permission: Permission, deadline: float) -> None:
        """Give a role access to keys, in place of what it had to the same range. Raises as `_change`."""
        _check_permission(permission)

        def change(users: Users) -> Change:
            others = [each for each in _role(users, role).permissions if each[1:] != permission[1:]]
            if len(others) >= MAX_PERMISSIONS:
                raise ChangeRefused(f"a role has at most {MAX_PERMISSIONS} permissions")
            return Change(users.revision, roles={role: Role((*others, permission))})

        await self._change(change, deadline)

    async def revoke_permission(self, role: str, key: bytes, range_end: bytes, deadline: float) -> None:
        """Take from a role what it was granted on exactly this range. Raises as `_change`."""

        def change(users: Users) -> Change:
            present = _role(users, role).permissions
            others = tuple(each for each in present if each[1:] != (key, range_end))
            if len(others) == len(present):
                raise ChangeRefused(f"role {role!r} has no permission for exactly this range: meteora role get {role}")
            return Change(users.revision, roles={role: Role(others)})

        await self._change(change, deadline)

    async def _change(self, decide: Callable[[Users], Change], deadline: float) -> None:
        """Make the change that `decide` names, on the state as it is by then. `deadline` is in the loop's time.

        Raises what `decide` does, `ChangeRefused` or `InvalidRequest`; `Unauthenticated` or `PermissionDenied` if who
        asks for it may not; `ChangeRefused` if not all members know of users; as `Node.write`.
        """
        node = self._node
        while True:
            await node.catch_up(deadline)
            self.ensure_allowed()
            change = decide(node.users)
            try:
                await node.change_users(change, deadline)
            except NotApplied:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                continue
            if not node.users.has(change):
                # A snapshot came between, and with it what others did afterwards.
                raise OutcomeUnknown("the change may have been made, and something after it: look at what is there")
            return


def _ensure_enabled(users: Users) -> None:
    if not users.is_enabled:
        raise ChangeRefused("users are not enabled: nobody needs to log in (meteora auth enable)")


def _user(users: Users, name: str) -> User:
    if name not in users.users:
        raise ChangeRefused(f"there is no user {name!r}")
    return users.users[name]


def _role(users: Users, role: str) -> Role:
    if role == ROOT:
        raise ChangeRefused("the role root may do everything, and can't be changed")
    if role not in users.roles:
        raise ChangeRefused(f"there is no role {role!r}")
    return users.roles[role]


def _without(user: User, role: str) -> User:
    return user._replace(roles=tuple(each for each in user.roles if each != role))


def _keep_root(users: Users, name: str) -> None:
    if name == ROOT and users.is_enabled:
        raise ChangeRefused("user root is needed while users are enabled: meteora auth disable comes first")


def _surplus(users: Users) -> dict[bytes, Token | None]:
    """The tokens that are to go when another one comes: all that are expired, or else too many."""
    now_ms = time() * 1000
    expired: dict[bytes, Token | None] = {
        digest: None for digest, token in users.tokens.items() if token.expires_at_ms < now_ms
    }
    if len(users.tokens) - len(expired) >= MAX_TOKENS:
        expired[min(users.tokens, key=lambda digest: users.tokens[digest].expires_at_ms)] = None
    return expired


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise InvalidRequest(f"a name has 1 to {MAX_NAME_CHARACTERS} characters that can be printed")


def _check_count(what: str, present: Mapping[str, object]) -> None:
    if len(present) >= MAX_NAMES:
        raise ChangeRefused(f"there are {MAX_NAMES} {what} already, and that is as many as there may be")


def _check_permission(permission: Permission) -> None:
    _, key, end = permission
    if max(len(key), len(end)) > MAX_KEY_BYTES:
        raise InvalidRequest(f"keys, and so the ends of a range, have at most {MAX_KEY_BYTES} bytes")
    if not key and not end:
        raise InvalidRequest("a permission needs a key: with --prefix and an empty one it is for all keys")
    if end and end != FROM_KEY and end <= key:
        raise InvalidRequest("the range is empty: its end comes at or before its key")
