"""Logs that are cut and replaced: what is durable, what is refused, and what the disk gets back."""

import asyncio
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from meteora.errors import Corruption, DiskFailure
from meteora.raft.errors import Compacted, InvariantViolation
from meteora.raft.message import HardState
from meteora.storage.raft_log import RECLAIM_BYTES, RaftLog, read_state_directory
from meteora.storage.raft_records import LOG_STATE_KEY, STATE_DIRECTORY_KEY
from meteora.storage.rocks import RAFT_LOG, Rocks, WriteBatch
from tests.unit.storage.failing_fsyncs import make_fsyncs_fail
from tests.unit.storage.raft_logs import EVERYTHING, all_entries, append, compact, entries_of, opened, reset

pytestmark = pytest.mark.usefixtures("no_leaks")


# What survives


@pytest.mark.parametrize("cut_at", [1, 3, 4, 6, 9])
def test_a_cut_survives_a_kill(tmp_path: Path, cut_at: int) -> None:
    entries = entries_of(1, 3) + entries_of(4, 6, term=2) + entries_of(7, 9, term=5)
    with opened(tmp_path / "raft") as log:
        append(log, entries, vote=7, commit=9)
        compact(log, cut_at)
        shutil.copytree(tmp_path / "raft", tmp_path / "killed")
    with opened(tmp_path / "killed", applied_index=9) as killed:
        assert (killed.first_index(), killed.term(cut_at)) == (cut_at + 1, entries[cut_at - 1].term)
        assert (all_entries(killed), killed.hard_state) == (entries[cut_at:], HardState(5, 7, 9))
        append(killed, entries_of(10, 10, term=5))
        compact(killed, 9)
    with opened(tmp_path / "killed", applied_index=9) as killed:
        assert (all_entries(killed), killed.term(9)) == (entries_of(10, 10, term=5), 5)


def test_a_log_that_was_cut_whole_is_empty_and_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 5), commit=5)
        compact(log, 5)
    with opened(tmp_path / "raft", applied_index=5) as log:
        assert (log.first_index(), log.last_index(), log.term(5)) == (6, 5, 1)
        append(log, entries_of(6, 7))
    with opened(tmp_path / "raft", applied_index=5) as log:
        assert all_entries(log) == entries_of(6, 7)


def test_a_cut_that_was_not_yet_written_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 5), commit=5)
        shutil.copytree(tmp_path / "raft", tmp_path / "killed")
        compact(log, 3)
    with opened(tmp_path / "killed", applied_index=5) as killed:
        assert all_entries(killed) == entries_of(1, 5)


def test_a_reset_survives_a_kill_with_its_hard_state_and_its_state_directory(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 3) + entries_of(4, 6, term=2), vote=7, commit=3)
        reset(log, 100, 4, "kv-100", term=6, vote=2)
        shutil.copytree(tmp_path / "raft", tmp_path / "killed")
    assert read_state_directory(tmp_path / "killed") == "kv-100"
    with opened(tmp_path / "killed", applied_index=100) as killed:
        assert (killed.first_index(), killed.last_index(), killed.term(100)) == (101, 100, 4)
        assert killed.hard_state == HardState(6, 2, 100)
        append(killed, entries_of(101, 102, term=4) + entries_of(103, 103, term=6))
    with opened(tmp_path / "killed", applied_index=100) as killed:
        assert all_entries(killed) == entries_of(101, 102, term=4) + entries_of(103, 103, term=6)


def test_a_reset_to_an_entry_of_the_log_keeps_what_follows_after_a_kill(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 6, term=2), commit=3)
        reset(log, 4, 2)
        shutil.copytree(tmp_path / "raft", tmp_path / "killed")
    with opened(tmp_path / "killed", applied_index=4) as killed:
        assert (all_entries(killed), killed.hard_state.commit) == (entries_of(5, 6, term=2), 4)


def test_a_log_of_a_release_without_cuts_is_opened_and_cut(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 5, term=2), vote=1, commit=4)
    content = struct.pack(">BQQQQQ", 1, 1, 5, 2, 1, 4)
    batch = WriteBatch()
    batch.put(LOG_STATE_KEY, content + zlib.crc32(content, zlib.crc32(LOG_STATE_KEY)).to_bytes(4, "big"))
    database = Rocks(tmp_path / "raft", RAFT_LOG)
    database.write(batch)
    database.close()
    with opened(tmp_path / "raft", applied_index=4) as log:
        assert (all_entries(log), log.hard_state) == (entries_of(1, 5, term=2), HardState(2, 1, 4))
        compact(log, 4)
    with opened(tmp_path / "raft", applied_index=4) as log:
        assert all_entries(log) == entries_of(5, 5, term=2)


# Where the state is


def test_a_log_that_is_not_there_continues_the_first_state(tmp_path: Path) -> None:
    assert read_state_directory(tmp_path / "raft") is None
    assert not (tmp_path / "raft").exists()


def test_a_log_that_was_never_reset_continues_the_first_state(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 5))
        compact(log, 3)
    assert read_state_directory(tmp_path / "raft") is None


def test_a_name_of_a_state_directory_that_was_damaged_is_corruption(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        reset(log, 9, 1)
    database = Rocks(tmp_path / "raft", RAFT_LOG)
    batch = WriteBatch()
    batch.put(STATE_DIRECTORY_KEY, b"\x01kv-8" + bytes(4))
    database.write(batch)
    database.close()
    with pytest.raises(Corruption, match="fails its checksum"):
        read_state_directory(tmp_path / "raft")


def test_a_state_that_ends_before_the_log_begins_is_corruption(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 9), commit=9)
        compact(log, 5)
    message = "the log begins at 6, but only 4 entries were applied"
    with pytest.raises(Corruption, match=message), opened(tmp_path / "raft", applied_index=4):
        pass


# What is refused


def test_entries_that_are_not_released_are_not_cut_off(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 5), commit=5)
        log.release(3)
        with pytest.raises(InvariantViolation, match="a cut at 4 of a log whose entries are applied up to 3"):
            asyncio.run(log.compact(4))
        assert all_entries(log) == entries_of(1, 5)


@pytest.mark.parametrize(
    ("index", "term", "hard_state", "message"),
    [
        pytest.param(4, 2, {}, "4 can't replace what is committed: 5", id="below the commit index"),
        pytest.param(5, 2, {}, "5 can't replace what is committed: 5", id="another entry at the commit index"),
        pytest.param(9, 3, {"term": 2, "vote": 1}, "a snapshot of term 3 in term 2", id="from the future"),
        pytest.param(9, 1, {"term": 1}, "the term falls", id="falling term"),
        pytest.param(9, 2, {"vote": 3}, "a second vote", id="second vote"),
    ],
)
def test_a_reset_that_would_break_the_log_is_a_bug_and_changes_nothing(
    tmp_path: Path, index: int, term: int, hard_state: dict[str, int], message: str
) -> None:
    entries = entries_of(1, 7, term=1) + entries_of(8, 8, term=2)
    with opened(tmp_path / "raft") as log:
        append(log, entries, vote=1, commit=5)
        with pytest.raises(InvariantViolation, match=message):
            reset(log, index, term, **hard_state)
        assert (all_entries(log), log.hard_state) == (entries, HardState(2, 1, 5))
    assert read_state_directory(tmp_path / "raft") is None


def test_what_was_cut_off_cannot_be_fetched(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 9), commit=9)
        compact(log, 5)
        with pytest.raises(Compacted):
            asyncio.run(log.fetch(5, 9, EVERYTHING))
        with pytest.raises(Compacted):
            log.read(5, 9, EVERYTHING)
        assert asyncio.run(log.fetch(6, 9, EVERYTHING)) == entries_of(6, 8)


def test_what_was_cut_off_while_a_fetch_waited_is_compacted(tmp_path: Path) -> None:
    async def cut_while_fetching(log: RaftLog) -> None:
        go_on = threading.Event()
        held_up = asyncio.create_task(log._disk.run(go_on.wait, 10.0))
        cutting = asyncio.create_task(log.compact(5))
        await asyncio.sleep(0)
        fetching = asyncio.create_task(log.fetch(4, 9, EVERYTHING))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait([held_up, cutting, fetching])
        assert isinstance(fetching.exception(), Compacted)

    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 9), commit=9)
        log.release(9)
        asyncio.run(cut_while_fetching(log))


# Failures


@pytest.mark.parametrize("cut", [lambda log: compact(log, 3), lambda log: reset(log, 9, 2)])
def test_after_an_fsync_that_failed_the_cut_is_not_believed_and_nothing_else_is_tried(
    tmp_path: Path, cut: Callable[[RaftLog], None]
) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 5), commit=5)
        make_fsyncs_fail(tmp_path / "raft")
        with pytest.raises(DiskFailure, match="Invalid argument") as first:
            cut(log)
        with pytest.raises(DiskFailure) as second:
            append(log, entries_of(6, 6))
        assert first.value is second.value
        assert (log.first_index(), log.last_index(), log.hard_state) == (1, 5, HardState(1, 0, 5))


# What the disk gets back


def size_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def test_what_is_cut_off_is_given_back_to_the_disk(tmp_path: Path) -> None:
    padding = os.urandom(500_000)

    def append_many(log: RaftLog, count_bytes: int) -> None:
        for _ in range(count_bytes // len(padding) // 10):
            first = log.last_index() + 1
            append(log, [entry._replace(data=padding) for entry in entries_of(first, first + 9)])

    with opened(tmp_path / "raft", cache_bytes=0) as log:
        append_many(log, 2 * RECLAIM_BYTES)
        compact(log, log.last_index())
        full_bytes = size_bytes(tmp_path / "raft")
        append_many(log, RECLAIM_BYTES)
        compact(log, log.last_index())
    assert full_bytes >= 2 * RECLAIM_BYTES * 0.9
    assert size_bytes(tmp_path / "raft") <= RECLAIM_BYTES


def test_a_cut_leaves_memory_too(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 9), commit=9)
        compact(log, 9)
        assert log._cache.size_bytes == 0
