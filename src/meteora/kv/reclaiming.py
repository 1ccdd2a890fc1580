"""Which parts of the state have to be merged so that what was deleted gives its room back.

RocksDB keeps what was deleted until the table that says so is merged with those below it. It does that by itself once
there are enough of such tables, which is never if nothing is written any more: as when the quota is reached.

Pure. A part is the keys of one table of the lowest level, so that each is merged in a moment, and reads, writes and
flushes go on between two.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from meteora.kv.state import END
from meteora.storage.rocks import Table

KeyRange = tuple[bytes, bytes]
"""From a key up to another one."""

_FIRST: Final = b""


def parts_to_merge(tables: Sequence[Table], *, is_thorough: bool, free_bytes: float) -> Iterator[KeyRange]:
    """The parts in which something was deleted; if `is_thorough`, those in which it may have been written over, too.

    None whose merging needs more than `free_bytes` on the disk, before it gives anything back.
    """
    lowest = max((table.level for table in tables), default=0)
    waiting = [table for table in tables if table.deletions or (is_thorough and table.level < lowest)]
    for lower, upper in _parts(table for table in tables if table.level == lowest):
        concerned = [table for table in waiting if table.first_key < upper and table.last_key >= lower]
        if concerned and _merging_bytes(tables, concerned) <= free_bytes:
            yield lower, upper


def _parts(tables: Iterable[Table]) -> Iterator[KeyRange]:
    starts = sorted(table.first_key for table in tables)
    return pairwise([_FIRST, *starts[1:], END])


def _merging_bytes(tables: Sequence[Table], concerned: Sequence[Table]) -> int:
    """No more than so much is written: all that may be read together with these tables."""
    first, last = min(table.first_key for table in concerned), max(table.last_key for table in concerned)
    return sum(table.size_bytes for table in tables if table.first_key <= last and table.last_key >= first)
