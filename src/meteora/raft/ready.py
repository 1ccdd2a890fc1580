"""What the core wants done, in one piece."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from meteora.raft.entry import Entry
from meteora.raft.message import HardState, Message
from meteora.raft.reads import ReadState
from meteora.raft.snapshot import Snapshot


class Persist(NamedTuple):
    """One write to the log: fsync it, then send its messages, then tell `RawNode.persisted`."""

    hard_state: HardState | None
    """The new hard state; None if neither term nor vote changed and there are no entries. The commit index alone is
    worth an fsync only if a membership change is committed with it; else it is learnt again after a crash."""
    entries: tuple[Entry, ...]
    """To be put after entries[0].index - 1; what the log has there and beyond is to be dropped with it."""
    messages: tuple[Message, ...]
    """These speak for what is written here: nobody may see them before it is durable."""
    snapshot: Snapshot | None = None
    """To be installed before the entries are put: its state replaces the state machine's, and all of the log is
    replaced by its (index, term). What was handed out to be applied before, and is not yet, is in it."""

    @property
    def writes(self) -> bool:
        """Whether there is anything to write; if not, the messages may go at once."""
        return self.hard_state is not None or bool(self.entries) or self.snapshot is not None


class Fetch(NamedTuple):
    """Entries that a peer needs and that are not in memory."""

    peer: int
    low: int
    high: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Ready:
    """What is to be done now. The order is written down where it is done: `meteora.node`."""

    messages: Sequence[Message]
    """May be sent at once, before anything is durable."""
    persist: Persist | None
    """None if nothing is to be written, or if the write before is not durable yet."""
    committed: Sequence[Entry]
    """To be applied, in this order; all of them are durable here."""
    read_states: Sequence[ReadState]
    fetches: Sequence[Fetch]
    """To be read from disk and handed to `RawNode.fetched`."""
    snapshots_wanted: Sequence[int]
    """The peers that need a snapshot: `RawNode.snapshot_started` once it is about to be sent, and in any case
    `RawNode.snapshot_finished`; until then nothing but heartbeats goes there."""
