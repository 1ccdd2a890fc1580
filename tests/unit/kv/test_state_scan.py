import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from meteora.kv.state_scan import PAGE_BYTES, Pairs, StateScan
from meteora.storage.pace import Abandoned
from tests.unit.kv.state_machines import entry_of, opened, put

pytestmark = pytest.mark.usefixtures("no_leaks")


async def all_pages(scan: StateScan, page_records: int = 4) -> list[Pairs]:
    pages = []
    while page := await scan.page(list, page_records):
        pages.append(page)
    return pages


def test_it_sees_the_state_of_one_instant_whatever_is_written_meanwhile(tmp_path: Path) -> None:
    async def scanned() -> list[bytes]:
        scan = await machine.scan(b"k", b"l")
        first = await scan.page(list, 2)
        machine.apply([entry_of(2, put(b"0", b"new"), put(b"5", b"new"), put(b"99", b"new"))])
        rest = [pair for page in await all_pages(scan) for pair in page]
        await scan.close()
        return [value for _, value in [*first, *rest]]

    with opened(tmp_path) as machine:
        machine.apply([entry_of(1, *(put(b"%d" % number, b"old") for number in range(10)))])
        assert asyncio.run(scanned()) == [b"old"] * 10


def test_everything_is_in_it_with_what_is_not_the_users(tmp_path: Path) -> None:
    async def keys() -> list[bytes]:
        scan = await machine.scan()
        pages = await all_pages(scan)
        await scan.close()
        return [key for page in pages for key, _ in page]

    with opened(tmp_path) as machine:
        machine.apply([entry_of(1, put(b"a", b"", client_id=1, sequence=1))])
        assert {key[:1] for key in asyncio.run(keys())} == {b"k", b"s", b"m"}


def test_a_page_ends_with_the_record_that_fills_it(tmp_path: Path) -> None:
    async def sizes() -> list[int]:
        scan = await machine.scan(b"k", b"l")
        pages = await all_pages(scan)
        await scan.close()
        return [len(page) for page in pages]

    with opened(tmp_path) as machine:
        machine.apply([entry_of(1, *(put(b"%d" % number, bytes(PAGE_BYTES // 2)) for number in range(5)))])
        assert asyncio.run(sizes()) == [2, 2, 1]


def test_one_that_is_called_off_says_so(
    tmp_path: Path, no_leaked_tasks: Callable[[], AbstractAsyncContextManager[None]]
) -> None:
    async def go_on() -> None:
        async with no_leaked_tasks():
            scan = await machine.scan()
            machine.abandon_snapshots()
            with pytest.raises(Abandoned):
                await scan.page(list)
            await scan.close()
            await scan.close()

    with opened(tmp_path) as machine:
        machine.apply([entry_of(1, put(b"a", b""))])
        asyncio.run(go_on())


def test_one_of_a_state_that_is_replaced_is_called_off_and_does_not_hold_it(tmp_path: Path) -> None:
    async def replace() -> None:
        scan = await machine.scan()
        manifest = await machine.create_snapshot(tmp_path / "out")
        assert manifest is not None
        state = await machine.build(tmp_path / "out", manifest, tmp_path / "kv-1")
        assert state is not None
        await machine.adopt(state)
        assert not (tmp_path / "kv").exists()
        with pytest.raises(Abandoned):
            await scan.page(list)
        await scan.close()

    with opened(tmp_path / "kv") as machine:
        machine.apply([entry_of(1, put(b"a", b""))])
        asyncio.run(replace())


def test_a_state_that_has_nothing_there_has_no_page(tmp_path: Path) -> None:
    async def page() -> Pairs:
        scan = await machine.scan(b"k", b"l")
        found = await scan.page(list)
        await scan.close()
        return found

    with opened(tmp_path) as machine:
        assert asyncio.run(page()) == []
