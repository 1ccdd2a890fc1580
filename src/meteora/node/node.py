"""A node: joins the core to the world.

One pass of `_work` does everything, in this order, and it is the order that the promises rest on:

1. take in what the peers sent; propose what waits to be written; ask for the reads that wait;
2. take a `Ready` from the core, and
   - **send** its messages: none of them speaks for this disk;
   - **persist** its entries and hard state, off the loop, with one fsync; only then send the messages that speak for
     them, and tell the core;
   - **apply** its committed entries, which are durable here, and answer who waits for them;
   - answer the reads whose index is applied by now;
3. again, until the core has nothing to do.

A pass runs once per turn of the event loop at most, so what arrives in the same turn travels together; and while a
write is on its way to the disk, what arrives waits for the next one. That is the group commit: it has no timers, and a
lone write is never held back.

Whatever goes wrong in a pass, or on the disk, stops the node (`failed`): it must not go on with a state that it can't
trust.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter

from meteora.errors import ChangeRefused, Overloaded, RequestError
from meteora.features import FIRST_RELEASE, LEVEL_OF_USERS, Release, since
from meteora.kv.command import Command, Operation, encode_batch, raise_level
from meteora.kv.rolling_hash import encode_checkpoints
from meteora.kv.state_machine import StateMachine
from meteora.kv.users import Change as UsersChange
from meteora.kv.users import Users
from meteora.node.addresses import PeerAddresses
from meteora.node.commit_notices import CommitNotices
from meteora.node.compaction import Compaction
from meteora.node.counts import Load, NodeCounts
from meteora.node.divergence import DivergenceAlarm
from meteora.node.forwarded import ForwardedProposals
from meteora.node.freshness import AppliedState, Freshness, StaleRead
from meteora.node.hand_over import HandOver
from meteora.node.leadership import LeadershipWatch
from meteora.node.life import Life, why_failed
from meteora.node.log_write import LogWrite
from meteora.node.members import Member, Members
from meteora.node.membership import MembershipChanges
from meteora.node.missed_ticks import MissedTicks
from meteora.node.reads import PendingRead, ReadRounds
from meteora.node.releases import Releases
from meteora.node.removal import OwnRemoval, Removal
from meteora.node.room import Alarm, RoomWatch
from meteora.node.room_upkeep import RoomUpkeep
from meteora.node.scans import Scans
from meteora.node.settings import NodeSettings
from meteora.node.snapshot_traffic import SnapshotSending, SnapshotTaking
from meteora.node.snapshots import Snapshots
from meteora.node.writes import PendingWrites, unanswered
from meteora.observability.events import RecentEvents
from meteora.observability.logs import get_logger
from meteora.raft import (
    ConfChange,
    Entry,
    EntryKind,
    Fetch,
    HardState,
    Message,
    MessageKind,
    Persist,
    RawNode,
    Ready,
    Settings,
    Status,
    decode_conf_change,
)
from meteora.raft.errors import Compacted, InvalidConfChange, ProposalDropped
from meteora.raft.text import configuration_text
from meteora.storage.raft_log import RaftLog
from meteora.transport.interface import IncomingSnapshot, Refusal, Room, Transport

MAX_UNAPPLIED_ENTRIES = 1_000
MAX_UNAPPLIED_BYTES = 64 << 20
"""Committed entries that may wait while RocksDB holds writes back; beyond, the leader is let know by silence."""

MAX_USERS_CHANGE_BYTES = 16 << 20
"""It is one entry, which has to fit what is sent to a peer at once."""

FEW_ENTRIES = 32
"""Are never too many, however long they are."""

HAND_OVER_PAUSE_SECONDS = 60.0
"""Between two attempts of a leader without room on its disk to let another one lead: deletes wait meanwhile."""

_NO_KEY = b""
"""Keys have a byte at least."""

_log = get_logger("node")


class Node:
    """One member of the cluster. All methods are to be called on the loop that it was started on."""

    def __init__(self, settings: NodeSettings, log: RaftLog, state_machine: StateMachine, snapshots: Snapshots) -> None:
        """`log` and `state_machine` agree: what was committed is applied (see `meteora.node.recovery`)."""
        self.node_id = settings.node_id
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._life = Life(self._loop, self._give_up)
        self._log_store = log
        self._state_machine = state_machine
        self._snapshots = snapshots
        self._compaction = Compaction(log, state_machine, snapshots.outgoing, settings.snapshot_catchup_entries)
        self._transport: Transport
        self._members = Members.decode(state_machine.membership)
        self._raw = RawNode(
            settings.node_id,
            log,
            hard_state=log.hard_state,
            configuration=self._members.configuration,
            applied=state_machine.applied_index,
            settings=Settings(
                election_ticks=settings.election_ticks,
                heartbeat_ticks=settings.heartbeat_ticks,
                lease_reads=settings.lease_reads,
            ),
            random_below=settings.random_below,
        )
        self._raw.set_stranger(is_stranger=self._is_stranger)
        self._writes = PendingWrites(self._loop, settings.session_id)
        self._reads = ReadRounds(self._loop, settings.node_id, settings.session_id)
        self.freshness = Freshness()
        self.scans = Scans(state_machine, self.catch_up)
        """For backups and exports."""
        self._divergence = DivergenceAlarm(settings.node_id)
        self._room = RoomWatch(settings.node_id, settings.quota_bytes, settings.min_free_bytes)
        self._room_upkeep = RoomUpkeep(self._room, state_machine, self._life, settings.disk_space)
        self._hand_over_at = 0.0
        """Not before that, in the loop's time, does it let another one lead because of its disk."""
        self._releases = Releases(settings.node_id, settings.instance_id, settings.release)
        self._missed_ticks = MissedTicks(settings.tick_seconds, settings.clock)
        self._notices = CommitNotices(self._loop)
        self._addresses = PeerAddresses(settings.node_id, self._members)
        self.counts = NodeCounts()
        """Of its work, for metrics."""
        self.events = RecentEvents()
        self._snapshot_sending = SnapshotSending(
            self._raw, log, snapshots, life=self._life, counts=self.counts, wake=self._wake
        )
        self._snapshot_taking = SnapshotTaking(
            self.node_id, self._raw, snapshots, life=self._life, receive=self.receive
        )
        self._log_write = LogWrite(self.counts.log_write_seconds)
        self._append_under_way: asyncio.Future[None] | None = None
        """Done when the append that began last has ended, if that was by `RaftLog.begin_append`."""
        self._is_tidying = self._work_is_scheduled = False
        self._begin_without_work()
        self._leadership = LeadershipWatch(self.counts, self.events, self._raw.term)
        self._removal = OwnRemoval(lambda: self._leadership.has_known_leader)
        self.failed = self._life.failed
        """Gets the exception that the node can't go on after."""
        self.removed = self._removal.over
        """Done when the node is no longer a member, and the others can do without it."""
        self._membership = MembershipChanges(
            self._raw,
            self._life,
            wake=self._wake,
            removal=self._removal,
            changed_at_index=max(state_machine.applied_index, 1),
        )
        self._hand_over = HandOver(self.node_id, self._raw, self._life, self._wake, settings.heartbeat_ticks)

    def _begin_without_work(self) -> None:
        self._inbox: list[Message] = []
        self._forwarded = ForwardedProposals(self._loop.time)
        self._to_apply: deque[Entry] = deque()
        self._ticker: asyncio.TimerHandle | None = None

    # Life

    def start(self, transport: Transport) -> None:
        """Begin to take part, with `transport` as the way to the peers. It brings what they send to this node."""
        self._transport = transport
        self._transport.set_peers(self._addresses.by_peer())
        if (self.node_id, self._settings.instance_id) in self._members.removed:
            self._removal.apply()
        if self._members.configuration.voters == {self.node_id}:
            # Nobody else could be elected: why wait.
            with self._life.stops_on_error():
                self._raw.campaign()
        self._schedule_tick()
        self._wake()

    async def stop(self) -> None:
        """Answer everything that waits, and leave no task behind. The disk and the transport are the caller's."""
        self._give_up("the node is stopping")
        # A write that is under way is waited for: its thread can't be stopped, and the disk is closed after this.
        while self._life.tasks:
            await asyncio.wait(self._life.tasks)
        if self._append_under_way is not None:
            await asyncio.wait([self._append_under_way])
        self.failed.cancel()
        self.removed.cancel()

    def _give_up(self, why: str) -> None:
        """From now on nothing is taken in and no pass is made: answer everything that waits for one."""
        self._life.is_over = True
        if self._ticker is not None:
            self._ticker.cancel()
        self._notices.drop()
        self._writes.give_up_all(why)
        self._reads.give_up_all(why)
        self._membership.pending.give_up_all(why)
        self._life.tell_tick_watchers()
        self._snapshots.abandon()
        self._snapshot_sending.give_up()

    def _schedule_tick(self) -> None:
        self._ticker = self._loop.call_later(self._settings.tick_seconds, self._tick)

    def _tick(self) -> None:
        # A loop that was held up has missed ticks. They are not made up for: a node that was paused would depose a
        # leader whose heartbeats lie unread in its socket.
        self._schedule_tick()
        self._life.tell_tick_watchers()
        with self._life.stops_on_error():
            self._raw.tick()
            self._missed_ticks.note_tick()
            self._look_after_requests(self._loop.time())
            self._say_farewell(self._loop.time())
            self._ask_to_be_refused(self._loop.time())
            self._look_after_disk(self._loop.time())
            self._look_after_room(self._loop.time())
            self._tidy_disk_if_due()
            self._membership.promote_learners(self._members)
            self._raise_level()
            self._compare_states(self._loop.time())
            self.freshness.note_time(self._settings.clock())
            if self.leader_id and self.freshness.wants_look(self._settings.clock()):
                self._look_how_fresh()
            self._wake()

    def _age_lease(self) -> None:
        """A leader that stood still makes up for it, as far as its lease goes: it may not be one any more.

        No further, or it would look twice for a quorum whose answers lie unread in its sockets. Whoever doesn't lead
        has nothing to make up for: its promises last longer so.
        """
        if not self._settings.lease_reads:
            return
        owed = self._missed_ticks.take()
        for _ in range(min(owed, self._settings.election_ticks // 2)):
            if self.leads:
                self._raw.tick()

    def _look_after_requests(self, now: float) -> None:
        self._writes.hand_on_again(now - self._patience_seconds)
        self._reads.ask_again(now - self._patience_seconds)
        why = self._why_unanswered()
        self._writes.expire(now, why)
        self._reads.expire(now, why)
        self._membership.pending.expire(now, why)

    @property
    def _patience_seconds(self) -> float:
        """An election timeout."""
        return self._settings.election_ticks * self._settings.tick_seconds

    def unanswered(self, cause: RequestError, *, may_be_applied: bool) -> RequestError:
        """What a write ends with for which `catch_up` raised `cause`, and which was not handed on. Counts it."""
        self._writes.failed += 1
        if isinstance(cause, Overloaded) and not may_be_applied:
            return cause
        return unanswered(self._why_unanswered(), may_be_applied=may_be_applied)

    def _why_unanswered(self) -> str:
        if self._life.is_over:
            return "the node is stopping"
        if self.leader_id:
            return f"no answer in time (the leader is node {self.leader_id})"
        return "no leader: a majority of the members can't be reached"

    # Requests

    def put(self, key: bytes, value: bytes, deadline: float) -> asyncio.Future[None]:
        """Set a key, under a request id of this node. Done and errors as `write`."""
        return self._queue_own(Operation.PUT, key, value, deadline)

    def delete(self, key: bytes, deadline: float) -> asyncio.Future[None]:
        """Remove a key, under a request id of this node. Done and errors as `write`."""
        return self._queue_own(Operation.DELETE, key, b"", deadline)

    def change_users(self, change: UsersChange, deadline: float) -> asyncio.Future[None]:
        """Change users, roles or tokens: done once that is applied.

        Raises `ChangeRefused` if not all members know of users yet, or it is too much at once; `NotApplied` also if
        others were faster; else as `write`.
        """
        self.ensure_level(LEVEL_OF_USERS)
        encoded = change.encode()
        if len(encoded) > MAX_USERS_CHANGE_BYTES:
            raise ChangeRefused(
                f"this changes {len(encoded)} bytes of users and roles at once, and {MAX_USERS_CHANGE_BYTES} is as much"
                " as can be: have more roles with less in each, or fewer users with one role"
            )
        return self._queue_own(Operation.CHANGE_USERS, b"", encoded, deadline)

    # Who awaits a future keeps it in no variable: its error leads to the frame that it is raised in, and that frame
    # would lead back to it, so that the request stayed in memory until the garbage collector comes by.

    def _queue_own(self, operation: Operation, key: bytes, value: bytes, deadline: float) -> asyncio.Future[None]:
        self._life.ensure_goes_on()
        result = self._writes.add_own(operation, key, value, deadline)
        self._wake()
        return result

    def write(self, command: Command, deadline: float) -> asyncio.Future[None]:
        """Apply a command under its client's request id, at most once. It is durable on a majority when this is done.

        `deadline` is in the loop's time. Raises `Overloaded`, `NotApplied`, or `OutcomeUnknown`, at once or when it is
        awaited. Who does not wait any more may cancel it.
        """
        self._life.ensure_goes_on(may_be_applied=command.retry)
        result = self._writes.add(command, deadline)
        self._wake()
        return result

    def get(self, key: bytes, deadline: float) -> asyncio.Future[bytes | None]:
        """The value of a key, None if it has none: at least as new as all that was acknowledged before the call.

        `deadline` is in the loop's time. Raises `Overloaded` or `NotApplied`, at once or when it is awaited.
        """
        self._life.ensure_goes_on()
        result = self._reads.add(key, deadline)
        self._wake()
        return result

    async def get_stale(self, key: bytes, deadline: float) -> StaleRead:
        """The value of a key as this node has it, and how old it may be. Waits for no other node.

        `deadline` is in the loop's time. Raises `Overloaded`, or `NotApplied` if this node is stopping or has failed.
        """
        state = self.applied_state()
        return self.stale_read(await self.queue_stale_read(key, deadline), state)

    def queue_stale_read(self, key: bytes, deadline: float) -> asyncio.Future[bytes | None]:
        """As `get_stale`, without what it says of its age, which is for `applied_state` and `stale_read` to tell."""
        self._life.ensure_goes_on()
        if not self.freshness.is_looking:
            self._look_how_fresh()
        result = self._reads.add_stale(key, deadline)
        self._wake()
        return result

    def applied_state(self) -> AppliedState:
        """What is known of the state now. To be asked before a stale read is queued: that reads no older one."""
        return AppliedState(self._state_machine.applied_index, self.freshness.whole_until)

    def stale_read(self, value: bytes | None, state: AppliedState) -> StaleRead:
        """What a stale read has come to just now, of which `state` was known before it was queued."""
        # What was waited for the answer counts, too.
        whole_until = state.whole_until
        staleness_seconds = None if whole_until is None else self._settings.clock() - whole_until
        return StaleRead(value, state.applied_index, staleness_seconds)

    def _look_how_fresh(self) -> None:
        deadline = self._loop.time() + self._patience_seconds
        with suppress(Overloaded):
            look = self._reads.add(b"", deadline)
            self.freshness.looks(self._settings.clock(), look)
            look.add_done_callback(lambda _: self.freshness.note_time(self._settings.clock()))

    async def catch_up(self, deadline: float) -> None:
        """Until all is applied here that was acknowledged anywhere before the call. Deadline and errors as `get`."""
        await self.get(_NO_KEY, deadline)

    async def change_membership(self, change: ConfChange, deadline: float) -> None:
        """See `MembershipChanges.make`."""
        await self._membership.make(change, deadline)

    async def wait_for_changes(self, deadline: float) -> None:
        """See `MembershipChanges.wait_for_others`."""
        await self._membership.wait_for_others(deadline)

    def silent_voters_after(self, change: ConfChange) -> frozenset[int]:
        """See `MembershipChanges.silent_voters_after`."""
        return self._membership.silent_voters_after(change)

    async def wait_for_leader(self, deadline: float) -> bool:
        """Until a leader is known, and where it is; False if none is by the deadline, which is in the loop's time."""
        while self.leader_id not in self._members.by_id:
            if self._life.is_over or self._loop.time() >= deadline:
                return False
            await self._life.next_tick()
        return True

    async def hand_over(self, timeout_seconds: float) -> bool:
        """See `HandOver.to_the_best`."""
        return await self._hand_over.to_the_best(timeout_seconds)

    async def hand_over_to(self, successor: int, deadline: float) -> None:
        """See `HandOver.to`."""
        await self._hand_over.to(successor, deadline)

    @property
    def level(self) -> int:
        """The feature level of the cluster: see `meteora.features`."""
        return self._state_machine.level

    @property
    def level_raised(self) -> asyncio.Event:
        """Set whenever the feature level may have become a higher one; to be cleared by the only one who waits."""
        return self._releases.raised

    @property
    def level_to_come(self) -> int:
        """The feature level that whoever joins has to support: what this leader has proposed counts as well."""
        return max(self.level, self._releases.proposed_in(self._raw.term))

    @property
    def older_members(self) -> str:
        """Which members keep the feature level below what this node supports, in words; empty if none do."""
        return self._releases.older_than(self._settings.release.level, self._members)

    def ensure_level(self, level: int) -> None:
        """Raises `ChangeRefused` if the cluster can't do yet what needs this feature level."""
        if self.level < level:
            older = self._releases.older_than(level, self._members) or "the leader is about to take note of that"
            raise ChangeRefused(f"all members must run {since(level)}: {older}")

    def _raise_level(self) -> None:
        """Raise the feature level, at the leader, to what all members support."""
        if not self.leads or self._settings.release.level <= self.level_to_come:
            return
        level = self._releases.common_level(self._members, self._raw.heard)
        # Who is just being let in was judged by the level as it is.
        if level > self.level_to_come and not self._raw.has_pending_change:
            with suppress(ProposalDropped):
                self._raw.propose([encode_batch([raise_level(level)])])
                self._releases.proposed(self._raw.term, level)
                _log.info("raising the feature level: all members support it", level=level)

    def hears(self, peer: int) -> bool:
        """Whether this leader has heard `peer` within the last one to two election timeouts."""
        return peer in self._raw.heard

    # What the world sees

    @property
    def leader_id(self) -> int:
        """The leader that this node knows; 0 if none."""
        return self._raw.leader_id

    @property
    def leads(self) -> bool:
        """Whether this node believes that it leads."""
        return self._raw.leads

    @property
    def members(self) -> Members:
        """The members as of what is applied here. A new object whenever they change."""
        return self._members

    @property
    def users(self) -> Users:
        """Users, roles and tokens as of what is applied here. The same object for ever. Not to be changed."""
        return self._state_machine.users

    @property
    def differing(self) -> frozenset[int]:
        """The members whose states were seen to differ from that of this node: see `meteora.node.divergence`."""
        return self._divergence.differing

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Why puts are refused: which voters are short of room."""
        return self._room.alarms

    @property
    def room(self) -> Room:
        """What this node stores, and may store, as of the last look."""
        return self._room.own._replace(stored_bytes=self._state_machine.stored_bytes)

    @property
    def log_write_seconds(self) -> float:
        """How long the write to the log that is under way has taken so far; 0 if none is."""
        return self._log_write.seconds(self._loop.time())

    @property
    def load(self) -> Load:
        """What waits, and what is kept."""
        return Load(
            writes_pending=len(self._writes),
            writes_failed=self._writes.failed,
            reads_pending=len(self._reads),
            read_rounds=self._reads.rounds,
            snapshots_created=self._snapshots.outgoing.created,
            first_index=self._log_store.first_index(),
            unflushed_bytes=self._state_machine.unflushed_bytes,
        )

    def database_property(self, database: str, name: str) -> int | None:
        """A number of RocksDB's own, of `log` or `state`, by its name without `rocksdb.`; None if it has no such."""
        store = self._log_store if database == "log" else self._state_machine
        return store.database_property(name)

    def status(self) -> Status:
        """Where this node stands."""
        return self._raw.status()

    # What the peers send (meteora.transport.interface.Inbox)

    def introduced(self, sender: int, instance_id: int, raft_address: str, release: Release = FIRST_RELEASE) -> None:
        """A peer has opened its stream to this node."""
        self._releases.heard(sender, instance_id, release, self._members)
        if raft_address and not self._life.is_over:
            self._addresses.stated(sender, instance_id, raft_address)
            self._transport.set_peers(self._addresses.by_peer())

    def receive(self, sender: int, messages: Sequence[Message]) -> None:  # noqa: ARG002  each message names its sender
        """Messages of a peer have arrived."""
        if not self._life.is_over:
            self._inbox += messages
            self._wake()

    def reported(self, sender: int, report: bytes) -> None:
        """A peer has told what its state is."""
        if sender in self._members.by_id:
            self._divergence.heard(sender, report)

    def room_told(self, sender: int, room: Room) -> None:
        """A peer has told what room it has."""
        if sender in self._members.by_id:
            self._room.told(sender, room, self._loop.time())

    def unreachable(self, peer: int) -> None:
        """What was sent to `peer` may be lost."""
        if not self._life.is_over:
            with self._life.stops_on_error():
                self._raw.unreachable(peer)
            self._wake()

    def admits(self, sender: int, instance_id: int, level: int) -> Refusal | None:
        """None unless the sender is a former member, or does not know what this cluster does."""
        # First: a former member waits to be told so, and it may be because it went that the level was raised.
        if (sender, instance_id) in self._members.removed:
            is_long_ago = self._members.was_removed_long_ago(sender, instance_id)
            return Refusal.REMOVED_LONG_AGO if is_long_ago else Refusal.REMOVED_SENDER
        # Who is not known at all may have joined by an entry that is not applied here yet.
        return Refusal.RELEASE_TOO_OLD if level < self.level else None

    def refused(self, peer: int, refusal: Refusal, detail: str) -> None:
        """A peer does not take our messages."""
        self._removal.refused_by(peer, refusal, detail, self._members.configuration)

    def note_removal(self, how: Removal | None = None) -> None:
        """This node is no longer a member; None: how is to be told from whether it has heard of a leader."""
        self._removal.note(how)

    # Work

    def _wake(self) -> None:
        if not self._work_is_scheduled and not self._life.is_over:
            self._work_is_scheduled = True
            self._loop.call_soon(self._work)

    def _work(self) -> None:
        self._work_is_scheduled = False
        if self._life.is_over:
            return
        try:
            self._take_in()
            while self._raw.has_ready:
                self._handle(self._raw.ready())
            self._apply()
            self._answer_reads()
            self._notice_leadership()
        except BaseException as error:  # noqa: BLE001  as in `Life.stops_on_error`, which costs each pass some microseconds
            # Native code may panic, which is no `Exception`.
            self._life.fail(error)

    def _take_in(self) -> None:
        inbox, self._inbox = self._inbox, []
        self._age_lease()
        is_stalled = self._applies_too_slowly
        for message in inbox:
            self._notices.heard(message)
            if message.kind is MessageKind.PROPOSE:
                self._forwarded.add(message, self._state_machine.level)
            elif message.kind is MessageKind.SNAPSHOT:
                self._snapshot_taking.step(message)
            elif not (is_stalled and message.kind is MessageKind.APPEND):
                self._raw.step(message)
        if not self._log_write.is_under_way and not is_stalled:
            self._propose()
        if self._reads.wants_round and self.leader_id:
            self._raw.read_index(self._reads.begin_round(self._loop.time()))

    @property
    def _applies_too_slowly(self) -> bool:
        """Whether committed entries pile up: then nothing more is taken in, as if it had been lost on the way."""
        count = len(self._to_apply)
        return count > FEW_ENTRIES and (
            count > MAX_UNAPPLIED_ENTRIES or sum(len(entry.data) for entry in self._to_apply) > MAX_UNAPPLIED_BYTES
        )

    def _propose(self) -> None:
        forwarded = self._forwarded.take() if self._forwarded.waiting else []
        payloads = forwarded if self.leads else []  # A forwarded proposal goes one hop; who sent it sends it again.
        if self._writes.has_queued and self.leader_id and not self._raw.transferee:
            commands = self._writes.take_batch(self._loop.time())
            payloads += [encode_batch(commands)] if commands else []
        if payloads:
            # What is dropped here counts as handed on, and is handed on again.
            with suppress(ProposalDropped):
                self._raw.propose(payloads)

    def _handle(self, ready: Ready) -> None:
        self._notices.send(ready.messages, self._transport.send)
        if ready.persist is not None:
            self._begin_persist(ready.persist)
        self._to_apply += ready.committed
        self._apply()
        for state in ready.read_states:
            self._reads.confirm(state.context, state.index)
        for fetch in ready.fetches:
            self._life.own(self._fetch(fetch))
        for peer in ready.snapshots_wanted:
            self._snapshot_sending.begin(peer, self._transport)

    def _begin_persist(self, persist: Persist) -> None:
        if persist.snapshot is not None:
            # It holds all of these; and nothing may be applied to a state that is being replaced.
            self._to_apply.clear()
        if not persist.writes:
            self._persisted(persist)
            return
        self._log_write.begin(self._loop.time())
        if persist.snapshot is None and self._log_store.begin_append(
            persist.entries, persist.hard_state, partial(self._append_ended, persist)
        ):
            self._append_under_way = self._loop.create_future()
        else:
            self._life.own(self._persist(persist))

    async def _persist(self, persist: Persist) -> None:
        if persist.snapshot is not None:
            await self._install_snapshot(persist.hard_state)
        await self._log_store.append(persist.entries, persist.hard_state)
        self._end_persist(persist)

    def _append_ended(self, persist: Persist, error: BaseException | None) -> None:
        assert self._append_under_way is not None
        self._append_under_way.set_result(None)
        if error is not None:
            self._life.fail(error)
            return
        with self._life.stops_on_error():
            self._end_persist(persist)

    def _end_persist(self, persist: Persist) -> None:
        self._log_write.end(self._loop.time())
        self._persisted(persist)
        self._wake()

    def _look_after_disk(self, now: float) -> None:
        """Tell of a write to the log that does not end, and let another node lead that can write.

        Heartbeats go on meanwhile: without a successor the others had better wait for this disk than for nobody.
        """
        took_seconds = self._log_write.slow_seconds(now)
        if not took_seconds:
            return
        others = self._raw.heard - {self.node_id}
        if self.leads and not self._raw.transferee and self._raw.configuration.has_majority(others):
            successor = self._hand_over.best_successor()
            if successor and took_seconds > self._patience_seconds:
                self._raw.transfer_leader(successor)

    def _look_after_room(self, now: float) -> None:
        """Refuse puts while a voter is short of room, and give back what was deleted here."""
        self._room_upkeep.look_if_due(now, self._transport.tell_room)
        if self._room.judge(self._members.configuration.all_voters, now):
            self._writes.refusal = self._room.refusal
        if self.leads and self._room.own.is_disk_low and now >= self._hand_over_at and not self._raw.transferee:
            successor = self._hand_over.best_successor(self._room.has_disk)
            if successor:
                self._hand_over_at = now + HAND_OVER_PAUSE_SECONDS
                _log.info("handing over to a node that has room on its disk", successor=successor)
                self._raw.transfer_leader(successor)

    def _persisted(self, persist: Persist) -> None:
        self._transport.send(persist.messages)
        # What is committed by this answers the reads that came before the term's first commit.
        self._age_lease()
        self._raw.persisted(persist)

    async def _fetch(self, fetch: Fetch) -> None:
        try:
            entries = await self._log_store.fetch(fetch.low, fetch.high, fetch.max_bytes)
        except Compacted:
            entries = []  # The core sees that they are gone, and wants a snapshot for the peer.
        self._raw.fetched(fetch, entries)
        self._wake()

    # Applying

    def _apply(self) -> None:
        while self._to_apply and not self._state_machine.is_write_stalled():
            if self._to_apply[0].kind is EntryKind.CONF_CHANGE:
                last = self._to_apply.popleft()
                self._apply_change(last)
            else:
                last = self._apply_commands()
            self._log_store.release(last.index)
            self._raw.applied(last.index)

    def _apply_commands(self) -> Entry:
        """Apply all commands up to the next membership change, in one batch; the last of them."""
        entries = []
        while self._to_apply and self._to_apply[0].kind is EntryKind.COMMAND:
            entries.append(self._to_apply.popleft())
        level = self._state_machine.level
        began_at = perf_counter()
        results = self._state_machine.apply(entries)
        self.counts.note_apply(perf_counter() - began_at, len(results))
        self._writes.applied(results)
        if self._state_machine.level > level:
            self._releases.raised.set()
        for entry in entries:
            self._membership.pending.applied(entry.index, entry.term)
        return entries[-1]

    def _apply_change(self, entry: Entry) -> None:
        members = self._members
        try:
            change = decode_conf_change(entry.data)
            members = members.after(change, self._raw.apply_conf_change(change))
        except InvalidConfChange as error:
            # The same on every replica: the entry is counted as applied, and changes nothing.
            _log.warning("a membership change makes no sense and is ignored", index=entry.index, cause=str(error))
        self._state_machine.apply_membership(entry, members.encode())
        self._membership.pending.applied(entry.index, entry.term)
        if members is not self._members:
            self._switch_to(members, entry.index)

    def _switch_to(self, members: Members, index: int) -> None:
        self._membership.changed_at_index = index
        self._addresses.switch_to(members, self._loop.time())
        before, self._members = self._members.by_id.get(self.node_id), members
        if self._is_in(before) or self._is_in(members.by_id.get(self.node_id)):
            # What was before this node joined it passes as it catches up: news to nobody.
            now = configuration_text(members.configuration)
            _log.info("the membership changed", index=index, members=now)
            self.events.note(f"the membership changed: {now}")
        self._raw.set_stranger(is_stranger=self._is_stranger)
        self._transport.set_peers(self._addresses.by_peer())
        # A node that joined anew passes, as it catches up, the removal of the one that had its id before.
        if self._is_in(before) and self.node_id not in members.by_id:
            _log.info("this node was removed from the cluster: staying until a majority of the others know it, too")
            self._removal.apply()

    @property
    def _is_stranger(self) -> bool:
        """Whether this data directory is yet to be let in, by an entry that was not applied here so far."""
        was_removed = (self.node_id, self._settings.instance_id) in self._members.removed
        return not was_removed and not self._is_in(self._members.by_id.get(self.node_id))

    def _is_in(self, member: Member | None) -> bool:
        """Whether what is recorded under this node's id is about this data directory."""
        return member is not None and member.instance_id in (0, self._settings.instance_id)

    def _say_farewell(self, now: float) -> None:
        """Stop talking to those who were removed, once what they were last told has had the time to arrive."""
        if self._addresses.end_farewell(now):
            self._transport.set_peers(self._addresses.by_peer())

    def _ask_to_be_refused(self, now: float) -> None:
        """Once removed: find out who knows it. Whoever doesn't is answered as before."""
        if self._removal.is_to_be_asked_about(now):
            self._transport.set_peers({})
            self._transport.set_peers(self._addresses.by_peer())

    def _compare_states(self, now: float) -> None:
        """Tell the others what this state is, and stop if it is not what theirs are."""
        if self._divergence.is_due(now):
            checkpoints, before = self._state_machine.checkpoints(), self.differing
            self._transport.report(encode_checkpoints(checkpoints))
            self._divergence.compare(checkpoints, self._members.configuration, self.leader_id)
            for member in sorted(self.differing - before):
                self.events.note(f"the state of node {member} differs from that of this node")

    def _tidy_disk_if_due(self) -> None:
        if not self._is_tidying:
            self._is_tidying = True
            self._life.own(self._tidy_disk())

    async def _tidy_disk(self) -> None:
        await self._compaction.tidy()
        await self._snapshots.outgoing.drop_unused(self._loop.time())
        self._is_tidying = False

    # Snapshots

    def offered(self, sender: int, term: int, manifest: bytes) -> IncomingSnapshot:
        """A leader offers a snapshot. Raises `SnapshotUnwanted` or `SnapshotDamaged`."""
        return self._snapshot_taking.offered(sender, term, manifest)

    async def _install_snapshot(self, hard_state: HardState | None) -> None:
        state = self._snapshot_taking.take_built()
        await self._snapshots.install(state, hard_state)
        self._membership.pending.skipped(state.index)
        self._releases.raised.set()
        self.counts.snapshots_installed += 1
        _log.info("installed a snapshot", index=state.index, term=state.term)
        self.events.note(f"a snapshot up to index {state.index} was installed")
        self._switch_to(Members.decode(state.membership), state.index)

    # Reading

    def _answer_reads(self) -> None:
        parts = self._reads.take_applied(self._state_machine.applied_index, self._settings.reads_at_once)
        if parts:
            self._life.own(self._read(parts))

    async def _read(self, parts: deque[list[PendingRead]]) -> None:
        """One part after another, so that not all values are in memory at the same time."""
        while parts:
            # Nothing here leads to those that were finished before: their values may be long.
            reads = parts.popleft()
            try:
                values = await self._state_machine.get_many([read.key for read in reads])
            except Exception as error:
                for each in (reads, *parts):
                    self._reads.fail(each, why_failed(error))
                raise
            self._reads.finish(reads, values)
            del reads, values

    # Leadership

    def _notice_leadership(self) -> None:
        leadership = (self._raw.term, self._raw.leader_id, self._raw.role)
        if leadership != self._leadership.seen and self._leadership.saw(leadership):
            # What was handed to the leader before may be lost with it; asking the new one at once saves the wait.
            self._writes.hand_on_again(self._loop.time())
            self._reads.ask_again(self._loop.time())
            self._wake()
