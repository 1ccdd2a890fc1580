"""What crashes and damage leave of a raft log: all that was acknowledged, or an error. Never anything else."""

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from meteora.errors import Corruption, StorageError
from meteora.raft.entry import Entry
from meteora.raft.message import HardState
from meteora.storage.raft_log import RaftLog
from meteora.storage.raft_records import (
    LOG_STATE_KEY,
    LogState,
    encode_log_state,
    encode_term_run,
    entry_key,
    term_run_key,
)
from meteora.storage.rocks import RAFT_LOG, Rocks, WriteBatch
from tests.unit.storage.raft_logs import all_entries, append, entries_of, opened

pytestmark = pytest.mark.usefixtures("no_leaks")

ACKNOWLEDGED = entries_of(1, 6) + entries_of(7, 12, term=2)
"""What the logs here hold."""

STATE = HardState(2, 1, 9)


def whole_log(path: Path) -> None:
    """A closed log of `ACKNOWLEDGED`."""
    with opened(path) as log:
        for entry in ACKNOWLEDGED:
            append(log, [entry], vote=1, commit=min(9, entry.index))


def killed_log(path: Path) -> None:
    """The same as a kill leaves it: one half in a table, the other in the write-ahead log."""
    with opened(path.with_name("living")) as log:
        for entry in ACKNOWLEDGED:
            append(log, [entry], vote=1, commit=min(9, entry.index))
            if entry.index == 6:
                log._database.flush()
        shutil.copytree(path.with_name("living"), path)


def wal_of(path: Path) -> Path:
    """The write-ahead log that has something in it."""
    (wal,) = (file for file in path.glob("*.log") if file.stat().st_size)
    return wal


def contents(path: Path) -> dict[str, bytes]:
    """All files but RocksDB's text logs."""
    return {file.name: file.read_bytes() for file in path.iterdir() if not file.name.startswith("LOG")}


# A tail that nobody was told of


def unsynced_writes(path: Path) -> tuple[int, list[Entry]]:
    """A killed log with a write in it that was not fsynced.

    Returns how long its write-ahead log was when it was fsynced, and what the log is if that write counts.
    """
    unsynced = entries_of(13, 14, term=2, padding_bytes=300)
    with opened(path.with_name("living")) as log:
        append(log, ACKNOWLEDGED, vote=1, commit=9)
        synced_bytes = wal_of(path.with_name("living")).stat().st_size
        for batch in log._batches(unsynced, STATE):
            log._database.write(batch)
        shutil.copytree(path.with_name("living"), path)
    return synced_bytes, ACKNOWLEDGED + unsynced


def after_damage(path: Path, damaged_wal: bytes) -> list[Entry]:
    """The entries of a copy of the log at `path` with another write-ahead log."""
    copy = path.with_name("damaged")
    shutil.copytree(path, copy)
    wal_of(copy).write_bytes(damaged_wal)
    try:
        with opened(copy) as log:
            assert log.hard_state == STATE
            return all_entries(log)
    finally:
        shutil.rmtree(copy)


@pytest.mark.parametrize("tail", ["cut", "zeros", "noise"])
def test_a_torn_tail_that_nobody_was_told_of_is_dropped(tmp_path: Path, tail: str) -> None:
    synced_bytes, whole = unsynced_writes(tmp_path / "raft")
    wal = wal_of(tmp_path / "raft").read_bytes()
    assert after_damage(tmp_path / "raft", wal) == whole
    for torn_at in range(synced_bytes, len(wal), 37):
        lost = len(wal) - torn_at
        # Not any noise: some would be taken for a record that makes RocksDB hang, and be refused.
        filler = {"cut": b"", "zeros": bytes(lost), "noise": b"\xa5" * lost}[tail]
        assert after_damage(tmp_path / "raft", wal[:torn_at] + filler) == ACKNOWLEDGED


# A tail that somebody was told of


@pytest.mark.parametrize("tail", ["cut", "zeros", "noise"])
def test_a_tail_that_was_acknowledged_is_missed(tmp_path: Path, tail: str) -> None:
    synced_bytes, _ = unsynced_writes(tmp_path / "raft")
    wal = wal_of(tmp_path / "raft").read_bytes()
    for torn_at in range(0, synced_bytes, 37):
        lost = len(wal) - torn_at
        filler = {"cut": b"", "zeros": bytes(lost), "noise": b"\xa5" * lost}[tail]
        with pytest.raises(Corruption):
            after_damage(tmp_path / "raft", wal[:torn_at] + filler)


def test_a_log_that_is_refused_for_its_tail_keeps_all_its_files_as_they_were(tmp_path: Path) -> None:
    killed_log(tmp_path / "raft")
    wal = wal_of(tmp_path / "raft")
    damaged = bytearray(wal.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    wal.write_bytes(damaged)
    before = contents(tmp_path / "raft")
    with pytest.raises(Corruption, match=r"12 writes were acknowledged, but only \d+ are readable.*restore"):
        all_of(tmp_path / "raft")
    assert contents(tmp_path / "raft") == before


def all_of(path: Path) -> tuple[list[Entry], HardState]:
    """Everything that the log at `path` says, read from disk and believed."""
    with opened(path) as log:
        return all_entries(log), log.hard_state


def test_a_log_without_its_write_ahead_log_is_refused(tmp_path: Path) -> None:
    killed_log(tmp_path / "raft")
    wal_of(tmp_path / "raft").unlink()
    with pytest.raises(Corruption):
        all_of(tmp_path / "raft")


def test_a_log_without_its_database_is_refused(tmp_path: Path) -> None:
    killed_log(tmp_path / "raft")
    for file in (tmp_path / "raft").iterdir():
        if file.name != "watermark":
            file.unlink()
    with pytest.raises(StorageError):
        all_of(tmp_path / "raft")


def test_a_log_that_ends_below_what_was_applied_is_refused(tmp_path: Path) -> None:
    whole_log(tmp_path / "raft")
    with (
        pytest.raises(Corruption, match="the log ends at 12, but 9 was committed and 13 applied"),
        opened(tmp_path / "raft", applied_index=13),
    ):
        pass


# Any damage anywhere


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [whole_log, killed_log])
def test_a_damaged_file_is_noticed_or_makes_no_difference(
    tmp_path: Path, make: Callable[[Path], None], seed: int
) -> None:
    make(tmp_path / "raft")
    chance = random.Random(seed)
    files = [name for name, content in contents(tmp_path / "raft").items() if content]
    for _ in range(40):
        copy = tmp_path / "damaged"
        shutil.copytree(tmp_path / "raft", copy)
        damage(copy / chance.choice(files), chance)
        with suppress(StorageError):
            assert all_of(copy) == (ACKNOWLEDGED, STATE)
        shutil.rmtree(copy)


def damage(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    position = chance.randrange(len(content))
    match chance.choice(["flip", "flip", "cut", "zeros"]):
        case "flip":
            content[position] ^= 1 << chance.randrange(8)
        case "cut":
            del content[position:]
        case _:
            content[position : position + 512] = bytes(len(content[position : position + 512]))
    path.write_bytes(content)


# Records that RocksDB believes, and we don't


def put(key: bytes, value: bytes) -> Callable[[WriteBatch], None]:
    return lambda batch: batch.put(key, value)


def delete(key: bytes) -> Callable[[WriteBatch], None]:
    return lambda batch: batch.delete(key)


def log_state(write_number: int, last_index: int, hard_state: HardState) -> Callable[[WriteBatch], None]:
    return put(LOG_STATE_KEY, encode_log_state(LogState(write_number, last_index, hard_state)))


FOREIGN = ACKNOWLEDGED[4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(delete(entry_key(5)), "entry 5 is missing", id="an entry is missing"),
        pytest.param(delete(entry_key(1)), "entry 1 is missing", id="the first entry is missing"),
        pytest.param(delete(entry_key(12)), "ends at 11, and not at 12", id="the last entry is missing"),
        pytest.param(put(entry_key(5), b"short"), "entry 5: .* shorter", id="an entry is short"),
        pytest.param(put(entry_key(5), FOREIGN.encode()[:-1]), "entry 5: .*checksum", id="an entry is cut"),
        pytest.param(
            put(entry_key(4), FOREIGN.encode()), "entry 5@1 is where 4@1", id="an entry is in another's place"
        ),
        pytest.param(put(entry_key(5), Entry(2, 5).encode()), "entry 5@2 is where 5@1", id="an entry has another term"),
        pytest.param(put(entry_key(12), Entry(3, 12).encode()), "12@3 is where 12@2", id="the last has another term"),
        pytest.param(delete(term_run_key(1)), "begins at 7", id="the first term run is missing"),
        pytest.param(delete(term_run_key(2)), "7@2 is where 7@1|12@2 is where 12@1", id="the last term run is missing"),
        pytest.param(put(term_run_key(2), encode_term_run(2, 8)), "7@2 is where 7@1", id="a term run begins later"),
        pytest.param(put(term_run_key(2), encode_term_run(2, 20)), "ends at 12", id="a term run begins beyond the end"),
        pytest.param(put(term_run_key(3), encode_term_run(2, 9)), "checksum", id="a term run is in another's place"),
        pytest.param(delete(LOG_STATE_KEY), "only 0 are readable", id="the log state is missing"),
        pytest.param(put(LOG_STATE_KEY, b"short"), "checksum", id="the log state is short"),
        pytest.param(log_state(11, 12, STATE), "only 11 are readable", id="the log state is an older one"),
        pytest.param(log_state(12, 11, STATE), "ends at 12, and not at 11", id="the last index is too low"),
        pytest.param(log_state(12, 12, HardState(1, 1, 9)), "ends in term 2", id="the term is too low"),
        pytest.param(log_state(12, 12, HardState(2, 1, 13)), "13 was committed", id="the commit index is too high"),
    ],
)
def test_a_record_that_cannot_be_is_corruption(
    tmp_path: Path, change: Callable[[WriteBatch], None], message: str
) -> None:
    whole_log(tmp_path / "raft")
    database = Rocks(tmp_path / "raft", RAFT_LOG)
    batch = WriteBatch()
    change(batch)
    database.write(batch)
    database.close()
    with pytest.raises(Corruption, match=f"^{tmp_path}/raft: .*({message}).*The files are kept"):
        all_of(tmp_path / "raft")


def test_a_corrupt_entry_is_found_though_it_is_only_read_later(tmp_path: Path) -> None:
    whole_log(tmp_path / "raft")
    database = Rocks(tmp_path / "raft", RAFT_LOG)
    batch = WriteBatch()
    batch.delete(entry_key(5))
    database.write(batch)
    database.close()
    with opened(tmp_path / "raft", applied_index=12) as log:
        assert_poisoned_by_reading(log)


def assert_poisoned_by_reading(log: RaftLog) -> None:
    with pytest.raises(Corruption, match="entry 5 is missing") as first:
        log.read(4, 8, 1 << 20)
    with pytest.raises(Corruption) as second:
        append(log, entries_of(13, 13, term=2), vote=1)
    assert first.value is second.value
