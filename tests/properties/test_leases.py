"""Reads by lease are never stale, whoever is cut off, starts again, hands over or campaigns, if clocks keep their word.

All clocks tick equally fast, each at an instant of its own: so between two members there is never more than a tick. The
random schedules of `test_schedules` reach a stale read too seldom; here nearly every step leads to where one could be.
"""

from contextlib import suppress
from itertools import count
from random import Random

import pytest

from meteora.raft import Configuration, MessageKind, RoleName, Settings
from meteora.raft.errors import ProposalDropped
from tests.raft_invariants import Invariants
from tests.raft_network import Disk, Member, Network

RUNS = 80
ROUNDS = 50
SETTINGS = Settings(election_ticks=6, lease_reads=True)


class LeaseRun:
    """The run of one seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        voters = range(1, self._random.choice((3, 3, 5)) + 1)
        founding = Configuration.of(voters)
        self._network = Network(
            Member(one, Disk(founding), settings=SETTINGS, random_below=self._random.randrange) for one in voters
        )
        self._invariants = Invariants(self._network)
        self._names = count()
        self._delivery_chance = self._random.choice((0.3, 0.6, 0.9))
        self.reads_by_lease = 0

    def run(self) -> None:
        """Run to the end. Raises `AssertionError` at a stale read."""
        for _ in range(ROUNDS):
            for trouble in (self._cut, self._restart, self._transfer, self._campaign, self._hold_back):
                if self._random.random() < 0.15:
                    trouble()
            self._tick_all()

    def _any(self) -> int:
        return self._random.choice(sorted(self._network.members))

    def _leader_or_any(self) -> int:
        return self._random.choice(self._network.leaders() or sorted(self._network.members))

    def _cut(self) -> None:
        self._network.heal()
        if self._random.random() < 0.7:
            leader = self._leader_or_any()
            # All but one of its followers lose it: the one that is left is what the lease rests on.
            kept = self._any()
            for other in self._network.members.keys() - {leader, kept}:
                self._network.cut(leader, other)

    def _restart(self) -> None:
        node_id = self._any()
        self._network.crash(node_id)
        self._network[node_id].start()

    def _transfer(self) -> None:
        member = self._network[self._leader_or_any()]
        member.raw.transfer_leader(self._any())
        self._network.collect(member)

    def _campaign(self) -> None:
        member = self._network[self._any()]
        member.raw.campaign()
        self._network.collect(member)

    def _hold_back(self) -> None:
        """Some messages arrive much later than they were sent."""
        held_back, self._network.held_back = self._network.held_back, []
        self._network.wire.extend(held_back)
        kinds = (MessageKind.TIMEOUT_NOW, MessageKind.HEARTBEAT, MessageKind.HEARTBEAT_RESPONSE)
        kind, node_id = self._random.choice(kinds), self._any()
        self._network._delays = [lambda message: message.kind is kind and node_id in (message.sender, message.receiver)]

    def _tick_all(self) -> None:
        for node_id in self._random.sample(sorted(self._network.members), len(self._network.members)):
            self._network[node_id].raw.tick()
            self._network.collect(self._network[node_id])
            while self._network.wire and self._random.random() < self._delivery_chance:
                for _ in range(len(self._network.wire)):
                    self._network.deliver(self._network.wire.popleft())
            for member in self._network.members.values():
                self._invariants.check(member)
            self._write_and_read()

    def _write_and_read(self) -> None:
        for node_id in self._network.leaders():
            member = self._network[node_id]
            with suppress(ProposalDropped):
                member.raw.propose([b"x%d" % next(self._names)])
            self._network.collect(member)
            self._read(member)

    def _read(self, member: Member) -> None:
        context = b"r%d" % next(self._names)
        self._invariants.asked(context)
        member.raw.read_index(context)
        self._network.collect(member)
        self.reads_by_lease += any(state.context == context for state in member.read_states)
        assert member.role is RoleName.LEADER
        self._invariants.check(member)


@pytest.mark.parametrize("first", range(0, RUNS, 20))
def test_no_read_by_lease_is_stale(first: int) -> None:
    runs = [LeaseRun(seed) for seed in range(first, first + 20)]
    for run in runs:
        run.run()
    assert sum(run.reads_by_lease for run in runs) > 20 * len(runs)
