"""A node that is out of touch while users are enabled, and who calls it without being logged in."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest

from meteora.features import OWN_RELEASE, SUPPORTED_LEVEL
from meteora.kv.users import ROOT, Change, User
from meteora.node import freshness
from tests.unit.node.nodes import PATIENCE_SECONDS, Running, Trio, soon, three, until

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


class Ended(Exception):
    """With a code."""


class Stranger:
    """The context of a call that is not logged in."""

    def __init__(self, seconds: float = PATIENCE_SECONDS) -> None:
        self._seconds = seconds

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def time_remaining(self) -> float:
        return self._seconds

    async def abort(self, code: grpc.StatusCode, *_: object) -> NoReturn:
        raise Ended(code)


async def code_of(call: Awaitable[Any]) -> grpc.StatusCode:
    """What a handler ends with."""
    try:
        await call
    except Ended as error:
        return error.args[0]
    return grpc.StatusCode.OK


def out_of_touch(
    monkeypatch: pytest.MonkeyPatch, folder: Path, story: Callable[[Trio, Running], Coroutine[Any, Any, None]]
) -> None:
    """A follower has not heard, and can't for now, that users were enabled and a key was written."""
    monkeypatch.setattr(freshness, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(freshness, "BEHIND_SECONDS", 0.2)

    async def run() -> None:
        async with three(folder, release=OWN_RELEASE) as trio:
            for each in trio.followers:
                trio.leader.node.introduced(each.node.node_id, 10 * each.node.node_id, "", OWN_RELEASE)
            await until(lambda: all(each.node.level == SUPPORTED_LEVEL for each in trio.nodes))
            one = trio.followers[0]
            await until(lambda: not one.node.freshness.is_behind)
            trio.network.cut_off.add(one.node.node_id)
            users = {ROOT: User("hash", (ROOT,))}
            await trio.leader.node.change_users(Change(0, users, enabled=True, secret=b"secret"), soon())
            await trio.leader.put(b"key", b"hers")
            await until(lambda: one.node.freshness.is_behind)
            await story(trio, one)

    asyncio.run(run())
