"""What must hold of a cluster after every step, whatever the schedule (paper, figure 3; thesis 3.6, 6.4).

- election safety: a term has one leader, and is won once;
- log matching: where two logs agree on (index, term) they hold the same entry, and the same before it;
- leader completeness: what was committed in a term is in the log of every leader of a higher one;
- state machine safety: no two members apply different entries, or configurations, at one index;
- term, vote and commit index never go back, term and vote not even across a crash;
- applied <= committed <= last index, and what is applied is durable where it is applied;
- nobody hears of what is not durable: votes and acknowledgements speak for the disk;
- a read is confirmed at an index that is not below anything committed when it was asked for.
"""

from collections.abc import Iterable

from meteora.raft import Configuration, Entry, HardState, Message, MessageKind, ReadState, RoleName
from tests.raft_network import Member, Network


class Invariants:
    """Watches one network. Call `check` with the member that has just done something."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._winners: dict[int, tuple[int, int]] = {}
        self._entries: dict[tuple[int, int], tuple[Entry, int]] = {}
        self._logs: dict[int, list[Entry]] = {}
        self._configurations: dict[int, Configuration] = {}
        self._committed: list[Entry] = []
        self._commit_terms: list[int] = []
        """For each of them, a term in which, or before which, it was committed."""
        self._marks: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._disks: dict[int, HardState] = {}
        self._required: dict[bytes, int] = {}
        self._confirmed: set[bytes] = set()

    @property
    def committed_index(self) -> int:
        """The highest index that anybody knew to be committed."""
        return len(self._committed)

    @property
    def confirmed_reads(self) -> int:
        """How many reads were confirmed."""
        return len(self._confirmed)

    @property
    def elections(self) -> int:
        """How many terms had a leader."""
        return len(self._winners)

    def asked(self, context: bytes) -> None:
        """A read was asked for now, for the first time or again."""
        self._required.setdefault(context, self.committed_index)

    def check(self, member: Member) -> None:
        """Raises `AssertionError` if what this member did breaks a rule."""
        if not member.is_up:
            return
        log = member.log()
        self._check_marks(member, len(log))
        if log != self._logs.get(member.node_id):
            self._check_log_matching(member, log)
            self._logs[member.node_id] = log
        self._check_committed(member, log)
        self._check_leader(member, log)
        self._check_applied(member)
        self._check_disk(member)
        self._check_reads(member)

    def _check_marks(self, member: Member, last_index: int) -> None:
        status = member.raw.status()
        assert status.applied_index <= status.commit_index <= last_index == status.last_index, f"{member}: marks"
        key = member.node_id, member.incarnation
        vote = member.raw._raft.vote
        term_before, vote_before, commit_before = self._marks.get(key, (0, 0, 0))
        assert status.term >= term_before, f"{member}: its term went back from {term_before}"
        if status.term == term_before:
            assert vote_before in (0, vote), f"{member}: its vote changed from {vote_before} to {vote} within a term"
        assert status.commit_index >= commit_before, f"{member}: its commit index went back from {commit_before}"
        self._marks[key] = status.term, vote, status.commit_index

    def _check_log_matching(self, member: Member, log: list[Entry]) -> None:
        before = 0
        for index, entry in enumerate(log, start=1):
            assert entry.index == index, f"{member}: entry {entry.index} is in place {index}"
            assert entry.term >= before, f"{member}: terms fall at {index}"
            known = self._entries.setdefault((index, entry.term), (entry, before))
            assert known == (entry, before), f"{member}: {index}@{entry.term} is {entry}, elsewhere {known}"
            before = entry.term

    def _check_committed(self, member: Member, log: list[Entry]) -> None:
        commit = member.commit_index
        for entry, committed in zip(log[:commit], self._committed, strict=False):
            assert entry == committed, f"{member}: commits {entry} where {committed} is committed"
        if commit > len(self._committed):
            self._commit_terms += [member.raw.term] * (commit - len(self._committed))
            self._committed += log[len(self._committed) : commit]
            self._check_leaders_above(member.raw.term)

    def _check_leaders_above(self, term: int) -> None:
        for other in self._network.members.values():
            if other.is_up and other.role is RoleName.LEADER and other.raw.term > term:
                self._check_complete(other, other.log())

    def _check_leader(self, member: Member, log: list[Entry]) -> None:
        if member.role is not RoleName.LEADER:
            return
        winner = member.node_id, member.incarnation
        known = self._winners.get(member.raw.term)
        if known is None:
            self._winners[member.raw.term] = winner
            self._check_complete(member, log)
        else:
            assert known == winner, f"{member}: term {member.raw.term} was won by n{known[0]} already"

    def _check_complete(self, leader: Member, log: list[Entry]) -> None:
        count = sum(1 for term in self._commit_terms if term < leader.raw.term)
        assert log[:count] == self._committed[:count], f"{leader}: leads without all that is committed"

    def _check_applied(self, member: Member) -> None:
        state = member.state
        assert state == self._committed[: len(state)], f"{member}: applied what was not committed"
        if state:
            assert len(state) <= member.disk.log.last_index(), f"{member}: applied what is not durable"
            assert member.disk.log.term(len(state)) == state[-1].term, f"{member}: applied what is not durable"
        applied = member.raw.configuration
        known = self._configurations.setdefault(len(state), applied)
        assert known == applied, f"{member}: at {len(state)} the configuration is {applied}, elsewhere {known}"

    def _check_disk(self, member: Member) -> None:
        now = member.disk.hard_state
        before = self._disks.get(member.node_id, HardState())
        assert now.term >= before.term, f"{member}: the term on disk went back from {before.term}"
        if now.term == before.term:
            assert before.vote in (0, now.vote), f"{member}: the vote on disk changed within a term"
        assert member.raw.term >= now.term, f"{member}: its term is behind its disk's"
        self._disks[member.node_id] = now

    def _check_reads(self, member: Member) -> None:
        confirmed, member.read_states = member.read_states, []
        for context, index in confirmed:
            self._confirmed.add(context)
            required = self._required[context]
            assert index >= required, f"{member}: stale read {ReadState(context, index)}, {required} was committed"

    def check_leaving(self, messages: Iterable[Message]) -> None:
        """Raises `AssertionError` if one of these, which are about to leave their sender, speaks for what it has not.

        Only for messages of the term on the sender's disk: one of a lower term was true before the log was cut back.
        """
        for message in messages:
            disk = self._network[message.sender].disk
            if message.reject or message.term != disk.hard_state.term:
                continue
            if message.kind is MessageKind.APPEND_RESPONSE:
                assert message.index <= disk.log.last_index(), f"acknowledged before durable: {message}"
            elif message.kind is MessageKind.VOTE_RESPONSE:
                assert disk.hard_state.vote == message.receiver, f"voted before durable: {message}"
