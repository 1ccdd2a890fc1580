"""The commands of a story about a cluster: a method for each, whose docstring says how it is written.

Nodes are named by their numbers. An election times out after 10 ticks on n1, 11 on n2, and so on; heartbeats go out
every tick.
"""

from collections.abc import Callable, Iterable
from itertools import combinations, groupby

from meteora.raft import Configuration, HardState, Message, MessageKind, RawNode, Settings, Snapshot
from meteora.raft.text import configuration_text, message_text
from tests.scenarios.cluster import Cluster, Disk, Member, entries_text
from tests.scenarios.invariants import Invariants
from tests.scenarios.words import Words, conf_change, listed_entries, listed_numbers

_VOTING = {MessageKind.PRE_VOTE, MessageKind.PRE_VOTE_RESPONSE, MessageKind.VOTE, MessageKind.VOTE_RESPONSE}
_KINDS = {kind.name.title().replace("_", ""): kind for kind in MessageKind}


class ClusterCommands:
    """Carries out the commands of one story, on a cluster that the first of them founds."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._invariants = Invariants()
        self._cluster: Cluster | None = None
        self._founding = Configuration()

    def run(self, command: str) -> list[str]:
        """Carry out one command: what came of it."""
        name, *rest = command.split()
        words = Words(rest)
        getattr(self, f"do_{name}")(words)
        words.done()
        if self._cluster is not None:
            broken = self._invariants.broken(self._cluster.members.values())
            self._lines += [f"INVARIANT BROKEN: {line}" for line in broken]
        return self._taken_lines()

    def _taken_lines(self) -> list[str]:
        lines = self._lines.copy()
        self._lines.clear()
        return lines

    @property
    def cluster(self) -> Cluster:
        if self._cluster is None:
            raise ValueError("the first command is `cluster`")
        return self._cluster

    def _member(self, words: Words) -> Member:
        return self.cluster.members[words.number()]

    def _event(self, words: Words, event: Callable[[RawNode], None]) -> None:
        self._member(words).event(event)

    # Who there is

    def do_cluster(self, words: Words) -> None:
        """`cluster 1 2 3 [learners=4,5] [leader=1] [a setting of the core]=...`: start these nodes, on empty disks.

        With a leader, it has been elected, and all know, before the story begins.
        """
        leader = words.numeric_option("leader")
        learners = listed_numbers(words.option("learners"))
        self._founding = Configuration.of(words.numbers(), learners)
        self._invariants = Invariants()
        self._cluster = Cluster(self._founding, Settings(**words.options()), self._lines.append)
        if leader:
            self.cluster.members[leader].event(RawNode.campaign)
            self.cluster.stabilize(lambda message: True)
            self._lines.clear()
            self._note_status(self.cluster.members.values())

    def do_join(self, words: Words) -> None:
        """`join 4`: start a new node, on an empty disk. Nobody has added it yet."""
        self.cluster.join(words.number())

    def do_stored(self, words: Words) -> None:
        """`stored 2 term=2 [vote=1] [commit=1] [log=1@1,2@1:x]`: n2 is started anew, and finds this on its disk."""
        disk = Disk(self._founding)
        disk.hard_state = HardState(
            words.numeric_option("term"), words.numeric_option("vote"), words.numeric_option("commit")
        )
        disk.log.append(listed_entries(words.option("log")))
        member = self._member(words)
        member.crash()
        member.disk = disk
        member.start()
        self._note_status([member])

    def do_crash(self, words: Words) -> None:
        """`crash 1 ...`: these nodes stop at once. What was not durable is lost."""
        for node_id in words.numbers():
            self.cluster.members[node_id].crash()

    def do_restart(self, words: Words) -> None:
        """`restart 1 ... [applied=0]`: start from the disks; with `applied`, the state machines got only so far."""
        applied = words.option("applied")
        members = [self.cluster.members[node_id] for node_id in words.numbers()]
        for member in members:
            member.start(applied=int(applied) if applied else None)
        self._note_status(members)

    # What is asked of a node

    def do_campaign(self, words: Words) -> None:
        """`campaign 1`: n1 stands for election."""
        self._event(words, RawNode.campaign)

    def do_elect(self, words: Words) -> None:
        """`elect 1`: n1 stands for election, and nothing but votes is delivered. Told from its victory on."""
        member = self._member(words)
        member.event(RawNode.campaign)
        self.cluster.stabilize(lambda message: message.kind in _VOTING)
        del self._lines[: self._lines.index(f"n{member.node_id}@{member.core.term} leader")]

    def do_tick(self, words: Words) -> None:
        """`tick 1 [10]`: time passes at n1. What happens the same way again and again is told once."""
        member, ticks = self._member(words), words.number(default=1)
        every_tick = [self._one_tick(member) for _ in range(ticks)]
        for what, same in groupby(every_tick):
            times = len(list(same))
            self._lines += [*what, f"({times} times)"] if what and times > 1 else what

    def _one_tick(self, member: Member) -> list[str]:
        member.event(RawNode.tick)
        return self._taken_lines()

    def do_propose(self, words: Words) -> None:
        """`propose 1 a b`: ask n1 to replicate these commands, in one go."""
        member = self._member(words)
        payloads = [payload.encode() for payload in words.rest()]
        member.event(lambda core: core.propose(payloads))

    def do_change(self, words: Words) -> None:
        """`change 1 +n4 -n1 learner+n5 [joint=implicit|explicit]`, `change 1 leave`: ask n1 to change the members."""
        member = self._member(words)
        change = conf_change(words.rest(), words.option("joint"))
        member.event(lambda core: core.propose_conf_change(change))

    def do_read(self, words: Words) -> None:
        """`read 1 r`: ask n1 from when on the read r may be served."""
        member, context = self._member(words), words.word().encode()
        member.event(lambda core: core.read_index(context))

    def do_transfer(self, words: Words) -> None:
        """`transfer 1 2`: ask n1 that n2 lead."""
        member, successor = self._member(words), words.number()
        member.event(lambda core: core.transfer_leader(successor))

    def do_forget_leader(self, words: Words) -> None:
        """`forget_leader 2`: n2 waits for a leader as if it had heard none."""
        self._event(words, RawNode.forget_leader)

    def do_unreachable(self, words: Words) -> None:
        """`unreachable 1 2`: n1 hears from its transport that messages to n2 may be lost."""
        member, peer = self._member(words), words.number()
        member.event(lambda core: core.unreachable(peer))

    # The network

    def do_deliver(self, words: Words) -> None:
        """`deliver [from=1,2] [to=2,3] [kind=Append] [count=1]`: hand over what is in flight, oldest first."""
        self.cluster.deliver(self._taken(words))

    def do_drop(self, words: Words) -> None:
        """`drop`, with the options of `deliver`: lose messages."""
        self._lines += [f"{message_text(message)} (lost)" for message in self._taken(words)]

    def do_duplicate(self, words: Words) -> None:
        """`duplicate`, with the options of `deliver`: these messages arrive once more, after all the others."""
        in_flight = self.cluster.network.in_flight
        before = list(in_flight)
        duplicated = self._taken(words)
        in_flight[:] = [*before, *duplicated]

    def do_delay(self, words: Words) -> None:
        """`delay`, with the options of `deliver`: these messages fall back behind all the others, the newest first."""
        self.cluster.network.in_flight.extend(reversed(self._taken(words)))

    def do_stabilize(self, words: Words) -> None:
        """`stabilize [1 2]`: deliver messages, between these nodes only, and their answers, until there are none."""
        among = set(words.numbers() or self.cluster.members)
        self.cluster.stabilize(lambda message: {message.sender, message.receiver} <= among)

    def do_cut(self, words: Words) -> None:
        """`cut 1 2 ...`: nothing gets through between n1 and the others named here; if none is, all others."""
        for left, right in self._links(words):
            self.cluster.network.cut(left, right)

    def do_heal(self, words: Words) -> None:
        """`heal [1 [2 ...]]`: undo `cut`, everywhere or on these links."""
        for left, right in self._links(words):
            self.cluster.network.heal(left, right)

    def do_network(self, words: Words) -> None:
        """`network`: what is in flight."""
        self._lines += [message_text(message) for message in self.cluster.network.in_flight]

    def do_inject(self, words: Words) -> None:
        """`inject Append [reject] from=1 to=2 term=1 [index=1] [entries=2@1]`: deliver a forged message.

        The other options are log_term, commit, hint and `snapshot=6@3`, of the founding members.
        """
        message = Message(
            _KINDS[words.word()],
            words.numeric_option("from"),
            words.numeric_option("to"),
            term=words.numeric_option("term"),
            index=words.numeric_option("index"),
            log_term=words.numeric_option("log_term"),
            commit=words.numeric_option("commit"),
            entries=tuple(listed_entries(words.option("entries"))),
            reject=words.rest() == ["reject"],
            hint=words.numeric_option("hint"),
            snapshot=self._snapshot(words.option("snapshot")),
        )
        self.cluster.deliver([message])

    def _snapshot(self, place: str) -> Snapshot | None:
        if not place:
            return None
        (entry,) = listed_entries(place)
        return Snapshot(entry.index, entry.term, self._founding)

    def _links(self, words: Words) -> Iterable[tuple[int, int]]:
        numbers = words.numbers()
        if not numbers:
            return combinations(self.cluster.members, 2)
        node_id, *others = numbers
        return [(node_id, other) for other in others or self.cluster.members if other != node_id]

    def _taken(self, words: Words) -> list[Message]:
        senders, receivers = listed_numbers(words.option("from")), listed_numbers(words.option("to"))
        kind = words.option("kind")
        count = words.numeric_option("count") or None
        return self.cluster.network.take(
            lambda message: (
                (not senders or message.sender in senders)
                and (not receivers or message.receiver in receivers)
                and (not kind or message.kind is _KINDS[kind])
            ),
            count,
        )

    # The disks

    def do_slow(self, words: Words) -> None:
        """`slow 1 ...`: the disks of these nodes finish nothing until they are told to."""
        for node_id in words.numbers():
            self.cluster.members[node_id].disk_is_slow = True

    def do_fast(self, words: Words) -> None:
        """`fast 1 ...`: the disks of these nodes finish everything at once, from the next write on."""
        for node_id in words.numbers():
            self.cluster.members[node_id].disk_is_slow = False

    def do_write(self, words: Words) -> None:
        """`write 1 ...`: the writes that are under way on these nodes are done."""
        for node_id in words.numbers():
            self.cluster.members[node_id].finish_writing()

    def do_fetch(self, words: Words) -> None:
        """`fetch 1`: the reads that are under way on n1 are done."""
        self._member(words).finish_reading()

    def do_forget(self, words: Words) -> None:
        """`forget 1 5`: n1 has entries before the fifth only on disk, not in memory."""
        member = self._member(words)
        member.disk.first_in_memory = words.number()

    def do_compact(self, words: Words) -> None:
        """`compact 1 5`: n1 cuts off its log up to the fifth entry, which it has applied."""
        member = self._member(words)
        index = words.number()
        if index > member.disk.applied:
            raise ValueError(f"n{member.node_id} has not applied {index}")
        member.disk.log.compact(index)

    def do_snapshot(self, words: Words) -> None:
        """`snapshot 1 3`: n1 sends n3 a snapshot of what it has applied. It arrives when its message does."""
        self._member(words).send_snapshot(words.number())

    def do_snapshot_sent(self, words: Words) -> None:
        """`snapshot_sent 1 3`: n1 hears that the snapshot has arrived at n3."""
        member, peer = self._member(words), words.number()
        member.event(lambda core: core.snapshot_finished(peer, ok=True))

    def do_snapshot_failed(self, words: Words) -> None:
        """`snapshot_failed 1 3`: n1 hears that the snapshot will not arrive at n3."""
        member, peer = self._member(words), words.number()
        member.event(lambda core: core.snapshot_finished(peer, ok=False))

    # What a reader wants to see

    def do_status(self, words: Words) -> None:
        """`status [1 ...]`: where these nodes stand."""
        self._note_status(self._chosen(words))

    def do_log(self, words: Words) -> None:
        """`log [1 ...]`: what is on the disks of these nodes."""
        for member in self._chosen(words):
            first, end = member.disk.first_index(), member.disk.last_index() + 1
            entries = member.disk.log.entries(first, end, _ALL_BYTES) if end > first else []
            base = f" after {first - 1}@{member.disk.term(first - 1)}" if first > 1 else ""
            self._lines.append(f"n{member.node_id} {entries_text(entries)}{base}")

    def do_progress(self, words: Words) -> None:
        """`progress 1`: what n1, the leader, knows of the others."""
        member = self._member(words)
        role = member.core._raft.role
        for peer, progress in sorted(role.progress.items()):  # type: ignore[union-attr]
            if peer != member.node_id:
                self._lines.append(f"n{peer} {progress!r}")

    def do_members(self, words: Words) -> None:
        """`members [1 ...]`: the configuration that these nodes have applied."""
        for member in self._chosen(words):
            self._lines.append(f"n{member.node_id} has {configuration_text(member.core.configuration)}")

    def _chosen(self, words: Words) -> list[Member]:
        return [self.cluster.members[node_id] for node_id in words.numbers() or self.cluster.members]

    def _note_status(self, members: Iterable[Member]) -> None:
        self._lines += [repr(member.core) if member.is_up else f"n{member.node_id} is down" for member in members]


_ALL_BYTES = 1 << 62
