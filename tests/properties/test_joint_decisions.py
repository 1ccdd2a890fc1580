"""Whatever a joint cluster decides, it decides by both majorities: held against quorums written from the definition.

Each decision is made by a real core, whose peers answer or keep silent: an election, a commit, a read by a round and
one by a lease, and whether the leader stays.
"""

import hypothesis
from hypothesis import strategies

from meteora.raft import Configuration, MessageKind, RoleName, Settings
from meteora.raft.quorum import VoteResult
from tests.properties.test_quorum import slow_vote
from tests.raft_network import Disk, Member, acknowledge, lead, stand

ME = 1

many = hypothesis.settings(max_examples=150, deadline=None)
answering = strategies.frozensets(strategies.integers(2, 6))


@strategies.composite
def joint(draw: strategies.DrawFn) -> Configuration:
    """A joint configuration of which n1 is a voter, in one half or in both."""
    halves = strategies.frozensets(strategies.integers(1, 6), min_size=1, max_size=5)
    voters, outgoing = draw(halves), draw(halves)
    hypothesis.assume(ME in voters | outgoing)
    return Configuration(voters, outgoing)


def is_enough(configuration: Configuration, nodes: frozenset[int]) -> bool:
    """Whether n1 and these nodes are a majority of each half."""
    ballots = dict.fromkeys(nodes | {ME}, True)
    return slow_vote([configuration.voters, configuration.outgoing], ballots) is VoteResult.WON


def member_of(configuration: Configuration, *, lease_reads: bool = False) -> Member:
    settings = Settings(lease_reads=lease_reads)
    return Member(ME, Disk(configuration), settings=settings, random_below=lambda _: 0)


def leader_of(configuration: Configuration, *, lease_reads: bool = False) -> Member:
    """It has committed in its term, and everybody has all of it."""
    member = member_of(configuration, lease_reads=lease_reads)
    lead(member)
    acknowledge(member, *sorted(configuration.all_voters - {ME}))
    return member


@many
@hypothesis.given(joint(), answering)
def test_an_election_is_won_by_both_majorities(configuration: Configuration, nodes: frozenset[int]) -> None:
    member = member_of(configuration)
    stand(member)
    for voter in sorted(nodes & configuration.all_voters):
        if member.role is RoleName.CANDIDATE:
            member.heard(MessageKind.VOTE_RESPONSE, voter)
    assert (member.role is RoleName.LEADER) == is_enough(configuration, nodes)


@many
@hypothesis.given(joint(), answering)
def test_an_entry_is_committed_by_both_majorities(configuration: Configuration, nodes: frozenset[int]) -> None:
    member = member_of(configuration)
    lead(member)
    acknowledge(member, *sorted(nodes))
    assert member.commit_index == is_enough(configuration, nodes)


@many
@hypothesis.given(joint(), answering)
def test_a_read_is_confirmed_by_both_majorities(configuration: Configuration, nodes: frozenset[int]) -> None:
    member = leader_of(configuration)
    member.raw.read_index(b"r")
    for message in member.work():
        if message.receiver in nodes:
            member.heard(MessageKind.HEARTBEAT_RESPONSE, message.receiver, context=message.context)
    assert bool(member.read_states) == is_enough(configuration, nodes)


@many
@hypothesis.given(joint(), answering)
def test_a_lease_rests_on_both_majorities(configuration: Configuration, nodes: frozenset[int]) -> None:
    member = leader_of(configuration, lease_reads=True)
    for message in member.tick():
        if message.receiver in nodes:
            member.heard(MessageKind.HEARTBEAT_RESPONSE, message.receiver, context=message.context)
    member.raw.read_index(b"r")
    assert bool(member.raw._raft.read_states) == is_enough(configuration, nodes)


@many
@hypothesis.given(joint(), answering)
def test_a_leader_stays_while_it_hears_both_majorities(configuration: Configuration, nodes: frozenset[int]) -> None:
    member = leader_of(configuration)
    member.tick(member.settings.election_ticks)
    assert member.role is RoleName.LEADER
    for peer in sorted(nodes & configuration.all_voters):
        member.heard(MessageKind.HEARTBEAT_RESPONSE, peer)
    member.tick(member.settings.election_ticks)
    assert (member.role is RoleName.LEADER) == is_enough(configuration, nodes)
