"""A cluster of real cores whose disks and network do only what a story tells them.

Each member is driven by the rules of `meteora.raft.raw_node`. Whatever happens is noted in the order in which it
happens, in the one text form of `meteora.raft.text`: a message when it is sent, not when it arrives.
"""

from collections.abc import Callable, Sequence

from meteora.raft import (
    Configuration,
    Entry,
    EntryKind,
    Fetch,
    HardState,
    Message,
    Persist,
    RawNode,
    Settings,
    Snapshot,
)
from meteora.raft.errors import InvalidConfChange, InvariantViolation, ProposalDropped
from meteora.raft.log_reader import LogReader
from meteora.raft.membership import decode_conf_change
from meteora.raft.memory_log import MemoryLog
from meteora.raft.text import (
    configuration_text,
    data_text,
    entry_text,
    hard_state_text,
    message_text,
    snapshot_text,
)

Note = Callable[[str], None]
"""Takes one line of what happened."""


def entries_text(entries: Sequence[Entry]) -> str:
    """`[1@1 2@1 "x"]`."""
    return f"[{' '.join(entry_text(entry) for entry in entries)}]"


class Disk(LogReader):
    """What survives a crash: the log, term and vote, and how far the state machine got, with its configuration."""

    def __init__(self, founding: Configuration) -> None:
        self.log = MemoryLog()
        self.hard_state = HardState()
        self.applied = 0
        self.configurations = {0: founding}
        """The configuration from each index on at which it changed."""
        self.first_in_memory = 1
        """Entries before this one have to be fetched."""

    def first_index(self) -> int:
        return self.log.first_index()

    def last_index(self) -> int:
        return self.log.last_index()

    def term(self, index: int) -> int:
        return self.log.term(index)

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry] | None:
        return self.log.entries(low, high, max_bytes) if low >= self.first_in_memory else None

    def write(self, persist: Persist) -> None:
        """Make durable what the core wants to be."""
        self.hard_state = persist.hard_state or self.hard_state
        if persist.snapshot is not None:
            self.log.reset(persist.snapshot.index, persist.snapshot.term)
            self.applied = persist.snapshot.index
            self.configurations[self.applied] = persist.snapshot.configuration
        self.log.append(persist.entries)

    def configuration_at(self, index: int) -> Configuration:
        """The configuration once everything up to `index` is applied."""
        return self.configurations[max(at for at in self.configurations if at <= index)]


class Member:
    """One node: a core, its disk, and what is under way between the two."""

    def __init__(
        self, node_id: int, disk: Disk, settings: Settings, note: Note, send: Callable[[Message], None]
    ) -> None:
        self.node_id = node_id
        self.disk = disk
        self.disk_is_slow = False
        """A slow disk finishes a write or a read only when it is told to."""
        self.writing: Persist | None = None
        self.reading: list[tuple[Fetch, Sequence[Entry]]] = []
        self.starts = 0
        self._settings = settings
        self._note = note
        self._send = send
        self._core: RawNode | None = None
        self._noted_role = ""

    @property
    def is_up(self) -> bool:
        return self._core is not None

    @property
    def core(self) -> RawNode:
        if self._core is None:
            raise ValueError(f"n{self.node_id} is down")
        return self._core

    def start(self, *, applied: int | None = None) -> None:
        """Start from what is on disk; with `applied`, from a state machine that has got only so far."""
        if applied is not None:
            self.disk.applied = applied
        # What is not applied yet is read into memory at the start.
        self.disk.first_in_memory = min(self.disk.first_in_memory, self.disk.applied + 1)
        self.starts += 1
        self._core = RawNode(
            self.node_id,
            self.disk,
            hard_state=self.disk.hard_state,
            configuration=self.disk.configuration_at(self.disk.applied),
            applied=self.disk.applied,
            settings=self._settings,
            # Each node waits one tick longer than the one before it, so that a reader knows who times out first.
            random_below=lambda bound: min(self.node_id - 1, bound - 1),
        )
        self._noted_role = self._role_text()
        self._work()

    def crash(self) -> None:
        """Stop at once. What is being written is lost."""
        self._core = None
        self.writing = None
        self.reading.clear()

    def event(self, event: Callable[[RawNode], None]) -> None:
        """Let the core know of something, then do all that it wants done."""
        try:
            event(self.core)
            self._work()
        except ProposalDropped as error:
            self._note(f"n{self.node_id} drops the proposal: {error}")
        except InvalidConfChange as error:
            self._note(f"n{self.node_id} refuses the change: {error}")
        except InvariantViolation as error:
            self._note(f"n{self.node_id} stops: {error}")
            self.crash()

    def finish_writing(self) -> None:
        """The disk has done the write that is under way."""
        persist, self.writing = self.writing, None
        if persist is None:
            raise ValueError(f"n{self.node_id} is not writing")
        self._note(f"n{self.node_id} has written {_persist_text(persist)}")
        self.event(lambda core: self._written(core, persist))

    def finish_reading(self) -> None:
        """The disk has done the reads that are under way."""
        while self.reading:
            fetch, entries = self.reading.pop(0)
            self._note(f"n{self.node_id} has read {entries_text(entries)} for n{fetch.peer}")
            self.event(lambda core, fetch=fetch, entries=entries: core.fetched(fetch, entries))  # type: ignore[misc]

    def send_snapshot(self, peer: int) -> None:
        """Send a snapshot of what is applied. It arrives when its message does."""
        index = self.disk.applied
        snapshot = Snapshot(index, self.disk.term(index), self.core.configuration)
        message = self.core.snapshot_started(peer, snapshot)
        if message is None:
            self._note(f"n{self.node_id} has nobody to send a snapshot to")
        else:
            self._send(message)

    def _role_text(self) -> str:
        core = self.core
        following = f" of n{core.leader_id}" if core.leader_id not in (0, self.node_id) else ""
        return f"n{self.node_id}@{core.term} {core.role.value}{following}"

    def _note_role(self) -> None:
        role = self._role_text()
        if role != self._noted_role:
            self._noted_role = role
            self._note(role)

    def _work(self) -> None:
        self._note_role()
        while self.core.has_ready:
            ready = self.core.ready()
            for message in ready.messages:
                self._send(message)
            if ready.persist is not None:
                self._persist(ready.persist)
            if ready.committed:
                self._apply(ready.committed)
            for state in ready.read_states:
                self._note(f"n{self.node_id} may read {data_text(state.context)} at {state.index}")
            for fetch in ready.fetches:
                self._fetch(fetch)
            for peer in ready.snapshots_wanted:
                self._note(f"n{self.node_id} needs a snapshot for n{peer}")
            self._note_role()

    def _persist(self, persist: Persist) -> None:
        if not persist.writes:
            self._written(self.core, persist)
        elif self.disk_is_slow:
            self._note(f"n{self.node_id} starts to write {_persist_text(persist)}")
            self.writing = persist
        else:
            self._note(f"n{self.node_id} writes {_persist_text(persist)}")
            self._written(self.core, persist)

    def _written(self, core: RawNode, persist: Persist) -> None:
        self.disk.write(persist)
        for message in persist.messages:
            self._send(message)
        core.persisted(persist)

    def _apply(self, entries: Sequence[Entry]) -> None:
        self._note(f"n{self.node_id} applies {entries_text(entries)}")
        for entry in entries:
            if entry.kind is EntryKind.CONF_CHANGE:
                self._apply_conf_change(entry)
        self.disk.applied = entries[-1].index
        self.core.applied(entries[-1].index)

    def _apply_conf_change(self, entry: Entry) -> None:
        try:
            configuration = self.core.apply_conf_change(decode_conf_change(entry.data))
        except InvalidConfChange as error:
            self._note(f"n{self.node_id} finds the change impossible: {error}")
            return
        self.disk.configurations[entry.index] = configuration
        self._note(f"n{self.node_id} has {configuration_text(configuration)}")

    def _fetch(self, fetch: Fetch) -> None:
        self._note(f"n{self.node_id} starts to read {fetch.low} to {fetch.high - 1} for n{fetch.peer}")
        self.reading.append((fetch, self.disk.log.entries(fetch.low, fetch.high, fetch.max_bytes)))
        if not self.disk_is_slow:
            self.finish_reading()


def _persist_text(persist: Persist) -> str:
    parts = [hard_state_text(persist.hard_state)] if persist.hard_state else []
    if persist.snapshot:
        parts.append(f"snapshot {snapshot_text(persist.snapshot)}")
    if persist.entries:
        parts.append(entries_text(persist.entries))
    return " ".join(parts)


class Network:
    """Messages on their way, oldest first, and the links that are cut."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self.in_flight: list[Message] = []
        self._cut: set[tuple[int, int]] = set()

    def send(self, message: Message) -> None:
        is_lost = (message.sender, message.receiver) in self._cut
        self._note(message_text(message) + " (lost)" * is_lost)
        if not is_lost:
            self.in_flight.append(message)

    def take(self, chosen: Callable[[Message], bool], count: int | None = None) -> list[Message]:
        """Take the first `count` of those that are chosen off the network; all of them if None."""
        taken = [message for message in self.in_flight if chosen(message)][:count]
        for message in taken:
            # The first one that is equal is as good as any.
            self.in_flight.remove(message)
        return taken

    def cut(self, left: int, right: int) -> None:
        """Nothing gets through between these two, either way; what is on its way there is lost."""
        self._cut |= {(left, right), (right, left)}
        for message in self.take(lambda message: (message.sender, message.receiver) in self._cut):
            self._note(f"{message_text(message)} (lost)")

    def heal(self, left: int, right: int) -> None:
        """Undo `cut`."""
        self._cut -= {(left, right), (right, left)}


class Cluster:
    """Members and the network between them."""

    def __init__(self, founding: Configuration, settings: Settings, note: Note) -> None:
        self.members: dict[int, Member] = {}
        self.network = Network(note)
        self._founding = founding
        self._settings = settings
        self._note = note
        for node_id in sorted(founding.members):
            self.join(node_id)

    def join(self, node_id: int) -> None:
        """Start a new node with an empty disk, that knows who founded the cluster."""
        disk = Disk(self._founding)
        self.members[node_id] = Member(node_id, disk, self._settings, self._note, self.network.send)
        self.members[node_id].start()

    def deliver(self, messages: Sequence[Message]) -> None:
        """Hand over messages that were taken off the network."""
        for message in messages:
            receiver = self.members.get(message.receiver)
            if receiver is None or not receiver.is_up:
                self._note(f"{message_text(message)} (lost: n{message.receiver} is down)")
            else:
                receiver.event(lambda core, message=message: core.step(message))  # type: ignore[misc]

    def stabilize(self, chosen: Callable[[Message], bool]) -> None:
        """Deliver messages, round by round, until no chosen one is left."""
        for _ in range(_MAX_ROUNDS):
            messages = self.network.take(chosen)
            if not messages:
                return
            self.deliver(messages)
        raise ValueError(f"the cluster talks on and on, for {_MAX_ROUNDS} rounds")


_MAX_ROUNDS = 200
"""More than the longest honest exchange in any story; so an exchange without an end is seen as such."""
