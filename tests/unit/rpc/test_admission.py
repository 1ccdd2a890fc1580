import pytest

from meteora.rpc import admission as module
from meteora.rpc.admission import LONG_BYTES, Admission, TurnedAway


@pytest.fixture
def admission(monkeypatch: pytest.MonkeyPatch) -> Admission:
    """Room for two long messages."""
    monkeypatch.setattr(module, "MAX_BYTES", 2 * (LONG_BYTES + 1))
    return Admission([])


def test_long_messages_are_let_in_up_to_the_bound(admission: Admission) -> None:
    admission.enter(LONG_BYTES + 1)
    admission.enter(LONG_BYTES + 1)
    with pytest.raises(TurnedAway, match="too many long requests"):
        admission.enter(LONG_BYTES + 1)


def test_short_messages_are_always_let_in(admission: Admission) -> None:
    admission.enter(2 * (LONG_BYTES + 1))
    assert admission.enter(LONG_BYTES) == 0


def test_who_was_answered_makes_room(admission: Admission) -> None:
    admission.leave(admission.enter(2 * (LONG_BYTES + 1)))
    admission.leave(admission.enter(LONG_BYTES))
    assert admission.bytes == 0


def test_who_was_turned_away_takes_no_room(admission: Admission) -> None:
    with pytest.raises(TurnedAway):
        admission.enter(3 * LONG_BYTES + 3)
    assert admission.bytes == 0
