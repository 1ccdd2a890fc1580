import asyncio
import logging

import pytest

from meteora.transport import link
from meteora.transport.interface import Refusal
from meteora.transport.link import FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, BackOff
from tests.unit.transport.peers import (
    RecordingInbox,
    black_hole,
    events_of,
    heartbeat,
    listening,
    port_of,
    sending,
    until,
    until_sent,
    unused_address,
)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(link, "UNREACHABLE_PATIENCE_SECONDS", 0.0)
    caplog.set_level(logging.INFO, "meteora.transport")
    return caplog


def test_pauses_double_up_to_the_longest_and_are_never_shorter_than_half() -> None:
    back_off, longest = BackOff(), FIRST_PAUSE_SECONDS
    for _ in range(10):
        assert longest / 2 <= back_off.next_seconds() <= longest
        longest = min(2 * longest, MAX_PAUSE_SECONDS)


def test_pauses_of_two_links_differ() -> None:
    assert BackOff().next_seconds() != BackOff().next_seconds()


def test_a_stream_that_breaks_at_once_does_not_shorten_the_pauses() -> None:
    back_off = BackOff()
    for _ in range(10):
        back_off.opened()
        pause_seconds = back_off.next_seconds()
    assert pause_seconds >= MAX_PAUSE_SECONDS / 2


def test_a_dead_peer_is_logged_once_with_the_cause_however_often_it_is_dialled(
    log: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        ours = RecordingInbox()
        async with sending(ours, {2: unused_address()}):
            await until(lambda: len(ours.lost) == 3)

    asyncio.run(story())
    (event,) = events_of(log)
    assert event.startswith("peer unreachable peer=2 address=127.0.0.1:")
    assert "Connection refused" in event


def test_a_peer_that_is_missed_for_a_moment_is_not_worth_a_line(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "UNREACHABLE_PATIENCE_SECONDS", 60.0)

    async def story() -> None:
        ours = RecordingInbox()
        async with sending(ours, {2: unused_address()}):
            await until(lambda: len(ours.lost) == 3)

    asyncio.run(story())
    assert events_of(log) == []


def test_a_peer_that_never_answers_is_logged_with_the_time_that_it_was_given(log: pytest.LogCaptureFixture) -> None:
    async def story(nowhere: str) -> None:
        ours = RecordingInbox()
        async with sending(ours, {2: nowhere}):
            await until(lambda: ours.lost)

    with black_hole() as nowhere:
        asyncio.run(story(nowhere))
    (event,) = events_of(log)
    assert event.endswith('cause="no answer within 3 s"')


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
def test_a_name_that_can_t_be_one_is_tried_again_like_any_other(log: pytest.LogCaptureFixture, host: str) -> None:
    async def story() -> None:
        ours = RecordingInbox()
        async with sending(ours, {2: f"{host}:7000"}):
            await until(lambda: len(ours.lost) == 2)

    asyncio.run(story())
    assert [event.partition(" peer=")[0] for event in events_of(log)] == ["peer unreachable"]


def test_every_change_is_logged(log: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        inbox, ours = RecordingInbox(), RecordingInbox()
        address = unused_address()
        async with sending(ours, {2: address}) as transport:
            await until(lambda: len(ours.lost) == 2)
            async with listening(inbox, port=port_of(address)):
                await until_sent(transport, inbox)
            await until(lambda: len(ours.lost) >= 3)

    asyncio.run(story())
    assert [event.partition(" peer=")[0] for event in events_of(log)] == [
        "peer unreachable",
        "peer connected",
        "peer unreachable",
    ]


def test_a_refusal_is_told_to_the_node_once_however_often_the_peer_is_dialled(log: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        inbox, ours = RecordingInbox(), RecordingInbox()
        inbox.refusals[1] = Refusal.REMOVED_SENDER
        async with listening(inbox) as address, sending(ours, {2: address}):
            await until(lambda: len(ours.lost) == 3)
        assert ours.refused_by == [(2, Refusal.REMOVED_SENDER, "node 1 was removed from the cluster")]

    asyncio.run(story())
    assert len([event for event in events_of(log) if event.startswith("refused by peer")]) == 1


def test_a_refusal_of_a_later_release_ends_the_stream_like_any_break_and_its_words_are_logged(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [each for each in Refusal if each is not Refusal.REMOVED_LONG_AGO]
    monkeypatch.setattr(link, "Refusal", known)

    async def story() -> None:
        inbox, ours = RecordingInbox(), RecordingInbox()
        inbox.refusals[1] = Refusal.REMOVED_LONG_AGO
        async with listening(inbox) as address, sending(ours, {2: address}):
            await until(lambda: len(ours.lost) == 2)
        assert ours.refused_by == []

    asyncio.run(story())
    (event,) = (event for event in events_of(log) if event.startswith("peer unreachable"))
    assert event.endswith('cause="FAILED_PRECONDITION: node 1 was removed from the cluster"')


def test_a_node_that_is_let_in_again_is_connected_without_a_new_start() -> None:
    async def story() -> None:
        inbox, ours = RecordingInbox(), RecordingInbox()
        inbox.refusals[1] = Refusal.REMOVED_SENDER
        async with listening(inbox) as address, sending(ours, {2: address}) as transport:
            await until(lambda: ours.refused_by)
            inbox.refusals.clear()
            await until_sent(transport, inbox)
            assert inbox.messages[0] == heartbeat()

    asyncio.run(story())
