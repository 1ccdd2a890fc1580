"""Whether who calls may do what it asks for, by the users and roles that are applied on this node.

Rules:

- While users are not enabled, everybody may do everything, and nothing is looked up.
- A token is looked up by its digest, so how long that takes tells nothing about those that there are. What was found is
  remembered for as long as the revision of users and roles is the same.
- A write is not judged by a state that is known to be old, as that of a node that has just joined, or was out of touch:
  the node catches up first. A read is judged by the state that it is answered from.
- A token that is not known here may be known elsewhere already: it is refused only once this node has caught up with
  all that was acknowledged before the call.
- A node proves that it is a member by a secret that only members know, because they have applied the same log. That
  counts on the Raft port alone: a former member knows it too, and may have no way to that port any more.
"""

import hmac
from bisect import bisect_right
from collections.abc import Callable, Iterable
from hashlib import sha256
from time import time
from typing import Any, Final, NamedTuple

import grpc

from meteora.errors import PermissionDenied, Unauthenticated
from meteora.kv.users import FROM_KEY, ROOT, Access, Permission, Users
from meteora.node.node import Node
from meteora.observability.logs import OnceLog, get_logger

AUTHORIZATION_KEY: Final = "authorization"
"""The metadata in which who calls says who it is."""

TOLD_AGAIN_SECONDS: Final = 60.0
"""Between two log lines about the same refusal."""

MAX_REMEMBERED: Final = 10_000
"""Tokens whose rights are remembered; beyond, all are looked up anew."""

_log = get_logger("users")

_BEARER: Final = "bearer "

_NEEDS_LOGIN: Final = "users are enabled, and this request is not logged in: give a name and a password (--user)"
_NOT_VALID: Final = "the token is not valid, or not any more: log in again"


class Ranges:
    """Keys, as ranges that don't touch one another."""

    def __init__(self, permissions: Iterable[Permission]) -> None:
        self._starts: list[bytes] = []
        self._ends: list[bytes | None] = []
        """Without it; None: there is no end."""
        for start, end in sorted(map(_bounds, permissions), key=lambda bounds: bounds[0]):
            if self._ends and (self._ends[-1] is None or start <= self._ends[-1]):
                self._ends[-1] = None if None in (end, self._ends[-1]) else max(end or b"", self._ends[-1] or b"")
            else:
                self._starts.append(start)
                self._ends.append(end)

    def __contains__(self, key: bytes) -> bool:
        position = bisect_right(self._starts, key) - 1
        if position < 0:
            return False
        end = self._ends[position]
        return end is None or key < end


def _bounds(permission: Permission) -> tuple[bytes, bytes | None]:
    _, key, end = permission
    if not end:
        return key, key + b"\x00"
    return key, None if end == FROM_KEY else end


class Caller(NamedTuple):
    """One who is logged in, and what that allows."""

    user: str
    expires_at_ms: float
    is_root: bool
    roles: frozenset[str]
    readable: Ranges
    writable: Ranges

    def may(self, access: Access, key: bytes) -> bool:
        """Whether it may read, or write, a key."""
        return self.is_root or key in (self.readable if access is Access.READ else self.writable)


class Gate:
    """What stands before the services of one node."""

    def __init__(self, node: Node, clock: Callable[[], float] = time) -> None:
        """`clock`: seconds since the epoch, by which tokens expire."""
        self._node = node
        self._clock = clock
        self.users = node.users
        self._known: dict[bytes, Caller] = {}
        self._known_at_revision = 0
        self.unauthenticated = 0
        """What was refused since the start because who asked was not logged in: a request, or an operation of one."""
        self.denied = 0
        """Because no role of it permits that."""
        self._refusals = OnceLog(_log, again_after_seconds=TOLD_AGAIN_SECONDS)

    def check(self, authorization: str | None, access: Access, key: bytes) -> None:
        """Raise `Unauthenticated` or `PermissionDenied` unless the caller may read, or write, a key. If enabled."""
        caller = self.caller(authorization)
        if not caller.may(access, key):
            what = "read" if access is Access.READ else "write"
            raise self._denied(caller, f"may not {what} this key: no role of it permits that")

    def caller(self, authorization: str | None) -> Caller:
        """Who calls, as far as this node knows. Raises `Unauthenticated`."""
        if not authorization:
            raise self._unknown(_NEEDS_LOGIN)
        caller = self._look_up(authorization)
        if caller is None or caller.expires_at_ms <= self._clock() * 1000:
            raise self._unknown(_NOT_VALID)
        return caller

    def knows(self, authorization: str | None) -> bool:
        """Whether this node can tell at once who calls."""
        return not authorization or self._look_up(authorization) is not None

    async def admit(
        self,
        authorization: str | None,
        deadline: float,
        *,
        is_root_needed: bool = False,
        is_write: bool = False,
        takes_members: bool = False,
    ) -> Caller | None:
        """Who calls, by all that was acknowledged before the call; None if users are not enabled, or it is a member.

        Raises `Unauthenticated` or `PermissionDenied`; as `Node.catch_up` if this node can't catch up.
        """
        is_too_old = is_root_needed or (is_write and self._node.freshness.is_behind)
        if is_too_old or not self.knows(authorization):
            # What could be known by now must not be refused; and who lost a right must not go on with it.
            await self._node.catch_up(deadline)
        if not self.users.is_enabled or (takes_members and self._is_of_member(authorization)):
            return None
        caller = self.caller(authorization)
        if is_root_needed:
            self._ensure_root(caller)
        return caller

    def ensure_root(self, authorization: str | None) -> None:
        """Raise `Unauthenticated` or `PermissionDenied` unless the caller has the role root. If enabled."""
        if self.users.is_enabled:
            self._ensure_root(self.caller(authorization))

    def ensure_own(self, authorization: str | None, is_own: Callable[[Caller], bool]) -> None:
        """The same for what a caller may look at if it is its own."""
        if self.users.is_enabled and not ((caller := self.caller(authorization)).is_root or is_own(caller)):
            raise self._denied(caller, "may look at itself and its own roles only")

    def _ensure_root(self, caller: Caller) -> None:
        if not caller.is_root:
            raise self._denied(caller, f"may not do that: it needs the role {ROOT}")

    def _unknown(self, why: str) -> Unauthenticated:
        self.unauthenticated += 1
        self._refusals.warning("a request was refused", why, cause=why)
        return Unauthenticated(why)

    def _denied(self, caller: Caller, why: str) -> PermissionDenied:
        self.denied += 1
        self._refusals.warning("a request was refused", (caller.user, why), user=caller.user, cause=why)
        return PermissionDenied(f"user {caller.user!r} {why}")

    @property
    def member_authorization(self) -> str:
        """What this node says to other members to prove that it is one; empty if there is no secret yet."""
        return f"Member {_proof(self.users)}" if self.users.secret else ""

    def _is_of_member(self, authorization: str | None) -> bool:
        proof = self.member_authorization
        return bool(proof and authorization) and hmac.compare_digest((authorization or "").encode(), proof.encode())

    def _look_up(self, authorization: str) -> Caller | None:
        if self._known_at_revision != self.users.revision or len(self._known) > MAX_REMEMBERED:
            self._known.clear()
            self._known_at_revision = self.users.revision
        digest = sha256(authorization.encode()).digest()
        caller = self._known.get(digest)
        if caller is None:
            caller = self._find(authorization)
            if caller is not None:
                self._known[digest] = caller
        return caller

    def _find(self, authorization: str) -> Caller | None:
        kind, secret = authorization[: len(_BEARER)].lower(), authorization[len(_BEARER) :]
        if kind != _BEARER:
            return None
        token = self.users.tokens.get(digest_of(secret))
        if token is None or token.user not in self.users.users:
            return None
        return caller_of(self.users, token.user, token.expires_at_ms)


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return sha256(token.encode()).digest()


def caller_of(users: Users, name: str, expires_at_ms: int) -> Caller:
    """What a user may do, by its roles as they are now."""
    roles = users.users[name].roles
    permissions = [each for role in roles if role in users.roles for each in users.roles[role].permissions]
    return Caller(
        name,
        expires_at_ms,
        ROOT in roles,
        frozenset(roles),
        Ranges(each for each in permissions if each.access & Access.READ),
        Ranges(each for each in permissions if each.access & Access.WRITE),
    )


def authorization_of(context: "grpc.aio.ServicerContext[Any, Any]") -> str | None:
    """What the caller says of itself, last if more than once, as `Direct.begin` is told; None if nothing."""
    value = dict(context.invocation_metadata() or ()).get(AUTHORIZATION_KEY)
    return value if isinstance(value, str) else None


def _proof(users: Users) -> str:
    return hmac.new(users.secret, b"member", sha256).hexdigest()
