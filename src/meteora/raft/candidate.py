"""What a candidate does: count votes (paper 5.2), or, as a pre-candidate, whether it would get them (thesis 9.6)."""

from typing import TYPE_CHECKING

from meteora.raft.errors import ProposalDropped
from meteora.raft.message import TRANSFER, Message, MessageKind
from meteora.raft.quorum import VoteResult

if TYPE_CHECKING:
    from meteora.raft.core import Raft


class Candidate:
    """The role of a node that asks for votes."""

    def __init__(self, raft: "Raft", *, is_pre_vote: bool) -> None:
        self._raft = raft
        self.is_pre_vote = is_pre_vote
        self.votes: dict[int, bool] = {}

    def __repr__(self) -> str:
        return "pre-candidate" if self.is_pre_vote else "candidate"

    def ask_voters(self, context: bytes) -> None:
        """Ask all voters, this node among them: its own vote counts once its disk has it."""
        raft = self._raft
        if self.is_pre_vote:
            kind, answer, term = MessageKind.PRE_VOTE, MessageKind.PRE_VOTE_RESPONSE, raft.term + 1
        else:
            kind, answer, term = MessageKind.VOTE, MessageKind.VOTE_RESPONSE, raft.term
        raft.send(answer, raft.node_id, term=term)
        for voter in sorted(raft.configuration.all_voters - {raft.node_id}):
            raft.send(
                kind,
                voter,
                term=term,
                index=raft.log.last_index,
                log_term=raft.log.last_term,
                commit=raft.log.committed,
                hint=raft.log.term(raft.log.committed),
                context=context,
            )

    def tick(self) -> None:
        """Start over if nobody has won within the election timeout."""
        raft = self._raft
        if raft.election_elapsed_ticks >= raft.election_timeout_ticks:
            raft.election_elapsed_ticks = 0
            raft.campaign(pre_vote=True)

    def applied(self) -> None:
        """Something was applied: an election goes on as it was."""

    def step(self, message: Message) -> None:
        """Take in a message of the current term, or without one."""
        match message.kind:
            case MessageKind.PRE_VOTE_RESPONSE if self.is_pre_vote:
                self._count(message)
            case MessageKind.VOTE_RESPONSE if not self.is_pre_vote:
                self._count(message)
            case MessageKind.APPEND | MessageKind.HEARTBEAT | MessageKind.SNAPSHOT:
                # Somebody else has won this term.
                self._raft.become_follower(message.term, message.sender)
                self._raft.role.step(message)
            case MessageKind.TIMEOUT_NOW if self.is_pre_vote:
                self._raft.campaign(pre_vote=False, context=TRANSFER)
            case MessageKind.PROPOSE:
                raise ProposalDropped("an election is under way")
            case _:
                pass  # Late answers, and requests that only a leader, or one who knows it, can serve.

    def _count(self, message: Message) -> None:
        # A vote, once given, stands: a second answer of the same voter is a duplicate.
        self.votes.setdefault(message.sender, not message.reject)
        match self._raft.configuration.vote_result(self.votes):
            case VoteResult.WON if self.is_pre_vote:
                self._raft.campaign(pre_vote=False)
            case VoteResult.WON:
                self._raft.become_leader()
            case VoteResult.LOST:
                # A pre-vote that was refused carried its voter's term, which is ours by now.
                self._raft.become_follower(self._raft.term, 0)
            # PENDING: wait for more answers.
