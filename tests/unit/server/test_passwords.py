import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from meteora.errors import InvalidRequest, Overloaded
from meteora.server import passwords
from meteora.server.passwords import (
    FORGOTTEN_SECONDS,
    FREE_FAILURES,
    MAX_PASSWORD_BYTES,
    MAX_WAIT_SECONDS,
    Logins,
    Passwords,
)

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
def logins(clock: Clock) -> Logins:
    return Logins(clock)


def fail(logins: Logins, clock: Clock, count: int, user: str = "a", address: str = "home") -> None:
    """So often in a row, each time as soon as it may."""
    for _ in range(count):
        clock.now += MAX_WAIT_SECONDS
        logins.begin(user, address)
        logins.note_failure()


def waits(logins: Logins, user: str, address: str) -> bool:
    try:
        logins.check(user, address)
    except Overloaded:
        return True
    return False


def test_who_mistypes_now_and_then_does_not_wait(logins: Logins, clock: Clock) -> None:
    fail(logins, clock, FREE_FAILURES)
    logins.check("a", "home")


def test_each_failure_more_doubles_the_wait_up_to_a_bound(logins: Logins, clock: Clock) -> None:
    fail(logins, clock, FREE_FAILURES + 1)
    with pytest.raises(Overloaded, match=r"0\.2 s|0\.3 s"):
        logins.check("a", "home")
    fail(logins, clock, 2)
    with pytest.raises(Overloaded, match=r"1\.0 s"):
        logins.begin("a", "home")
    fail(logins, clock, 100)
    clock.now += MAX_WAIT_SECONDS - 0.1
    assert waits(logins, "a", "home")
    clock.now += 0.2
    assert not waits(logins, "a", "home")


def test_who_is_at_an_address_that_failed_waits_under_any_name(logins: Logins, clock: Clock) -> None:
    for number in range(FREE_FAILURES + 1):
        fail(logins, clock, 1, f"user {number}")
    assert waits(logins, "new", "home")
    assert not waits(logins, "new", "elsewhere")


def test_a_name_that_is_tried_from_everywhere_waits_at_each_new_address(logins: Logins, clock: Clock) -> None:
    for number in range(FREE_FAILURES + 1):
        fail(logins, clock, 1, "root", f"address {number}")
    assert waits(logins, "root", "new")
    assert not waits(logins, "alice", "new")


def test_nobody_keeps_a_user_out_where_it_has_logged_in_by_failing_elsewhere_or_as_another(
    logins: Logins, clock: Clock
) -> None:
    logins.begin("root", "home")
    logins.note_success("root", "home")
    fail(logins, clock, 100, "root", "elsewhere")
    assert waits(logins, "root", "new")
    assert not waits(logins, "root", "home")
    fail(logins, clock, 100, "alice", "home")
    assert waits(logins, "bob", "home")
    assert not waits(logins, "root", "home")
    fail(logins, clock, FREE_FAILURES + 1, "root", "home")
    assert waits(logins, "root", "home")


def test_a_login_ends_the_count_of_its_own_failures_only(logins: Logins, clock: Clock) -> None:
    fail(logins, clock, FREE_FAILURES, "root", "home")
    logins.begin("root", "home")
    logins.note_success("root", "home")
    fail(logins, clock, FREE_FAILURES, "root", "home")
    assert not waits(logins, "root", "home")
    assert waits(logins, "root", "elsewhere")
    assert waits(logins, "alice", "home")


def test_an_attempt_counts_as_failed_until_it_has_succeeded(logins: Logins) -> None:
    for _ in range(FREE_FAILURES + 1):
        logins.begin("a", "home")
    assert waits(logins, "a", "home")
    assert logins.failed == 0


def test_failures_that_were_long_ago_are_forgotten(logins: Logins, clock: Clock) -> None:
    fail(logins, clock, FREE_FAILURES)
    clock.now += FORGOTTEN_SECONDS
    fail(logins, clock, FREE_FAILURES)
    assert not waits(logins, "a", "home")


def test_who_logs_in_meanwhile_does_not_keep_others_waiting_for_failures_that_have_ended(
    logins: Logins, clock: Clock
) -> None:
    logins.begin("root", "home")
    logins.note_success("root", "home")
    fail(logins, clock, 100, "root", "elsewhere")
    fail(logins, clock, 100, "alice", "home")
    for _ in range(4):
        clock.now += MAX_WAIT_SECONDS / 3
        logins.begin("root", "home")
        logins.note_success("root", "home")
    assert not waits(logins, "root", "new")
    assert not waits(logins, "bob", "home")


def test_what_came_of_them_is_counted(logins: Logins, clock: Clock) -> None:
    fail(logins, clock, FREE_FAILURES + 1)
    assert waits(logins, "a", "home")
    clock.now += MAX_WAIT_SECONDS
    logins.begin("a", "home")
    logins.note_success("a", "home")
    assert (logins.succeeded, logins.failed, logins.refused) == (1, FREE_FAILURES + 1, 1)


def test_the_tables_are_bounded(logins: Logins, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MAX_REMEMBERED", 6)
    for user in "abc":
        for _ in range(FREE_FAILURES + 1):
            logins.begin(user, f"home of {user}")
    assert not waits(logins, "a", "elsewhere")
    assert waits(logins, "b", "elsewhere")
    for user in "abcdefgh":
        clock.now += MAX_WAIT_SECONDS
        logins.begin(user, "office")
        logins.note_success(user, "office")
    fail(logins, clock, FREE_FAILURES + 1, "new", "office")
    assert waits(logins, "a", "office")
    assert not waits(logins, "h", "office")
