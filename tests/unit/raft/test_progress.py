import pytest

from meteora.raft.errors import InvariantViolation
from meteora.raft.progress import Inflights, Progress, ProgressState

# The window


def window(max_messages: int = 3, max_bytes: int = 100) -> Inflights:
    return Inflights(max_messages, max_bytes)


def test_an_empty_window_takes_a_message() -> None:
    assert not window().is_full
    assert len(window()) == 0


def test_a_window_is_full_at_its_number_of_messages() -> None:
    inflights = window(max_messages=2)
    inflights.add(1, 10)
    assert not inflights.is_full
    inflights.add(2, 10)
    assert inflights.is_full


def test_a_window_is_full_at_its_bytes_and_the_last_message_may_overshoot() -> None:
    inflights = window(max_bytes=100)
    inflights.add(1, 99)
    assert not inflights.is_full
    inflights.add(2, 1000)
    assert inflights.is_full


def test_nothing_is_added_to_a_full_window() -> None:
    inflights = window(max_messages=1)
    inflights.add(1, 1)
    with pytest.raises(InvariantViolation, match="beyond the window"):
        inflights.add(2, 1)


@pytest.mark.parametrize(("index", "left"), [(1, 3), (4, 3), (5, 2), (9, 2), (10, 1), (99, 0)])
def test_an_acknowledgement_frees_all_that_it_covers(index: int, left: int) -> None:
    inflights = window()
    for last in (5, 10, 15):
        inflights.add(last, 10)
    inflights.free_up_to(index)
    assert len(inflights) == left


def test_freed_messages_give_their_bytes_back() -> None:
    inflights = window(max_bytes=100)
    inflights.add(1, 60)
    inflights.add(2, 60)
    inflights.free_up_to(1)
    assert not inflights.is_full
    inflights.free_up_to(1)
    inflights.add(3, 39)
    assert not inflights.is_full
    inflights.add(4, 1)
    assert inflights.is_full


def test_a_cleared_window_is_empty_in_both_measures() -> None:
    inflights = window(max_messages=1, max_bytes=1)
    inflights.add(1, 5)
    inflights.clear()
    assert not inflights.is_full
    assert len(inflights) == 0


# A peer


def peer(state: ProgressState = ProgressState.PROBE, *, match: int = 0, next_index: int = 10) -> Progress:
    progress = Progress(next_index, window(), match=match)
    progress.state = state
    return progress


def test_a_new_peer_is_probed() -> None:
    progress = Progress(10, window())
    assert (progress.state, progress.match, progress.next) == (ProgressState.PROBE, 0, 10)
    assert (progress.paused, progress.recent_active, progress.fetching) == (False, False, False)


def test_a_probe_pauses_and_does_not_move_ahead() -> None:
    progress = peer()
    progress.sent(3, 100)
    assert (progress.paused, progress.next, len(progress.inflights)) == (True, 10, 0)


def test_replication_moves_ahead_of_the_answers() -> None:
    progress = peer(ProgressState.REPLICATE)
    progress.sent(3, 30)
    progress.sent(1, 10)
    assert (progress.paused, progress.next, len(progress.inflights)) == (False, 14, 2)


def test_replication_pauses_when_the_window_is_full() -> None:
    progress = peer(ProgressState.REPLICATE)
    for _ in range(3):
        progress.sent(1, 1)
    assert progress.paused


def test_an_append_without_entries_takes_no_place_in_the_window() -> None:
    progress = peer(ProgressState.REPLICATE)
    progress.sent(0, 0)
    assert (progress.paused, progress.next, len(progress.inflights)) == (False, 10, 0)


def test_an_append_without_entries_into_a_full_window_pauses() -> None:
    progress = peer(ProgressState.REPLICATE)
    for _ in range(3):
        progress.sent(1, 1)
    progress.paused = False
    progress.sent(0, 0)
    assert progress.paused


@pytest.mark.parametrize(
    ("index", "is_news", "match", "next_index"),
    [(4, False, 5, 10), (5, False, 5, 10), (6, True, 6, 10), (9, True, 9, 10), (12, True, 12, 13)],
)
def test_an_acknowledgement_is_news_if_it_is_higher(index: int, is_news: bool, match: int, next_index: int) -> None:
    progress = peer(ProgressState.REPLICATE, match=5)
    progress.paused = True
    assert progress.acknowledged(index) is is_news
    assert (progress.match, progress.next) == (match, next_index)
    assert progress.paused is not is_news


def test_a_peer_that_starts_to_be_replicated_to_goes_on_behind_its_match() -> None:
    progress = peer(match=5)
    progress.sent(1, 1)
    progress.become_replicate()
    assert (progress.state, progress.next, progress.paused) == (ProgressState.REPLICATE, 6, False)


def test_a_peer_that_is_probed_again_goes_back_behind_its_match_with_an_empty_window() -> None:
    progress = peer(ProgressState.REPLICATE, match=5)
    progress.sent(3, 30)
    progress.become_probe()
    assert (progress.state, progress.next, len(progress.inflights)) == (ProgressState.PROBE, 6, 0)


@pytest.mark.parametrize("index", [4, 5])
def test_a_refusal_of_what_is_known_to_match_is_stale(index: int) -> None:
    progress = peer(ProgressState.REPLICATE, match=5)
    assert not progress.rejected(index, 0)
    assert (progress.state, progress.next) == (ProgressState.REPLICATE, 10)


def test_a_refusal_while_replicating_is_a_reason_to_probe() -> None:
    progress = peer(ProgressState.REPLICATE, match=5)
    assert progress.rejected(9, 8)
    assert (progress.state, progress.next) == (ProgressState.PROBE, 6)


@pytest.mark.parametrize("index", [0, 5, 8, 10, 99])
def test_a_refusal_of_anything_but_the_last_probe_is_stale(index: int) -> None:
    progress = peer(match=0)
    progress.paused = True
    assert not progress.rejected(index, 0)
    assert (progress.next, progress.paused) == (10, True)


@pytest.mark.parametrize(
    ("match", "probe_at", "next_index"),
    [
        # As the peer suggests, one further.
        (0, 8, 9),
        (0, 2, 3),
        (0, 0, 1),
        # Never forward.
        (0, 9, 9),
        (0, 50, 9),
        # Never behind what is known to match.
        (5, 2, 6),
    ],
)
def test_a_refused_probe_goes_back_to_where_the_peer_may_match(match: int, probe_at: int, next_index: int) -> None:
    progress = peer(match=match)
    progress.paused = True
    assert progress.rejected(9, probe_at)
    assert (progress.next, progress.paused) == (next_index, False)


def test_a_peer_is_described_in_one_line() -> None:
    progress = peer(match=5)
    progress.recent_active = True
    assert repr(progress) == "probe match=5 next=10 inflight=0"
    progress.recent_active, progress.paused = False, True
    assert repr(progress) == "probe match=5 next=10 inflight=0 paused inactive"


# A snapshot on its way


def receiving(*, match: int = 2, snapshot_index: int = 9) -> Progress:
    progress = Progress(5, Inflights(10, 100), match=match)
    progress.become_snapshot()
    progress.snapshot_index = snapshot_index
    return progress


def test_a_snapshot_begins_with_an_empty_window_behind_what_matches() -> None:
    """etcd: sending a snapshot sets the pending one."""
    progress = Progress(5, Inflights(10, 100), match=2)
    progress.become_replicate()
    progress.sent(2, 10)
    progress.become_snapshot()
    assert (progress.state, progress.next, len(progress.inflights)) == (ProgressState.SNAPSHOT, 3, 0)
    assert progress.snapshot_index == 0


@pytest.mark.parametrize(
    ("ok", "match", "next_index"),
    [
        pytest.param(True, 2, 10, id="arrived"),
        pytest.param(True, 12, 13, id="arrived, older than what the peer has"),
        pytest.param(False, 2, 3, id="failed"),
    ],
)
def test_after_a_snapshot_comes_a_probe_that_waits(ok: bool, match: int, next_index: int) -> None:
    progress = receiving(match=match)
    progress.snapshot_finished(ok=ok)
    assert (progress.state, progress.next, progress.paused) == (ProgressState.PROBE, next_index, True)


def test_the_end_of_a_snapshot_that_nobody_waits_for_changes_nothing() -> None:
    progress = receiving()
    progress.become_replicate()
    progress.snapshot_finished(ok=False)
    assert (progress.state, progress.paused) == (ProgressState.REPLICATE, False)


def test_a_refusal_means_nothing_while_a_snapshot_is_on_its_way() -> None:
    progress = receiving()
    assert not progress.rejected(2, 0)
    assert (progress.state, progress.next) == (ProgressState.SNAPSHOT, 3)
