"""What a leader does: replicate, commit, confirm reads, and step down when it can't (paper 5.3, 5.4; thesis 3.10, 6.4).

Invariants:
- a leader never changes or drops an entry of its own log, it only appends (paper 5.3);
- it commits by counting only entries of its own term (paper 5.4.2);
- its own log counts only as far as its disk has it: it hears of that by a message to itself;
- at most one change of membership is not applied yet: `_pending_conf_index` is at or beyond it.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from meteora.raft.entry import Entry, EntryKind
from meteora.raft.errors import ChangePending, InvalidConfChange, ProposalDropped, ensure
from meteora.raft.membership import ConfChange, decode_conf_change
from meteora.raft.message import Message, MessageKind
from meteora.raft.progress import Inflights, Progress, ProgressState
from meteora.raft.reads import Lease, PendingReads, ReadRequest, ReadState, is_lease_context
from meteora.raft.ready import Fetch
from meteora.raft.snapshot import Snapshot

if TYPE_CHECKING:
    from meteora.raft.core import Raft


class Leader:
    """The role of the node that the others follow. All this state is gone when it steps down."""

    def __init__(self, raft: "Raft") -> None:
        self._raft = raft
        self.progress: dict[int, Progress] = {}
        self.transferee = 0
        """The node that leadership is being handed to; no proposals are taken meanwhile."""
        self._heartbeat_elapsed_ticks = 0
        self._transfer_elapsed_ticks = 0
        self._uncommitted_bytes = 0
        self._pending_conf_index = raft.log.last_index
        """A change of membership may be proposed once this is applied."""
        self._reads = PendingReads()
        self._lease = Lease(raft.settings.election_ticks // 2)
        self._early_reads: list[ReadRequest] = []
        """Reads that came before the first commit of this term: until then the commit index may be too low."""
        for member in raft.configuration.members:
            self._track(member, match=raft.log.stable_index if member == raft.node_id else 0)

    def __repr__(self) -> str:
        return "leader"

    def _track(self, member: int, *, match: int = 0, recent_active: bool = False) -> None:
        settings = self._raft.settings
        inflights = Inflights(settings.max_inflight_messages, settings.max_inflight_bytes)
        next_index = self._raft.log.last_index + 1
        self.progress[member] = Progress(next_index, inflights, match=match, recent_active=recent_active)

    def open_term(self) -> None:
        """Append the empty entry whose commit makes all before it committed, and tell the peers."""
        self._append((Entry(0, 0),))
        self.broadcast_append()

    # Time

    def tick(self) -> None:
        """Send heartbeats; check for a quorum; give up a transfer that takes too long."""
        raft = self._raft
        self._lease.tick()
        if self.transferee:
            self._transfer_elapsed_ticks += 1
            if self._transfer_elapsed_ticks >= raft.settings.election_ticks:
                self.transferee = 0
        if raft.election_elapsed_ticks >= raft.settings.election_ticks:
            raft.election_elapsed_ticks = 0
            if not self._quorum_is_active():
                raft.become_follower(raft.term, 0)
                return
        self.leave_joint_if_due()
        self._heartbeat_elapsed_ticks += 1
        if self._heartbeat_elapsed_ticks >= raft.settings.heartbeat_ticks:
            self._heartbeat_elapsed_ticks = 0
            self.broadcast_heartbeat(self._lease.context if raft.settings.lease_reads else b"")
            if len(self._reads):
                self.broadcast_heartbeat(self._reads.context)

    def applied(self) -> None:
        """Something was applied: it may have been what leaving a joint configuration waits for."""
        self.leave_joint_if_due()

    def _quorum_is_active(self) -> bool:
        """Whether a majority was heard from since the last look (thesis 6.2)."""
        raft = self._raft
        active = {peer for peer, progress in self.progress.items() if progress.recent_active} | {raft.node_id}
        for progress in self.progress.values():
            progress.was_active, progress.recent_active = progress.recent_active, False
        return raft.configuration.has_majority(active)

    @property
    def heard(self) -> frozenset[int]:
        """Who was heard within the last one to two election timeouts, this node itself included."""
        active = {peer for peer, progress in self.progress.items() if progress.recent_active or progress.was_active}
        return frozenset(active | {self._raft.node_id})

    # Messages

    def step(self, message: Message) -> None:
        """Take in a message of the current term, or without one."""
        match message.kind:
            case MessageKind.PROPOSE:
                self.propose(message.entries)
            case MessageKind.READ_INDEX:
                self.read_index(ReadRequest(message.context, message.sender))
            case MessageKind.APPEND_RESPONSE if message.sender in self.progress:
                self._handle_append_response(message, self.progress[message.sender])
            case MessageKind.HEARTBEAT_RESPONSE if message.sender in self.progress:
                self._handle_heartbeat_response(message, self.progress[message.sender])
            case MessageKind.TRANSFER_LEADER:
                self.transfer_to(message.index)
            case MessageKind.APPEND | MessageKind.HEARTBEAT | MessageKind.SNAPSHOT:
                ensure(False, f"n{self._raft.node_id} and n{message.sender} both lead term {self._raft.term}")
            case _:
                pass  # Late answers to what this node asked as a candidate, or of nodes that were removed.

    # Proposals

    def propose(self, entries: Sequence[Entry]) -> None:
        """Append what these entries hold, in new entries of this term, and replicate them.

        Raises `ProposalDropped` if this leader takes no proposals now; then nothing was appended.
        """
        if self.transferee:
            raise ProposalDropped(f"leadership is being handed to n{self.transferee}")
        size_bytes = sum(len(entry.data) for entry in entries)
        # The first one is let through whatever its size, or a large one never would be.
        if self._uncommitted_bytes and self._uncommitted_bytes + size_bytes > self._raft.settings.max_uncommitted_bytes:
            raise ProposalDropped("too many bytes wait to be committed")
        self._append(self._checked(entries))
        self.broadcast_append()

    def _checked(self, entries: Sequence[Entry]) -> list[Entry]:
        """The entries, with any membership change that can't be made now replaced by an empty entry."""
        first = self._raft.log.last_index + 1
        return [
            Entry(0, 0) if entry.kind is EntryKind.CONF_CHANGE and not self._admit(entry, index) else entry
            for index, entry in enumerate(entries, first)
        ]

    def _admit(self, entry: Entry, index: int) -> bool:
        """Whether the membership change of `entry` can be made now; if so, it is the pending one, at `index`."""
        try:
            self.check_conf_change(decode_conf_change(entry.data))
        except InvalidConfChange:
            return False
        self._pending_conf_index = index
        return True

    @property
    def has_pending_change(self) -> bool:
        """Whether a change of membership may be under way, so that another one has to wait."""
        return self._pending_conf_index > self._raft.log.applied

    def check_conf_change(self, change: ConfChange) -> None:
        """Raises `InvalidConfChange` unless the change can be proposed now; `ChangePending` if it may be later."""
        if self.has_pending_change:
            raise ChangePending(f"another change may be under way: entry {self._pending_conf_index} is not applied yet")
        self._raft.configuration.after(change)

    def _append(self, entries: Sequence[Entry]) -> None:
        raft = self._raft
        first = raft.log.last_index + 1
        raft.log.append([entry._replace(term=raft.term, index=index) for index, entry in enumerate(entries, first)])
        self._uncommitted_bytes += sum(len(entry.data) for entry in entries)
        raft.send(MessageKind.APPEND_RESPONSE, raft.node_id, index=raft.log.last_index)

    # Replication

    def broadcast_append(self) -> None:
        """Bring every peer up to date, as far as its window allows."""
        for peer in self._peers():
            self.send_append(peer)

    def broadcast_heartbeat(self, context: bytes) -> None:
        """Show every peer that this node leads. No peer is told a commit index beyond what it is known to have."""
        raft = self._raft
        for peer in self._peers():
            commit = min(self.progress[peer].match, raft.log.settled)
            raft.send(MessageKind.HEARTBEAT, peer, commit=commit, context=context)

    def _peers(self) -> list[int]:
        me = self._raft.node_id
        return [peer for peer in sorted(self.progress) if peer != me]

    def send_append(self, peer: int, *, even_if_empty: bool = True) -> bool:
        """Send the next entries, or just the commit index; whether anything was sent."""
        progress = self.progress[peer]
        raft = self._raft
        if progress.paused or progress.fetching or progress.state is ProgressState.SNAPSHOT:
            return False
        if progress.next < raft.log.first_index:
            self._want_snapshot(peer, progress)
            return False
        entries: Sequence[Entry] = ()
        window_is_full = progress.state is ProgressState.REPLICATE and progress.inflights.is_full
        if progress.next <= raft.log.last_index and not window_is_full:
            high, max_bytes = raft.log.last_index + 1, raft.settings.max_append_bytes
            found = raft.log.entries(progress.next, high, max_bytes)
            if found is None:
                progress.fetching = True
                raft.fetches.append(Fetch(peer, progress.next, raft.log.stable_index + 1, max_bytes))
                return False
            entries = found
        if not entries and not even_if_empty:
            return False
        self._send_entries(peer, entries)
        return True

    def _want_snapshot(self, peer: int, progress: Progress) -> None:
        # One that does not even answer heartbeats could not take it; once it does, this comes again.
        if progress.recent_active:
            progress.become_snapshot()
            self._raft.snapshots_wanted.append(peer)

    def snapshot_started(self, peer: int, snapshot: Snapshot) -> Message | None:
        """The message that goes with `snapshot` to a peer that waits for one; None if it does not."""
        raft, progress = self._raft, self.progress.get(peer)
        ensure(snapshot.index <= raft.log.committed, f"a snapshot at {snapshot.index} of what is not committed: {raft}")
        if progress is None or progress.state is not ProgressState.SNAPSHOT:
            return None
        progress.snapshot_index = snapshot.index
        return Message(MessageKind.SNAPSHOT, raft.node_id, peer, raft.term, snapshot=snapshot)

    def snapshot_finished(self, peer: int, *, ok: bool) -> None:
        """That snapshot has arrived at the peer's core, or never will."""
        progress = self.progress.get(peer)
        if progress is not None:
            progress.snapshot_finished(ok=ok)

    def _send_entries(self, peer: int, entries: Sequence[Entry]) -> None:
        raft, progress = self._raft, self.progress[peer]
        base = progress.next - 1
        raft.send(
            MessageKind.APPEND,
            peer,
            index=base,
            log_term=raft.log.term(base),
            entries=tuple(entries),
            commit=raft.log.settled,
        )
        progress.sent(len(entries), sum(entry.size_bytes() for entry in entries))

    def fetched(self, fetch: Fetch, entries: Sequence[Entry]) -> None:
        """Send what had to be read from disk, unless the peer has moved on meanwhile."""
        progress = self.progress.get(fetch.peer)
        if progress is None:
            return
        progress.fetching = False
        if not entries:
            return  # The answer to the next heartbeat asks again: at once, a disk that fails would be asked for ever.
        # What was read may have been replaced since, if this node has lost and won the leadership meanwhile.
        log = self._raft.log
        is_current = log.matches(entries[-1].index, entries[-1].term) and fetch.low >= log.first_index
        if is_current and progress.next == fetch.low and not progress.paused:
            self._send_entries(fetch.peer, entries)
        else:
            self.send_append(fetch.peer, even_if_empty=False)

    def _handle_append_response(self, message: Message, progress: Progress) -> None:
        progress.recent_active = True
        if message.reject:
            self._handle_rejection(message, progress)
            return
        ensure(
            message.index <= self._raft.log.last_index,
            f"n{message.sender} has acknowledged {message.index}, beyond the last index, {self._raft.log.last_index}",
        )
        was_paused = progress.paused
        if not progress.acknowledged(message.index) and not (
            progress.state is ProgressState.PROBE and progress.match == message.index
        ):
            return
        self._continue(progress)
        # What a majority has is more than before only if this peer has more than that.
        if progress.match > self._raft.log.committed and self._commit():
            self.broadcast_append()
        elif was_paused and message.sender != self._raft.node_id:
            self.send_append(message.sender)
        if message.sender != self._raft.node_id:
            while self.send_append(message.sender, even_if_empty=False):
                pass
        if message.sender == self.transferee and progress.match == self._raft.log.last_index:
            self._tell_to_campaign(message.sender)

    def _continue(self, progress: Progress) -> None:
        """Where this peer's log ends is known anew: go on from there."""
        match progress.state:
            case ProgressState.REPLICATE:
                progress.inflights.free_up_to(progress.match)
            case ProgressState.PROBE:
                progress.become_replicate()
            case ProgressState.SNAPSHOT if progress.match + 1 >= self._raft.log.first_index:
                progress.become_replicate()
            # Otherwise it is an old answer, from before the snapshot that the peer still waits for.

    def _handle_rejection(self, message: Message, progress: Progress) -> None:
        probe_at = message.hint
        if message.log_term:
            # The peer told the term that it has there: skip all of ours that is of a higher one, at once.
            probe_at, _ = self._raft.log.find_conflict_by_term(message.hint, message.log_term)
        if progress.rejected(message.index, probe_at):
            self.send_append(message.sender)

    def _handle_heartbeat_response(self, message: Message, progress: Progress) -> None:
        progress.recent_active = True
        if is_lease_context(message.context):
            self._lease.acknowledge(message.context, message.sender)
        elif message.context:
            self._reads.acknowledge(message.context, message.sender)
            self._release_reads()
            return
        # One append per tick's heartbeat gets through to a peer that has stopped answering: if something was lost, its
        # answer says from where to go on. (A read's heartbeats are too many for that.)
        progress.paused = False
        if progress.match < self._raft.log.last_index or progress.state is ProgressState.PROBE:
            self.send_append(message.sender)

    def peer_unreachable(self, peer: int) -> None:
        """What was sent to this peer may be lost: find out where it stands before sending ahead again."""
        progress = self.progress.get(peer)
        if progress is not None and progress.state is ProgressState.REPLICATE:
            progress.become_probe()

    # Committing

    def _commit(self) -> bool:
        """Commit what a majority has, if it is of this term (paper 5.4.2); whether there is a new commit to tell."""
        raft = self._raft
        index = raft.configuration.committed({peer: progress.match for peer, progress in self.progress.items()})
        if index <= raft.log.committed or raft.log.term(index) != raft.term:
            return False
        before = raft.log.settled
        raft.log.commit_to(index)
        for request in self._take_early_reads():
            self.read_index(request)
        return raft.log.settled > before

    def reduce_uncommitted(self, entries: Sequence[Entry]) -> None:
        """These entries are about to be applied: they no longer count against the limit."""
        # Entries of earlier terms were never counted, so the sum may fall below what is left.
        self._uncommitted_bytes = max(0, self._uncommitted_bytes - sum(len(entry.data) for entry in entries))

    # Reads

    def read_index(self, request: ReadRequest) -> None:
        """Find out from when on this read may be served (thesis 6.4)."""
        raft = self._raft
        if raft.log.term(raft.log.committed) != raft.term:
            if request not in self._early_reads:
                self._early_reads.append(request)
            return
        if self._has_lease:
            self._answer(request, raft.log.committed)
            return
        self._reads.add(request, raft.log.committed)
        self._reads.acknowledge(self._reads.context, raft.node_id)
        self._release_reads()
        if len(self._reads):
            self.broadcast_heartbeat(self._reads.context)

    def _take_early_reads(self) -> list[ReadRequest]:
        requests, self._early_reads = self._early_reads, []
        return requests

    def _release_reads(self) -> None:
        for request, index in self._reads.confirmed(self._raft.configuration):
            self._answer(request, index)

    def _answer(self, request: ReadRequest, index: int) -> None:
        raft = self._raft
        if request.sender == raft.node_id:
            raft.read_states.append(ReadState(request.context, index))
        else:
            raft.send(MessageKind.READ_INDEX_RESPONSE, request.sender, index=index, context=request.context)

    @property
    def _has_lease(self) -> bool:
        raft = self._raft
        return raft.settings.lease_reads and not self.transferee and self._lease.holds(raft.configuration, raft.node_id)

    # Leadership and membership

    def transfer_to(self, node_id: int) -> None:
        """Hand leadership to `node_id` once it has the whole log (thesis 3.10); to this node: keep it after all.

        Ignored where that makes no sense.
        """
        raft = self._raft
        if node_id == raft.node_id:
            self.transferee = 0
        if node_id not in raft.configuration.voters or node_id in (raft.node_id, self.transferee):
            return
        self.transferee = node_id
        self._transfer_elapsed_ticks = 0
        if self.progress[node_id].match == raft.log.last_index:
            self._tell_to_campaign(node_id)
        else:
            self.send_append(node_id)

    def _tell_to_campaign(self, node_id: int) -> None:
        # The message may arrive at any time in this term, and leader stickiness does not hold against it.
        self._lease.void()
        self._raft.send(MessageKind.TIMEOUT_NOW, node_id)

    def configuration_changed(self) -> None:
        """Follow the new configuration: newcomers are probed, who left is forgotten."""
        raft = self._raft
        configuration = raft.configuration
        for gone in self.progress.keys() - configuration.members:
            del self.progress[gone]
        if raft.node_id not in configuration.all_voters:
            # What a leader does that is no voter is counted by nobody: let the others elect one at once (thesis 4.2.2).
            self._tell_to_campaign(self._successor())
            raft.become_follower(raft.term, 0)
            return
        newcomers = configuration.members - self.progress.keys()
        for newcomer in newcomers:
            # Counts as active: the quorum must not be lost before it had a chance to answer.
            self._track(newcomer, recent_active=True)
        if self.transferee not in configuration.voters:
            self.transferee = 0
        # Fewer voters may be a majority already.
        if self._commit():
            self.broadcast_append()
        else:
            for peer in self._peers():
                self.send_append(peer, even_if_empty=peer in newcomers)
        self._release_reads()

    def _successor(self) -> int:
        """The voter that is most likely to win: one that answers, and of those the one with the longest log."""
        heard, progress = self.heard, self.progress
        voters = sorted(self._raft.configuration.voters)
        return max(voters, key=lambda voter: (voter in heard, progress[voter].match))

    def leave_joint_if_due(self) -> None:
        """Propose to leave a joint configuration that is to be left by itself, once it is applied."""
        if self._raft.configuration.auto_leave and not self.has_pending_change:
            # If it can't be proposed now, the next tick tries again.
            with suppress(ProposalDropped):
                self.propose([Entry(0, 0, ConfChange().encode(), EntryKind.CONF_CHANGE)])
