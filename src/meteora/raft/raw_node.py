"""The one door to the core: events in, one `Ready` out.

Whoever drives it calls `tick`, `step` and the requests below, and then, as long as `has_ready()`, takes a `Ready` and
does what it says. The only rules:

- what `Ready.persist` holds is fsynced before its messages are sent and `persisted` is called;
- what `Ready.committed` holds is applied, in order, before `applied` is called, and a membership change in it through
  `apply_conf_change`;
- a `Persist` that brings a snapshot replaces what was handed out and is not applied yet: that is dropped at once;
- the log on disk is cut off only up to what was given to `applied`, and may be at any time.

Ticks, messages and proposals may come in at any time between, also while a write is under way; only the next `Persist`
waits for it.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from meteora.raft.candidate import Candidate
from meteora.raft.core import Raft, Settings
from meteora.raft.entry import Entry, EntryKind
from meteora.raft.errors import InvariantViolation, ProposalDropped, ensure
from meteora.raft.follower import Follower
from meteora.raft.leader import Leader
from meteora.raft.log import Log
from meteora.raft.log_reader import LogReader
from meteora.raft.membership import ConfChange, Configuration
from meteora.raft.message import HardState, Message, MessageKind
from meteora.raft.ready import Fetch, Persist, Ready
from meteora.raft.snapshot import Snapshot
from meteora.raft.text import message_text

_WITHOUT_TERM = frozenset({MessageKind.PROPOSE, MessageKind.READ_INDEX, MessageKind.TRANSFER_LEADER})


class RoleName(Enum):
    """What a node is in its term."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class PeerStatus(NamedTuple):
    """What a leader knows of one member, itself included."""

    match_index: int
    next_index: int
    recent_active: bool


class Status(NamedTuple):
    """Where a node stands."""

    node_id: int
    role: RoleName
    term: int
    leader_id: int
    commit_index: int
    applied_index: int
    last_index: int
    configuration: Configuration
    peers: dict[int, PeerStatus]
    """Empty unless this node leads."""


class RawNode:
    """One member of a cluster, as a state machine."""

    def __init__(
        self,
        node_id: int,
        reader: LogReader,
        *,
        hard_state: HardState,
        configuration: Configuration,
        applied: int,
        settings: Settings,
        random_below: Callable[[int], int],
    ) -> None:
        """Start, or start again, from what is on disk.

        `configuration` is the one at `applied`; `random_below(n)` gives a number in [0, n). Entries above `applied`
        must be in the reader's memory. Raises `InvariantViolation` if the parts don't fit one another.
        """
        # What is applied was committed, although the commit index on disk may be older.
        log = Log(reader, committed=max(hard_state.commit, applied), applied=applied)
        self._raft = Raft(
            node_id,
            log,
            hard_state=hard_state,
            configuration=configuration,
            settings=settings,
            random_below=random_below,
        )
        self._persisting: Persist | None = None
        self._own_messages: tuple[Message, ...] = ()
        """To this node itself, once what it is persisting now is durable."""
        self._term_and_vote = (hard_state.term, hard_state.vote)

    def __repr__(self) -> str:
        return repr(self._raft)

    # Events

    def tick(self) -> None:
        """One unit of time has passed."""
        self._raft.tick()

    def step(self, message: Message) -> None:
        """Take in a message from a peer. Raises `ProposalDropped` if it is a proposal that can't be taken."""
        # Not by `ensure`: it would write out a message, entries and all, that nobody is going to read.
        if message.sender == self._raft.node_id:
            raise InvariantViolation(f"a message from this node came back: {message_text(message)}")
        if message.term <= 0 and message.kind not in _WITHOUT_TERM:
            raise InvariantViolation(f"a message without a term: {message_text(message)}")
        self._raft.step(message)

    def propose(self, payloads: Iterable[bytes]) -> None:
        """Append one entry for each payload here, or ask the leader to.

        Raises `ProposalDropped` if that is certainly not going to happen. Otherwise it may or may not: a proposal that
        was passed on can be lost.
        """
        self._propose(tuple(Entry(0, 0, payload) for payload in payloads))

    def propose_conf_change(self, change: ConfChange) -> None:
        """Propose a change of membership, here at the leader.

        Raises `ChangePending` if another one is not applied yet, `InvalidConfChange` if this one can't be made at all,
        `ProposalDropped` if this node doesn't lead, or takes no proposals now.
        """
        role = self._raft.role
        if not isinstance(role, Leader):
            raise ProposalDropped("only the leader changes the membership")
        role.check_conf_change(change)
        self._propose((Entry(0, 0, change.encode(), EntryKind.CONF_CHANGE),))

    def _propose(self, entries: tuple[Entry, ...]) -> None:
        me = self._raft.node_id
        self._raft.step(Message(MessageKind.PROPOSE, me, me, entries=entries))

    def read_index(self, context: bytes) -> None:
        """Ask from when on a read may be served; the answer is a `ReadState` with this context.

        None comes if there is no leader, or if a message is lost: ask again then. A context must not be used twice, by
        any node, for different reads.
        """
        me = self._raft.node_id
        self._raft.step(Message(MessageKind.READ_INDEX, me, me, context=context))

    def transfer_leader(self, node_id: int) -> None:
        """Ask that `node_id` lead. Given up after an election timeout."""
        me = self._raft.node_id
        self._raft.step(Message(MessageKind.TRANSFER_LEADER, me, me, index=node_id))

    def campaign(self) -> None:
        """Stand for election now, without waiting for the timeout; with lease reads, only if no leader was heard."""
        if not self._raft.is_bound_by_a_lease:
            self._raft.campaign(pre_vote=True)

    def forget_leader(self) -> None:
        """The leader is known to be gone: vote for another without waiting for the timeout.

        A leader and a candidate know none to forget; with lease reads it is not done.
        """
        if isinstance(self._raft.role, Follower):
            self._raft.role.forget_leader()

    def unreachable(self, peer: int) -> None:
        """What was sent to `peer` may have been lost."""
        if isinstance(self._raft.role, Leader):
            self._raft.role.peer_unreachable(peer)

    # Work

    @property
    def has_ready(self) -> bool:
        """Whether `ready()` holds anything to do."""
        raft = self._raft
        return bool(
            raft.messages
            or raft.read_states
            or raft.fetches
            or raft.snapshots_wanted
            or raft.log.has_committed
            or self._has_persist()
        )

    def _has_persist(self) -> bool:
        if self._persisting is not None:
            return False
        raft = self._raft
        return (
            bool(raft.after_persist)
            or raft.log.has_unstable
            or self._term_and_vote != (raft.term, raft.vote)
            or raft.log.has_unsettled
            or raft.log.new_snapshot() is not None
        )

    def ready(self) -> Ready:
        """What is to be done now; all of it is considered taken."""
        raft = self._raft
        committed = raft.log.next_committed(raft.settings.max_apply_bytes)
        if isinstance(raft.role, Leader):
            raft.role.reduce_uncommitted(committed)
        ready = Ready(
            raft.messages, self._next_persist(), committed, raft.read_states, raft.fetches, raft.snapshots_wanted
        )
        raft.messages, raft.read_states, raft.fetches, raft.snapshots_wanted = [], [], [], []
        return ready

    def _next_persist(self) -> Persist | None:
        if not self._has_persist():
            return None
        raft = self._raft
        entries, snapshot = raft.log.unstable(), raft.log.new_snapshot()
        raft.log.handed_out()
        changed = (
            bool(entries)
            or snapshot is not None
            or self._term_and_vote != (raft.term, raft.vote)
            or raft.log.has_unsettled
        )
        self._term_and_vote = (raft.term, raft.vote)
        self._own_messages = tuple(message for message in raft.after_persist if message.receiver == raft.node_id)
        others = tuple(message for message in raft.after_persist if message.receiver != raft.node_id)
        raft.after_persist = []
        self._persisting = Persist(raft.hard_state if changed else None, entries, others, snapshot)
        return self._persisting

    def persisted(self, persist: Persist) -> None:
        """What `persist` holds is durable, and the reader knows it; its snapshot, if it has one, is installed.

        The configuration, and how far entries are applied, are then those of the snapshot.
        """
        ensure(persist is self._persisting, "persisted: not the write that is under way")
        self._persisting = None
        if persist.snapshot is not None:
            self._raft.installed(persist.snapshot)
        if persist.entries:
            last = persist.entries[-1]
            self._raft.log.stable_to(last.index, last.term)
        if persist.hard_state is not None:
            self._raft.settled_to(persist.hard_state.commit)
        own, self._own_messages = self._own_messages, ()
        for message in own:
            self._raft.step(message)

    def fetched(self, fetch: Fetch, entries: Sequence[Entry]) -> None:
        """Here are the entries of `fetch`; none if they could not be read."""
        if isinstance(self._raft.role, Leader):
            self._raft.role.fetched(fetch, entries)

    @property
    def is_restoring(self) -> bool:
        """Whether a snapshot that was taken in waits to be installed."""
        return self._raft.log.is_restoring

    def snapshot_started(self, peer: int, snapshot: Snapshot) -> Message | None:
        """The node has a snapshot in hand for a peer of `Ready.snapshots_wanted`, not older than the log begins.

        Returns the message that the peer's node is to give to its core once it has the whole snapshot on its disk. None
        if it is not wanted any more: this node does not lead now, or the peer has caught up or has left.
        """
        return self._raft.role.snapshot_started(peer, snapshot) if isinstance(self._raft.role, Leader) else None

    def snapshot_finished(self, peer: int, *, ok: bool) -> None:
        """The snapshot that `peer` waits for was given to its core, or never will be.

        If not, the peer is tried again at its next answer to a heartbeat.
        """
        if isinstance(self._raft.role, Leader):
            self._raft.role.snapshot_finished(peer, ok=ok)

    def apply_conf_change(self, change: ConfChange) -> Configuration:
        """A committed change of membership is applied: the configuration from now on.

        Raises `InvalidConfChange` if it does not fit the current one; then nothing changes, here or on any replica.
        """
        configuration = self._raft.configuration.after(change)
        self._raft.switch_to(configuration)
        return configuration

    def set_stranger(self, *, is_stranger: bool) -> None:
        """Whether the applied configuration means another node by this one's id, or none: then it must not vote."""
        self._raft.is_stranger = is_stranger

    def applied(self, index: int) -> None:
        """Everything up to `index` is applied."""
        self._raft.applied_to(index)

    # State

    @property
    def leader_id(self) -> int:
        """The leader that this node knows; 0 if none."""
        return self._raft.leader_id

    @property
    def term(self) -> int:
        """The current term."""
        return self._raft.term

    @property
    def leads(self) -> bool:
        """Whether this node leads the current term, as far as it knows."""
        return isinstance(self._raft.role, Leader)

    @property
    def role(self) -> RoleName:
        """What this node is in the current term."""
        match self._raft.role:
            case Leader():
                return RoleName.LEADER
            case Candidate(is_pre_vote=is_pre_vote):
                return RoleName.PRE_CANDIDATE if is_pre_vote else RoleName.CANDIDATE
            case _:
                return RoleName.FOLLOWER

    @property
    def configuration(self) -> Configuration:
        """The applied configuration."""
        return self._raft.configuration

    @property
    def has_pending_change(self) -> bool:
        """Whether a change of membership may be under way, here at the leader; False if this node doesn't lead."""
        return isinstance(self._raft.role, Leader) and self._raft.role.has_pending_change

    @property
    def heard(self) -> frozenset[int]:
        """Whom this leader has heard within the last one to two election timeouts, and itself; else empty."""
        return self._raft.role.heard if isinstance(self._raft.role, Leader) else frozenset()

    @property
    def transferee(self) -> int:
        """The node that this leader is handing over to; 0 if none."""
        return self._raft.role.transferee if isinstance(self._raft.role, Leader) else 0

    def status(self) -> Status:
        """Where this node stands."""
        raft = self._raft
        progress = raft.role.progress if isinstance(raft.role, Leader) else {}
        peers = {peer: PeerStatus(one.match, one.next, one.recent_active) for peer, one in progress.items()}
        return Status(
            raft.node_id,
            self.role,
            raft.term,
            raft.leader_id,
            raft.log.committed,
            raft.log.applied,
            raft.log.last_index,
            raft.configuration,
            peers,
        )
