import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meteora.errors import PermissionDenied, Unauthenticated
from meteora.features import OWN_RELEASE, SUPPORTED_LEVEL
from meteora.kv.users import FROM_KEY, ROOT, Access, Change, Permission, Role, Token, User
from meteora.node.node import Node
from meteora.pb import kv_pb2
from meteora.server.access import Gate, Ranges, authorization_of, digest_of
from meteora.server.kv_service import KvService
from meteora.server.replies import Replies
from tests.unit.node.nodes import Network, running, soon, until

keys = st.text("abc\x00", max_size=3).map(str.encode)
ranges = st.builds(Permission, st.just(Access.READ), keys, keys | st.just(FROM_KEY))

NOW = 1_000.0


def holds(permission: Permission, key: bytes) -> bool:
    if not permission.range_end:
        return key == permission.key
    return permission.key <= key and (permission.range_end == FROM_KEY or key < permission.range_end)


@given(st.lists(ranges, max_size=6), keys)
def test_a_key_is_permitted_if_any_range_holds_it(permissions: list[Permission], key: bytes) -> None:
    assert (key in Ranges(permissions)) == any(holds(each, key) for each in permissions)


def with_gate(folder: Path, story: Callable[[Gate, Node], Coroutine[Any, Any, None]]) -> None:
    """A node whose users are enabled: alice, who may read a and write b, and root; each has a token of its name."""

    async def run() -> None:
        async with running(folder, Network(), release=OWN_RELEASE) as one:
            await until(lambda: one.node.level == SUPPORTED_LEVEL)
            role = Role((Permission(Access.READ, b"a"), Permission(Access.WRITE, b"b")))
            users = {ROOT: User("hash", (ROOT,)), "alice": User("hash", ("hers", "a role that is gone"))}
            tokens = {digest_of(name): Token(name, int(NOW * 1000) + 1) for name in users}
            await one.node.change_users(Change(0, users, {"hers": role}, tokens, True, b"secret"), soon())
            await story(Gate(one.node, lambda: NOW), one.node)

    asyncio.run(run())


def test_who_is_logged_in_may_do_what_its_roles_permit(tmp_path: Path) -> None:
    async def story(gate: Gate, _: Node) -> None:
        gate.check("Bearer alice", Access.READ, b"a")
        gate.check("bearer alice", Access.WRITE, b"b")
        for access, key in ((Access.WRITE, b"a"), (Access.READ, b"b"), (Access.READ, b"c")):
            with pytest.raises(PermissionDenied, match="alice"):
                gate.check("Bearer alice", access, key)
        gate.check("Bearer root", Access.WRITE, b"anything")
        assert (gate.denied, gate.unauthenticated) == (3, 0)

    with_gate(tmp_path, story)


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer ", "Bearer bob", "Bearer", "alice", "Basic alice", "Member secret", "Member "]
)
def test_whatever_is_no_valid_token_is_refused(tmp_path: Path, authorization: str | None) -> None:
    async def story(gate: Gate, _: Node) -> None:
        with pytest.raises(Unauthenticated):
            gate.check(authorization, Access.READ, b"a")
        with pytest.raises(Unauthenticated):
            await gate.admit(authorization, soon(), takes_members=True)

    with_gate(tmp_path, story)


def test_a_token_ends_when_it_expires_although_it_is_remembered(tmp_path: Path) -> None:
    async def story(_: Gate, node: Node) -> None:
        now = [NOW]
        gate = Gate(node, lambda: now[0])
        gate.check("Bearer alice", Access.READ, b"a")
        now[0] += 1
        with pytest.raises(Unauthenticated, match="log in again"):
            gate.check("Bearer alice", Access.READ, b"a")

    with_gate(tmp_path, story)


def test_what_is_remembered_ends_with_the_next_change(tmp_path: Path) -> None:
    async def story(gate: Gate, node: Node) -> None:
        gate.check("Bearer alice", Access.READ, b"a")
        await node.change_users(Change(node.users.revision, {"alice": User("hash")}), soon())
        with pytest.raises(PermissionDenied):
            gate.check("Bearer alice", Access.READ, b"a")
        await node.change_users(Change(node.users.revision, {"alice": None}), soon())
        with pytest.raises(Unauthenticated):
            gate.check("Bearer alice", Access.READ, b"a")

    with_gate(tmp_path, story)


def test_only_root_gets_where_root_is_needed(tmp_path: Path) -> None:
    async def story(gate: Gate, _: Node) -> None:
        assert (await gate.admit("Bearer root", soon(), is_root_needed=True)) is not None
        with pytest.raises(PermissionDenied, match="needs the role root"):
            await gate.admit("Bearer alice", soon(), is_root_needed=True)

    with_gate(tmp_path, story)


def test_a_member_is_let_in_where_members_are_by_what_only_members_know(tmp_path: Path) -> None:
    async def story(gate: Gate, node: Node) -> None:
        proof = gate.member_authorization
        await gate.admit(proof, soon(), is_root_needed=True, takes_members=True)
        with pytest.raises(Unauthenticated):
            await gate.admit(proof, soon(), is_root_needed=True)
        with pytest.raises(Unauthenticated):
            gate.check(proof, Access.READ, b"a")
        await node.change_users(Change(node.users.revision, secret=b"another"), soon())
        with pytest.raises(Unauthenticated):
            await gate.admit(proof, soon(), is_root_needed=True, takes_members=True)

    with_gate(tmp_path, story)


@pytest.mark.parametrize(
    ("metadata", "authorization"),
    [
        (None, None),
        ((("x", "1"),), None),
        ((("authorization", "Bearer a"),), "Bearer a"),
        ((("authorization", "Bearer a"), ("x", "1"), ("authorization", "Bearer b")), "Bearer b"),
    ],
)
def test_of_two_authorizations_the_last_counts_as_where_a_method_is_served_directly(
    metadata: tuple[tuple[str, str], ...] | None, authorization: str | None
) -> None:
    class Context:
        """Of grpcio's."""

        def invocation_metadata(self) -> tuple[tuple[str, str], ...] | None:
            return metadata

    context: Any = Context()
    assert authorization_of(context) == authorization


def test_what_was_asked_before_users_were_known_to_be_enabled_is_not_told_afterwards(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network(), release=OWN_RELEASE) as one:
            node = one.node
            await until(lambda: node.level == SUPPORTED_LEVEL)
            await one.put(b"a", b"secret")
            service = KvService(node, Replies(node), Gate(node), max_value_bytes=10, timeout_seconds=10, forwards=True)
            get = service.direct_methods["Get"]
            # It is acknowledged elsewhere, and this node has yet to apply it.
            is_write_stalled, one.state_machine.is_write_stalled = one.state_machine.is_write_stalled, lambda: True
            enabling = node.change_users(Change(0, enabled=True, secret=b"secret"), soon())
            await until(lambda: node.status().commit_index > node.status().applied_index)
            asked = get.begin(kv_pb2.GetReq(key=b"a"), None, None)
            assert asked is not None
            one.state_machine.is_write_stalled = is_write_stalled
            await enabling
            value = await asked
            with pytest.raises(Unauthenticated, match="enabled"):
                get.finish(value)

    asyncio.run(run())
