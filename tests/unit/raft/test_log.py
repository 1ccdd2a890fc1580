"""The arithmetic of durable and unstable entries, and of the marks that Raft keeps on them."""

from collections.abc import Sequence

import pytest

from meteora.raft import Configuration, Entry, EntryKind, Snapshot
from meteora.raft.errors import Compacted, InvariantViolation
from meteora.raft.log import Log
from meteora.raft.memory_log import MemoryLog
from tests.raft_network import ALL_BYTES, ColdLog, log_of


def entries_at(first: int, *terms: int) -> list[Entry]:
    """Entries from `first` on, of the given terms."""
    return [Entry(term, index, b"%d@%d" % (index, term)) for index, term in enumerate(terms, start=first)]


def log_with(durable: Sequence[int] = (), unstable: Sequence[int] = (), *, committed: int = 0, applied: int = 0) -> Log:
    """A log whose durable and unstable entries have these terms."""
    log = Log(MemoryLog(log_of(*durable)), committed=min(committed, len(durable)), applied=applied)
    log.append(entries_at(len(durable) + 1, *unstable))
    log.commit_to(committed)
    return log


def terms_of(log: Log) -> list[int]:
    return [log.term(index) for index in range(1, log.last_index + 1)]


SIZE = log_of(1)[0].size_bytes()


# The beginning


@pytest.mark.parametrize(("committed", "applied"), [(0, 0), (3, 0), (3, 3), (2, 1)])
def test_a_log_begins_with_what_is_durable(committed: int, applied: int) -> None:
    log = log_with((1, 1, 2), committed=committed, applied=applied)
    assert (log.first_index, log.stable_index, log.last_index, log.last_term) == (1, 3, 3, 2)
    assert (log.committed, log.applied) == (committed, applied)
    assert not log.has_unstable


@pytest.mark.parametrize(("committed", "applied"), [(4, 0), (1, 2)])
def test_marks_that_do_not_fit_the_log_are_refused(committed: int, applied: int) -> None:
    with pytest.raises(InvariantViolation, match="does not hold"):
        Log(MemoryLog(log_of(1, 1, 2)), committed=committed, applied=applied)


def test_a_log_is_described_in_one_line() -> None:
    assert repr(log_with((1,), (1, 1), committed=2)) == "applied=0 committed=2 stable=1 last=3"


def test_what_may_hold_a_membership_change_must_be_in_memory_at_the_beginning() -> None:
    cold = ColdLog(log_of(1, 1))
    cold.first_in_memory = 3
    with pytest.raises(InvariantViolation, match="entry 2 is not committed yet, and not in memory"):
        Log(cold, committed=1, applied=1)


# Terms


def test_the_term_is_known_in_both_parts_and_is_0_before_the_first() -> None:
    log = log_with((1, 2), (2, 5))
    assert [log.term(index) for index in range(5)] == [0, 1, 2, 2, 5]
    assert log.last_term == 5


def test_the_term_beyond_the_end_is_not_asked_for() -> None:
    with pytest.raises(InvariantViolation, match="beyond the last"):
        log_with((1,), (1,)).term(3)


def test_what_is_unstable_shadows_what_is_durable() -> None:
    log = log_with((1, 1, 1))
    log.append(entries_at(2, 3))
    assert terms_of(log) == [1, 3]


class CutLog(MemoryLog):
    """A log whose first two entries were cut off."""

    def first_index(self) -> int:
        return 3

    def term(self, index: int) -> int:
        if index < 2:
            raise Compacted
        return super().term(index)


def test_the_term_below_a_cut_log_is_not_known() -> None:
    log = Log(CutLog(log_of(1, 1, 2, 2)), committed=2, applied=2)
    assert log.term(2) == 1
    with pytest.raises(Compacted):
        log.term(1)


@pytest.mark.parametrize(
    ("index", "term", "matches"),
    [
        (0, 0, True),
        (1, 1, True),
        (3, 2, True),
        (4, 4, True),
        (3, 1, False),
        (4, 2, False),
        (5, 4, False),
        (9, 9, False),
    ],
)
def test_a_log_matches_where_it_has_that_term(index: int, term: int, matches: bool) -> None:
    assert log_with((1, 1), (2, 4)).matches(index, term) is matches


def test_a_cut_log_matches_nothing_below_the_cut() -> None:
    log = Log(CutLog(log_of(1, 1, 2, 2)), committed=2, applied=2)
    assert not log.matches(1, 1)
    assert log.matches(2, 1)


@pytest.mark.parametrize(
    ("index", "term", "is_up_to_date"),
    [
        # A higher last term, whatever the length.
        (1, 4, True),
        (3, 4, True),
        (9, 4, True),
        # A lower one.
        (2, 2, False),
        (9, 2, False),
        # The same: the longer log, or an equal one.
        (2, 3, False),
        (3, 3, True),
        (4, 3, True),
    ],
)
def test_which_log_is_up_to_date(index: int, term: int, is_up_to_date: bool) -> None:
    assert log_with((1, 2), (3,)).is_up_to_date(index, term) is is_up_to_date


# Entries


@pytest.mark.parametrize(("low", "high"), [(1, 2), (1, 3), (2, 4), (3, 4), (3, 6), (4, 6), (1, 6)])
def test_entries_of_both_parts_are_one_sequence(low: int, high: int) -> None:
    log = log_with((1, 1, 1), (2, 2))
    assert list(log.entries(low, high, ALL_BYTES) or ()) == [*log_of(1, 1, 1), *entries_at(4, 2, 2)][low - 1 : high - 1]


@pytest.mark.parametrize(
    ("low", "max_bytes", "count"),
    [
        # Never to nothing, in either part.
        (1, 0, 1),
        (4, 0, 1),
        # Within the durable part, at its end, across it, within the unstable part.
        (1, 2 * SIZE, 2),
        (1, 3 * SIZE, 3),
        (1, 3 * SIZE + 1, 3),
        (1, 4 * SIZE, 4),
        (1, 4 * SIZE - 1, 3),
        (1, 5 * SIZE, 5),
        (4, 2 * SIZE - 1, 1),
        (4, 2 * SIZE, 2),
    ],
)
def test_entries_are_cut_short_at_the_limit(low: int, max_bytes: int, count: int) -> None:
    log = log_with((1, 1, 1), (2, 2))
    assert [entry.index for entry in log.entries(low, 6, max_bytes) or ()] == list(range(low, low + count))


@pytest.mark.parametrize(("low", "high"), [(2, 2), (3, 2), (1, 5), (4, 5)])
def test_entries_that_are_not_there_are_not_asked_for(low: int, high: int) -> None:
    with pytest.raises(InvariantViolation, match="of a log that ends at 3"):
        log_with((1, 1), (1,)).entries(low, high, ALL_BYTES)


def test_entries_that_are_not_in_memory_are_none() -> None:
    reader = ColdLog(log_of(1, 1, 1))
    reader.first_in_memory = 3
    log = Log(reader, committed=2, applied=2)
    log.append(entries_at(4, 1))
    assert log.entries(2, 5, ALL_BYTES) is None
    assert [entry.index for entry in log.entries(3, 5, ALL_BYTES) or ()] == [3, 4]


# Appending


@pytest.mark.parametrize(
    ("first", "terms", "after", "stable_index", "unstable_from"),
    [
        pytest.param(6, (3,), [1, 1, 1, 2, 2, 3], 3, 4, id="after the last"),
        pytest.param(5, (3, 3), [1, 1, 1, 2, 3, 3], 3, 4, id="inside what is unstable"),
        pytest.param(4, (3,), [1, 1, 1, 3], 3, 4, id="in place of all that is unstable"),
        pytest.param(2, (3,), [1, 3], 1, 2, id="in place of something durable"),
        pytest.param(1, (3, 3), [3, 3], 0, 1, id="in place of everything"),
    ],
)
def test_appending_replaces_what_is_there_and_all_after_it(
    first: int, terms: tuple[int, ...], after: list[int], stable_index: int, unstable_from: int
) -> None:
    log = log_with((1, 1, 1), (2, 2))
    log.append(entries_at(first, *terms))
    assert terms_of(log) == after
    assert log.stable_index == stable_index
    assert [entry.index for entry in log.unstable()] == list(range(unstable_from, len(after) + 1))


def test_appending_nothing_changes_nothing() -> None:
    log = log_with((1,), (1,))
    log.append([])
    assert terms_of(log) == [1, 1]


def test_appending_beyond_the_end_is_refused() -> None:
    with pytest.raises(InvariantViolation, match="gap after 2"):
        log_with((1,), (1,)).append(entries_at(4, 1))


@pytest.mark.parametrize("first", [1, 2])
def test_what_is_committed_is_never_replaced(first: int) -> None:
    with pytest.raises(InvariantViolation, match="replace a committed one"):
        log_with((1, 1, 1), committed=2).append(entries_at(first, 9))


@pytest.mark.parametrize(
    ("index", "term", "sent", "last_match", "after"),
    [
        # Not there, or of another term.
        (3, 2, (4,), None, [1, 2, 3]),
        (4, 4, (4,), None, [1, 2, 3]),
        (2, 1, (), None, [1, 2, 3]),
        # Nothing new: nothing changes, a late message cuts nothing off.
        (3, 3, (), 3, [1, 2, 3]),
        (0, 0, (1, 2), 2, [1, 2, 3]),
        (0, 0, (), 0, [1, 2, 3]),
        (1, 1, (2, 3), 3, [1, 2, 3]),
        # New ones at the end.
        (3, 3, (4,), 4, [1, 2, 3, 4]),
        (3, 3, (4, 4), 5, [1, 2, 3, 4, 4]),
        (2, 2, (3, 4), 4, [1, 2, 3, 4]),
        # In conflict with what is there.
        (2, 2, (4,), 3, [1, 2, 4]),
        (1, 1, (4,), 2, [1, 4]),
        (1, 1, (2, 4, 4), 4, [1, 2, 4, 4]),
        (0, 0, (4,), 1, [4]),
    ],
)
def test_appending_what_a_leader_sent(
    index: int, term: int, sent: tuple[int, ...], last_match: int | None, after: list[int]
) -> None:
    for durable in range(4):
        log = log_with((1, 2, 3)[:durable], (1, 2, 3)[durable:])
        assert log.append_after(index, term, entries_at(index + 1, *sent)) == last_match
        assert terms_of(log) == after


def test_a_leader_that_contradicts_what_is_committed_is_a_broken_one() -> None:
    with pytest.raises(InvariantViolation, match="replace a committed one"):
        log_with((1, 2, 3), committed=2).append_after(1, 1, entries_at(2, 4))


@pytest.mark.parametrize(
    ("terms", "index", "term", "found"),
    [
        # The one who asks has `term` at `index`.
        ((0,), 0, 0, (0, 0)),
        ((1, 1, 1), 3, 1, (3, 1)),
        ((1, 1, 1), 2, 1, (2, 1)),
        ((1, 1, 1), 3, 0, (0, 0)),
        ((2, 2, 3, 3, 5, 5), 6, 5, (6, 5)),
        ((2, 2, 3, 3, 5, 5), 6, 4, (4, 3)),
        ((2, 2, 3, 3, 5, 5), 6, 3, (4, 3)),
        ((2, 2, 3, 3, 5, 5), 6, 2, (2, 2)),
        ((2, 2, 3, 3, 5, 5), 6, 1, (0, 0)),
        ((2, 2, 3, 3, 5, 5), 3, 9, (3, 3)),
        # Beyond the end: from the end on.
        ((2, 2, 3), 9, 9, (3, 3)),
        ((2, 2, 3), 9, 2, (2, 2)),
    ],
)
def test_a_conflict_is_found_by_term(terms: tuple[int, ...], index: int, term: int, found: tuple[int, int]) -> None:
    terms = () if terms == (0,) else terms
    for durable in range(len(terms) + 1):
        assert log_with(terms[:durable], terms[durable:]).find_conflict_by_term(index, term) == found


def test_a_conflict_below_a_cut_log_has_no_known_term() -> None:
    log = Log(CutLog(log_of(2, 2, 3, 3)), committed=2, applied=2)
    assert log.find_conflict_by_term(4, 2) == (2, 2)
    assert log.find_conflict_by_term(4, 1) == (1, 0)


# Making durable


def test_unstable_entries_are_handed_out_once() -> None:
    log = log_with((1,), (1, 1))
    assert [entry.index for entry in log.unstable()] == [2, 3]
    log.handed_out()
    assert (log.unstable(), log.has_unstable, log.stable_index) == ((), False, 1)


def test_entries_that_come_while_others_are_written_are_handed_out_next() -> None:
    log = log_with((1,), (1,))
    log.handed_out()
    log.append(entries_at(3, 1))
    assert [entry.index for entry in log.unstable()] == [3]


def test_entries_that_replace_others_which_are_being_written_are_handed_out_next() -> None:
    log = log_with((1,), (1, 1, 1))
    log.handed_out()
    log.append(entries_at(3, 2))
    assert [(entry.term, entry.index) for entry in log.unstable()] == [(2, 3)]


@pytest.mark.parametrize(
    ("index", "term", "stable_index"),
    [(2, 1, 2), (4, 1, 4), (3, 1, 3), (1, 1, 1), (3, 2, 1), (5, 1, 1)],
)
def test_entries_become_stable_up_to_one_of_that_term(index: int, term: int, stable_index: int) -> None:
    log = log_with((1,), (1, 1, 1))
    log.handed_out()
    log.stable_to(index, term)
    assert log.stable_index == stable_index


def test_the_end_of_a_write_does_not_make_stable_what_has_replaced_its_entries() -> None:
    log = log_with((1,), (1, 1))
    log.handed_out()
    log.append(entries_at(2, 2, 2))
    log.stable_to(3, 1)
    assert log.stable_index == 1
    assert [entry.index for entry in log.unstable()] == [2, 3]


def test_entries_that_were_replaced_and_came_back_while_being_written_are_not_written_again() -> None:
    """What follows them is, from its first entry on: a log on disk has no gaps."""
    log = log_with((1,), (2, 2))
    log.handed_out()
    log.append(entries_at(2, 3))
    log.append(entries_at(2, 2, 2, 4, 4, 4))
    log.stable_to(3, 2)
    assert log.stable_index == 3
    assert [entry.index for entry in log.unstable()] == [4, 5, 6]


def test_nothing_is_left_to_write_once_all_that_came_back_is_stable() -> None:
    log = log_with((1,), (2, 2))
    log.handed_out()
    log.append(entries_at(2, 3))
    log.append(entries_at(2, 2, 2))
    log.stable_to(3, 2)
    assert not log.has_unstable
    assert log.unstable() == ()


# Committing and applying


@pytest.mark.parametrize(("index", "committed"), [(0, 2), (2, 2), (3, 3), (4, 4)])
def test_the_commit_index_never_goes_back(index: int, committed: int) -> None:
    log = log_with((1, 1), (1, 1), committed=2)
    log.commit_to(index)
    assert log.committed == committed


def test_the_commit_index_can_not_be_beyond_the_log() -> None:
    with pytest.raises(InvariantViolation, match="lost log"):
        log_with((1,), (1,)).commit_to(3)


def test_committed_entries_are_given_once_and_in_order() -> None:
    log = log_with((1, 1, 1), committed=3)
    assert log.has_committed
    assert [entry.index for entry in log.next_committed(ALL_BYTES)] == [1, 2, 3]
    assert not log.has_committed
    assert log.next_committed(ALL_BYTES) == ()


def test_committed_entries_are_given_in_pages() -> None:
    log = log_with((1, 1, 1, 1), committed=3)
    pages = [[entry.index for entry in log.next_committed(2 * SIZE)] for _ in range(3)]
    assert pages == [[1, 2], [3], []]


def test_committed_entries_are_given_only_once_they_are_stable() -> None:
    reader = MemoryLog(log_of(1))
    log = Log(reader, committed=1, applied=1)
    log.append(entries_at(2, 1, 1))
    log.commit_to(3)
    assert not log.has_committed
    reader.append(entries_at(2, 1))
    log.stable_to(2, 1)
    assert [entry.index for entry in log.next_committed(ALL_BYTES)] == [2]


def test_what_was_applied_before_the_start_is_not_given_again() -> None:
    log = log_with((1, 1, 1), committed=3, applied=2)
    assert [entry.index for entry in log.next_committed(ALL_BYTES)] == [3]


def test_entries_that_are_to_be_applied_must_be_in_memory() -> None:
    reader = ColdLog(log_of(1, 1))
    reader.first_in_memory = 2
    with pytest.raises(InvariantViolation, match="not in memory"):
        Log(reader, committed=2, applied=0).next_committed(ALL_BYTES)


def test_applying_moves_up_to_what_was_given() -> None:
    log = log_with((1, 1, 1), committed=3)
    log.next_committed(2 * SIZE)
    log.applied_to(1)
    assert log.applied == 1
    log.applied_to(2)
    assert log.applied == 2


@pytest.mark.parametrize("index", [0, 3, 9])
def test_applying_neither_goes_back_nor_beyond_what_was_given(index: int) -> None:
    log = log_with((1, 1, 1), committed=3, applied=1)
    log.next_committed(SIZE)
    with pytest.raises(InvariantViolation, match="is not between 1 and 2"):
        log.applied_to(index)


# A log that is cut


def cut_log(*terms: int, at: int, applied: int) -> Log:
    memory = MemoryLog(log_of(*terms))
    memory.compact(at)
    return Log(memory, committed=applied, applied=applied)


def test_a_log_may_begin_after_what_is_applied() -> None:
    """etcd: compaction. The entry before the first is still known by its term."""
    log = cut_log(1, 1, 2, 2, at=3, applied=3)
    assert (log.first_index, log.last_index, log.term(3)) == (4, 4, 2)
    assert log.matches(3, 2)
    assert not log.matches(2, 1)
    with pytest.raises(Compacted):
        log.term(2)
    with pytest.raises(Compacted):
        log.entries(3, 5, ALL_BYTES)


def test_a_log_that_begins_after_what_is_still_to_be_applied_stops_the_node() -> None:
    with pytest.raises(InvariantViolation, match="entries 3 to 3 are cut off, but not applied"):
        cut_log(1, 1, 2, 2, at=3, applied=2)


def test_a_cut_behind_what_is_applied_changes_nothing_for_what_comes_after() -> None:
    """etcd: compaction side effects."""
    memory = MemoryLog(log_of(1, 1, 2, 2))
    log = Log(memory, committed=3, applied=2)
    log.append(entries_at(5, 3))
    memory.compact(2)
    assert (log.first_index, log.last_index, log.last_term) == (3, 5, 3)
    assert [entry.index for entry in log.next_committed(ALL_BYTES)] == [3]
    assert [entry.index for entry in log.entries(3, 6, ALL_BYTES) or ()] == [3, 4, 5]
    assert log.append_after(4, 2, entries_at(5, 4)) == 5


@pytest.mark.parametrize(
    ("index", "term", "found"),
    [(5, 3, (5, 3)), (9, 2, (4, 2)), (3, 2, (3, 2)), (5, 1, (2, 0)), (2, 2, (2, 0)), (1, 9, (1, 0))],
)
def test_where_a_log_may_match_is_not_known_where_it_is_cut_off(index: int, term: int, found: tuple[int, int]) -> None:
    assert cut_log(1, 1, 2, 2, 3, at=3, applied=3).find_conflict_by_term(index, term) == found


# A log that begins anew


def snapshot_at(index: int, term: int) -> Snapshot:
    return Snapshot(index, term, Configuration.of({1}))


def test_a_log_that_begins_anew_holds_the_snapshot_and_what_is_appended_to_it() -> None:
    log = log_with((1, 1), (1,), committed=1)
    log.restore(snapshot_at(5, 2))
    assert (log.first_index, log.stable_index, log.last_index, log.last_term, log.committed) == (6, 5, 5, 2, 5)
    log.append(entries_at(6, 2, 3))
    assert (log.last_index, log.term(5), log.term(7)) == (7, 2, 3)
    assert log.matches(5, 2)
    assert [entry.index for entry in log.entries(6, 8, ALL_BYTES) or ()] == [6, 7]


def test_what_was_before_a_snapshot_is_gone_even_before_it_is_installed() -> None:
    log = log_with((1, 1), committed=1)
    log.restore(snapshot_at(5, 2))
    assert not log.matches(2, 1)
    with pytest.raises(Compacted):
        log.term(4)
    with pytest.raises(Compacted):
        log.entries(2, 3, ALL_BYTES)


def test_a_snapshot_is_handed_out_once() -> None:
    log = log_with((1,))
    assert log.new_snapshot() is None
    log.restore(snapshot_at(5, 2))
    assert log.new_snapshot() == snapshot_at(5, 2)
    log.handed_out()
    assert log.new_snapshot() is None
    assert log.is_restoring


def test_nothing_is_handed_out_to_be_applied_before_a_snapshot_is_installed() -> None:
    memory = MemoryLog(log_of(1, 1, 1))
    log = Log(memory, committed=2, applied=0)
    log.restore(snapshot_at(5, 2))
    log.append(entries_at(6, 2))
    log.commit_to(6)
    log.handed_out()
    assert not log.has_committed
    memory.reset(5, 2)
    memory.append(entries_at(6, 2))
    log.installed(snapshot_at(5, 2))
    log.stable_to(6, 2)
    assert (log.applied, [entry.index for entry in log.next_committed(ALL_BYTES)]) == (5, [6])


def test_a_write_from_before_a_snapshot_makes_nothing_durable_in_the_log_that_begins_anew() -> None:
    """etcd: stable to, with snapshot."""
    log = log_with((), (1, 1, 1))
    log.handed_out()
    log.restore(snapshot_at(2, 2))
    log.append(entries_at(3, 1))
    log.stable_to(3, 1)
    assert [entry.index for entry in log.unstable()] == [3]


def test_a_snapshot_of_what_is_committed_already_is_a_bug() -> None:
    log = log_with((1, 1), committed=2)
    with pytest.raises(InvariantViolation, match="below what is committed"):
        log.restore(snapshot_at(2, 1))


def test_a_snapshot_is_not_installed_over_newer_state() -> None:
    log = log_with((1, 1), committed=2)
    log.next_committed(ALL_BYTES)
    log.applied_to(2)
    with pytest.raises(InvariantViolation, match="is installed over"):
        log.installed(snapshot_at(2, 1))


def test_a_change_of_the_members_that_a_snapshot_replaces_holds_nothing_up() -> None:
    log = Log(MemoryLog(), committed=0, applied=0)
    log.append([Entry(1, 1, b"", EntryKind.CONF_CHANGE)])
    log.restore(snapshot_at(3, 2))
    assert (log.settled, log.has_unsettled) == (3, False)
