"""Which appends are held back, and what lets them go."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from meteora.node.commit_notices import HOLD_SECONDS, WRITING_SECONDS, CommitNotices
from meteora.raft import Entry, Message, MessageKind
from meteora.testing.loop import SimulatedLoop


def notice(commit: int, *, receiver: int = 2, index: int = 5, term: int = 3) -> Message:
    return Message(MessageKind.APPEND, 1, receiver, term, index, log_term=3, commit=commit)


def append(commit: int, *, receiver: int = 2, index: int = 5, term: int = 3) -> Message:
    entry = Entry(term, index + 1, b"data")
    return Message(MessageKind.APPEND, 1, receiver, term, index, log_term=3, commit=commit, entries=(entry,))


def heartbeat(receiver: int = 2) -> Message:
    return Message(MessageKind.HEARTBEAT, 1, receiver, 3)


class Sent:
    """A leader's notices on virtual time, and what was sent of them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._notices = CommitNotices(asyncio.get_running_loop())

    def send(self, *messages: Message) -> None:
        self._notices.send(messages, self.messages.extend)

    def hear(self, kind: MessageKind, sender: int = 2) -> None:
        self._notices.heard(Message(kind, sender, 1))

    def drop(self) -> None:
        self._notices.drop()


def told(story: Callable[[Sent], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await story(Sent())

    SimulatedLoop().run_until_complete(run())


def test_an_append_with_entries_goes_at_once() -> None:
    async def story(sent: Sent) -> None:
        sent.send(append(4))
        assert sent.messages == [append(4)]

    told(story)


def test_a_notice_goes_when_its_time_is_up() -> None:
    async def story(sent: Sent) -> None:
        sent.send(notice(5))
        assert sent.messages == []
        await asyncio.sleep(2 * HOLD_SECONDS)
        assert sent.messages == [notice(5)]

    told(story)


def test_each_notice_has_its_time() -> None:
    async def story(sent: Sent) -> None:
        for commit in (5, 6):
            sent.send(notice(commit))
            await asyncio.sleep(2 * HOLD_SECONDS)
        assert sent.messages == [notice(5), notice(6)]

    told(story)


def test_an_append_that_follows_on_takes_the_place_of_the_notice() -> None:
    async def story(sent: Sent) -> None:
        sent.send(notice(5))
        sent.send(append(5))
        await asyncio.sleep(2 * HOLD_SECONDS)
        assert sent.messages == [append(5)]

    told(story)


def test_of_two_notices_the_later_one_is_sent() -> None:
    async def story(sent: Sent) -> None:
        sent.send(notice(4), notice(5))
        await asyncio.sleep(2 * HOLD_SECONDS)
        assert sent.messages == [notice(5)]

    told(story)


@pytest.mark.parametrize(
    "other",
    [append(4), append(5, index=6), append(5, term=4), heartbeat()],
    ids=["of an older commit", "of a later place", "of another term", "of another kind"],
)
def test_what_does_not_tell_as_much_takes_the_notice_along_before_it(other: Message) -> None:
    async def story(sent: Sent) -> None:
        sent.send(notice(5))
        sent.send(other)
        assert sent.messages == [notice(5), other]

    told(story)


def test_what_goes_to_another_peer_leaves_a_notice_where_it_is() -> None:
    async def story(sent: Sent) -> None:
        sent.send(notice(5))
        sent.send(append(5, receiver=3))
        assert sent.messages == [append(5, receiver=3)]

    told(story)


def test_a_peer_that_sends_writes_is_told_at_once() -> None:
    async def story(sent: Sent) -> None:
        sent.hear(MessageKind.PROPOSE)
        sent.send(notice(5), notice(5, receiver=3))
        assert sent.messages == [notice(5)]

    told(story)


def test_a_peer_that_has_sent_no_write_for_some_time_waits_again() -> None:
    async def story(sent: Sent) -> None:
        sent.hear(MessageKind.PROPOSE)
        await asyncio.sleep(2 * WRITING_SECONDS)
        sent.send(notice(5))
        assert sent.messages == []

    told(story)


def test_what_else_a_peer_sends_changes_nothing() -> None:
    async def story(sent: Sent) -> None:
        sent.hear(MessageKind.APPEND_RESPONSE)
        sent.send(notice(5))
        assert sent.messages == []

    told(story)


def test_what_was_dropped_is_never_sent() -> None:
    async def story(sent: Sent) -> None:
        sent.send(notice(5))
        sent.drop()
        await asyncio.sleep(2 * HOLD_SECONDS)
        assert sent.messages == []

    told(story)
