import asyncio
from pathlib import Path
from typing import Any

import pytest

from meteora.node.node import Node
from meteora.pb import auth_pb2, common_pb2
from meteora.server.access import Gate
from meteora.server.administration import Administration
from meteora.server.auth_service import AuthService
from meteora.server.passwords import Passwords
from meteora.server.replies import Replies
from tests.unit.node.nodes import PATIENCE_SECONDS, Running, Trio
from tests.unit.server.strangers import UNAUTHENTICATED, Stranger, code_of, out_of_touch


def service(node: Node, passwords: Passwords) -> AuthService:
    administration = Administration(node, passwords, token_ttl_seconds=60)
    return AuthService(node, administration, Gate(node), Replies(node), timeout_seconds=PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("UserAdd", auth_pb2.UserAddReq(name="mallory")),
        ("UserAdd", auth_pb2.UserAddReq(name="mallory", password="hashed")),
        ("UserGrantRole", auth_pb2.UserRoleReq(name="mallory", role="root")),
        ("AuthDisable", common_pb2.Null()),
        ("UserList", common_pb2.Null()),
        ("RoleList", common_pb2.Null()),
        ("UserGet", auth_pb2.UserReq(name="root")),
    ],
)
def test_a_node_that_was_out_of_touch_obeys_nobody_by_what_it_knew_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str, request_: Any
) -> None:
    async def story(trio: Trio, one: Running) -> None:
        passwords = Passwords()
        call = asyncio.ensure_future(code_of(getattr(service(one.node, passwords), method)(request_, Stranger())))
        await asyncio.sleep(0)
        trio.network.cut_off.clear()
        assert await call is UNAUTHENTICATED
        assert (one.node.users.users.keys(), one.node.users.is_enabled) == ({"root"}, True)
        await passwords.close()

    out_of_touch(monkeypatch, tmp_path, story)
