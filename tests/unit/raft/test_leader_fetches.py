"""Entries that are not in memory are read from disk and sent when they come; nothing waits for that meanwhile."""

from meteora.raft import Entry, Fetch, HardState, MessageKind, RoleName
from meteora.raft.progress import ProgressState
from tests.raft_network import Member, acknowledge, lead, log_of, lone_member
from tests.unit.raft.leaders import appends, progress_of

OLD = 6
"""Entries that are on disk only."""


def leader_with_old_entries() -> Member:
    """n3 is known to match at 2, and what it misses up to `OLD` is not in memory."""
    member = lone_member(entries=log_of(*[1] * OLD), hard_state=HardState(term=1, commit=OLD))
    lead(member)
    member.holds_fetches = True
    member.disk.log.first_in_memory = OLD + 1
    member.heard(MessageKind.APPEND_RESPONSE, 3, index=OLD, reject=True, hint=2, log_term=1)
    return member


def fetches_of(member: Member) -> list[Fetch]:
    return [fetch for fetch, _ in member.fetches]


def test_entries_that_are_not_in_memory_are_asked_for() -> None:
    member = leader_with_old_entries()
    assert fetches_of(member) == [Fetch(3, 3, OLD + 2, member.settings.max_append_bytes)]


def test_only_what_is_durable_is_asked_of_the_disk() -> None:
    member = lone_member(entries=log_of(*[1] * OLD), hard_state=HardState(term=1, commit=OLD))
    lead(member)
    member.holds_writes = member.holds_fetches = True
    member.propose(b"not durable")
    member.disk.log.first_in_memory = OLD + 2
    member.heard(MessageKind.APPEND_RESPONSE, 3, index=OLD, reject=True, hint=2, log_term=1)
    assert [fetch.high for fetch in fetches_of(member)] == [OLD + 2]


def test_what_was_read_is_sent() -> None:
    member = leader_with_old_entries()
    member.answer_fetches()
    assert appends(member.work(), 3) == [(2, [3, 4, 5, 6, 7])]


def test_nothing_is_sent_to_a_peer_and_nothing_asked_for_it_while_its_entries_are_read() -> None:
    member = leader_with_old_entries()
    for left in (member.propose(b"x"), member.heard(MessageKind.HEARTBEAT_RESPONSE, 3)):
        assert appends(left, 3) == []
    assert len(member.fetches) == 1


def test_the_rest_follows_the_answer() -> None:
    member = leader_with_old_entries()
    member.propose(b"x")
    member.answer_fetches()
    member.work()
    assert appends(acknowledge(member, 3, index=7), 3) == [(7, [8])]


def test_what_was_read_for_a_peer_that_has_moved_on_is_not_sent() -> None:
    member = leader_with_old_entries()
    acknowledge(member, 3, index=OLD)
    member.answer_fetches()
    assert appends(member.work(), 3) == [(OLD, [OLD + 1])]
    assert progress_of(member, 3).state is ProgressState.REPLICATE


def test_what_could_not_be_read_is_asked_for_again_when_the_peer_answers_a_heartbeat_and_not_before() -> None:
    # Or a disk that fails would be asked again and again without a pause.
    member = leader_with_old_entries()
    ((fetch, _),) = member.fetches
    member.fetches.clear()
    member.raw.fetched(fetch, ())
    member.work()
    assert fetches_of(member) == []
    member.heard(MessageKind.HEARTBEAT_RESPONSE, fetch.peer)
    assert fetches_of(member) == [fetch]


def test_what_was_read_for_a_peer_that_was_removed_is_dropped() -> None:
    member = leader_with_old_entries()
    ((fetch, entries),) = member.fetches
    member.raw.fetched(fetch._replace(peer=9), entries)
    assert member.work() == []


def test_what_was_read_for_a_leader_that_has_stepped_down_is_dropped() -> None:
    member = leader_with_old_entries()
    member.heard(MessageKind.HEARTBEAT, 2, term=9)
    member.answer_fetches()
    assert member.work() == []


def test_what_was_read_in_an_earlier_term_of_this_leader_is_sent_only_if_it_is_still_in_its_log() -> None:
    """Found by reading: between the two terms, another leader had replaced those entries."""
    member = lone_member(entries=log_of(*[1] * OLD), hard_state=HardState(term=1, commit=2))
    lead(member)
    member.holds_fetches = True
    member.disk.log.first_in_memory = OLD + 1
    member.heard(MessageKind.APPEND_RESPONSE, 3, index=OLD, reject=True, hint=2, log_term=1)
    ((fetch, stale),) = member.fetches
    member.fetches.clear()
    replaced = tuple(Entry(3, index) for index in range(3, 9))
    member.heard(MessageKind.APPEND, 2, term=3, index=2, log_term=1, entries=replaced)
    lead(member)
    member.heard(MessageKind.APPEND_RESPONSE, 3, index=8, reject=True, hint=2, log_term=1)
    assert [one.low for one in fetches_of(member)] == [fetch.low]
    member.raw.fetched(fetch, stale)
    assert member.role is RoleName.LEADER
    assert appends(member.work(), 3) == []
