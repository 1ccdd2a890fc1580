"""Checks the raft log of a stopped node: every entry and record by itself, and how they fit together.

Goes on after what is wrong, and writes nothing. What a starting node would refuse is told here, too, and more: a node
reads old entries only when somebody asks for them.
"""

from dataclasses import dataclass, field
from pathlib import Path

from meteora.errors import StorageError
from meteora.raft.entry import decode_entry
from meteora.raft.errors import CorruptEntry
from meteora.storage.raft_records import (
    LOG_STATE_KEY,
    STATE_DIRECTORY_KEY,
    LogState,
    MalformedRecord,
    decode_log_state,
    decode_state_directory,
    decode_term_run,
    entry_key,
    key_number,
)
from meteora.storage.rocks import RAFT_LOG, without_advice
from meteora.storage.salvage import Salvage, Tell, salvaged
from meteora.storage.watermark import read_watermark


@dataclass
class FoundLog:
    """What a raft log holds, as far as it can be read."""

    state: LogState | None = None
    """None if its record can't be read."""
    state_directory: str | None = None
    """None: the first one."""
    entries: int = 0
    """How many of them are whole."""
    newest: tuple[int, int] = (0, 0)
    """Index and term of the last whole entry."""
    runs: dict[int, int] = field(default_factory=dict)
    """The first index of each term, by what the entries say."""
    recorded_runs: dict[int, int] = field(default_factory=dict)
    """The same, by the records of it."""

    def term(self, index: int) -> int | None:
        """The term of the entry at `index`; None if that isn't known."""
        if self.state is not None and index == self.state.base.index:
            return self.state.base.term
        begun = [term for term, first_index in self.runs.items() if first_index <= index <= self.newest[0]]
        return max(begun, default=None)


def check_raft_log(path: Path, tell: Tell) -> FoundLog:
    """Tell what is wrong with the log in the directory `path`; what it holds."""
    found = FoundLog()
    if not (path / "CURRENT").exists():
        tell(f"{path}: the raft log is gone")
        return found
    with salvaged(path, RAFT_LOG, tell) as database:
        if database is not None:
            _Check(path, database, tell, found).run()
    return found


class _Check:
    """One pass over a log."""

    def __init__(self, path: Path, database: Salvage, tell: Tell, found: FoundLog) -> None:
        self._path = path
        self._database = database
        self._tell = tell
        self._found = found

    def _wrong(self, what: str) -> None:
        self._tell(f"{self._path}: {what}")

    def run(self) -> None:
        try:
            self._found.state = decode_log_state(self._database.get(LOG_STATE_KEY))
        except MalformedRecord as error:
            self._wrong(str(error))
        if self._found.state is not None:
            self._found.newest = self._found.state.base
        for key, record in self._database.pairs():
            try:
                self._take(key, record)
            except (MalformedRecord, CorruptEntry) as error:
                self._wrong(f"{_place(key)}: {error}")
        if self._found.state is not None:
            self._check_ends(self._found.state)
            self._check_watermark(self._found.state.write_number)
        if not self._database.has_gaps:
            self._check_runs()

    def _take(self, key: bytes, record: bytes) -> None:
        if key[:1] == b"e":
            self._take_entry(key_number(key), record)
        elif key[:1] == b"t":
            term, first_index = decode_term_run(key, record)
            self._found.recorded_runs[term] = first_index
        elif key == STATE_DIRECTORY_KEY:
            self._found.state_directory = decode_state_directory(record)
        elif key != LOG_STATE_KEY:
            raise MalformedRecord("no release writes this key")

    def _take_entry(self, index: int, record: bytes) -> None:
        found = self._found
        newest_index, newest_term = found.newest
        is_next = index == newest_index + 1 or found.state is None
        if not is_next and not self._database.has_gaps:
            self._wrong(f"after entry {newest_index} comes entry {index}: what is between is missing")
        found.newest = (index, newest_term)
        entry = decode_entry(record)
        if entry.index != index:
            raise MalformedRecord(f"entry {entry.index}@{entry.term} is in its place")
        if entry.term < newest_term:
            raise MalformedRecord(f"its term is {entry.term}, after {newest_term}")
        found.newest = (index, entry.term)
        found.runs.setdefault(entry.term, index)
        found.entries += 1

    def _check_ends(self, state: LogState) -> None:
        newest_index, newest_term = self._found.newest
        if newest_index != state.last_index and not self._database.has_gaps:
            self._wrong(f"the log ends at {newest_index}, and not at {state.last_index} as its latest write says")
        if state.hard_state.commit > state.last_index:
            self._wrong(f"entry {state.hard_state.commit} was committed, but the log ends at {state.last_index}")
        if newest_term > state.hard_state.term:
            self._wrong(f"the log ends in term {newest_term}, and the term is {state.hard_state.term}")

    def _check_watermark(self, write_number: int) -> None:
        try:
            durable_number = read_watermark(self._path / "watermark")
        except StorageError as error:
            self._tell(without_advice(error))
            return
        if write_number < durable_number:
            self._wrong(f"{durable_number} writes were acknowledged, but only {write_number} are readable")

    def _check_runs(self) -> None:
        """What is recorded of terms is what the entries say. The base's own term may have begun before the log does."""
        base = self._found.state.base if self._found.state is not None else (0, 0)
        recorded = {term: first for term, first in self._found.recorded_runs.items() if first > base[0]}
        told = {term: first for term, first in self._found.runs.items() if term != base[1] or not base[0]}
        for term in sorted(recorded.keys() | told.keys()):
            if recorded.get(term) != told.get(term):
                self._wrong(
                    f"term {term} begins at {told.get(term, 'no entry')}, but is recorded to begin at "
                    f"{recorded.get(term, 'no entry')}"
                )


def _place(key: bytes) -> str:
    """Where a pair is, for people."""
    if key[:1] == b"e" and len(key) == len(entry_key(0)):
        return f"entry {key_number(key)}"
    return f"key {key!r}"
