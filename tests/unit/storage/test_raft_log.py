"""The log on disk: what it holds, what it refuses, what it waits for, and what it says after a failure."""

import asyncio
import os
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meteora.errors import DiskFailure
from meteora.raft.entry import Entry
from meteora.raft.errors import Compacted, InvariantViolation
from meteora.raft.message import HardState
from meteora.storage.raft_log import BATCH_BYTES, RaftLog
from meteora.storage.rocks import RAFT_LOG, Rocks, WriteBatch
from tests.unit.storage.failing_fsyncs import make_fsyncs_fail
from tests.unit.storage.raft_logs import EVERYTHING, all_entries, append, entries_of, opened, reset

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RaftLog]:
    with opened(tmp_path / "raft") as log:
        yield log


# What it holds


def test_a_new_log_is_empty(log: RaftLog) -> None:
    assert (log.first_index(), log.last_index(), log.term(0), log.hard_state) == (1, 0, 0, HardState())


def test_entries_that_were_appended_are_read(log: RaftLog) -> None:
    entries = entries_of(1, 5)
    append(log, entries)
    assert log.entries(1, 6, EVERYTHING) == entries


def test_entries_and_hard_state_survive_a_close(tmp_path: Path) -> None:
    entries = entries_of(1, 3) + entries_of(4, 5, term=4)
    with opened(tmp_path / "raft") as log:
        append(log, entries, vote=7, commit=2)
    with opened(tmp_path / "raft") as log:
        assert (all_entries(log), log.hard_state) == (entries, HardState(4, 7, 2))


def test_entries_and_hard_state_survive_a_kill(tmp_path: Path, log: RaftLog) -> None:
    append(log, entries_of(1, 5), vote=7, commit=2)
    shutil.copytree(tmp_path / "raft", tmp_path / "killed")
    with opened(tmp_path / "killed") as killed:
        assert (all_entries(killed), killed.hard_state) == (entries_of(1, 5), HardState(1, 7, 2))


def test_a_vote_without_entries_survives_a_kill(tmp_path: Path, log: RaftLog) -> None:
    append(log, [], term=3, vote=2)
    shutil.copytree(tmp_path / "raft", tmp_path / "killed")
    with opened(tmp_path / "killed") as killed:
        assert killed.hard_state == HardState(3, 2, 0)


def test_entries_replace_those_at_and_after_their_first(log: RaftLog) -> None:
    append(log, entries_of(1, 9))
    append(log, entries_of(4, 5, term=2))
    expected = entries_of(1, 3) + entries_of(4, 5, term=2)
    assert (log.entries(1, 6, EVERYTHING), all_entries(log)) == (expected, expected)


def test_replaced_entries_are_gone_after_a_close(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 3) + entries_of(4, 9, term=2))
        append(log, entries_of(4, 5, term=3))
    with opened(tmp_path / "raft") as log:
        assert all_entries(log) == entries_of(1, 3) + entries_of(4, 5, term=3)


def test_a_leader_may_replace_entries_by_older_ones(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 1) + entries_of(2, 4, term=3))
        append(log, entries_of(2, 2, term=2), term=4)
    with opened(tmp_path / "raft") as log:
        assert all_entries(log) == entries_of(1, 1) + entries_of(2, 2, term=2)


def test_the_whole_log_may_be_replaced(log: RaftLog) -> None:
    append(log, entries_of(1, 9))
    append(log, entries_of(1, 2, term=2))
    assert all_entries(log) == entries_of(1, 2, term=2)


def test_the_commit_index_never_falls(log: RaftLog) -> None:
    append(log, entries_of(1, 5), commit=4)
    append(log, [], commit=2)
    assert log.hard_state.commit == 4


def test_the_commit_index_on_disk_never_goes_ahead_of_the_entries(log: RaftLog) -> None:
    append(log, entries_of(1, 5), commit=9)
    assert log.hard_state.commit == 5


def test_a_commit_index_alone_is_fsynced(tmp_path: Path, log: RaftLog) -> None:
    # The core asks for it where a membership change is committed with it.
    append(log, entries_of(1, 5))
    append(log, [], commit=5)
    assert log._watermark.number == log._write_number
    shutil.copytree(tmp_path / "raft", tmp_path / "killed")
    with opened(tmp_path / "killed") as killed:
        assert killed.hard_state.commit == 5


def test_a_term_alone_is_fsynced(log: RaftLog) -> None:
    append(log, [], term=5)
    assert log._watermark.number == 1


def test_nothing_new_is_not_written(log: RaftLog) -> None:
    append(log, entries_of(1, 5), vote=2)
    written = log._write_number
    asyncio.run(log.append([], log.hard_state))
    asyncio.run(log.append([], None))
    assert log._write_number == written


# What is in memory


@pytest.mark.parametrize(("max_bytes", "expected"), [(0, 1), (100, 1), (250, 2), (EVERYTHING, 4)])
def test_fetched_entries_are_cut_at_the_limit_but_never_to_nothing(log: RaftLog, max_bytes: int, expected: int) -> None:
    append(log, [Entry(1, index, b"x" * 78) for index in range(1, 10)])
    assert [each.index for each in asyncio.run(log.fetch(3, 7, max_bytes))] == [*range(3, 3 + expected)]


def test_what_is_applied_leaves_memory_and_can_be_fetched(tmp_path: Path) -> None:
    with opened(tmp_path / "raft", cache_bytes=0) as log:
        append(log, entries_of(1, 9))
        log.release(6)
        assert log.entries(6, 8, EVERYTHING) is None
        assert log.entries(7, 10, EVERYTHING) == entries_of(7, 9)
        assert asyncio.run(log.fetch(2, 8, EVERYTHING)) == entries_of(2, 7)


def test_only_what_is_not_applied_is_loaded(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 9))
    with opened(tmp_path / "raft", applied_index=6) as log:
        assert log.entries(6, 8, EVERYTHING) is None
        assert log.entries(7, 10, EVERYTHING) == entries_of(7, 9)


def test_terms_are_known_of_entries_that_are_not_in_memory(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 3) + entries_of(4, 7, term=2) + entries_of(8, 9, term=5))
    with opened(tmp_path / "raft", applied_index=9) as log:
        assert [log.term(index) for index in range(10)] == [0, 1, 1, 1, 2, 2, 2, 2, 5, 5]


def test_memory_changes_only_after_the_disk_has_answered(log: RaftLog) -> None:
    go_on = threading.Event()

    async def scenario() -> tuple[int, int]:
        held_up = asyncio.create_task(log._disk.run(go_on.wait, 10.0))
        appending = asyncio.create_task(log.append(entries_of(1, 5), HardState(1, 1, 0)))
        while log._disk._jobs.empty():
            await asyncio.sleep(0)
        before = (log.last_index(), log.hard_state.term)
        go_on.set()
        await asyncio.gather(held_up, appending)
        return before

    assert asyncio.run(scenario()) == (0, 0)
    assert (log.last_index(), log.hard_state.term) == (5, 1)


def test_appends_that_are_asked_for_together_are_done_in_order(log: RaftLog) -> None:
    async def scenario() -> None:
        await asyncio.gather(*(log.append(entries_of(index, index), HardState(1, 0, 0)) for index in range(1, 50)))

    asyncio.run(scenario())
    assert all_entries(log) == entries_of(1, 49)


def test_a_fetch_that_is_asked_for_during_an_append_sees_the_log_after_it(log: RaftLog) -> None:
    append(log, entries_of(1, 9))

    async def scenario() -> list[Entry]:
        replacing = asyncio.create_task(log.append(entries_of(3, 6, term=2), HardState(2, 0, 0)))
        await asyncio.sleep(0)
        fetched = await log.fetch(2, 6, EVERYTHING)
        await replacing
        return fetched

    assert asyncio.run(scenario()) == entries_of(2, 2) + entries_of(3, 5, term=2)


# What it refuses


@pytest.mark.parametrize(
    ("entries", "state", "message"),
    [
        pytest.param(entries_of(7, 7, term=2), HardState(2), "a gap: entry 7 after 5", id="gap"),
        pytest.param(entries_of(6, 6, 2) + entries_of(8, 8, 2), HardState(2), "entry 8 where 7", id="gap inside"),
        pytest.param(entries_of(6, 6, term=1), HardState(2), "entry 6@1 after term 2", id="falling term"),
        pytest.param(entries_of(6, 6, term=3), HardState(2), "entry 6@3 .* in 2", id="entry of the future"),
        pytest.param(entries_of(2, 2, term=3), HardState(3), "entry 2 can't be replaced", id="committed entry"),
        pytest.param([], HardState(1), "the term falls from 2 to 1", id="falling term of the node"),
        pytest.param([], HardState(2, 3), "a second vote in term 2", id="second vote"),
        pytest.param([], HardState(2, 0), "a second vote in term 2", id="vote taken back"),
    ],
)
def test_what_would_break_the_log_is_a_bug_and_changes_nothing(
    log: RaftLog, entries: list[Entry], state: HardState, message: str
) -> None:
    append(log, entries_of(1, 5, term=2), vote=1, commit=2)
    if state.vote == 0 and entries:
        state = state._replace(vote=1)
    with pytest.raises(InvariantViolation, match=message):
        asyncio.run(log.append(entries, state))
    assert (all_entries(log), log.hard_state) == (entries_of(1, 5, term=2), HardState(2, 1, 2))


def test_what_is_applied_cannot_be_replaced_though_the_commit_on_disk_is_behind(log: RaftLog) -> None:
    append(log, entries_of(1, 5))
    log.release(4)
    with pytest.raises(InvariantViolation, match="entry 4 can't be replaced"):
        append(log, entries_of(4, 4, term=2))


def test_entries_below_the_first_are_compacted(log: RaftLog) -> None:
    append(log, entries_of(1, 5))
    with pytest.raises(Compacted):
        log.entries(0, 3, EVERYTHING)
    with pytest.raises(Compacted):
        asyncio.run(log.fetch(0, 3, EVERYTHING))
    with pytest.raises(Compacted):
        log.term(-1)


def test_entries_above_the_last_are_a_bug(log: RaftLog) -> None:
    append(log, entries_of(1, 5))
    with pytest.raises(InvariantViolation):
        log.entries(3, 7, EVERYTHING)
    with pytest.raises(InvariantViolation):
        log.read(3, 7, EVERYTHING)


def test_a_fetch_of_entries_that_were_replaced_meanwhile_has_those_that_are_left(log: RaftLog) -> None:
    append(log, entries_of(1, 9))
    append(log, entries_of(4, 5, term=2))
    assert asyncio.run(log.fetch(3, 9, EVERYTHING)) == entries_of(3, 3) + entries_of(4, 5, term=2)
    assert asyncio.run(log.fetch(6, 9, EVERYTHING)) == []


# What it says after a failure


@contextmanager
def no_file_above(limit_bytes: int) -> Iterator[None]:
    """Every write that would make a file longer fails."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def fail_to_append(log: RaftLog) -> None:
    """After this the log can't be used, nor be closed without an error."""
    with no_file_above(50_000), pytest.raises(DiskFailure, match="File too large"):
        append(log, entries_of(log.last_index() + 1, log.last_index() + 1, padding_bytes=100_000))


def test_after_a_failed_write_every_call_to_the_disk_raises_the_same_error(log: RaftLog) -> None:
    append(log, entries_of(1, 5))
    fail_to_append(log)
    errors = set()
    for call in (
        lambda: append(log, entries_of(6, 6)),
        lambda: append(log, []),
        lambda: asyncio.run(log.fetch(1, 3, EVERYTHING)),
        lambda: log.read(1, 3, EVERYTHING),
    ):
        with pytest.raises(DiskFailure) as raised:
            call()
        errors.add(raised.value)
    assert len(errors) == 1


def test_after_a_failed_write_memory_is_as_before(log: RaftLog) -> None:
    append(log, entries_of(1, 5))
    fail_to_append(log)
    assert log.entries(1, 6, EVERYTHING) == entries_of(1, 5)


def test_after_a_failed_write_a_new_start_finds_what_was_acknowledged(tmp_path: Path) -> None:
    with opened(tmp_path / "raft") as log:
        append(log, entries_of(1, 5))
        fail_to_append(log)
    with opened(tmp_path / "raft") as log:
        assert all_entries(log) == entries_of(1, 5)


def test_after_an_fsync_that_failed_the_entries_are_not_believed_and_no_other_is_tried(
    tmp_path: Path, log: RaftLog
) -> None:
    append(log, entries_of(1, 5))
    make_fsyncs_fail(tmp_path / "raft")
    with pytest.raises(DiskFailure, match="Invalid argument") as first:
        append(log, entries_of(6, 6))
    with pytest.raises(DiskFailure) as second:
        append(log, entries_of(6, 6))
    assert first.value is second.value
    assert (log.last_index(), log._watermark.number) == (5, 1)


def test_a_mark_that_cannot_be_set_is_a_failure_too(log: RaftLog) -> None:
    append(log, entries_of(1, 5))
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, log._watermark._descriptor, inheritable=False)
    os.close(full)
    with pytest.raises(DiskFailure, match="No space left"):
        append(log, entries_of(6, 6))
    assert log.last_index() == 5


def test_what_is_appended_is_written_then_fsynced_then_believed(log: RaftLog, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, int]] = []

    def watch(name: str) -> None:
        step = getattr(log._database, name)

        def call(*arguments: object) -> None:
            steps.append((name, log.last_index()))
            step(*arguments)

        monkeypatch.setattr(log._database, name, call)

    watch("write")
    watch("sync_wal")
    append(log, entries_of(1, 5))
    assert steps == [("write", 0), ("sync_wal", 0)]
    assert log.last_index() == 5


def test_after_a_cancelled_append_the_log_must_be_reopened(tmp_path: Path) -> None:
    async def cancel_on_the_way(log: RaftLog) -> None:
        go_on = threading.Event()
        held_up = asyncio.create_task(log._disk.run(go_on.wait, 10.0))
        appending = asyncio.create_task(log.append(entries_of(1, 5), HardState(1, 0, 0)))
        while log._disk._jobs.empty():
            await asyncio.sleep(0)
        appending.cancel()
        go_on.set()
        await asyncio.wait([held_up, appending])

    with opened(tmp_path / "raft") as log:
        asyncio.run(cancel_on_the_way(log))
        with pytest.raises(DiskFailure, match="an append was abandoned"):
            append(log, entries_of(1, 1))
    with opened(tmp_path / "raft") as log:
        assert all_entries(log) == entries_of(1, 5)


def test_an_append_waits_while_rocksdb_stops_its_writers(log: RaftLog) -> None:
    database = log._database._database
    database.set_options(
        {
            "level0_file_num_compaction_trigger": "1000",
            "level0_slowdown_writes_trigger": "2",
            "level0_stop_writes_trigger": "3",
        }
    )
    for index in range(1, 4):
        append(log, entries_of(index, index))
        log._database.flush()

    async def scenario() -> bool:
        appending = asyncio.create_task(log.append(entries_of(4, 4), HardState(1, 0, 0)))
        done, _ = await asyncio.wait([appending], timeout=0.1)
        database.set_options({"level0_slowdown_writes_trigger": "100", "level0_stop_writes_trigger": "100"})
        await appending
        return bool(done)

    assert asyncio.run(scenario()) is False
    assert log.last_index() == 4


def test_the_loop_waits_for_no_fsync_and_goes_on_between_the_writes_of_a_long_append(
    log: RaftLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0
    turns_at_writes: list[int] = []
    synced_by: list[str] = []
    write, sync_wal = log._database.write, log._database.sync_wal

    def watched_write(batch: WriteBatch) -> None:
        turns_at_writes.append(turns)
        write(batch)

    def watched_sync() -> None:
        synced_by.append(threading.current_thread().name)
        sync_wal()

    async def scenario() -> None:
        nonlocal turns
        appending = asyncio.create_task(log.append(entries_of(1, 4, padding_bytes=BATCH_BYTES), HardState(1, 0, 0)))
        while not appending.done():
            await asyncio.sleep(0)
            turns += 1
        await appending

    monkeypatch.setattr(log._database, "write", watched_write)
    monkeypatch.setattr(log._database, "sync_wal", watched_sync)
    asyncio.run(scenario())
    assert len(turns_at_writes) == len(set(turns_at_writes)) > 3
    assert synced_by == ["raft log"]


# However it is cut into writes


def test_every_prefix_of_the_writes_of_one_append_is_a_valid_log(tmp_path: Path) -> None:
    old = entries_of(1, 3) + entries_of(4, 900, term=2)
    new = entries_of(3, 3, term=1, padding_bytes=10) + entries_of(4, 600, term=3, padding_bytes=BATCH_BYTES // 150)
    with opened(tmp_path / "raft") as log:
        append(log, old, vote=5)
        batches = list(log._batches(new, HardState(4, 6, 590)))
        shutil.copytree(tmp_path / "raft", tmp_path / "crashed")
    assert len(batches) > 3
    last = 0
    for batch in batches:
        database = Rocks(tmp_path / "crashed", RAFT_LOG)
        database.write(batch)
        database.close()
        with opened(tmp_path / "crashed") as crashed:
            last = crashed.last_index()
            assert 3 <= last <= 600
            assert all_entries(crashed) == old[:2] + new[: last - 2]
            assert crashed.hard_state == HardState(4, 6, min(590, last))
    assert last == 600


def test_a_large_append_comes_back_whole(tmp_path: Path) -> None:
    entries = entries_of(1, 40, padding_bytes=BATCH_BYTES // 10)
    with opened(tmp_path / "raft") as log:
        append(log, entries)
    with opened(tmp_path / "raft") as log:
        assert all_entries(log) == entries


# Against a plain list

operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 12), st.integers(1, 6), st.integers(0, 2)),
        st.tuples(st.just("reopen"), st.integers(0, 12), st.just(0), st.just(0)),
        st.tuples(st.just("release"), st.integers(0, 12), st.just(0), st.just(0)),
        st.tuples(st.just("compact"), st.integers(0, 12), st.just(0), st.just(0)),
        st.tuples(st.just("reset"), st.integers(1, 3), st.just(0), st.integers(0, 2)),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(operations=operations)
def test_the_log_is_a_plain_list(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("model") / "raft"
    model = Model()
    remaining = iter(operations)
    is_done = False
    while not is_done:
        with opened(path, model.applied, cache_bytes=100) as log:
            model.check(log)
            is_done = model.play(log, remaining)
    shutil.rmtree(path.parent)


class Model:
    """A log as the list of its terms from index 0 on, of which the first `base` are cut off."""

    def __init__(self) -> None:
        self.terms = [0]
        self.base = self.applied = 0

    def play(self, log: RaftLog, operations: Iterator[tuple[str, int, int, int]]) -> bool:
        """Do to both what comes next, up to a reopening; False if there was one."""
        for kind, number, count, term_step in operations:
            last = len(self.terms) - 1
            match kind:
                case "reopen":
                    return False
                case "release":
                    self.applied = max(self.applied, min(number, last))
                    log.release(self.applied)
                case "compact":
                    self.base = max(self.base, min(number, self.applied))
                    asyncio.run(log.compact(self.base))
                case "reset":
                    self._reset(log, last + number, max(log.hard_state.term, 1) + term_step)
                case _:
                    self._append(log, max(self.applied + 1, last + 1 - number), count, term_step)
            self.check(log)
        return True

    def _append(self, log: RaftLog, first: int, count: int, term_step: int) -> None:
        term = max(log.hard_state.term, 1) + term_step
        append(log, entries_of(first, first + count - 1, term), vote=log.hard_state.vote)
        self.terms[first:] = [term] * count

    def _reset(self, log: RaftLog, index: int, term: int) -> None:
        reset(log, index, term, vote=log.hard_state.vote)
        self.terms += [-1] * (index + 1 - len(self.terms))
        self.terms[index] = term
        self.base = self.applied = index

    def check(self, log: RaftLog) -> None:
        last = len(self.terms) - 1
        assert (log.first_index(), log.last_index()) == (self.base + 1, last)
        assert [log.term(index) for index in range(self.base, last + 1)] == self.terms[self.base :]
        whole = [
            entry for index in range(self.base + 1, last + 1) for entry in entries_of(index, index, self.terms[index])
        ]
        assert all_entries(log) == whole
        for low in range(self.base + 1, last + 1):
            in_memory = log.entries(low, last + 1, EVERYTHING)
            assert in_memory is None or in_memory == whole[low - self.base - 1 :]
