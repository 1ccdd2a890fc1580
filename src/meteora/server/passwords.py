"""Hashes of passwords, made and checked by argon2 on a thread of their own.

Rules:

- What an attempt costs is the same whether or not there is such a user, and bounded for all of them together: so a
  flood of logins takes one core at most, and what waits is turned away beyond `MAX_WAITING`.
- Who fails again and again has to wait longer and longer, by name and by address. Both are remembered in a table that
  is bounded; whoever fell out begins anew.
- No password is kept, or told, anywhere.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from meteora.errors import InvalidRequest, Overloaded

MAX_WAITING: Final = 32
"""Hashes that are made or wait for it: a second's work, or so."""

MAX_PASSWORD_BYTES: Final = 1024

FREE_FAILURES: Final = 4
"""In a row, before the first wait."""

FIRST_WAIT_SECONDS: Final = 0.25
MAX_WAIT_SECONDS: Final = 30.0
"""After a failure: doubles with each. Not longer, because whoever fails on purpose keeps the true user waiting, too."""

MAX_FAILURES: Final = 10_000
"""Names and addresses that are remembered."""

FORGOTTEN_SECONDS: Final = 600.0
"""After the last failure."""

T = TypeVar("T")


class Passwords:
    """Makes and checks hashes. Made and used on one event loop; to be closed."""

    def __init__(self) -> None:
        # 19 MiB and two passes: what OWASP recommends as the least. One lane, so that a check takes one core.
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._thread = ThreadPoolExecutor(1, "passwords")
        self._waiting = 0
        self._nobodys = ""
        """Checked in place of the hash of a user that there isn't. Made when it is needed first."""

    async def close(self) -> None:
        """Wait for what is under way, and end the thread."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """What to keep of a password. Raises `InvalidRequest` if it is too long, or `Overloaded`."""
        _check_length(password)
        return await self._run(self._hasher.hash, password)

    async def is_right(self, password_hash: str | None, password: str) -> bool:
        """Whether a password is that of a hash; without a hash it is not, which takes as long. Raises as `hash`."""
        _check_length(password)
        is_right = await self._run(self._verify, password_hash or "", password)
        return is_right and bool(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        self._nobodys = self._nobodys or self._hasher.hash("")
        try:
            return self._hasher.verify(password_hash or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., T], *arguments: str) -> T:
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{self._waiting} passwords wait to be checked already: try again later")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        finally:
            self._waiting -= 1


class Failures:
    """Who failed to log in lately, by name and by address."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """How often in a row, and when last."""
        self.count = 0
        """Of all failures since the start."""

    def check(self, *who: str) -> None:
        """Raise `Overloaded`, with the time to wait, if one of these has failed too often just now."""
        now = self._clock()
        wait = max(self._may_try_at(each) for each in who) - now
        if wait > 0:
            raise Overloaded(f"too many failed logins: try again in {wait:.1f} s")

    def _may_try_at(self, who: str) -> float:
        failures, last_at = self._failed.get(who, (0, 0.0))
        if failures <= FREE_FAILURES:
            return 0.0
        doublings = min(failures - FREE_FAILURES - 1, 20)
        return last_at + min(FIRST_WAIT_SECONDS * 2.0**doublings, MAX_WAIT_SECONDS)

    def failed(self, *who: str) -> None:
        """An attempt of these has failed."""
        self.count += 1
        now = self._clock()
        for each in who:
            failures, last_at = self._failed.pop(each, (0, now))
            self._failed[each] = (1 if now - last_at > FORGOTTEN_SECONDS else failures + 1, now)
            if len(self._failed) > MAX_FAILURES:
                self._failed.popitem(last=False)

    def succeeded(self, who: str) -> None:
        """This one has logged in."""
        self._failed.pop(who, None)


def _check_length(password: str) -> None:
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        raise InvalidRequest(f"a password has at most {MAX_PASSWORD_BYTES} bytes")
