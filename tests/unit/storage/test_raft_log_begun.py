"""Appends that nobody waits for in a task: `RaftLog.begin_append`. It must come to the same as `append`."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from meteora.errors import DiskFailure
from meteora.raft.entry import Entry
from meteora.raft.errors import InvariantViolation
from meteora.raft.message import HardState
from meteora.storage.raft_log import BATCH_BYTES, RaftLog
from tests.unit.storage.failing_fsyncs import make_fsyncs_fail
from tests.unit.storage.raft_logs import all_entries, append, entries_of, opened

pytestmark = pytest.mark.usefixtures("no_leaks")

STATE = HardState(1, 1, 0)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RaftLog]:
    with opened(tmp_path / "raft") as log:
        yield log


async def begun(log: RaftLog, entries: Sequence[Entry], state: HardState | None = STATE) -> BaseException | None:
    """Begins an append, and waits for what it is told in the end."""
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    assert log.begin_append(entries, state, ended.set_result)
    return await asyncio.wait_for(ended, 10)


def test_what_was_begun_is_in_the_log_once_it_has_ended(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        assert asyncio.run(begun(log, entries_of(1, 5))) is None
        assert (log.last_index(), log.hard_state) == (5, STATE)
    with opened(tmp_path / "raft") as log:
        assert (all_entries(log), log.hard_state) == (entries_of(1, 5), STATE)


def test_it_is_written_then_fsynced_then_believed_then_told(log: RaftLog, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, int]] = []

    def watch(name: str) -> None:
        step = getattr(log._database, name)

        def call(*arguments: object) -> None:
            steps.append((name, log.last_index()))
            step(*arguments)

        monkeypatch.setattr(log._database, name, call)

    async def story() -> None:
        ended = asyncio.Event()

        def told(error: BaseException | None) -> None:
            steps.append(("told", log.last_index()))
            ended.set()

        assert log.begin_append(entries_of(1, 5), STATE, told)
        assert steps == [("write", 0)]
        await ended.wait()

    watch("write")
    watch("sync_wal")
    asyncio.run(asyncio.wait_for(story(), 10))
    assert steps == [("write", 0), ("sync_wal", 0), ("told", 5)]


def test_nothing_is_begun_while_another_write_is_under_way(log: RaftLog) -> None:
    async def story() -> None:
        go_on = threading.Event()
        held_up = asyncio.create_task(log._disk.run(go_on.wait, 10.0))
        await asyncio.sleep(0)
        first = asyncio.create_task(begun(log, entries_of(1, 1)))
        await asyncio.sleep(0)
        assert not log.begin_append(entries_of(2, 2), STATE, print)
        go_on.set()
        assert await first is None
        await held_up
        assert await begun(log, entries_of(2, 2)) is None

    asyncio.run(story())
    assert all_entries(log) == entries_of(1, 2)


def test_an_append_waits_for_what_was_begun_before(log: RaftLog) -> None:
    async def story() -> None:
        first = asyncio.create_task(begun(log, entries_of(1, 1)))
        await asyncio.sleep(0)
        await log.append(entries_of(2, 2), STATE)
        assert first.done()

    asyncio.run(story())
    assert all_entries(log) == entries_of(1, 2)


@pytest.mark.parametrize(
    ("entries", "state"),
    [(entries_of(2, 2, padding_bytes=BATCH_BYTES), STATE), ([], STATE), ([], None)],
    ids=["more than one write", "nothing new", "nothing"],
)
def test_what_is_not_for_this_way_is_left_to_the_other(
    log: RaftLog, entries: list[Entry], state: HardState | None
) -> None:
    append(log, entries_of(1, 1), term=1, vote=1)
    number = log._write_number
    assert not log.begin_append(entries, state, print)
    asyncio.run(log.append(entries, state))
    assert log._write_number == number + bool(entries)


def test_nothing_is_begun_while_rocksdb_holds_writers_back(log: RaftLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log._database, "write_delay_seconds", lambda _: 1.0)
    assert not log.begin_append(entries_of(1, 1), STATE, print)


def test_what_would_break_the_log_is_a_bug_and_leaves_the_way_free(log: RaftLog) -> None:
    with pytest.raises(InvariantViolation):
        log.begin_append(entries_of(2, 2), STATE, print)
    assert asyncio.run(begun(log, entries_of(1, 1))) is None


def test_after_an_fsync_that_failed_nothing_is_believed_and_nothing_else_is_tried(tmp_path: Path, log: RaftLog) -> None:
    append(log, entries_of(1, 5))
    make_fsyncs_fail(tmp_path / "raft")
    error = asyncio.run(begun(log, entries_of(6, 6)))
    assert isinstance(error, DiskFailure)
    assert not log.begin_append(entries_of(6, 6), STATE, print)
    with pytest.raises(DiskFailure) as later:
        append(log, entries_of(6, 6))
    assert later.value is error
    assert (log.last_index(), log._watermark.number) == (5, 1)
