"""Paper 5.4.2: entries of earlier terms are not committed by counting replicas."""

import pytest

from meteora.raft import HardState, MessageKind, RoleName, Settings
from tests.raft_network import Network, acknowledge, cluster, lead, log_of, lone_member

ELECTION_TICKS = 10


@pytest.mark.parametrize(("acknowledged", "commit"), [(1, 0), (2, 0), (3, 3)])
def test_a_leader_only_commits_by_counting_what_is_of_its_current_term(acknowledged: int, commit: int) -> None:
    """5.4.2: once one such entry is committed, all before it are."""
    member = lone_member(entries=log_of(1, 2))
    lead(member)
    assert member.terms() == [1, 2, 3]
    acknowledge(member, 2, index=acknowledged)
    assert member.commit_index == commit


def figure_8() -> Network:
    """Before (c): n1 and n2 have 2@2 of n1's first term as leader, n5 has 2@3 of its own; n1 can reach n2 and n3."""
    network = cluster(
        range(1, 6),
        logs={1: log_of(1, 2), 2: log_of(1, 2), 3: log_of(1), 4: log_of(1), 5: log_of(1, 3)},
        hard_states={node_id: HardState(term=3, commit=1) for node_id in range(1, 6)},
        settings=Settings(election_ticks=ELECTION_TICKS, max_append_bytes=1),
    )
    network.isolate(1, 2, 3)
    return network


def n5_campaigns_without_n1(network: Network) -> None:
    network.heal()
    network.isolate(1)
    # The others have heard nothing of n1 for long enough to vote for somebody else.
    network.tick(ELECTION_TICKS, 2, 3, 4, 5)
    # By the first try it learns of term 4.
    network.campaign(5)
    network.campaign(5)


def test_what_a_majority_has_may_still_be_overwritten() -> None:
    """5.4.2, figure 8: 2@2 is on a majority in (c), and 2@3 replaces it in (d): so it must not have been committed."""
    network = figure_8()
    # (c): n1 leads term 4 and replicates 2@2, but its own entry to nobody.
    network.drop(
        lambda message: message.kind is MessageKind.APPEND and any(entry.term == 4 for entry in message.entries)
    )
    network.campaign(1)
    network.post(network[1].heard(MessageKind.APPEND_RESPONSE, 2, index=2))
    network.post(network[1].heard(MessageKind.APPEND_RESPONSE, 3, index=2, reject=True, hint=1, log_term=1))
    network.settle()
    assert [network[node_id].terms() for node_id in (1, 2, 3)] == [[1, 2, 4], [1, 2], [1, 2]]
    peers = network[1].raw.status().peers
    assert [peers[node_id].match_index for node_id in (1, 2, 3)] == [3, 2, 2]
    assert network[1].commit_index == 1
    # (d): n5's last entry is of a higher term than theirs.
    n5_campaigns_without_n1(network)
    assert network[5].role is RoleName.LEADER
    network.heal()
    network.tick()
    assert all(member.terms()[:2] == [1, 3] for member in network.members.values())


def test_what_a_majority_has_is_safe_once_an_entry_of_the_leaders_term_is_committed() -> None:
    """5.4.2, figure 8 (e): then n5 can't win any more."""
    network = figure_8()
    network.campaign(1)
    assert network[1].commit_index == 3
    n5_campaigns_without_n1(network)
    assert network[5].role is not RoleName.LEADER
    network.tick(2 * ELECTION_TICKS, 2, 3, 4, 5)
    assert network.leaders()[-1] in (2, 3)
    assert network[5].terms()[:3] == [1, 2, 4]
