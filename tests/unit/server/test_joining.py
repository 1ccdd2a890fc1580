import grpc
import pytest

from meteora.observability.logs import get_logger
from meteora.server.joining import Troubles, cause_of

EVENT = "can't join yet, trying on peer=peer:7000 cause="


def told_at(attempts: dict[float, str], caplog: pytest.LogCaptureFixture) -> list[tuple[float, str]]:
    """When a line was logged, and with which cause, for attempts that failed at these times with these causes."""
    now = 0.0
    troubles = Troubles(get_logger("join"), "peer:7000", lambda: now)
    told = []
    for now, cause in attempts.items():
        caplog.clear()
        troubles.tell(cause)
        told += [(now, record.getMessage().removeprefix(EVENT)) for record in caplog.records]
    return told


def test_a_trouble_that_lasts_is_told_again_soon_and_then_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    attempts = {half_seconds / 2: "down" for half_seconds in range(200)}
    assert told_at(attempts, caplog) == [(0.0, "down"), (5.0, "down"), (35.0, "down"), (65.0, "down"), (95.0, "down")]


def test_another_trouble_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    attempts = {0.0: "down", 0.5: "busy", 1.0: "busy", 1.5: "down"}
    assert told_at(attempts, caplog) == [(0.0, "down"), (0.5, "busy"), (1.5, "down")]


@pytest.mark.parametrize(
    ("code", "details", "cause"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", "no answer within 10 s"),
        (grpc.StatusCode.UNAVAILABLE, "no leader: nothing was changed", "no leader: nothing was changed"),
        (grpc.StatusCode.INTERNAL, "", "INTERNAL"),
    ],
)
def test_a_cause_is_in_plain_words(code: grpc.StatusCode, details: str, cause: str) -> None:
    failure = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    assert cause_of(failure, 10.0) == cause
