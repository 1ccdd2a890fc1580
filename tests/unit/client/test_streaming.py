import pytest

from meteora.client.fate import Failure, Fate
from meteora.client.streaming import StreamAttempts
from meteora.errors import InvalidRequest, NotApplied, Overloaded


def ask(attempts: StreamAttempts, failure: Failure, asked: list[str]) -> None:
    """Ask whom is to be asked, all of whom fail."""
    for endpoint in attempts:
        asked.append(endpoint)
        attempts.failed(endpoint, failure)


def test_one_after_the_other_is_asked_and_then_all_are_named() -> None:
    attempts = StreamAttempts("backup", ["a:1", "b:1"])
    asked: list[str] = []
    with pytest.raises(NotApplied, match=r"nobody served the backup \(a:1: gone; b:1: gone\)"):
        ask(attempts, Failure(Fate.UNSERVED, "gone"), asked)
    assert asked == ["a:1", "b:1"]


def test_what_has_begun_is_not_gone_on_with_elsewhere() -> None:
    attempts = StreamAttempts("backup", ["a:1", "b:1"])
    attempts.has_begun = True
    with pytest.raises(NotApplied, match=r"ended before it was whole \(a:1: gone\)"):
        attempts.failed("a:1", Failure(Fate.UNKNOWN, "gone"))


def test_what_nobody_will_do_is_asked_of_nobody_else() -> None:
    with pytest.raises(InvalidRequest, match="the export was refused: too long"):
        StreamAttempts("export", ["a:1"]).failed("a:1", Failure(Fate.REFUSED, "too long", InvalidRequest))


def test_a_node_that_is_busy_is_called_that() -> None:
    attempts = StreamAttempts("backup", ["a:1"])
    with pytest.raises(Overloaded, match="another backup"):
        ask(attempts, Failure(Fate.OVERLOADED, "another backup is under way"), [])
