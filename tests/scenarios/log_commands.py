"""The commands of a story about the log alone: a method for each, whose docstring says how it is written."""

from collections.abc import Callable, Sequence

from meteora.raft import Entry
from meteora.raft.errors import Compacted, InvariantViolation
from meteora.raft.log import Log
from meteora.raft.memory_log import MemoryLog
from meteora.raft.text import entry_text
from tests.scenarios.cluster import entries_text
from tests.scenarios.words import Words, listed_entries

_ALL_BYTES = 1 << 62


class LogCommands:
    """Carries out the commands of one story, on a log that the first of them opens."""

    def __init__(self) -> None:
        self._disk = MemoryLog()
        self._log = Log(self._disk, committed=0, applied=0)
        self._writing: Sequence[Entry] = ()

    def run(self, command: str) -> list[str]:
        """Carry out one command: what came of it."""
        name, *rest = command.split()
        words = Words(rest)
        do: Callable[[Words], str] = getattr(self, f"do_{name}")
        try:
            line = do(words)
        except InvariantViolation as error:
            return [f"stops: {error}"]
        except Compacted as error:
            return [f"cut off: {error}"]
        words.done()
        return [line] if line else []

    def do_open(self, words: Words) -> str:
        """`open [log=1@1,2@1:x] [committed=1] [applied=1]`: open the log that is on this disk."""
        self._disk = MemoryLog(listed_entries(words.option("log")))
        return self._open(words)

    def do_reopen(self, words: Words) -> str:
        """`reopen [committed=1] [applied=1]`: after a crash, open what is on the disk."""
        return self._open(words)

    def _open(self, words: Words) -> str:
        self._writing = ()
        committed, applied = words.numeric_option("committed"), words.numeric_option("applied")
        self._log = Log(self._disk, committed=committed, applied=applied)
        return repr(self._log)

    def do_append(self, words: Words) -> str:
        """`append 1@1,2@1:x`: put these entries after the one before the first of them."""
        self._log.append(listed_entries(words.word()))
        return repr(self._log)

    def do_splice(self, words: Words) -> str:
        """`splice 1@1 [2@1,3@1]`: a leader's entries, that follow 1@1."""
        (base,) = listed_entries(words.word())
        last = self._log.append_after(base.index, base.term, listed_entries(",".join(words.rest())))
        return "no such entry" if last is None else f"matches up to {last}: {self._log!r}"

    def do_write(self, words: Words) -> str:
        """`write`: start to write what nobody has written yet."""
        self._writing = self._log.unstable()
        self._log.handed_out()
        return f"writes {entries_text(self._writing)}"

    def do_written(self, words: Words) -> str:
        """`written`: that write is done."""
        self._disk.append(self._writing)
        if self._writing:
            self._log.stable_to(self._writing[-1].index, self._writing[-1].term)
        return repr(self._log)

    def do_commit(self, words: Words) -> str:
        """`commit 2`: everything up to there is committed."""
        self._log.commit_to(words.number())
        return repr(self._log)

    def do_apply(self, words: Words) -> str:
        """`apply [max_bytes]`: take the next entries to apply, and apply them."""
        entries = self._log.next_committed(words.number(default=_ALL_BYTES))
        if entries:
            self._log.applied_to(entries[-1].index)
        return entries_text(entries)

    def do_has(self, words: Words) -> str:
        """`has 2@1`: whether this entry is there."""
        (entry,) = listed_entries(words.word())
        return "yes" if self._log.matches(entry.index, entry.term) else "no"

    def do_get(self, words: Words) -> str:
        """`get 2`: the entry at this index."""
        index = words.number()
        entries = self._log.entries(index, index + 1, _ALL_BYTES)
        return entry_text(entries[0]) if entries else "not in memory"

    def do_scan(self, words: Words) -> str:
        """`scan 1 4 [max_bytes]`: the entries from the first index on, before the second."""
        low, high = words.number(), words.number()
        return entries_text(self._log.entries(low, high, words.number(default=_ALL_BYTES)) or ())

    def do_term(self, words: Words) -> str:
        """`term [2]`: the term at this index, or that of the last entry."""
        return str(self._log.term(words.number(default=self._log.last_index)))

    def do_conflict(self, words: Words) -> str:
        """`conflict 4@2`: where a log that has 4@2 may match this one."""
        (entry,) = listed_entries(words.word())
        index, term = self._log.find_conflict_by_term(entry.index, entry.term)
        return f"{index}@{term}"

    def do_newer(self, words: Words) -> str:
        """`newer 4@2`: whether a log that ends so is at least as new as this one."""
        (entry,) = listed_entries(words.word())
        return "yes" if self._log.is_up_to_date(entry.index, entry.term) else "no"

    def do_status(self, words: Words) -> str:
        """`status`: the marks of the log."""
        return repr(self._log)
