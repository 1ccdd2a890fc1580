"""Which parts of a database are merged."""

import math

from meteora.kv.reclaiming import parts_to_merge
from meteora.kv.state import END
from meteora.storage.rocks import Table


def table(level: int, first: bytes, last: bytes, *, deletions: int = 0, size_bytes: int = 10) -> Table:
    return Table(level, size_bytes, first, last, deletions)


LOWEST = [table(6, b"a", b"f"), table(6, b"g", b"m"), table(6, b"n", b"z")]


def parts(*tables: Table, is_thorough: bool = False, free_bytes: float = math.inf) -> list[tuple[bytes, bytes]]:
    return list(parts_to_merge([*LOWEST, *tables], is_thorough=is_thorough, free_bytes=free_bytes))


def test_where_nothing_was_deleted_nothing_is_merged() -> None:
    assert parts(table(0, b"a", b"z")) == []


def test_an_empty_database_has_no_parts() -> None:
    assert list(parts_to_merge([], is_thorough=True, free_bytes=math.inf)) == []


def test_only_parts_in_which_something_was_deleted_are_merged() -> None:
    assert parts(table(0, b"h", b"i", deletions=1)) == [(b"g", b"n")]


def test_a_table_that_deletes_everywhere_concerns_all_parts_which_hold_all_keys() -> None:
    assert parts(table(0, b"0", b"zz", deletions=1)) == [(b"", b"g"), (b"g", b"n"), (b"n", END)]


def test_deletions_in_the_lowest_level_itself_count() -> None:
    assert list(
        parts_to_merge([table(6, b"a", b"f", deletions=3), LOWEST[1]], is_thorough=False, free_bytes=math.inf)
    ) == [(b"", b"g")]


def test_what_was_written_over_is_merged_by_the_thorough() -> None:
    assert parts(table(0, b"h", b"i"), is_thorough=True) == [(b"g", b"n")]


def test_what_is_all_in_the_lowest_level_is_left_alone_by_the_thorough_too() -> None:
    assert parts(is_thorough=True) == []


def test_a_part_that_needs_more_room_than_there_is_waits() -> None:
    deleting = table(0, b"h", b"i", deletions=1)
    assert parts(deleting, free_bytes=20) == [(b"g", b"n")]
    assert parts(deleting, free_bytes=19) == []


def test_all_that_is_merged_with_a_table_counts_for_the_room() -> None:
    everywhere = table(0, b"a", b"z", deletions=1)
    assert parts(everywhere, free_bytes=39) == []
    assert len(parts(everywhere, free_bytes=40)) == 3
