import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from meteora.config import MAX_KEY_BYTES
from meteora.errors import ChangeRefused, InvalidRequest, MeteoraError, Overloaded, PermissionDenied, Unauthenticated
from meteora.features import FIRST_RELEASE, OWN_RELEASE, SUPPORTED_LEVEL, Release
from meteora.kv.users import FROM_KEY, ROOT, Access, Change, Permission, Role, Token, User
from meteora.node.node import Node
from meteora.server import administration
from meteora.server.access import Gate, digest_of
from meteora.server.administration import Administration
from meteora.server.passwords import FREE_FAILURES, Passwords
from tests.unit.node.nodes import Network, running, soon, until

Story = Callable[[Administration, Node], Coroutine[Any, Any, None]]


def administered(folder: Path, story: Story, release: Release = OWN_RELEASE) -> None:
    async def run() -> None:
        passwords = Passwords()
        try:
            async with running(folder, Network(), release=release) as one:
                await until(lambda: one.node.level == min(release.level, SUPPORTED_LEVEL))
                await story(Administration(one.node, passwords, token_ttl_seconds=60), one.node)
        finally:
            await passwords.close()

    asyncio.run(run())


async def enabled(users: Administration) -> None:
    await users.add_user(ROOT, "secret", soon())
    await users.grant_role(ROOT, ROOT, soon())
    await users.enable(soon())


async def refused(work: Coroutine[Any, Any, object], why: str, error: type[MeteoraError] = ChangeRefused) -> None:
    with pytest.raises(error, match=why):
        await work


def test_nothing_is_changed_before_all_members_know_of_users(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await refused(users.add_user("alice", "", soon()), "all members must run release 0.2.0 or later")
        assert node.users.users == {}

    administered(tmp_path, story, FIRST_RELEASE)


def test_changes_that_are_made_at_once_are_all_made(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await asyncio.gather(*(users.add_user(f"user{number}", "", soon()) for number in range(20)))
        assert len(node.users.users) == 20
        assert node.users.revision == 20

    administered(tmp_path, story)


def test_of_two_who_add_the_same_one_is_told_so(tmp_path: Path) -> None:
    async def story(users: Administration, _: Node) -> None:
        adding = (users.add_user("alice", "", soon()) for _ in range(2))
        outcomes = await asyncio.gather(*adding, return_exceptions=True)
        assert [type(each) for each in outcomes].count(ChangeRefused) == 1

    administered(tmp_path, story)


def test_users_are_not_enabled_without_a_root_that_can_log_in(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await refused(users.enable(soon()), "there must be a user root")
        await users.add_user(ROOT, "", soon())
        await users.grant_role(ROOT, ROOT, soon())
        await refused(users.enable(soon()), "with a password")
        await users.change_password(ROOT, "secret", soon())
        await users.revoke_role(ROOT, ROOT, soon())
        await refused(users.enable(soon()), "and the role root")
        await users.grant_role(ROOT, ROOT, soon())
        await users.enable(soon())
        assert node.users.is_enabled
        assert node.users.secret

    administered(tmp_path, story)


def test_root_stays_while_users_are_enabled_and_may_go_afterwards(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await enabled(users)
        await refused(users.delete_user(ROOT, soon()), "auth disable comes first")
        await refused(users.revoke_role(ROOT, ROOT, soon()), "auth disable comes first")
        await users.disable(soon())
        await users.delete_user(ROOT, soon())
        assert node.users.users == {}

    administered(tmp_path, story)


def test_a_login_brings_a_token_of_which_only_the_digest_is_kept(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await enabled(users)
        before_ms = time.time() * 1000
        login = await users.log_in(ROOT, "secret", "somewhere", soon())
        ((digest, token),) = node.users.tokens.items()
        assert digest == digest_of(login.token)
        assert len(login.token) >= 43
        assert token.user == ROOT
        assert before_ms + 60_000 <= token.expires_at_ms + 1

    administered(tmp_path, story)


@pytest.mark.parametrize(("name", "password"), [(ROOT, "wrong"), ("nobody", "secret"), (ROOT, ""), ("", "")])
def test_a_login_that_fails_says_the_same_whatever_was_wrong(tmp_path: Path, name: str, password: str) -> None:
    async def story(users: Administration, node: Node) -> None:
        await enabled(users)
        await refused(users.log_in(name, password, "there", soon()), "^wrong user name or password$", Unauthenticated)
        assert node.users.tokens == {}

    administered(tmp_path, story)


def test_who_fails_again_and_again_has_to_wait_even_with_the_right_password(tmp_path: Path) -> None:
    async def story(users: Administration, _: Node) -> None:
        await enabled(users)
        for _ in range(FREE_FAILURES + 1):
            await refused(users.log_in(ROOT, "wrong", "there", soon()), "wrong", Unauthenticated)
        await refused(users.log_in(ROOT, "secret", "elsewhere", soon()), "too many failed logins", Overloaded)

    administered(tmp_path, story)


def test_nobody_logs_in_while_users_are_not_enabled(tmp_path: Path) -> None:
    async def story(users: Administration, _: Node) -> None:
        await refused(users.log_in(ROOT, "secret", "there", soon()), "not enabled")

    administered(tmp_path, story)


def test_another_password_the_end_of_a_user_and_of_all_users_ends_tokens(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await enabled(users)
        await users.add_user("alice", "hers", soon())
        for end in (users.change_password("alice", "new", soon()), users.delete_user("alice", soon())):
            password = "hers" if node.users.revision == 4 else "new"
            await users.log_in("alice", password, "there", soon())
            await users.log_in(ROOT, "secret", "there", soon())
            await end
            assert {each.user for each in node.users.tokens.values()} == {ROOT}
        await users.disable(soon())
        assert node.users.tokens == {}

    administered(tmp_path, story)


def test_tokens_that_have_expired_go_with_the_next_login(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await enabled(users)
        await node.change_users(Change(node.users.revision, tokens={b"old" * 10: Token(ROOT, 1)}), soon())
        await users.log_in(ROOT, "secret", "there", soon())
        assert b"old" * 10 not in node.users.tokens

    administered(tmp_path, story)


def test_the_number_of_tokens_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administration, "MAX_TOKENS", 2)

    async def story(users: Administration, node: Node) -> None:
        await enabled(users)
        for _ in range(4):
            await users.log_in(ROOT, "secret", "there", soon())
        assert len(node.users.tokens) == 2

    administered(tmp_path, story)


def test_a_role_that_is_deleted_is_taken_from_all_who_have_it(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await users.add_role("reader", soon())
        for name in ("alice", "bob"):
            await users.add_user(name, "", soon())
            await users.grant_role(name, "reader", soon())
        await users.delete_role("reader", soon())
        assert node.users.users == {"alice": User(""), "bob": User("")}

    administered(tmp_path, story)


def test_a_grant_replaces_what_was_granted_on_the_same_range(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await users.add_role("r", soon())
        for access in (Access.READ, Access.READWRITE):
            await users.grant_permission("r", Permission(access, b"a", b"c"), soon())
        await users.grant_permission("r", Permission(Access.READ, b"a"), soon())
        assert set(node.users.roles["r"].permissions) == {
            Permission(Access.READWRITE, b"a", b"c"),
            Permission(Access.READ, b"a"),
        }
        await users.revoke_permission("r", b"a", b"c", soon())
        assert node.users.roles["r"] == Role((Permission(Access.READ, b"a"),))
        await refused(users.revoke_permission("r", b"a", b"b", soon()), "no permission for exactly this range")

    administered(tmp_path, story)


@pytest.mark.parametrize(("key", "end"), [(b"x" * (MAX_KEY_BYTES + 1), b""), (b"", b"x" * (MAX_KEY_BYTES + 1))])
def test_keys_are_as_long_as_keys_may_be(tmp_path: Path, key: bytes, end: bytes) -> None:
    async def story(users: Administration, _: Node) -> None:
        await users.add_role("r", soon())
        work = users.grant_permission("r", Permission(Access.READ, key, end), soon())
        await refused(work, f"at most {MAX_KEY_BYTES} bytes", InvalidRequest)

    administered(tmp_path, story)


def test_a_role_does_not_grow_beyond_what_members_can_send_one_another(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        large = Role(tuple(Permission(Access.READ, bytes([each]) + b"x" * (MAX_KEY_BYTES - 1)) for each in range(127)))
        await node.change_users(Change(0, roles={"r": large}), soon())
        work = users.grant_permission("r", Permission(Access.READ, b"y" * MAX_KEY_BYTES), soon())
        await refused(work, "have more roles with less in each")
        assert node.users.roles["r"] == large

    administered(tmp_path, story)


@pytest.mark.parametrize(("key", "end"), [(b"", b""), (b"b", b"b"), (b"b", b"a")])
def test_a_range_of_no_keys_is_refused(tmp_path: Path, key: bytes, end: bytes) -> None:
    async def story(users: Administration, _: Node) -> None:
        await users.add_role("r", soon())
        work = users.grant_permission("r", Permission(Access.READ, key, end), soon())
        await refused(work, "permission needs a key|range is empty", InvalidRequest)

    administered(tmp_path, story)


def test_all_keys_are_a_range(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await users.add_role("r", soon())
        await users.grant_permission("r", Permission(Access.READ, b"", FROM_KEY), soon())
        assert node.users.roles["r"].permissions

    administered(tmp_path, story)


def test_what_makes_no_sense_is_refused_with_the_reason(tmp_path: Path) -> None:
    async def story(users: Administration, _: Node) -> None:
        await users.add_user("alice", "", soon())
        await refused(users.add_user("", "", soon()), "a name has", InvalidRequest)
        await refused(users.add_user("a\nb", "", soon()), "a name has", InvalidRequest)
        await refused(users.add_user("a:b", "", soon()), "no colon", InvalidRequest)
        await refused(users.change_password("alice", "", soon()), "can't be empty", InvalidRequest)
        await refused(users.delete_user("bob", soon()), "there is no user 'bob'")
        await refused(users.grant_role("alice", "reader", soon()), "there is no role 'reader'")
        await refused(users.revoke_role("alice", "reader", soon()), "does not have the role")
        await refused(users.add_role(ROOT, soon()), "there is a role 'root' already")
        await refused(users.delete_role(ROOT, soon()), "the role root")
        await refused(users.grant_permission(ROOT, Permission(Access.READ, b"a"), soon()), "the role root")

    administered(tmp_path, story)


def test_a_right_that_ends_while_a_password_is_hashed_makes_no_user_any_more(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await enabled(users)
        await users.add_user("admin", "secret", soon())
        await users.grant_role("admin", ROOT, soon())
        login = await users.log_in("admin", "secret", "there", soon())
        gate = Gate(node)
        gate.ensure_root(f"Bearer {login.token}")
        hers = users.asked_for(lambda: gate.ensure_root(f"Bearer {login.token}"))
        adding = asyncio.ensure_future(hers.add_user("mallory", "hashed", soon()))
        await users.revoke_role("admin", ROOT, soon())
        with pytest.raises(PermissionDenied, match="admin"):
            await adding
        assert "mallory" not in node.users.users

    administered(tmp_path, story)


def test_a_login_that_comes_between_the_decision_and_another_password_ends_with_the_old_one(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await enabled(users)
        await users.add_user("alice", "hers", soon())
        change = node.change_users

        async def after_another_login(*what: Any) -> None:
            monkeypatch.undo()
            await users.log_in("alice", "hers", "there", soon())
            await change(*what)

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(node, "change_users", after_another_login)
            await users.change_password("alice", "new", soon())
        assert node.users.tokens == {}

    administered(tmp_path, story)


def test_a_login_that_is_overtaken_by_the_end_of_users_brings_no_token(tmp_path: Path) -> None:
    async def story(users: Administration, node: Node) -> None:
        await enabled(users)
        change = node.change_users

        async def after_the_end(*what: Any) -> None:
            monkeypatch.undo()
            await users.disable(soon())
            await change(*what)

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(node, "change_users", after_the_end)
            await refused(users.log_in(ROOT, "secret", "there", soon()), "users are not enabled")
        assert node.users.tokens == {}

    administered(tmp_path, story)


def test_many_attempts_at_a_time_are_slowed_down_as_one_after_another_are(tmp_path: Path) -> None:
    async def story(users: Administration, _: Node) -> None:
        await enabled(users)
        attempts = (users.log_in(ROOT, f"guess {number}", "there", soon()) for number in range(20))
        outcomes = [type(each) for each in await asyncio.gather(*attempts, return_exceptions=True)]
        assert outcomes.count(Unauthenticated) == FREE_FAILURES + 1
        assert outcomes.count(Overloaded) == 20 - FREE_FAILURES - 1

    administered(tmp_path, story)


def test_many_at_an_address_who_log_in_at_a_time_do_not_slow_one_another_down(tmp_path: Path) -> None:
    async def story(users: Administration, _: Node) -> None:
        await enabled(users)
        await asyncio.gather(*(users.log_in(ROOT, "secret", "there", soon()) for _ in range(20)))

    administered(tmp_path, story)


def test_attempts_that_nobody_waits_for_are_slowed_down_too(tmp_path: Path) -> None:
    async def story(users: Administration, _: Node) -> None:
        await enabled(users)
        begun, begin = asyncio.Event(), users.logins.begin

        def note(*who: str) -> None:
            begin(*who)
            begun.set()

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(users.logins, "begin", note)
            for _ in range(FREE_FAILURES + 1):
                attempt = asyncio.ensure_future(users.log_in(ROOT, "wrong", "there", soon()))
                await begun.wait()
                begun.clear()
                attempt.cancel()
                await asyncio.wait([attempt])
        await refused(users.log_in(ROOT, "wrong", "there", soon()), "too many failed logins", Overloaded)

    administered(tmp_path, story)


def test_a_name_that_is_too_long_for_any_user_is_not_even_remembered(tmp_path: Path) -> None:
    async def story(users: Administration, _: Node) -> None:
        await enabled(users)
        await refused(users.log_in("x" * 129, "secret", "there", soon()), "at most 128 characters", InvalidRequest)

    administered(tmp_path, story)
