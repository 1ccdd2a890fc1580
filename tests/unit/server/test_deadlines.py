import pytest

from meteora.server.deadlines import ANSWER_MARGIN_SECONDS, deadline_of

DEFAULT = 5.0


class Context:
    """What a servicer is handed, as far as deadlines go."""

    def __init__(self, remaining_seconds: float | None) -> None:
        self._remaining_seconds = remaining_seconds

    def time_remaining(self) -> float | None:
        return self._remaining_seconds


def gives_up_after(remaining_seconds: float | None, expected_seconds: float) -> bool:
    """Whether a client with so much time left is answered so much after now."""
    return deadline_of(Context(remaining_seconds), DEFAULT, now=100.0) == pytest.approx(100.0 + expected_seconds)


def test_without_a_deadline_of_the_client_the_default_holds() -> None:
    assert gives_up_after(None, DEFAULT)


def test_nobody_waits_longer_than_the_default() -> None:
    assert gives_up_after(3600.0, DEFAULT)


@pytest.mark.parametrize("remaining_seconds", [1.0, DEFAULT, DEFAULT + 0.1])
def test_the_answer_comes_before_the_deadline_of_the_client(remaining_seconds: float) -> None:
    assert gives_up_after(remaining_seconds, remaining_seconds - ANSWER_MARGIN_SECONDS)


def test_of_a_time_shorter_than_the_margin_half_is_used() -> None:
    assert gives_up_after(0.2, 0.1)


def test_a_deadline_that_has_passed_is_now() -> None:
    assert gives_up_after(0.0, 0.0)
