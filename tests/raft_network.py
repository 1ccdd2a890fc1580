"""Members of one cluster without a world: real `RawNode`s, and disks and a network that do what a test tells them.

`Member` keeps the rules of `RawNode` to the letter: what is to be persisted is on its disk before its messages leave
and before the core hears of it; what is committed is applied in order, once; a snapshot
is installed, log, state and all, in one write, and what it covers is applied no more; a crash leaves what the disk has,
and nothing else. Disks write at once unless the test holds them up. `Network` carries messages first in, first out,
unless the test cuts, drops, delays, duplicates or reorders them. Nothing here is random: a test that wants chance hands
it in.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from meteora.raft import (
    Configuration,
    Entry,
    EntryKind,
    Fetch,
    HardState,
    Message,
    MessageKind,
    Persist,
    RawNode,
    ReadState,
    Ready,
    RoleName,
    Settings,
    Snapshot,
    decode_conf_change,
)
from meteora.raft.errors import InvalidConfChange, ProposalDropped
from meteora.raft.memory_log import MemoryLog

MAX_DELIVERIES = 100_000
"""In one `settle`: more means that the members keep one another busy for ever."""

ALL_BYTES = 1 << 60
"""A limit that limits nothing."""


class FullSnapshot(Snapshot):
    """A snapshot with the state that goes beside it, out of the core's sight."""

    state: tuple[Entry, ...]


def log_of(*terms: int) -> list[Entry]:
    """Entries 1, 2, … of the given terms; entries of one term and index are equal, as in a real cluster."""
    return [Entry(term, index, b"%d@%d" % (index, term)) for index, term in enumerate(terms, start=1)]


class ColdLog(MemoryLog):
    """A log that has its entries below `first_in_memory` only on disk, and so can't show them at once."""

    first_in_memory = 1

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry] | None:  # type: ignore[override]
        """As its parent's, but None if the first one is not in memory."""
        return super().entries(low, high, max_bytes) if low >= self.first_in_memory else None

    def read(self, fetch: Fetch) -> Sequence[Entry]:
        """What a read from disk finds by now."""
        high = min(fetch.high, self.last_index() + 1)
        return super().entries(fetch.low, high, fetch.max_bytes) if fetch.low < high else ()


class Disk:
    """What a crash leaves."""

    def __init__(
        self, configuration: Configuration, *, entries: Sequence[Entry] = (), hard_state: HardState | None = None
    ) -> None:
        self.log = ColdLog(entries)
        self.hard_state = hard_state or HardState(term=entries[-1].term if entries else 0)
        self.configuration = configuration
        """The one at the end of `state`."""
        self.state: tuple[Entry, ...] = ()
        """The state machine, which is simply all that was applied."""

    def write(self, persist: Persist) -> None:
        """Make durable what `persist` holds."""
        if persist.hard_state is not None:
            self.hard_state = persist.hard_state
        if persist.snapshot is not None:
            assert isinstance(persist.snapshot, FullSnapshot)
            self.log.reset(persist.snapshot.index, persist.snapshot.term)
            self.state, self.configuration = persist.snapshot.state, persist.snapshot.configuration
        self.log.append(persist.entries)


class Member:
    """One node: a `RawNode`, its disk, and the loop around them."""

    def __init__(
        self, node_id: int, disk: Disk, *, settings: Settings | None = None, random_below: Callable[[int], int]
    ) -> None:
        self.node_id = node_id
        self.disk = disk
        self.settings = settings or Settings()
        self.random_below = random_below
        self.incarnation = 0
        self.installed_snapshots = 0
        self.holds_writes = self.holds_applies = self.holds_fetches = False
        self.start()

    def __repr__(self) -> str:
        return repr(self.raw)

    def start(self) -> None:
        """Start, or start again after a crash, from what the disk has."""
        self.incarnation += 1
        self.is_up = True
        self.state = list(self.disk.state)
        self.writing: Persist | None = None
        self.to_apply: deque[Entry] = deque()
        self.fetches: list[tuple[Fetch, Sequence[Entry]]] = []
        """What was asked of the disk, and what it found: nobody knows how long the answer takes from there."""
        self.read_states: list[ReadState] = []
        self.snapshots_wanted: list[int] = []
        self.raw = RawNode(
            self.node_id,
            self.disk.log,
            hard_state=self.disk.hard_state,
            configuration=self.disk.configuration,
            applied=len(self.state),
            settings=self.settings,
            random_below=self.random_below,
        )

    def crash(self) -> None:
        """Lose all that is not on disk, and stay down until `start`."""
        self.is_up = False

    def save_state(self) -> None:
        """Make durable what is applied, so that a crash does not undo it."""
        self.disk.state = tuple(self.state)
        self.disk.configuration = self.raw.configuration

    # The loop

    def work(self) -> list[Message]:
        """Do all that the core wants done, as far as nothing is held up: the messages that leave."""
        leaving: list[Message] = []
        while self.raw.has_ready:
            leaving += self._do(self.raw.ready())
        return leaving

    def _do(self, ready: Ready) -> list[Message]:
        leaving = list(ready.messages)
        if ready.persist is not None:
            self.writing = ready.persist
            if ready.persist.snapshot is not None:
                self.to_apply.clear()
            if not self.holds_writes:
                leaving += self.finish_write()
        self.to_apply += ready.committed
        if not self.holds_applies:
            self.apply(len(self.to_apply))
        self.read_states += ready.read_states
        self.snapshots_wanted += ready.snapshots_wanted
        self.fetches += [(fetch, self.disk.log.read(fetch)) for fetch in ready.fetches]
        if not self.holds_fetches:
            self.answer_fetches()
        return leaving

    def finish_write(self) -> list[Message]:
        """The write under way is durable: the messages that waited for it."""
        persist, self.writing = self.writing, None
        assert persist is not None, "no write is under way"
        self.disk.write(persist)
        if persist.snapshot is not None:
            self.state = list(self.disk.state)
            self.installed_snapshots += 1
        self.raw.persisted(persist)
        return list(persist.messages)

    def apply(self, count: int) -> None:
        """Apply the next `count` committed entries."""
        for _ in range(count):
            entry = self.to_apply.popleft()
            if entry.kind is EntryKind.CONF_CHANGE:
                # What does not fit changes nothing, on any replica.
                with suppress(InvalidConfChange):
                    self.raw.apply_conf_change(decode_conf_change(entry.data))
            self.state.append(entry)
        if count:
            self.raw.applied(len(self.state))

    def answer_fetches(self) -> None:
        """Hand over what the core wanted read from disk."""
        fetches, self.fetches = self.fetches, []
        for fetch, entries in fetches:
            self.raw.fetched(fetch, entries)

    # Snapshots

    def compact(self, index: int) -> None:
        """Cut off the log up to `index`, whose state has been saved."""
        assert index <= len(self.disk.state), f"n{self.node_id} has saved its state only up to {len(self.disk.state)}"
        self.disk.log.compact(index)

    def snapshot(self) -> FullSnapshot:
        """A snapshot of what is applied."""
        snapshot = FullSnapshot(len(self.state), self.state[-1].term, self.raw.configuration)
        snapshot.state = tuple(self.state)
        return snapshot

    def saved_snapshot(self) -> FullSnapshot:
        """A snapshot of what is saved; some entry must be."""
        snapshot = FullSnapshot(len(self.disk.state), self.disk.state[-1].term, self.disk.configuration)
        snapshot.state = self.disk.state
        return snapshot

    def send_snapshot(self, peer: int, snapshot: FullSnapshot | None = None) -> list[Message]:
        """Send `peer` this snapshot, or one of what is applied: the message that goes with it, if it is wanted."""
        message = self.raw.snapshot_started(peer, snapshot or self.snapshot())
        return [] if message is None else [message]

    # What tests do and ask

    def step(self, *messages: Message) -> list[Message]:
        """Take in messages: what leaves in answer."""
        for message in messages:
            self.raw.step(message)
        return self.work()

    def tick(self, count: int = 1) -> list[Message]:
        """Let time pass: what leaves meanwhile."""
        leaving = []
        for _ in range(count):
            self.raw.tick()
            leaving += self.work()
        return leaving

    def propose(self, *payloads: bytes) -> list[Message]:
        """Propose: what leaves."""
        self.raw.propose(payloads)
        return self.work()

    def heard(self, kind: MessageKind, sender: int, **fields: object) -> list[Message]:
        """Take in a message to this node, of its term unless told otherwise: what leaves in answer."""
        term = fields.pop("term", self.raw.term)
        return self.step(Message(kind, sender, self.node_id, term, **fields))  # type: ignore[arg-type]

    @property
    def role(self) -> RoleName:
        """What this node is."""
        return self.raw.role

    @property
    def commit_index(self) -> int:
        """The last index that this node knows to be committed."""
        return self.raw.status().commit_index

    def log(self) -> list[Entry]:
        """All entries, durable or not; those that were cut off as they were applied."""
        log = self.raw._raft.log
        if log._snapshot is not None:
            assert isinstance(log._snapshot, FullSnapshot)
            return [*log._snapshot.state, *log._unstable]
        first = log.first_index
        durable = self.disk.log.read(Fetch(0, first, log.stable_index + 1, ALL_BYTES))
        return [*self.state[: first - 1], *durable, *log._unstable]

    def terms(self) -> list[int]:
        """The terms of all entries."""
        return [entry.term for entry in self.log()]

    def commands(self) -> list[bytes]:
        """What the state machine was given, without the leaders' empty entries."""
        return [entry.data for entry in self.state if entry.kind is EntryKind.COMMAND and entry.data]


def lone_member(
    node_id: int = 1,
    *,
    voters: Iterable[int] = (1, 2, 3),
    learners: Iterable[int] = (),
    entries: Sequence[Entry] = (),
    hard_state: HardState | None = None,
    random_below: Callable[[int], int] = lambda _: 0,
    settings: Settings | None = None,
) -> Member:
    """A member whose peers are played by the test."""
    disk = Disk(Configuration.of(voters, learners), entries=entries, hard_state=hard_state)
    return Member(node_id, disk, settings=settings, random_below=random_below)


def stand(member: Member) -> list[Message]:
    """Make a lone member a candidate, with all pre-votes granted by others: the vote requests that leave."""
    member.raw.campaign()
    member.work()
    leaving: list[Message] = []
    for voter in sorted(member.raw.configuration.all_voters - {member.node_id}):
        if member.role is RoleName.PRE_CANDIDATE:
            leaving += member.heard(MessageKind.PRE_VOTE_RESPONSE, voter, term=member.raw.term + 1)
    return leaving


def lead(member: Member) -> list[Message]:
    """Make a lone member leader by all the votes that it takes: its first appends."""
    stand(member)
    leaving: list[Message] = []
    for voter in sorted(member.raw.configuration.all_voters - {member.node_id}):
        if member.role is RoleName.CANDIDATE:
            leaving += member.heard(MessageKind.VOTE_RESPONSE, voter)
    assert member.role is RoleName.LEADER
    return leaving


def acknowledge(member: Member, *peers: int, index: int | None = None) -> list[Message]:
    """Tell a lone leader that these peers have its log, up to `index` or all of it: what leaves in answer."""
    last = member.raw.status().last_index if index is None else index
    return [left for peer in peers for left in member.heard(MessageKind.APPEND_RESPONSE, peer, index=last)]


Matches = Callable[[Message], bool]


class Network:
    """Members, and the wire between them."""

    def __init__(self, members: Iterable[Member]) -> None:
        self.members = {member.node_id: member for member in members}
        self.wire: deque[Message] = deque()
        self.held_back: list[Message] = []
        self.cuts: set[tuple[int, int]] = set()
        """(sender, receiver) pairs whose messages are lost."""
        self.log: list[Message] = []
        """All that was delivered."""
        self._drops: list[Matches] = []
        self._delays: list[Matches] = []

    def __getitem__(self, node_id: int) -> Member:
        return self.members[node_id]

    # Trouble

    def cut(self, one: int, other: int) -> None:
        """Lose what these two say to each other."""
        self.cuts |= {(one, other), (other, one)}

    def isolate(self, *node_ids: int) -> None:
        """Cut these off from all others, and leave them connected among themselves."""
        for inside in node_ids:
            for outside in self.members.keys() - set(node_ids):
                self.cut(inside, outside)

    def drop(self, matches: Matches) -> None:
        """Lose messages that match."""
        self._drops.append(matches)

    def delay(self, matches: Matches) -> None:
        """Hold back messages that match, until `release`."""
        self._delays.append(matches)

    def release(self, *, reverse: bool = False, times: int = 1) -> None:
        """Let go what was held back, in order or from the last to the first, each message as often as told."""
        held_back, self.held_back, self._delays = self.held_back, [], []
        for message in reversed(held_back) if reverse else held_back:
            self.post([message] * times)
        self.settle()

    def heal(self) -> None:
        """End all cuts, drops and delays; what was held back stays so until `release`."""
        self.cuts.clear()
        self._drops.clear()
        self._delays.clear()

    # Motion

    def settle(self) -> None:
        """Let members work and messages arrive until nothing moves any more."""
        for member in self.members.values():
            self.collect(member)
        deliveries = 0
        while self.wire:
            self.deliver(self.wire.popleft())
            deliveries += 1
            assert deliveries < MAX_DELIVERIES, "the members keep one another busy for ever"

    def collect(self, member: Member) -> None:
        """Let a member work, and put on the wire what it says."""
        if member.is_up:
            self.post(member.work())

    def post(self, messages: Iterable[Message]) -> None:
        """Put messages on the wire, but for those that are lost or held back at once."""
        for message in messages:
            if any(matches(message) for matches in self._drops):
                continue
            held_back = any(matches(message) for matches in self._delays)
            (self.held_back if held_back else self.wire).append(message)

    def deliver(self, message: Message) -> None:
        """Let one message arrive, unless the way is cut or nobody is there."""
        receiver = self.members.get(message.receiver)
        if receiver is None or not receiver.is_up or (message.sender, message.receiver) in self.cuts:
            return
        self.log.append(message)
        with suppress(ProposalDropped):
            receiver.raw.step(message)
        self.collect(receiver)

    def tick(self, count: int = 1, *node_ids: int) -> None:
        """Let time pass, for these or for all members, and everything settle after each tick."""
        for _ in range(count):
            for node_id in node_ids or tuple(self.members):
                if self[node_id].is_up:
                    self[node_id].raw.tick()
            self.settle()

    # Snapshots

    def send_snapshots(self) -> None:
        """Every snapshot that is wanted is sent, arrives, and is reported."""
        for member in self.members.values():
            wanted, member.snapshots_wanted = member.snapshots_wanted, []
            for peer in wanted:
                self.post(member.send_snapshot(peer))
                self.settle()
                member.raw.snapshot_finished(peer, ok=True)
        self.settle()

    # Commands

    def campaign(self, node_id: int) -> None:
        """Have a member campaign."""
        self[node_id].raw.campaign()
        self.settle()

    def propose(self, node_id: int, *payloads: bytes) -> None:
        """Propose at a member."""
        self[node_id].raw.propose(payloads)
        self.settle()

    def finish_writes(self, *node_ids: int) -> None:
        """Let the disks of these write again, all that waits included."""
        for node_id in node_ids:
            member = self[node_id]
            member.holds_writes = False
            if member.writing is not None:
                self.post(member.finish_write())
        self.settle()

    def crash(self, node_id: int) -> None:
        """Take a member down; what it said before is still under way."""
        self[node_id].crash()

    def restart(self, node_id: int) -> None:
        """Start a member again from its disk."""
        self[node_id].start()
        self.settle()

    def leaders(self) -> list[int]:
        """Who believes to lead."""
        return [node_id for node_id, member in self.members.items() if member.is_up and member.raw.leads]


def cluster(
    voters: Iterable[int] = (1, 2, 3),
    learners: Iterable[int] = (),
    *,
    logs: Mapping[int, Sequence[Entry]] | None = None,
    hard_states: Mapping[int, HardState] | None = None,
    configuration: Configuration | None = None,
    settings: Settings | None = None,
    newcomers: Iterable[int] = (),
) -> Network:
    """A network of members that all know one configuration. Of two that wait equally long, the lower id is first.

    `newcomers` are started with the same configuration, without being in it.
    """
    voters, learners = tuple(voters), tuple(learners)
    known = configuration or Configuration.of(voters, learners)

    def member(node_id: int) -> Member:
        entries = (logs or {}).get(node_id, ())
        disk = Disk(known, entries=entries, hard_state=(hard_states or {}).get(node_id))
        return Member(node_id, disk, settings=settings, random_below=lambda limit: min(node_id - 1, limit - 1))

    return Network(member(node_id) for node_id in sorted({*known.members, *newcomers}))
