"""What the tests of the raft log share: logs that are closed, entries that are told apart, appends that block."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from meteora.errors import StorageError
from meteora.raft.entry import Entry
from meteora.raft.message import HardState
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import DEFAULT_CACHE_BYTES, RaftLog

EVERYTHING = 1 << 40
"""As a limit in bytes: none."""


@contextmanager
def opened(path: Path, applied_index: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES) -> Iterator[RaftLog]:
    """The log at `path`, with a disk thread of its own."""
    disk = DiskThread("raft log")
    try:
        log = RaftLog.open(path, disk, applied_index, cache_bytes)
        try:
            yield log
        finally:
            # After a failure closing fails, too.
            with suppress(StorageError) if log._failure else nullcontext():
                log.close()
    finally:
        disk.close()


def entries_of(first: int, last: int, term: int = 1, padding_bytes: int = 0) -> list[Entry]:
    """Entries that say where they belong."""
    return [Entry(term, index, f"{index}@{term}".encode() + b"." * padding_bytes) for index in range(first, last + 1)]


def append(log: RaftLog, entries: Sequence[Entry], **hard_state: int) -> None:
    """Append in the term of the last entry, or as `hard_state` says."""
    state = log.hard_state
    term = max(state.term, entries[-1].term if entries else 0)
    vote = state.vote if term == state.term else 0
    asyncio.run(log.append(entries, HardState(term, vote, state.commit)._replace(**hard_state)))


def compact(log: RaftLog, index: int) -> None:
    """Cut, with as much applied."""
    log.release(index)
    asyncio.run(log.compact(index))


def reset(log: RaftLog, index: int, term: int, state_directory: str = "kv-9", /, **hard_state: int) -> None:
    """Reset in the term of the snapshot, unless that of the log is newer, or as `hard_state` says."""
    state = log.hard_state
    newest = max(state.term, term)
    vote = state.vote if newest == state.term else 0
    state = HardState(newest, vote, state.commit)._replace(**hard_state)
    asyncio.run(log.reset(index, term, state, state_directory))


def all_entries(log: RaftLog) -> list[Entry]:
    """Everything in the log, from disk."""
    if log.last_index() < log.first_index():
        return []
    return log.read(log.first_index(), log.last_index() + 1, EVERYTHING)
