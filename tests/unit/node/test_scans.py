import asyncio
from pathlib import Path

import pytest

from meteora.errors import NotApplied, Overloaded
from meteora.kv.state_machine import StateMachine
from meteora.node.scans import Scans
from tests.unit.kv.state_machines import entry_of, opened, put

pytestmark = pytest.mark.usefixtures("no_leaks")

NEVER = 1e9


async def at_once(deadline: float) -> None:
    """As a node that has all there is."""


async def never(deadline: float) -> None:
    raise NotApplied("no leader")


async def keys(scans: Scans, prefix: bytes = b"") -> list[bytes]:
    async with scans.keys(prefix, NEVER, serializable=False) as scan:
        return [key for key, _ in await scan.page(list)]


def filled(machine: StateMachine) -> StateMachine:
    machine.apply([entry_of(1, put(b"a", b""), put(b"a\xff", b""), put(b"b", b""), put(b"\xff", b""))])
    return machine


def test_keys_are_those_with_the_prefix(tmp_path: Path) -> None:
    with opened(tmp_path) as machine:
        scans = Scans(filled(machine), at_once)
        assert asyncio.run(keys(scans)) == [b"ka", b"ka\xff", b"kb", b"k\xff"]
        assert asyncio.run(keys(scans, b"a")) == [b"ka", b"ka\xff"]
        assert asyncio.run(keys(scans, b"a\xff")) == [b"ka\xff"]
        assert asyncio.run(keys(scans, b"\xff")) == [b"k\xff"]


def test_there_is_one_at_a_time(tmp_path: Path) -> None:
    async def two() -> None:
        async with scans.everything(NEVER, serializable=True):
            with pytest.raises(Overloaded):
                await keys(scans)
        assert await keys(scans, b"b") == [b"kb"]

    with opened(tmp_path) as machine:
        scans = Scans(filled(machine), at_once)
        asyncio.run(two())


def test_one_that_may_be_old_asks_nobody(tmp_path: Path) -> None:
    async def both() -> None:
        async with scans.everything(NEVER, serializable=True) as scan:
            assert await scan.page(len) > 0
        with pytest.raises(NotApplied, match="no leader"):
            await keys(scans)
        assert not scans.is_busy

    with opened(tmp_path) as machine:
        scans = Scans(filled(machine), never)
        asyncio.run(both())


def test_a_node_that_has_nothing_yet_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as machine, pytest.raises(NotApplied, match="no state yet"):
        asyncio.run(keys(Scans(machine, at_once)))


def test_one_that_is_called_off_was_not_done(tmp_path: Path) -> None:
    async def called_off() -> None:
        async with scans.everything(NEVER, serializable=True) as scan:
            machine.abandon_snapshots()
            await scan.page(list)

    with opened(tmp_path) as machine:
        scans = Scans(filled(machine), at_once)
        with pytest.raises(NotApplied, match="try again, or ask another"):
            asyncio.run(called_off())
        assert not scans.is_busy


def test_how_much_there_is_is_known_about(tmp_path: Path) -> None:
    with opened(tmp_path) as machine:
        scans = Scans(filled(machine), at_once)
        # Four keys, the applied index, the rolling hash; or what RocksDB takes that for.
        assert 4 <= scans.estimated_records() <= 8
