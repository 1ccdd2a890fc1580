import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from meteora.errors import InvalidRequest, Overloaded
from meteora.server import passwords
from meteora.server.passwords import FREE_FAILURES, MAX_PASSWORD_BYTES, MAX_WAIT_SECONDS, Failures, Passwords

pytestmark = pytest.mark.usefixtures("no_leaks")


def with_passwords(story: Callable[[Passwords], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        passwords = Passwords()
        try:
            await story(passwords)
        finally:
            await passwords.close()

    asyncio.run(run())


def test_only_the_right_password_is_right() -> None:
    async def story(passwords: Passwords) -> None:
        known = await passwords.hash("secret")
        assert "secret" not in known
        assert known.startswith("$argon2id$")
        assert await passwords.is_right(known, "secret")
        assert not await passwords.is_right(known, "Secret")
        assert not await passwords.is_right("no hash at all", "secret")

    with_passwords(story)


@pytest.mark.parametrize("password_hash", [None, ""])
@pytest.mark.parametrize("password", ["", "anything"])
def test_who_has_no_password_has_none_that_is_right(password_hash: str | None, password: str) -> None:
    async def story(passwords: Passwords) -> None:
        assert not await passwords.is_right(password_hash, password)

    with_passwords(story)


def test_more_than_may_wait_are_turned_away_at_once() -> None:
    async def story(made: Passwords) -> None:
        attempts = [made.is_right(None, "x") for _ in range(passwords.MAX_WAITING + 3)]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert [type(each) for each in outcomes].count(Overloaded) == 3
        assert not await made.is_right(None, "x")

    with_passwords(story)


def test_a_password_of_any_length_is_not_hashed() -> None:
    async def story(passwords: Passwords) -> None:
        with pytest.raises(InvalidRequest):
            await passwords.hash("x" * (MAX_PASSWORD_BYTES + 1))

    with_passwords(story)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failures(clock: Clock) -> Failures:
    return Failures(clock)


def fail(failures: Failures, count: int, *who: str) -> None:
    for _ in range(count):
        failures.failed(*who)


def test_who_mistypes_now_and_then_does_not_wait(failures: Failures) -> None:
    fail(failures, FREE_FAILURES, "user a", "address b")
    failures.check("user a", "address b")


def test_each_failure_more_doubles_the_wait_up_to_a_bound(failures: Failures, clock: Clock) -> None:
    fail(failures, FREE_FAILURES + 1, "user a")
    with pytest.raises(Overloaded, match=r"0\.2 s|0\.3 s"):
        failures.check("user a")
    fail(failures, 2, "user a")
    with pytest.raises(Overloaded, match=r"1\.0 s"):
        failures.check("user a")
    fail(failures, 100, "user a")
    clock.now += MAX_WAIT_SECONDS - 0.1
    with pytest.raises(Overloaded):
        failures.check("user a")
    clock.now += 0.2
    failures.check("user a")


def test_who_is_at_an_address_that_failed_waits_under_any_name(failures: Failures) -> None:
    for number in range(FREE_FAILURES + 1):
        failures.failed(f"user {number}", "address b")
    with pytest.raises(Overloaded):
        failures.check("user new", "address b")
    failures.check("user new", "address c")


def test_a_login_ends_the_count_of_a_name(failures: Failures) -> None:
    fail(failures, FREE_FAILURES + 1, "user a")
    failures.succeeded("user a")
    failures.check("user a")
    assert failures.count == FREE_FAILURES + 1


def test_the_table_is_bounded(failures: Failures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MAX_FAILURES", 3)
    for name in "abcd":
        fail(failures, FREE_FAILURES + 1, name)
    failures.check("a")
    with pytest.raises(Overloaded):
        failures.check("b")
