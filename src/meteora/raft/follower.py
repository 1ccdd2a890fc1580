"""What a follower does: believe the leader, answer it, and campaign when it falls silent (paper 5.2, 5.3)."""

from typing import TYPE_CHECKING

from meteora.raft.errors import InvariantViolation, ProposalDropped, ensure
from meteora.raft.message import TRANSFER, Message, MessageKind
from meteora.raft.reads import ReadState, is_lease_context

if TYPE_CHECKING:
    from meteora.raft.core import Raft


class Follower:
    """The role of a node that follows a leader, or waits for one."""

    def __init__(self, raft: "Raft") -> None:
        self._raft = raft
        self._told_to_campaign_ticks = 0
        """For how long it still holds that the leader wants this node to campaign."""

    def __repr__(self) -> str:
        return f"follower of n{self._raft.leader_id}" if self._raft.leader_id else "follower"

    def tick(self) -> None:
        """Campaign if no leader was heard for the election timeout."""
        raft = self._raft
        self._told_to_campaign_ticks = max(0, self._told_to_campaign_ticks - 1)
        if raft.is_promotable and raft.election_elapsed_ticks >= raft.election_timeout_ticks:
            raft.election_elapsed_ticks = 0
            # Even if it may not campaign now, it must not hold up the others for the sake of a leader that is silent.
            raft.leader_id = 0
            raft.campaign(pre_vote=True)

    def applied(self) -> None:
        """Campaign if the leader wants it, and nothing that would forbid it is left to be applied."""
        raft = self._raft
        if self._told_to_campaign_ticks and not raft.has_unapplied_conf_change():
            self._told_to_campaign_ticks = 0
            # The leader knows that this node is up to date: no pre-vote, and the others need not wait either.
            raft.campaign(pre_vote=False, context=TRANSFER)

    def forget_leader(self) -> None:
        """Wait for a leader as if none had been heard; the election timer runs on."""
        # With leases, the leader counts on being remembered.
        if not self._raft.settings.lease_reads:
            self._raft.leader_id = 0

    def step(self, message: Message) -> None:
        """Take in a message of the current term, or without one."""
        match message.kind:
            case MessageKind.APPEND:
                self.follow(message.sender)
                handle_append(self._raft, message)
            case MessageKind.HEARTBEAT:
                self.follow(message.sender)
                handle_heartbeat(self._raft, message)
            case MessageKind.SNAPSHOT:
                self.follow(message.sender)
                handle_snapshot(self._raft, message)
            case MessageKind.TIMEOUT_NOW:
                self._told_to_campaign_ticks = self._raft.settings.election_ticks
                self.applied()
            case MessageKind.PROPOSE | MessageKind.READ_INDEX | MessageKind.TRANSFER_LEADER:
                self._forward(message)
            case MessageKind.READ_INDEX_RESPONSE:
                self._raft.read_states.append(ReadState(message.context, message.index))
            case _:
                pass  # Late answers to what this node asked in another role.

    def follow(self, leader_id: int) -> None:
        """This node leads the current term."""
        ensure(
            self._raft.leader_id in (0, leader_id),
            f"n{self._raft.leader_id} and n{leader_id} both lead term {self._raft.term}",
        )
        self._raft.leader_id = leader_id
        self._raft.election_elapsed_ticks = 0
        self._raft.silence_ticks = 0

    def _forward(self, message: Message) -> None:
        raft = self._raft
        if message.sender != raft.node_id:
            return  # Two nodes that each believe in the other would pass it to and fro; the one who asked asks again.
        if raft.leader_id:
            raft.messages.append(message._replace(receiver=raft.leader_id))
        elif message.kind is MessageKind.PROPOSE:
            raise ProposalDropped("no leader is known")


def handle_append(raft: "Raft", message: Message) -> None:
    """Make the log agree with the leader's, or say where it does not (paper 5.3)."""
    if message.index < raft.log.committed:
        # All of this is committed, so it matches, whatever the message holds.
        raft.send(MessageKind.APPEND_RESPONSE, message.sender, index=raft.log.committed)
        return
    last_match = raft.log.append_after(message.index, message.log_term, message.entries)
    if last_match is not None:
        raft.log.commit_to(min(message.commit, last_match))
        raft.send(MessageKind.APPEND_RESPONSE, message.sender, index=last_match)
        return
    hint, hint_term = raft.log.find_conflict_by_term(message.index, message.log_term)
    raft.send(
        MessageKind.APPEND_RESPONSE, message.sender, index=message.index, reject=True, hint=hint, log_term=hint_term
    )


def handle_heartbeat(raft: "Raft", message: Message) -> None:
    """Learn the commit index, and show the leader that it is still followed."""
    raft.log.commit_to(message.commit)
    # Who has not promised to wait for the leader must not be counted among those who have.
    promises = raft.settings.lease_reads or not is_lease_context(message.context)
    raft.send(MessageKind.HEARTBEAT_RESPONSE, message.sender, context=message.context if promises else b"")


def handle_snapshot(raft: "Raft", message: Message) -> None:
    """Begin the log anew after a snapshot, unless this node has all that it holds (thesis 5.1, paper 7).

    What it holds is committed, so it is good whatever the term it was sent in, and whether or not this node is among
    the members that it names.
    """
    snapshot = message.snapshot
    if snapshot is None:
        raise InvariantViolation(f"n{message.sender} sent a snapshot message without a snapshot")
    if raft.log.matches(snapshot.index, snapshot.term):
        raft.log.commit_to(snapshot.index)
    elif snapshot.index > raft.log.committed:
        raft.log.restore(snapshot)
    # Who leads by now need not send another one.
    raft.send(MessageKind.APPEND_RESPONSE, raft.leader_id or message.sender, index=raft.log.committed)
