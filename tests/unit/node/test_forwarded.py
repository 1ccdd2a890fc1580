"""What a leader takes of what followers propose."""

import logging

import pytest

from meteora.kv.command import Command, Operation, encode_batch
from meteora.node import forwarded as module
from meteora.node.forwarded import TOLD_AGAIN_SECONDS, ForwardedProposals
from meteora.raft import Entry, EntryKind, Message, MessageKind


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now


def batch(value: bytes = b"value") -> bytes:
    return encode_batch([Command(Operation.PUT, 7, 1, 1, False, b"key", value)])


def proposal(*batches: bytes, sender: int = 2, kind: EntryKind = EntryKind.COMMAND) -> Message:
    return Message(MessageKind.PROPOSE, sender, 1, 0, entries=tuple(Entry(0, 0, each, kind) for each in batches))


def test_what_waits_is_taken_once_and_in_its_order() -> None:
    proposals = ForwardedProposals(Clock().read)
    proposals.add(proposal(batch(b"1"), batch(b"2")), 0)
    proposals.add(proposal(batch(b"3"), sender=3), 0)
    assert proposals.take() == [batch(b"1"), batch(b"2"), batch(b"3")]
    assert proposals.take() == []


def test_what_exceeds_the_bound_is_dropped_until_what_waits_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FORWARDED_BYTES", 2 * len(batch()))
    proposals = ForwardedProposals(Clock().read)
    proposals.add(proposal(batch(), batch(), batch()), 0)
    assert proposals.take() == [batch(), batch()]
    proposals.add(proposal(batch(), batch(), batch()), 0)
    assert proposals.take() == [batch(), batch()]


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (proposal(b"garbage"), "written by another release"),
        (proposal(batch(), kind=EntryKind.CONF_CHANGE), "only a leader proposes a CONF_CHANGE"),
    ],
)
def test_what_can_not_be_applied_is_dropped_and_told(
    refused: Message, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    proposals = ForwardedProposals(Clock().read)
    proposals.add(refused, 0)
    proposals.add(proposal(batch()), 0)
    assert proposals.take() == [batch()]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage()


def test_of_each_member_it_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    proposals = ForwardedProposals(clock.read)
    for _ in range(2):
        proposals.add(proposal(b"garbage", b"other garbage"), 0)
        proposals.add(proposal(b"garbage", sender=3), 0)
    assert len(caplog.records) == 2
    clock.now += TOLD_AGAIN_SECONDS
    proposals.add(proposal(b"garbage"), 0)
    assert len(caplog.records) == 3
