"""Raft itself: the state that all roles share, and the rules that hold whatever the role (paper 5, thesis 3).

The core does no I/O and knows no time but ticks. Everything that changes its state comes in through `tick`, `step` and
the few calls of `RawNode`; what it wants done collects here until `RawNode.ready` takes it away. What a follower, a
candidate and a leader do with a message is in the module of that name.

Invariants:
- the term never falls, and within a term the vote never changes;
- messages that speak for what is on this node's disk go to `after_persist`, the others to `messages`;
- messages of a lower term change nothing but their sender's mind, and what is known to be committed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from meteora.raft.candidate import Candidate
from meteora.raft.entry import Entry, EntryKind
from meteora.raft.errors import ensure
from meteora.raft.follower import Follower, handle_snapshot
from meteora.raft.leader import Leader
from meteora.raft.log import Log
from meteora.raft.membership import Configuration
from meteora.raft.message import TRANSFER, HardState, Message, MessageKind
from meteora.raft.reads import ReadState
from meteora.raft.ready import Fetch
from meteora.raft.snapshot import Snapshot

NOBODY = 0
"""The id of no node."""

SPEAK_FOR_THE_DISK = frozenset(
    {MessageKind.APPEND_RESPONSE, MessageKind.VOTE, MessageKind.VOTE_RESPONSE, MessageKind.PRE_VOTE_RESPONSE}
)
"""The kinds that wait for the disk. A vote request is one: the votes of the others alone may win, and a leader that
crashed before its disk had the term could win the same term again, with another log."""

OF_A_LEADER = frozenset({MessageKind.APPEND, MessageKind.HEARTBEAT, MessageKind.SNAPSHOT})

ABOUT_VOTES = frozenset(
    {MessageKind.VOTE, MessageKind.VOTE_RESPONSE, MessageKind.PRE_VOTE, MessageKind.PRE_VOTE_RESPONSE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be set about the core; the same on all members."""

    election_ticks: int = 10
    """A follower that hears from no leader for this long, or up to twice as long, campaigns."""
    heartbeat_ticks: int = 1
    max_append_bytes: int = 1 << 20
    """Of entries in one message: large enough to fill a link, small enough for heartbeats to get past."""
    max_inflight_messages: int = 256
    max_inflight_bytes: int = 16 << 20
    """Unacknowledged appends to one peer: what may pile up in queues on the way there."""
    max_uncommitted_bytes: int = 64 << 20
    """Entries that the leader takes without being able to commit them; then proposals are dropped."""
    max_apply_bytes: int = 4 << 20
    """Of entries in one `Ready`: applying must not hold up heartbeats."""
    lease_reads: bool = False
    """A leader that a majority answered within half an election timeout serves reads without asking anybody.

    Linearizable only if clocks are good enough: while any member ticks `election_ticks // 2` times, no other ticks
    `election_ticks - 1` times; and a node that stood still (stopped, suspended, out of CPU) ticks for all the time that
    it missed before it asks its core for a read. Every member must have it on: one that has not is not counted on.
    In return each member refuses to help another to lead for an election timeout after it starts or hears a leader.
    """

    def __post_init__(self) -> None:
        ensure(1 <= self.heartbeat_ticks < self.election_ticks, "a leader must be heard within an election timeout")
        lasts = self.heartbeat_ticks < self.election_ticks // 2
        ensure(lasts or not self.lease_reads, "a lease, of half an election timeout, must outlast a heartbeat")


class Raft:
    """One member of a cluster. Use it through `RawNode`."""

    def __init__(
        self,
        node_id: int,
        log: Log,
        *,
        hard_state: HardState,
        configuration: Configuration,
        settings: Settings,
        random_below: Callable[[int], int],
    ) -> None:
        ensure(node_id != NOBODY, "0 is no node's id")
        self.node_id = node_id
        self.log = log
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.configuration = configuration
        self.settings = settings
        self.leader_id = NOBODY
        self.messages: list[Message] = []
        self.after_persist: list[Message] = []
        self.read_states: list[ReadState] = []
        self.fetches: list[Fetch] = []
        self.snapshots_wanted: list[int] = []
        self.is_stranger = False
        """The configuration means another node by this one's id, or none: this one has taken no part yet. It neither
        votes nor campaigns: what its forerunner under this id has promised and acknowledged is not on its disk."""
        self.election_elapsed_ticks = 0
        """Since the last message from a leader, or since the leader last checked its quorum."""
        # Before this start it may have heard a leader just now.
        self.silence_ticks = 0 if hard_state.term else settings.election_ticks
        """Since the last message from any leader, whatever happened after it."""
        self.election_timeout_ticks = 0
        self._random_below = random_below
        self.role: Follower | Candidate | Leader = Follower(self)
        self.reset_election_timer()

    def __repr__(self) -> str:
        return f"n{self.node_id}@{self.term} {self.role} {self.log!r}"

    @property
    def hard_state(self) -> HardState:
        """What must survive a crash."""
        return HardState(self.term, self.vote, self.log.committed)

    @property
    def is_promotable(self) -> bool:
        """Whether this node may campaign: learners, and nodes that are not (yet) members, may not."""
        return self.node_id in self.configuration.all_voters and not self.is_stranger

    # Time

    def tick(self) -> None:
        """One unit of time has passed."""
        self.election_elapsed_ticks += 1
        self.silence_ticks += 1
        self.role.tick()

    def reset_election_timer(self) -> None:
        """Start waiting anew, for a random time, so that not all campaign at once (paper 5.2)."""
        self.election_elapsed_ticks = 0
        self.election_timeout_ticks = self.settings.election_ticks + self._random_below(self.settings.election_ticks)

    # Messages

    def send(
        self,
        kind: MessageKind,
        receiver: int,
        *,
        term: int | None = None,
        index: int = 0,
        log_term: int = 0,
        commit: int = 0,
        entries: tuple[Entry, ...] = (),
        reject: bool = False,
        hint: int = 0,
        context: bytes = b"",
    ) -> None:
        """Queue a message of `term`, the current one if None.

        One that speaks for this node's disk waits until what is unstable now is durable; it may be to the node itself.
        """
        term = self.term if term is None else term
        box = self.after_persist if kind in SPEAK_FOR_THE_DISK else self.messages
        box.append(Message(kind, self.node_id, receiver, term, index, log_term, commit, entries, reject, hint, context))

    def step(self, message: Message) -> None:
        """Take in a message: first what its term says (paper 5.1), then what the role makes of it."""
        if message.kind in ABOUT_VOTES:
            self._learn_commit(message)
        if message.term > self.term and not self._take_in_higher_term(message):
            return
        if 0 < message.term < self.term:
            self._answer_lower_term(message)
        elif message.kind in (MessageKind.VOTE, MessageKind.PRE_VOTE):
            if not self.is_stranger and (not self.is_bound_by_a_lease or message.context == TRANSFER):
                self._handle_vote_request(message)
        else:
            self.role.step(message)

    def _learn_commit(self, message: Message) -> None:
        """Who asks for votes, or refuses one, tells how far the log is committed: true whatever the terms.

        Without it, nodes that missed that a change of the voters is committed might ask the wrong ones for ever.
        """
        if self.log.matches(message.commit, message.hint):
            self.log.commit_to(message.commit)

    def _take_in_higher_term(self, message: Message) -> bool:
        """False if the message is to be ignored."""
        kind = message.kind
        if kind in (MessageKind.VOTE, MessageKind.PRE_VOTE) and self._hears_a_leader and message.context != TRANSFER:
            # Leader stickiness (thesis 4.2.3): a node that was cut off must not unseat a leader that others can hear.
            return False
        if kind is MessageKind.PRE_VOTE or (kind is MessageKind.PRE_VOTE_RESPONSE and not message.reject):
            # These carry the term that somebody would campaign in; nobody is in it yet.
            return True
        self.become_follower(message.term, message.sender if kind in OF_A_LEADER else NOBODY)
        return True

    @property
    def is_bound_by_a_lease(self) -> bool:
        """Whether a leader may count on this node to help nobody else, not even itself, to lead."""
        return self.settings.lease_reads and self.silence_ticks < self.settings.election_ticks

    @property
    def _hears_a_leader(self) -> bool:
        if self.is_bound_by_a_lease:
            return True
        return self.leader_id != NOBODY and self.election_elapsed_ticks < self.settings.election_ticks

    def _answer_lower_term(self, message: Message) -> None:
        if message.kind in (MessageKind.APPEND, MessageKind.HEARTBEAT):
            # A leader of a lower term can't learn by our campaign that it is one: with pre-vote and stickiness we may
            # never win one. This answer makes it step down (thesis 9.6, and etcd's "free stuck candidate").
            self.send(MessageKind.APPEND_RESPONSE, message.sender, index=message.index, reject=True)
        elif message.kind is MessageKind.PRE_VOTE:
            self.send(MessageKind.PRE_VOTE_RESPONSE, message.sender, reject=True)
        elif message.kind is MessageKind.SNAPSHOT and isinstance(self.role, Follower):
            # It may have been on its way for long. Thrown away, it would only be sent again.
            handle_snapshot(self, message)

    def _handle_vote_request(self, message: Message) -> None:
        is_pre_vote = message.kind is MessageKind.PRE_VOTE
        answer = MessageKind.PRE_VOTE_RESPONSE if is_pre_vote else MessageKind.VOTE_RESPONSE
        may_vote = (
            self.vote == message.sender
            or (self.vote == NOBODY and self.leader_id == NOBODY)
            or (is_pre_vote and message.term > self.term)
        )
        # A learner votes too, if asked: the candidate may know of its promotion before the learner does.
        if not (may_vote and self.log.is_up_to_date(message.index, message.log_term)):
            committed = self.log.committed
            self.send(answer, message.sender, reject=True, commit=committed, hint=self.log.term(committed))
            return
        self.send(answer, message.sender, term=message.term)
        if not is_pre_vote:
            self.election_elapsed_ticks = 0
            self.vote = message.sender

    # Roles

    def become_follower(self, term: int, leader_id: int) -> None:
        """Follow `leader_id`, or nobody yet, in `term`."""
        self._enter_term(term)
        self.leader_id = leader_id
        self.snapshots_wanted.clear()
        self.role = Follower(self)
        self.reset_election_timer()

    def become_candidate(self, *, is_pre_vote: bool) -> Candidate:
        """Stand for election in the next term; or, with neither term nor vote changed, only ask how that would go."""
        if not is_pre_vote:
            self._enter_term(self.term + 1)
            self.vote = self.node_id
        candidate = Candidate(self, is_pre_vote=is_pre_vote)
        self.leader_id = NOBODY
        self.role = candidate
        self.reset_election_timer()
        return candidate

    def become_leader(self) -> None:
        """Lead the current term, and open it with an entry of its own, without which nothing commits (paper 5.4.2)."""
        ensure(isinstance(self.role, Candidate), "only a candidate becomes leader")
        self.leader_id = self.node_id
        self.reset_election_timer()
        leader = Leader(self)
        self.role = leader
        leader.open_term()

    def _enter_term(self, term: int) -> None:
        ensure(term >= self.term, f"term {term} is below the current one, {self.term}")
        if term > self.term:
            self.term = term
            self.vote = NOBODY

    def campaign(self, *, pre_vote: bool, context: bytes = b"") -> None:
        """Ask the voters, first whether to stand at all, if `pre_vote`. Nothing happens where that makes no sense."""
        if isinstance(self.role, Leader) or not self.is_promotable or self.has_unapplied_conf_change():
            return
        self.become_candidate(is_pre_vote=pre_vote).ask_voters(context)

    def has_unapplied_conf_change(self) -> bool:
        """Whether the voters may be others than this node believes: then it must not count votes among them."""
        if self.log.is_restoring:
            return True
        low = self.log.applied + 1
        while low <= self.log.committed:
            entries = self.log.entries(low, self.log.committed + 1, self.settings.max_apply_bytes)
            if entries is None:
                return True
            if any(entry.kind is EntryKind.CONF_CHANGE for entry in entries):
                return True
            low = entries[-1].index + 1
        return False

    # Applying

    def settled_to(self, committed: int) -> None:
        """This disk knows that everything up to `committed` is: a membership change among it may now be told."""
        if self.log.settle(committed) and isinstance(self.role, Leader):
            self.role.broadcast_append()

    def applied_to(self, index: int) -> None:
        """Everything up to `index` is applied."""
        self.log.applied_to(index)
        self.role.applied()

    def installed(self, snapshot: Snapshot) -> None:
        """The state of `snapshot` is the state machine's now."""
        self.log.installed(snapshot)
        self.switch_to(snapshot.configuration)
        self.role.applied()

    def switch_to(self, configuration: Configuration) -> None:
        """The applied configuration is now this one."""
        self.configuration = configuration
        if isinstance(self.role, Leader):
            self.role.configuration_changed()
