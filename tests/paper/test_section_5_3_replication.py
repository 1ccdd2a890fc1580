"""Paper 5.3: how the leader's log becomes everybody's."""

import pytest

from meteora.raft import Entry, HardState, Message, MessageKind, RoleName
from tests.raft_network import Member, acknowledge, cluster, lead, log_of, lone_member


def settled_leader(size: int = 3) -> Member:
    """A leader in term 1 whose opening entry, at index 1, is committed and known everywhere to be."""
    member = lone_member(voters=range(1, size + 1))
    lead(member)
    acknowledge(member, *range(2, size + 1))
    assert member.commit_index == 1
    return member


def test_a_leader_starts_replication() -> None:
    """5.3: it appends the command as a new entry, and sends it to all with the place and term of the one before."""
    member = settled_leader()
    member.holds_writes = True
    entry = Entry(1, 2, b"some data")
    assert member.propose(b"some data") == [
        Message(MessageKind.APPEND, 1, peer, term=1, index=1, log_term=1, commit=1, entries=(entry,)) for peer in (2, 3)
    ]
    assert member.writing is not None
    assert member.writing.entries == (entry,)
    assert member.commit_index == 1


def test_a_leader_sends_an_entry_before_its_own_disk_has_it() -> None:
    """Thesis 10.2.1: in parallel; but it counts itself only when the disk has answered."""
    member = settled_leader(size=2)
    member.holds_writes = True
    assert [message.kind for message in member.propose(b"x")] == [MessageKind.APPEND]
    acknowledge(member, 2)
    assert member.commit_index == 1
    member.finish_write()
    assert member.commit_index == 2


def test_a_leader_commits_an_entry() -> None:
    """5.3: once a majority has it; then it is applied, and the next append tells the others."""
    member = settled_leader()
    member.propose(b"some data")
    assert acknowledge(member, 2) == [
        Message(MessageKind.APPEND, 1, peer, term=1, index=2, log_term=1, commit=2) for peer in (2, 3)
    ]
    assert member.commit_index == 2
    assert member.commands() == [b"some data"]


@pytest.mark.parametrize(
    ("size", "acceptors", "is_committed"),
    [
        (1, [], True),
        (3, [], False),
        (3, [2], True),
        (3, [2, 3], True),
        (5, [], False),
        (5, [2], False),
        (5, [2, 3], True),
        (5, [2, 3, 4], True),
        (5, [2, 3, 4, 5], True),
    ],
)
def test_a_leader_acknowledges_a_commit(size: int, acceptors: list[int], is_committed: bool) -> None:
    """5.3: an entry is committed once the leader that created it has replicated it on a majority."""
    member = settled_leader(size)
    member.propose(b"some data")
    acknowledge(member, *acceptors)
    assert (member.commit_index == 2) is is_committed


@pytest.mark.parametrize("terms", [(), (2,), (1, 2), (1,)])
def test_a_leader_commits_preceding_entries(terms: tuple[int, ...]) -> None:
    """5.3: an entry commits all before it, also those of other leaders, and they are applied in order."""
    member = lone_member(entries=log_of(*terms), hard_state=HardState(term=2))
    lead(member)
    member.propose(b"some data")
    acknowledge(member, 2)
    last = len(terms) + 2
    assert member.commit_index == last
    assert member.state == [*log_of(*terms), Entry(3, last - 1), Entry(3, last, b"some data")]


@pytest.mark.parametrize("commit", [1, 2, 3])
def test_a_follower_commits_an_entry(commit: int) -> None:
    """5.3: it learns from the leader how far the log is committed, and applies that far, in order."""
    member = lone_member(hard_state=HardState(term=1))
    entries = tuple(log_of(1, 1, 1))
    member.heard(MessageKind.APPEND, 2, entries=entries, commit=commit)
    assert member.commit_index == commit
    assert member.state == list(entries[:commit])


@pytest.mark.parametrize(
    ("index", "term", "hint"),
    [
        # The log is 1@1 2@2. What matches, at or before the end, is taken.
        (0, 0, None),
        (1, 1, None),
        (2, 2, None),
        # Another term at that place: it may match where this log's terms are not above that one.
        (2, 1, (1, 1)),
        (2, 3, (2, 2)),
        (1, 2, (1, 1)),
        # The log is too short.
        (3, 3, (2, 2)),
        (9, 1, (1, 1)),
    ],
)
def test_a_follower_checks_an_append(index: int, term: int, hint: tuple[int, int] | None) -> None:
    """5.3: it refuses new entries if it has no entry of the same index and term before them, and tells what it has."""
    member = lone_member(entries=log_of(1, 2))
    answer = member.heard(MessageKind.APPEND, 2, index=index, log_term=term)
    if hint is None:
        assert answer == [Message(MessageKind.APPEND_RESPONSE, 1, 2, term=2, index=index)]
    else:
        assert answer == [
            Message(MessageKind.APPEND_RESPONSE, 1, 2, term=2, index=index, reject=True, hint=hint[0], log_term=hint[1])
        ]


@pytest.mark.parametrize(
    ("base", "sent", "terms", "written"),
    [
        # The follower's log is 1@1 2@2; sent are (term, index), to follow entry `base`.
        (2, [(3, 3)], [1, 2, 3], [(3, 3)]),
        (1, [(3, 2), (4, 3)], [1, 3, 4], [(3, 2), (4, 3)]),
        (0, [(1, 1)], [1, 2], []),
        (0, [(3, 1)], [3], [(3, 1)]),
        (0, [(1, 1), (2, 2), (4, 3)], [1, 2, 4], [(4, 3)]),
        (0, [(1, 1), (4, 2)], [1, 4], [(4, 2)]),
        (1, [], [1, 2], []),
    ],
)
def test_a_follower_appends_entries(
    base: int, sent: list[tuple[int, int]], terms: list[int], written: list[tuple[int, int]]
) -> None:
    """5.3: an existing entry that conflicts goes, and all after it; what agrees stays, and is not written again."""
    member = lone_member(entries=log_of(1, 2), hard_state=HardState(term=4))
    member.holds_writes = True
    entries = tuple(Entry(term, index, b"%d@%d" % (index, term)) for term, index in sent)
    member.heard(MessageKind.APPEND, 2, index=base, log_term=[0, 1, 2][base], entries=entries)
    assert member.terms() == terms
    assert member.writing is not None
    assert [(entry.term, entry.index) for entry in member.writing.entries] == written
    member.finish_write()
    assert member.disk.log.last_index() == len(terms)


def test_a_late_and_shorter_append_does_not_cut_the_log() -> None:
    """5.3: only an entry that conflicts is a reason to delete."""
    member = lone_member(entries=log_of(1, 1, 1, 1))
    member.heard(MessageKind.APPEND, 2, index=1, log_term=1, entries=tuple(log_of(1, 1)[1:]))
    assert member.terms() == [1, 1, 1, 1]


LEADER_OF_FIGURE_7 = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)


@pytest.mark.parametrize(
    "terms",
    [
        pytest.param((1, 1, 1, 4, 4, 5, 5, 6, 6), id="a: one entry is missing"),
        pytest.param((1, 1, 1, 4), id="b: many are missing"),
        pytest.param((1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6), id="c: one too many"),
        pytest.param((1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7), id="d: led in term 7"),
        pytest.param((1, 1, 1, 4, 4, 4, 4), id="e: led in term 4, some missing"),
        pytest.param((1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3), id="f: led in terms 2 and 3"),
    ],
)
def test_a_leader_syncs_a_followers_log(terms: tuple[int, ...]) -> None:
    """5.3, figure 7: whatever a follower's log holds, it ends equal to the leader's."""
    network = cluster(
        # The third one has an empty log, and gives the vote that the leader needs.
        logs={1: log_of(*LEADER_OF_FIGURE_7), 2: log_of(*terms)},
        hard_states={1: HardState(term=7), 2: HardState(term=7)},
    )
    network.campaign(1)
    assert network[1].role is RoleName.LEADER
    assert network[2].log() == network[1].log()
    assert network[2].terms() == [*LEADER_OF_FIGURE_7, 8]
    assert network[3].log() == network[1].log()
