"""Hashes of passwords, made and checked by argon2 on a thread of their own.

Rules:

- What an attempt costs is the same whether or not there is such a user, and bounded for all of them together: so a
  flood of logins takes one core at most, and what waits is turned away beyond `MAX_WAITING`.
- Who fails again and again has to wait longer and longer: with a name from an address, with that name from anywhere,
  and from that address with any name. But where a user has logged in before, only its own failures there count against
  it: so nobody keeps a user out by failing under its name elsewhere. All is remembered in tables that are bounded;
  whoever fell out begins anew.
- An attempt counts as failed from when it begins until it succeeds, and one begins at a time: so neither many at a time
  nor some that nobody waits for get around the wait.
- No password is kept, or told, anywhere.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

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
"""After a failure: doubles with each. Not longer, because whoever fails on purpose keeps others waiting, too."""

MAX_REMEMBERED: Final = 10_000
"""Names, addresses and pairs of them; and as many pairs that have logged in."""

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
        self._turn = asyncio.Lock()
        self._nobodys = ""
        """Checked in place of the hash of a user that there isn't. Made when it is needed first."""

    async def close(self) -> None:
        """Wait for what is under way, and end the thread."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """What to keep of a password. Raises `InvalidRequest` if it is too long, or `Overloaded`."""
        _check_length(password)
        return await self._run(self._hasher.hash, password)

    async def is_right(
        self, password_hash: str | None, password: str, begin: Callable[[], None] = lambda: None
    ) -> bool:
        """Whether a password is that of a hash; without a hash it is not, which takes as long.

        `begin` is called when it is about to be checked, once all that came before are. Raises as `hash`, and as that.
        """
        _check_length(password)
        is_right = await self._run(self._verify, password_hash or "", password, begin=begin)
        return is_right and bool(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        self._nobodys = self._nobodys or self._hasher.hash("")
        try:
            return self._hasher.verify(password_hash or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., T], *arguments: str, begin: Callable[[], None] = lambda: None) -> T:
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{self._waiting} passwords wait to be checked already: try again later")
        self._waiting += 1
        try:
            async with self._turn:
                begin()
                return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        finally:
            self._waiting -= 1


class _Failed(NamedTuple):
    """Attempts in a row that have failed, or have yet to succeed."""

    times: int
    last_at: float
    before_at: float
    """The one before the last."""


class Logins:
    """Who has tried to log in lately, and what came of it."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[tuple[str, str], _Failed] = OrderedDict()
        """By user and address, either of which may be empty: any."""
        self._welcome: OrderedDict[tuple[str, str], None] = OrderedDict()
        """Users, and addresses from which they have logged in."""
        self.succeeded = self.failed = 0
        """Since the start."""
        self.refused = 0
        """Without a look, because too many have failed."""

    def check(self, user: str, address: str) -> None:
        """Raise `Overloaded`, with the time to wait, if too much has failed just now for another attempt."""
        wait = max(self._may_try_at(each) for each in self._limited_by(user, address)) - self._clock()
        if wait > 0:
            self.refused += 1
            raise Overloaded(f"too many failed logins: try again in {wait:.1f} s")

    def _limited_by(self, user: str, address: str) -> Iterable[tuple[str, str]]:
        pair = (user, address)
        return (pair,) if pair in self._welcome else (pair, (user, ""), ("", address))

    def _may_try_at(self, who: tuple[str, str]) -> float:
        failed = self._failed.get(who)
        if failed is None or failed.times <= FREE_FAILURES:
            return 0.0
        doublings = min(failed.times - FREE_FAILURES - 1, 20)
        return failed.last_at + min(FIRST_WAIT_SECONDS * 2.0**doublings, MAX_WAIT_SECONDS)

    def begin(self, user: str, address: str) -> None:
        """An attempt begins, and counts as failed for now. Raises as `check`."""
        self.check(user, address)
        now = self._clock()
        for each in ((user, address), (user, ""), ("", address)):
            times, last_at, _ = self._failed.pop(each, _Failed(0, now, now))
            self._failed[each] = _Failed(1 if now - last_at > FORGOTTEN_SECONDS else times + 1, now, last_at)
        _trim(self._failed)

    def note_failure(self) -> None:
        """The attempt that began has failed."""
        self.failed += 1

    def note_success(self, user: str, address: str) -> None:
        """It has not."""
        self.succeeded += 1
        self._failed.pop((user, address), None)
        for each in ((user, ""), ("", address)):
            failed = self._failed.pop(each, None)
            if failed is not None and failed.times > 1:
                self._failed[each] = _Failed(failed.times - 1, failed.before_at, failed.before_at)
        self._welcome.pop((user, address), None)
        self._welcome[user, address] = None
        _trim(self._welcome)


def _trim(table: OrderedDict[tuple[str, str], Any]) -> None:
    while len(table) > MAX_REMEMBERED:
        table.popitem(last=False)


def _check_length(password: str) -> None:
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        raise InvalidRequest(f"a password has at most {MAX_PASSWORD_BYTES} bytes")
