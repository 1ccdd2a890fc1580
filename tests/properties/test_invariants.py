"""The watcher of the invariants sees each of them broken: else its silence would mean nothing."""

from collections.abc import Callable

import pytest

from meteora.raft import Configuration, Entry, HardState, Message, MessageKind, ReadState
from tests.raft_invariants import Invariants
from tests.raft_network import Network, cluster


def add_unstable(network: Network, node: int, entries: list[Entry]) -> None:
    """Entries that get into a log in no way that there is."""
    log = network[node].raw._raft.log
    log._unstable += entries
    log.last_index += len(entries)


def watched() -> tuple[Network, Invariants]:
    """Three members of which n1 leads, with one command applied by all, and a watcher that has seen them so."""
    network = cluster()
    network.campaign(1)
    network.propose(1, b"x")
    invariants = Invariants(network)
    check_all(network, invariants)
    return network, invariants


def check_all(network: Network, invariants: Invariants) -> None:
    for member in network.members.values():
        invariants.check(member)


def win_again(network: Network) -> None:
    network[1].incarnation += 1


def win_what_another_has_won(network: Network) -> None:
    raft = network[2].raw._raft
    raft.become_candidate(is_pre_vote=False)
    raft.term = raft.vote = 1
    raft.become_leader()


def change_an_entry(network: Network) -> None:
    log = network[2].disk.log
    log._entries[1] = log._entries[1]._replace(data=b"y")


def change_what_is_before_an_entry(network: Network) -> None:
    add_unstable(network, 2, [Entry(3, 3), Entry(5, 4)])
    add_unstable(network, 3, [Entry(4, 3), Entry(5, 4)])


def let_terms_fall(network: Network) -> None:
    add_unstable(network, 2, [Entry(3, 3), Entry(2, 4)])


def misplace_an_entry(network: Network) -> None:
    add_unstable(network, 2, [Entry(3, 4)])


def lower_the_term(network: Network) -> None:
    network[2].raw._raft.term = 0


def change_the_vote(network: Network) -> None:
    network[1].raw._raft.vote = 3


def lower_the_commit_index(network: Network) -> None:
    network[1].raw._raft.log.committed = 1
    network[1].raw._raft.log.applied = 1


def apply_more_than_is_committed(network: Network) -> None:
    network[2].state.append(Entry(1, 3))


def apply_something_else(network: Network) -> None:
    network[2].state[1] = Entry(1, 2, b"y")


def lose_what_is_applied(network: Network) -> None:
    network[2].disk.log._entries.pop()
    network[2].raw._raft.log._unstable = [Entry(1, 2, b"x")]
    network[2].raw._raft.log._offset = 2


def apply_another_configuration(network: Network) -> None:
    network[2].raw._raft.configuration = Configuration.of({1, 2})


def lower_the_term_on_disk(network: Network) -> None:
    network[2].disk.hard_state = HardState(term=0)


def change_the_vote_on_disk(network: Network) -> None:
    network[1].disk.hard_state = HardState(term=1, vote=3)


def raise_the_term_on_disk_alone(network: Network) -> None:
    network[1].disk.hard_state = HardState(term=9)


def commit_in_a_log_that_lacks_what_is_committed(network: Network) -> None:
    raft = network[2].raw._raft
    network[2].disk.log._entries = [Entry(1, 1)]
    raft.log._offset, raft.log.last_index, raft.log.committed, raft.log.applied = 2, 1, 1, 1
    network[2].state.pop()
    network[2].incarnation += 1
    raft.become_candidate(is_pre_vote=False)
    network[2].disk.hard_state = HardState(term=2, vote=2)
    raft.become_leader()


@pytest.mark.parametrize(
    ("breaks", "story"),
    [
        (win_again, "was won by n1 already"),
        (win_what_another_has_won, "was won by n1 already"),
        (change_an_entry, "elsewhere"),
        (change_what_is_before_an_entry, "elsewhere"),
        (let_terms_fall, "terms fall at 4"),
        (misplace_an_entry, "entry 4 is in place 3"),
        (lower_the_term, "went back from 1"),
        (change_the_vote, "vote changed from 1 to 3"),
        (lower_the_commit_index, "commit index went back from 2"),
        (apply_more_than_is_committed, "applied what was not committed"),
        (apply_something_else, "applied what was not committed"),
        (lose_what_is_applied, "applied what is not durable"),
        (apply_another_configuration, "the configuration is"),
        (lower_the_term_on_disk, "the term on disk went back"),
        (change_the_vote_on_disk, "the vote on disk changed"),
        (raise_the_term_on_disk_alone, "behind its disk"),
        (commit_in_a_log_that_lacks_what_is_committed, "leads without all that is committed"),
    ],
)
def test_a_broken_rule_is_seen(breaks: Callable[[Network], None], story: str) -> None:
    network, invariants = watched()
    breaks(network)
    with pytest.raises(AssertionError, match=story):
        check_all(network, invariants)


def test_a_second_outcome_of_one_index_is_seen() -> None:
    network, invariants = watched()
    invariants._committed[1] = Entry(1, 2, b"y")
    with pytest.raises(AssertionError, match="is committed"):
        invariants.check(network[1])


def test_a_stale_read_is_seen() -> None:
    network, invariants = watched()
    invariants.asked(b"r")
    network[1].read_states.append(ReadState(b"r", 1))
    with pytest.raises(AssertionError, match="stale read"):
        invariants.check(network[1])


@pytest.mark.parametrize(
    ("message", "story"),
    [
        (Message(MessageKind.APPEND_RESPONSE, 2, 1, term=1, index=3), "acknowledged before durable"),
        (Message(MessageKind.VOTE_RESPONSE, 2, 3, term=1), "voted before durable"),
    ],
)
def test_a_word_that_is_not_durable_is_seen(message: Message, story: str) -> None:
    _, invariants = watched()
    with pytest.raises(AssertionError, match=story):
        invariants.check_leaving([message])


def test_a_member_that_is_down_breaks_no_rule() -> None:
    network, invariants = watched()
    lower_the_term(network)
    network.crash(2)
    invariants.check(network[2])
