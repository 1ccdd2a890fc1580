"""All of a state, or a range of it, as it is at one index, read page by page on a thread beside the loop.

A scan keeps RocksDB from removing what it merges meanwhile: whoever has one must go on with it, or close it.
"""

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from meteora.storage.disk_thread import DiskThread
from meteora.storage.pace import Pace
from meteora.storage.rocks import Scan

PAGE_BYTES: Final = 256 * 1024
"""What is in memory of it at a time, and the record that exceeds it."""

PAGE_RECORDS: Final = 1_024
"""The same if they are small: they are made into something, and what is short must not take long."""

Pairs = list[tuple[bytes, bytes]]
T = TypeVar("T")


class StateScan:
    """One scan. To be used by one task; `close` when it is done with."""

    def __init__(self, thread: DiskThread, pace: Pace, scan: Scan, done: Callable[[Pace], object]) -> None:
        """Use `StateMachine.scan`."""
        self._thread = thread
        self._pace = pace
        self._scan = scan
        self._done = done

    async def page(self, make: Callable[[Pairs], T], page_records: int = PAGE_RECORDS) -> T:
        """What `make` makes, on the thread, of the next records; of none at the end, and ever after.

        Raises `Abandoned` if the state machine calls the scan off, `Corruption` or `DiskFailure`.
        """
        return await self._thread.run(self._page, make, page_records)

    def _page(self, make: Callable[[Pairs], T], page_records: int) -> T:
        self._pace.pause()
        return make(list(self._records(page_records)))

    def _records(self, page_records: int) -> Iterator[tuple[bytes, bytes]]:
        step, size_bytes = self._pace.step, 0
        for count, (key, value) in enumerate(self._scan, start=1):
            yield key, value
            size_bytes += len(key) + len(value)
            if size_bytes >= PAGE_BYTES or count == page_records:
                return
            step()

    async def close(self) -> None:
        """Let go of the state. May be called again."""
        self._done(self._pace)
        await self._thread.run(self._scan.close)
