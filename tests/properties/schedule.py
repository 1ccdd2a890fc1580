"""One run of a cluster under a schedule that a single seed decides, checked after every step.

The seed first decides which kinds of trouble this run knows at all, and how much of each: few at a time find more than
all at once. Then the run goes through phases. In each phase some links are cut, some disks stand still and some
messages are held back, to arrive phases later; that lasts long enough for the others to elect a leader and to go on.
Step by step, messages arrive, are lost or repeated; clocks tick; disks finish a write; state machines apply; members
crash, with or without the write that was under way, and come back; clients write, read, and ask again; members come and
go; leadership is handed over; logs are cut, and snapshots sent to who needs what was cut off. With lease reads all
clocks tick equally fast, as leases demand, though not at the same instants. In the end all trouble stops, and the
cluster must agree within a bounded time.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from random import Random

from meteora.raft import Change, ChangeKind, ConfChange, Configuration, Message, Settings, Transition
from meteora.raft.errors import InvalidConfChange, ProposalDropped
from meteora.raft.text import message_text
from tests.raft_invariants import Invariants
from tests.raft_network import Disk, Member, Network

MAX_WIRE = 120
"""Messages under way; beyond that the oldest are lost, as in a bounded queue."""

MAX_HELD_BACK = 60

PHASE_STEPS = (10, 20, 40)

MAX_ROUNDS = 8
"""Of messages, for which a phase may begin without trouble: enough to elect a leader and to commit something."""

HIGHEST_ID = 6
"""Of the nodes that may become members."""

HEALING_TICKS = 400
"""Within which a cluster that can talk must have agreed."""

TRACE_STEPS = 150
"""How much of the story a failure tells."""


class ScheduleFailed(AssertionError):
    """A rule was broken. The message holds the seed and the end of the story."""


class Schedule:
    """The run of one seed."""

    def __init__(self, seed: int, *, steps: int) -> None:
        self.seed = seed
        self._steps = steps
        self._random = Random(seed)
        self.story: deque[str] = deque(maxlen=TRACE_STEPS)
        """The end of what happened."""
        self._counter = 0
        self._reads: list[tuple[int, bytes]] = []
        self._settings = self._choose_settings()
        self._bootstrap = Configuration.of(range(1, self._random.choice((1, 3, 3, 3, 3, 5)) + 1))
        self._network = Network(self._new_member(voter) for voter in self._bootstrap.voters)
        self._invariants = Invariants(self._network)
        self._disk_speed = self._random.choice((0.3, 0.8, 1.0))
        """The chance that a disk which does not stand still is done with a write at once."""
        self._stall_chance = self._random.choice((0, 0.1, 0.3))
        """That a disk stands still for a phase."""
        self._cut_chance = self._random.choice((0, 0.5, 0.9))
        self._hold_chance = self._random.choice((0, 0.2, 0.5))
        """That messages of one kind are held back for a phase."""
        self._silence_chance = self._random.choice((0.2, 0.6, 0.9))
        """That a phase begins with an election timeout in which nothing arrives."""
        self._phase_steps = self._random.choice(PHASE_STEPS)
        self._stalled: set[int] = set()
        self._due_ticks: list[int] = []
        """With leases: whose clocks are still to tick before all of them tick anew."""
        self._streams: list[tuple[int, int]] = []
        """Senders and receivers of the snapshots that are on their way."""
        self._holds: Callable[[Message], bool] = lambda _: False
        self._actions, self._weights = self._choose_actions()

    @property
    def confirmed_reads(self) -> int:
        """How many reads were confirmed."""
        return self._invariants.confirmed_reads

    @property
    def committed_index(self) -> int:
        """How far the log was committed."""
        return self._invariants.committed_index

    @property
    def elections(self) -> int:
        """How many terms had a leader."""
        return self._invariants.elections

    @property
    def installed_snapshots(self) -> int:
        """How many snapshots were installed."""
        return sum(member.installed_snapshots for member in self._network.members.values())

    def run(self) -> None:
        """Run to the end. Raises `ScheduleFailed`."""
        try:
            for step in range(self._steps):
                if step % self._phase_steps == 0:
                    self._enter_phase()
                self._random.choices(self._actions, self._weights)[0]()
            self._heal()
        except Exception as error:
            story = "\n".join(self.story)
            raise ScheduleFailed(f"seed {self.seed}: {type(error).__name__}: {error}\n{story}") from error

    # What this run is made of

    def _choose_settings(self) -> Settings:
        chance = self._random.random
        lease_reads = chance() < 0.3
        return Settings(
            # The members' ticks are up to two apart: less than half of this.
            election_ticks=6 if lease_reads else self._random.choice((3, 5)),
            lease_reads=lease_reads,
            max_append_bytes=1 if chance() < 0.3 else 1 << 20,
            max_inflight_messages=self._random.choice((1, 2, 256)),
            max_uncommitted_bytes=50 if chance() < 0.2 else 1 << 20,
            max_apply_bytes=1 if chance() < 0.3 else 1 << 20,
        )

    def _new_member(self, node_id: int) -> Member:
        member = Member(node_id, Disk(self._bootstrap), settings=self._settings, random_below=self._random.randrange)
        member.holds_writes = member.holds_applies = member.holds_fetches = True
        return member

    def _choose_actions(self) -> tuple[list[Callable[[], None]], list[float]]:
        always: list[tuple[Callable[[], None], float]] = [
            (self._deliver, 30),
            (self._tick, self._random.choice((4, 8, 16))),
            (self._finish_write, self._random.choice((2, 8))),
            (self._apply, self._random.choice((4, 10))),
            (self._answer_fetches, self._random.choice((1, 5))),
            (self._propose, 6),
            (self._restart, 4),
            (self._send_snapshot, 3),
            (self._report_snapshot, 3),
        ]
        sometimes: list[tuple[Callable[[], None], float]] = [
            (self._deliver_any, 10),
            (self._lose, 3),
            (self._repeat, 4),
            (self._crash, 1.5),
            (self._read, 5),
            (self._read_again, 2),
            (self._change_members, 2),
            (self._transfer, 1.5),
            (self._campaign, 1.5),
            (self._unreachable, 0.7),
            (self._grow_cold, 1),
            (self._save_state, 1),
            (self._compact, 4),
            (self._forget_leader, 0.5),
        ]
        chosen = always + [(action, weight * self._random.choice((0, 1, 3))) for action, weight in sometimes]
        return [action for action, _ in chosen], [weight for _, weight in chosen]

    # Phases

    def _enter_phase(self) -> None:
        chance, network = self._random.random, self._network
        ids = sorted(network.members)
        network.heal()
        if chance() < self._cut_chance:
            # A leader that is cut off goes on with a log of its own: nothing else makes logs part.
            first = self._random.choice(network.leaders() or ids)
            network.isolate(first, *self._random.sample(ids, self._random.randint(0, (len(ids) - 1) // 2)))
            self._propose_at(network[first])
        if chance() < self._cut_chance / 3:
            network.cuts.add((self._random.choice(ids), self._random.choice(ids)))
        self._stalled = {node_id for node_id in ids if chance() < self._stall_chance}
        if chance() < 0.5:
            self._let_go()
        self._choose_what_to_hold()
        self._tell(f"a new phase: cut {sorted(network.cuts)}, stalled disks {sorted(self._stalled)}")
        if chance() < self._silence_chance:
            self._be_silent()

    def _be_silent(self) -> None:
        """All but the leaders forget that they heard one, and one of them campaigns."""
        up = [member for member in self._network.members.values() if member.is_up]
        leaders = self._network.leaders()
        others = [member for member in up if member.node_id not in leaders]
        self._random.shuffle(others)
        if self._settings.lease_reads:
            self._tick_all(self._settings.election_ticks)
            others = []
        for member in others:
            # Not so long that it campaigns by itself: several at once would split the votes.
            raft = member.raw._raft
            for _ in range(min(self._settings.election_ticks, raft.election_timeout_ticks - 1)):
                member.raw.tick()
            self._work(member)
        if others:
            others[0].raw.campaign()
            self._work(others[0])
        for _ in range(self._random.randint(0, MAX_ROUNDS)):
            self._arrive_all()

    def _arrive_all(self) -> None:
        for _ in range(len(self._network.wire)):
            self._arrive(self._network.wire.popleft())

    def _choose_what_to_hold(self) -> None:
        if self._random.random() >= self._hold_chance:
            self._holds = lambda _: False
            return
        samples = list(self._network.wire) or self._network.held_back
        kind = self._random.choice(samples).kind if samples else None
        node_id = self._random.choice(sorted(self._network.members))
        self._holds = lambda message: message.kind is kind and node_id in (message.sender, message.receiver)

    def _let_go(self) -> None:
        held_back, self._network.held_back = self._network.held_back, []
        self._random.shuffle(held_back)
        self._network.wire.extend(held_back)

    # Steps

    def _tell(self, story: str) -> None:
        self.story.append(story)

    def _any_up(self) -> Member | None:
        up = [member for member in self._network.members.values() if member.is_up]
        return self._random.choice(up) if up else None

    def _work(self, member: Member) -> None:
        """Let a member work, check what it did, and put on the wire what it says."""
        self._post(member.work())
        while member.writing and member.node_id not in self._stalled and self._random.random() < self._disk_speed:
            self._post(member.finish_write())
            self._post(member.work())
        self._invariants.check(member)

    def _post(self, leaving: list[Message]) -> None:
        self._invariants.check_leaving(leaving)
        network = self._network
        for message in leaving:
            holds = self._holds(message) and len(network.held_back) < MAX_HELD_BACK
            (network.held_back if holds else network.wire).append(message)
        while len(network.wire) > MAX_WIRE:
            network.wire.popleft()

    def _deliver(self) -> None:
        """Some of what is under way arrives, in order; the more there is, the more."""
        for _ in range(1 + self._random.randrange(2 + len(self._network.wire))):
            if self._network.wire:
                self._arrive(self._network.wire.popleft())

    def _deliver_any(self) -> None:
        self._arrive(self._take())

    def _take(self) -> Message | None:
        wire = self._network.wire
        if not wire:
            return None
        position = self._random.randrange(len(wire))
        message = wire[position]
        del wire[position]
        return message

    def _arrive(self, message: Message | None) -> None:
        if message is None:
            return
        member = self._network.members.get(message.receiver)
        if member is None or not member.is_up or (message.sender, message.receiver) in self._network.cuts:
            return
        with suppress(ProposalDropped):
            member.raw.step(message)
        self._work(member)
        self._tell(f"{message_text(message)}    => {member}")

    def _lose(self) -> None:
        self._take()

    def _repeat(self) -> None:
        wire = self._network.wire
        if wire:
            (self._network.held_back if self._random.random() < 0.5 else wire).append(self._random.choice(wire))

    def _tick_all(self, count: int) -> None:
        for _ in range(count):
            for member in list(self._network.members.values()):
                if member.is_up:
                    member.raw.tick()
                    self._work(member)

    def _next_to_tick(self) -> Member | None:
        if not self._settings.lease_reads:
            return self._any_up()
        if not self._due_ticks:
            self._due_ticks = list(self._network.members)
            self._random.shuffle(self._due_ticks)
        member = self._network[self._due_ticks.pop()]
        return member if member.is_up else None

    def _tick(self) -> None:
        member = self._next_to_tick()
        if member is not None:
            before = member.role
            member.raw.tick()
            self._work(member)
            if member.role is not before:
                self._tell(f"n{member.node_id} ticks    => {member}")

    def _finish_write(self) -> None:
        writing = [
            member
            for member in self._network.members.values()
            if member.is_up and member.writing and member.node_id not in self._stalled
        ]
        if writing:
            self._finish_write_of(self._random.choice(writing))

    def _finish_write_of(self, member: Member) -> None:
        self._post(member.finish_write())
        self._work(member)
        self._tell(f"n{member.node_id} has written    => {member}")

    def _apply(self) -> None:
        member = self._any_up()
        if member is not None and member.to_apply:
            member.apply(self._random.randint(1, len(member.to_apply)))
            self._work(member)
            self._tell(f"n{member.node_id} has applied    => {member}")

    def _answer_fetches(self) -> None:
        member = self._any_up()
        if member is not None and member.fetches:
            member.answer_fetches()
            self._work(member)
            self._tell(f"n{member.node_id} has read its log    => {member}")

    def _propose(self) -> None:
        leaders = [self._network[one] for one in self._network.leaders()]
        member = self._random.choice(leaders) if leaders and self._random.random() < 0.7 else self._any_up()
        if member is not None:
            self._propose_at(member)

    def _propose_at(self, member: Member) -> None:
        if not member.is_up:
            return
        self._counter += 1
        payloads = [b"%d.%d" % (self._counter, part) for part in range(self._random.choice((1, 1, 1, 3)))]
        with suppress(ProposalDropped):
            member.raw.propose(payloads)
            self._tell(f"n{member.node_id} proposes {payloads}")
        self._work(member)

    def _read(self) -> None:
        member = self._any_up()
        if member is not None:
            self._counter += 1
            context = b"r%d" % self._counter
            self._reads.append((member.node_id, context))
            self._ask(member, context)

    def _read_again(self) -> None:
        """Who gets no answer asks again, under the same name."""
        if self._reads:
            node_id, context = self._random.choice(self._reads[-5:])
            if self._network[node_id].is_up:
                self._ask(self._network[node_id], context)

    def _ask(self, member: Member, context: bytes) -> None:
        self._invariants.asked(context)
        self._tell(f"n{member.node_id} reads {context!r}, {self._invariants.committed_index} is committed")
        member.raw.read_index(context)
        self._work(member)

    def _crash(self) -> None:
        writing = [member for member in self._network.members.values() if member.is_up and member.writing]
        # What a crash can lose is most interesting while it is being written.
        member = self._random.choice(writing) if writing and self._random.random() < 0.5 else self._any_up()
        if member is None:
            return
        written = member.writing is not None and self._random.random() < 0.3
        if written and member.writing is not None:
            # The disk had done it, but nobody was told.
            member.disk.write(member.writing)
        member.crash()
        self._tell(f"n{member.node_id} crashes, {'with' if written else 'without'} the write under way")
        if self._random.random() < 0.5:
            self._lose_all_of(member)
        if self._random.random() < 0.5:
            self._restart_one(member)

    def _lose_all_of(self, member: Member) -> None:
        """What it had not handed to the network yet goes down with it."""
        left = [message for message in self._network.wire if message.sender != member.node_id]
        self._network.wire.clear()
        self._network.wire.extend(left)

    def _restart(self) -> None:
        down = [member for member in self._network.members.values() if not member.is_up]
        if down:
            self._restart_one(self._random.choice(down))

    def _restart_one(self, member: Member) -> None:
        member.disk.log.first_in_memory = 1
        member.start()
        self._work(member)
        self._tell(f"n{member.node_id} starts again    => {member}")

    def _campaign(self) -> None:
        # More often than others one whose disk stands still: what it says, and what it has, are farthest apart.
        stalled = [self._network[node_id] for node_id in self._stalled if self._network[node_id].is_up]
        member = self._random.choice(stalled) if stalled and self._random.random() < 0.5 else self._any_up()
        if member is not None:
            member.raw.campaign()
            self._work(member)
            self._tell(f"n{member.node_id} is told to campaign    => {member}")

    def _transfer(self) -> None:
        member = self._any_up()
        if member is not None:
            successor = self._random.choice(list(self._network.members))
            member.raw.transfer_leader(successor)
            self._work(member)
            self._tell(f"n{member.node_id} is asked to make n{successor} leader    => {member}")

    def _unreachable(self) -> None:
        member = self._any_up()
        if member is not None:
            peer = self._random.choice(list(self._network.members))
            member.raw.unreachable(peer)
            self._work(member)

    def _grow_cold(self) -> None:
        """Old entries leave the memory."""
        member = self._any_up()
        if member is not None:
            member.disk.log.first_in_memory = self._random.randint(1, len(member.state) + 1)

    def _save_state(self) -> None:
        member = self._any_up()
        if member is not None:
            member.save_state()

    def _compact(self) -> None:
        """The log is cut behind the state that is saved: more often than others', that of a leader."""
        leaders = [self._network[one] for one in self._network.leaders()]
        member = self._random.choice(leaders) if leaders and self._random.random() < 0.7 else self._any_up()
        if member is not None:
            if self._random.random() < 0.7:
                member.save_state()
            saved = len(member.disk.state)
            member.compact(saved if self._random.random() < 0.6 else self._random.randint(0, saved))
            self._tell(f"n{member.node_id} has cut its log    => {member}, from {member.disk.log.first_index()}")

    def _forget_leader(self) -> None:
        member = self._any_up()
        if member is not None:
            member.raw.forget_leader()
            self._work(member)

    def _send_snapshot(self) -> None:
        """A snapshot that is wanted sets out; how long it takes, and whether it gets there, the network decides."""
        senders = [member for member in self._network.members.values() if member.is_up and member.snapshots_wanted]
        if not senders:
            return
        sender = self._random.choice(senders)
        peer = sender.snapshots_wanted.pop()
        is_old = sender.disk.state and self._random.random() < 0.3
        snapshot = sender.saved_snapshot() if is_old else sender.snapshot()
        self._tell(f"n{sender.node_id} sends n{peer} a snapshot at {snapshot.index}    => {sender}")
        self._post(sender.send_snapshot(peer, snapshot))
        self._streams.append((sender.node_id, peer))

    def _report_snapshot(self) -> None:
        if self._streams:
            self._report(self._streams.pop(), ok=self._random.random() < 0.5)

    def _report(self, stream: tuple[int, int], *, ok: bool) -> None:
        sender, peer = stream
        if self._network[sender].is_up:
            self._network[sender].raw.snapshot_finished(peer, ok=ok)
            self._work(self._network[sender])

    def _change_members(self) -> None:
        leaders = self._network.leaders()
        if not leaders:
            return
        leader = self._network[self._random.choice(leaders)]
        change = self._random_change(leader)
        with suppress(InvalidConfChange, ProposalDropped):
            leader.raw.propose_conf_change(change)
            self._tell(f"n{leader.node_id} proposes {change}    => {leader}")
        self._work(leader)

    def _random_change(self, leader: Member) -> ConfChange:
        if leader.raw.configuration.is_joint:
            return ConfChange()
        changes = tuple(
            Change(self._random.choice(list(ChangeKind)), self._random.randint(1, HIGHEST_ID))
            for _ in range(self._random.choice((1, 1, 2, 3)))
        )
        for _, node_id in changes:
            if node_id not in self._network.members:
                self._network.members[node_id] = self._new_member(node_id)
        return ConfChange(changes, self._random.choice(list(Transition)))

    # The end

    def _heal(self) -> None:
        """All trouble stops: the members must agree."""
        self._tell("all trouble stops")
        self._network.heal()
        self._stalled.clear()
        self._holds = lambda _: False
        self._let_go()
        for member in self._network.members.values():
            if not member.is_up:
                self._restart_one(member)
        for _ in range(HEALING_TICKS):
            for member in list(self._network.members.values()):
                member.raw.tick()
                self._work(member)
            self._drain()
            if self._has_agreed():
                return
        standings = "\n".join(
            f"{member} applied {len(member.state)} {member.raw.configuration} {member.raw.status().peers}"
            for member in self._network.members.values()
        )
        raise AssertionError(f"no agreement within {HEALING_TICKS} ticks\n{standings}")

    def _drain(self) -> None:
        """Disks write, state machines apply, and messages arrive, each once, in order."""
        self._arrive_all()
        for member in list(self._network.members.values()):
            while member.snapshots_wanted:
                self._send_snapshot()
            if member.writing:
                self._finish_write_of(member)
            member.answer_fetches()
            member.apply(len(member.to_apply))
            self._work(member)
        while self._streams:
            self._report_snapshot()

    def _has_agreed(self) -> bool:
        """Whether there is a leader, and all members of its configuration have applied all that it has."""
        term = max(member.raw.term for member in self._network.members.values())
        leaders = [self._network[one] for one in self._network.leaders() if self._network[one].raw.term == term]
        if not leaders or self._invariants.committed_index == 0:
            return False
        leader = leaders[0]
        configuration = leader.raw.configuration
        followers = [self._network[one] for one in configuration.members]
        return all(
            len(one.state) == len(leader.log()) and one.raw.configuration == configuration for one in followers
        ) and not (configuration.is_joint and configuration.auto_leave)
