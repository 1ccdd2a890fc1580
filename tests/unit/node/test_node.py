import asyncio
import errno
import gc
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from meteora.errors import (
    ChangeRefused,
    Corruption,
    DiskFull,
    MeteoraError,
    NotApplied,
    OutcomeUnknown,
    Overloaded,
)
from meteora.features import FIRST_RELEASE, OWN_RELEASE, SUPPORTED_LEVEL
from meteora.kv.command import Command, Operation, decode_batch, encode_batch, raise_level
from meteora.node import Removal, addresses, log_write, reads
from meteora.node import node as node_module
from meteora.node.members import encode_context
from meteora.node.writes import MAX_PENDING_WRITES
from meteora.raft import Change, ChangeKind, ConfChange, Entry, EntryKind, Message, MessageKind
from meteora.raft.errors import InvariantViolation
from meteora.transport.interface import REMOVALS, Refusal
from tests.unit.node.nodes import Network, Running, member, running, soon, three, until

NoLeakedTasks = Callable[[], AbstractAsyncContextManager[None]]


def alone(folder: Path, story: Callable[[Running], Coroutine[Any, Any, None]]) -> None:
    """Run `story` with a node that is a cluster by itself, once it leads."""

    async def run() -> None:
        async with running(folder, Network()) as one:
            await one.until_leading()
            await story(one)

    asyncio.run(run())


def leaderless(folder: Path, story: Callable[[Running], Coroutine[Any, Any, None]]) -> None:
    """Run `story` with a member of three whose peers are not there."""

    async def run() -> None:
        async with running(folder, Network(), voters=(1, 2, 3)) as one:
            await story(one)

    asyncio.run(run())


def command(sequence: int, value: bytes, *, retry: bool = False) -> Command:
    return Command(Operation.PUT, 5, sequence, 1, retry, b"k", value)


def change(kind: ChangeKind, node_id: int, *, promote: bool = False) -> ConfChange:
    context = b"" if kind is ChangeKind.REMOVE else encode_context({node_id: member(node_id, promote=promote)})
    return ConfChange((Change(kind, node_id),), context=context)


async def error_of(request: Awaitable[object]) -> Exception:
    try:
        await request
    except MeteoraError as error:
        return error
    raise AssertionError("there was no error")


async def made(request: Callable[[], Awaitable[object]]) -> None:
    """Some errors are raised as the request is made, others as it is waited for."""
    await request()


async def until_persisting(one: Running) -> None:
    """Looks at every turn of the loop: a write to the disk may take only a few."""
    async with asyncio.timeout(10):
        while not one.node._log_write.is_under_way:
            await asyncio.sleep(0)


# Alone


def test_what_was_put_is_read_until_it_is_deleted(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        assert await one.get(b"k") is None
        await one.put(b"k", b"v")
        assert await one.get(b"k") == b"v"
        await one.node.delete(b"k", soon())
        assert await one.get(b"k") is None

    alone(tmp_path, story)


def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    async def write(one: Running) -> None:
        await one.put(b"k", b"v")

    async def read(one: Running) -> None:
        assert await one.get(b"k") == b"v"

    alone(tmp_path, write)
    alone(tmp_path, read)


def test_an_acknowledged_write_is_in_the_log_on_disk(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        await one.put(b"k", b"v")
        last = one.log.last_index()
        assert b"v" in one.log.read(last, last + 1, 1 << 20)[0].data

    alone(tmp_path, story)


def test_writes_that_come_together_are_one_entry(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        before = one.log.last_index()
        await asyncio.gather(*(one.put(b"%d" % number) for number in range(100)))
        assert one.log.last_index() == before + 1

    alone(tmp_path, story)


def test_writes_that_come_during_an_fsync_are_the_next_entry(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        before = one.log.last_index()
        first = asyncio.create_task(one.put(b"first"))
        await until_persisting(one)
        await asyncio.gather(first, *(one.put(b"%d" % number) for number in range(100)))
        assert one.log.last_index() == before + 2

    alone(tmp_path, story)


def test_a_request_that_is_repeated_is_applied_once(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        await one.node.write(command(1, b"mine"), soon())
        await one.put(b"k", b"another's")
        await one.node.write(command(1, b"mine", retry=True), soon())
        assert await one.get(b"k") == b"another's"

    alone(tmp_path, story)


def test_a_request_that_is_repeated_after_a_restart_is_applied_once(tmp_path: Path) -> None:
    async def before(one: Running) -> None:
        await one.node.write(command(1, b"mine"), soon())
        await one.put(b"k", b"another's")

    async def after(one: Running) -> None:
        await one.node.write(command(1, b"mine", retry=True), soon())
        assert await one.get(b"k") == b"another's"

    alone(tmp_path, before)
    alone(tmp_path, after)


def test_repeated_requests_that_are_under_way_together_are_all_answered(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        before = one.log.last_index()
        await asyncio.gather(*(one.node.write(command(1, b"mine"), soon()) for _ in range(5)))
        assert one.log.last_index() == before + 1

    alone(tmp_path, story)


# No leader


def test_without_a_leader_a_write_was_certainly_not_applied_by_its_deadline(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        error = await error_of(one.node.put(b"k", b"v", soon(0.05)))
        assert isinstance(error, NotApplied)
        assert str(error) == (
            "no leader: a majority of the members can't be reached: the write was not applied, try again"
        )

    leaderless(tmp_path, story)


def test_without_a_leader_a_read_is_answered_by_its_deadline(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        error = await error_of(one.node.get(b"k", soon(0.05)))
        assert isinstance(error, NotApplied)
        assert (
            str(error) == "no leader: a majority of the members can't be reached: the read was not answered, try again"
        )

    leaderless(tmp_path, story)


def test_without_a_leader_the_membership_can_not_be_changed(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        error = await error_of(one.node.change_membership(change(ChangeKind.REMOVE, 2), soon()))
        assert isinstance(error, NotApplied)
        assert str(error) == "the change was not made: only the leader changes the membership"

    leaderless(tmp_path, story)


# Bounds


def test_one_write_too_many_is_refused_at_once(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        waiting = [asyncio.create_task(one.put(b"%d" % number)) for number in range(MAX_PENDING_WRITES)]
        await asyncio.sleep(0)
        assert isinstance(await error_of(one.put(b"k")), Overloaded)
        assert not any(task.done() for task in waiting)
        await one.node.stop()
        await asyncio.gather(*waiting, return_exceptions=True)

    leaderless(tmp_path, story)


def test_reads_that_come_together_are_all_answered_although_few_are_looked_up_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, Network(), reads_at_once=3) as one:
            await one.until_leading()
            keys = [b"key%d" % number for number in range(20)]
            for key in keys:
                await one.put(key, b"value of " + key)
            values = await asyncio.gather(*[one.node.get(key, soon()) for key in keys])
            assert values == [b"value of " + key for key in keys]

    asyncio.run(story())


@pytest.mark.parametrize("bound", ["MAX_UNAPPLIED_ENTRIES", "MAX_UNAPPLIED_BYTES"])
def test_while_too_much_waits_to_be_applied_nothing_more_is_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(node_module, "FEW_ENTRIES", 1)
    monkeypatch.setattr(node_module, bound, 3)

    async def story(one: Running) -> None:
        with patch.object(one.state_machine, "is_write_stalled", lambda: True):
            puts = []
            while not one.node._applies_too_slowly:
                last_index = one.node.status().last_index
                puts.append(one.node.put(b"k%d" % len(puts), b"value", soon()))
                await until(lambda: one.node.status().commit_index > last_index)  # noqa: B023  it is over by then
            last_index = one.node.status().last_index
            puts.append(one.node.put(b"last", b"value", soon()))
            for _ in range(100):
                await asyncio.sleep(0)
            assert one.node.status().last_index == last_index
        await asyncio.gather(*puts)
        assert await one.get(b"last") == b"value"

    alone(tmp_path, story)


def test_one_read_too_many_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "MAX_PENDING_READS", 10)

    async def story(one: Running) -> None:
        waiting = [asyncio.create_task(one.get(b"k")) for _ in range(10)]
        await asyncio.sleep(0)
        assert isinstance(await error_of(one.get(b"k")), Overloaded)
        assert not any(task.done() for task in waiting)
        await one.node.stop()
        await asyncio.gather(*waiting, return_exceptions=True)

    leaderless(tmp_path, story)


# Callers that go


def test_a_caller_that_goes_leaves_nothing_pending(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        requests = [
            one.put(b"k"),
            one.node.delete(b"k", soon()),
            one.get(b"k"),
            one.node.write(command(1, b"v"), soon(0.05)),
        ]
        callers = [asyncio.ensure_future(request) for request in requests]
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        await until(lambda: not len(one.node._writes) and not len(one.node._reads))
        assert not one.node._writes.has_queued

    leaderless(tmp_path, story)


def test_a_caller_that_goes_is_no_error_to_log(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        caller = asyncio.ensure_future(one.node.write(command(1, b"v"), soon(0.05)))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        del caller
        await until(lambda: not len(one.node._writes))
        gc.collect()
        assert reported == []

    leaderless(tmp_path, story)


def test_a_caller_that_goes_takes_nobody_else_along(tmp_path: Path) -> None:
    # A retry waits for the same answer.
    async def story(one: Running) -> None:
        first = asyncio.ensure_future(one.node.write(command(1, b"v"), soon()))
        again = asyncio.ensure_future(one.node.write(command(1, b"v", retry=True), soon()))
        await asyncio.sleep(0)
        first.cancel()
        await again
        assert await one.get(b"k") == b"v"

    alone(tmp_path, story)


# Requests that end badly


@pytest.mark.parametrize("ending", ["its time is up", "its caller goes"])
@pytest.mark.parametrize(
    "request_to",
    [
        lambda node: node.put(b"k", b"v", soon(0.05)),
        lambda node: node.write(command(1, b"v"), soon(0.05)),
        lambda node: node.get(b"k", soon(0.05)),
    ],
    ids=["put", "write", "get"],
)
def test_a_request_that_ended_badly_is_out_of_memory_without_the_garbage_collector(
    tmp_path: Path, request_to: Callable[..., Awaitable[object]], ending: str
) -> None:
    async def end_badly(one: Running) -> weakref.ref[object]:
        in_memory = _Anything()

        async def call(_: object) -> None:
            await request_to(one.node)

        calling = asyncio.create_task(call(in_memory))
        if ending == "its caller goes":
            await asyncio.sleep(0)
            calling.cancel()
        await asyncio.wait([calling])
        assert calling.cancelled() or isinstance(calling.exception(), NotApplied)
        return weakref.ref(in_memory)

    async def story(one: Running) -> None:
        in_memory = await end_badly(one)
        await until(lambda: in_memory() is None)

    gc.collect()
    gc.disable()
    try:
        leaderless(tmp_path, story)
    finally:
        gc.enable()


class _Anything:
    """What a request has in its frames."""


# Stopping


@pytest.mark.parametrize(
    "request_to",
    [
        lambda node: node.put(b"k", b"v", soon()),
        lambda node: node.delete(b"k", soon()),
        lambda node: node.write(command(1, b"v"), soon()),
        lambda node: node.get(b"k", soon()),
    ],
    ids=["put", "delete", "write", "get"],
)
def test_stopping_answers_what_waits(tmp_path: Path, request_to: Callable[..., Awaitable[object]]) -> None:
    async def story(one: Running) -> None:
        waiting = asyncio.ensure_future(request_to(one.node))
        await asyncio.sleep(0)
        await one.node.stop()
        error = await error_of(waiting)
        assert isinstance(error, NotApplied)
        assert str(error).startswith("the node is stopping: ")

    leaderless(tmp_path, story)


def test_stopping_answers_a_membership_change_that_waits_for_its_majority(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            leader = trio.leader
            trio.network.cut_off.add(leader.node.node_id)
            waiting = asyncio.create_task(leader.node.change_membership(change(ChangeKind.ADD_LEARNER, 4), soon()))
            await asyncio.sleep(0)
            await leader.node.stop()
            assert isinstance(await error_of(waiting), OutcomeUnknown)

    asyncio.run(run())


def test_stopping_answers_a_membership_change_that_waits_for_the_one_before(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            leader = trio.leader
            trio.network.cut_off.add(leader.node.node_id)
            waiting = [
                asyncio.create_task(leader.node.change_membership(change(ChangeKind.ADD_LEARNER, node_id), soon()))
                for node_id in (4, 5)
            ]
            await asyncio.sleep(0)
            await leader.node.stop()
            errors = [await error_of(each) for each in waiting]
            assert [type(error) for error in errors] == [OutcomeUnknown, NotApplied]

    asyncio.run(run())


def test_stopping_ends_a_hand_over_that_is_under_way(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            leader = trio.leader
            trio.network.cut_off.add(leader.node.node_id)
            waiting = asyncio.create_task(leader.node.hand_over(10.0))
            await asyncio.sleep(0)
            await leader.node.stop()
            assert await waiting is False

    asyncio.run(run())


def test_a_node_that_was_stopped_does_not_say_that_a_retry_was_never_applied(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        await one.node.stop()
        assert isinstance(
            await error_of(made(lambda: one.node.write(command(1, b"v", retry=True), soon()))), OutcomeUnknown
        )

    alone(tmp_path, story)


def test_a_node_that_was_stopped_takes_no_requests(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        await one.node.stop()
        requests = (
            lambda: one.put(b"k"),
            lambda: one.node.delete(b"k", soon()),
            lambda: one.node.write(command(1, b"v"), soon()),
            lambda: one.get(b"k"),
            lambda: one.node.change_membership(change(ChangeKind.ADD_LEARNER, 2), soon()),
        )
        for request in requests:
            error = await error_of(made(request))
            assert (type(error), str(error)) == (
                NotApplied,
                "the node is stopping: try another one",
            )
        assert (len(one.node._writes), len(one.node._reads)) == (0, 0)

    alone(tmp_path, story)


def test_stopping_waits_for_the_write_that_is_under_way_and_begins_no_other(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        first = asyncio.create_task(one.put(b"first"))
        await until_persisting(one)
        before = one.log.last_index()
        second = asyncio.create_task(one.put(b"second"))
        await asyncio.sleep(0)
        await one.node.stop()
        assert [type(await error_of(each)) for each in (first, second)] == [OutcomeUnknown, NotApplied]
        await asyncio.sleep(0)
        assert not one.node._life.tasks
        assert one.log.last_index() == before + 1

    alone(tmp_path, story)


def test_nothing_begins_after_stopping_that_was_due_before(tmp_path: Path) -> None:
    # The pass that a message has asked for comes after the stop.
    async def story(one: Running) -> None:
        one.node.receive(2, [Message(MessageKind.HEARTBEAT, 2, 1, term=7)])
        await one.node.stop()
        for _ in range(5):
            await asyncio.sleep(0)
        assert (one.node.status().term, one.node._life.tasks) == (1, set())

    leaderless(tmp_path, story)


def test_stopping_leaves_no_task(tmp_path: Path, no_leaked_tasks: NoLeakedTasks) -> None:
    async def run() -> None:
        async with no_leaked_tasks(), running(tmp_path, Network()) as one:
            await one.until_leading()
            waiting = [asyncio.create_task(one.put(b"%d" % number)) for number in range(10)]
            waiting += [asyncio.create_task(one.get(b"k")) for _ in range(10)]
            await asyncio.sleep(0)
            await one.node.stop()
            await asyncio.wait(waiting)

    asyncio.run(run())


def test_a_node_may_be_stopped_twice(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        await one.node.stop()
        await one.node.stop()

    alone(tmp_path, story)


# Failures


def fill_disk_of(folder: Path) -> None:
    """From now on this process finds the disk full when it writes to the write-ahead log in `folder`."""
    full = os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC)
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            target = descriptor.readlink()
            if target.parent == folder and target.suffix == ".log":
                os.dup2(full, int(descriptor.name), inheritable=False)
    os.close(full)


def test_a_full_disk_stops_the_node_and_the_fate_of_the_write_is_unknown(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            await one.until_leading()
            fill_disk_of(tmp_path / "raft")
            error = await error_of(one.put(b"k"))
            assert isinstance(one.node.failed.exception(), DiskFull)
            assert isinstance(error, OutcomeUnknown)

    asyncio.run(run())


def test_why_the_node_has_failed_and_what_became_of_a_write_are_one_sentence(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            await one.until_leading()
            fill_disk_of(tmp_path / "raft")
            said = str(await error_of(one.put(b"k")))
            assert said.startswith("the node has failed: ")
            assert "then start the node again: the write may have been applied" in said

    asyncio.run(run())


def test_after_a_failure_no_request_is_taken(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            await one.until_leading()
            fill_disk_of(tmp_path / "raft")
            await error_of(one.put(b"k"))
            for request in (one.put(b"k"), one.get(b"k")):
                assert isinstance(await error_of(request), NotApplied)
            assert isinstance(one.node.failed.exception(), DiskFull)

    asyncio.run(run())


def test_what_was_acknowledged_before_a_failure_is_there_after_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            await one.until_leading()
            await one.put(b"k", b"v")
            fill_disk_of(tmp_path / "raft")
            await error_of(one.put(b"k", b"too late"))
            one.node.failed.exception()

    asyncio.run(run())

    async def read(one: Running) -> None:
        assert await one.get(b"k") == b"v"

    alone(tmp_path, read)


def damage_tables(folder: Path, offset_bytes: int) -> None:
    for table in folder.glob("*.sst"):
        content = bytearray(table.read_bytes())
        content[offset_bytes] ^= 0xFF
        table.write_bytes(content)


def test_a_read_of_damaged_data_stops_the_node_and_is_answered(tmp_path: Path) -> None:
    async def write(one: Running) -> None:
        for number in range(20):
            await one.put(b"%02d" % number, os.urandom(20_000))

    alone(tmp_path, write)
    damage_tables(tmp_path / "kv", offset_bytes=10_000)

    async def read(one: Running) -> None:
        assert isinstance(await error_of(one.get(b"00")), NotApplied)
        await until(one.node.failed.done)
        assert isinstance(one.node.failed.exception(), Corruption)

    alone(tmp_path, read)


def test_a_failure_in_a_pass_stops_the_node(tmp_path: Path) -> None:
    # Two leaders of one term can't be; going on would part the replicas.
    async def story(one: Running) -> None:
        one.node.receive(2, [Message(MessageKind.HEARTBEAT, 2, 1, term=one.node.status().term)])
        await until(one.node.failed.done)
        assert isinstance(one.node.failed.exception(), InvariantViolation)

    alone(tmp_path, story)


def test_a_failure_at_a_tick_stops_the_node(tmp_path: Path) -> None:
    # Campaigns begin at a tick, and draw the next time-out.
    cause = OSError(errno.ENOSYS, "no randomness")
    calls = iter(range(10))

    def random_below(bound: int) -> int:
        if next(calls) > 0:
            raise cause
        return 0

    async def run() -> None:
        async with running(tmp_path, Network(), voters=(1, 2, 3), random_below=random_below) as one:
            await until(one.node.failed.done)
            assert one.node.failed.exception() is cause

    asyncio.run(run())


def test_a_failure_answers_what_waits(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            leader = trio.leader
            trio.network.cut_off.add(leader.node.node_id)
            requests = leader.put(b"k"), leader.get(b"k")
            waiting = [asyncio.create_task(request) for request in requests]
            await asyncio.sleep(0)
            leader.node.receive(9, [Message(MessageKind.HEARTBEAT, 9, 1, term=leader.node.status().term)])
            await until(leader.node.failed.done)
            errors = [await error_of(each) for each in waiting]
            assert all(str(error).startswith("the node has failed: ") for error in errors)
            leader.node.failed.exception()

    asyncio.run(run())


# Three


def test_any_node_takes_writes_and_any_node_has_them(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            for number, one in enumerate(trio.nodes):
                await one.put(b"k", b"%d" % number)
                assert [await each.get(b"k") for each in trio.nodes] == [b"%d" % number] * 3

    asyncio.run(run())


def test_reads_that_come_together_ask_the_leader_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            follower = trio.followers[0]
            # The read by which the node finds out how fresh its state is: one is due as soon as there is a leader.
            await until(lambda: follower.node.freshness.whole_until is not None)
            trio.network.sent.clear()
            reads = [asyncio.ensure_future(follower.get(b"k")) for _ in range(100)]
            # On a machine that is busy they may be asked again later.
            await until(lambda: trio.network.sent_by(follower.node.node_id, MessageKind.READ_INDEX))
            assert len(trio.network.sent_by(follower.node.node_id, MessageKind.READ_INDEX)) == 1
            await asyncio.gather(*reads)

    with patch("meteora.node.freshness.LOOK_SECONDS", 1000.0):
        asyncio.run(run())


def test_writes_that_come_together_travel_to_the_leader_together(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            follower = trio.followers[0]
            trio.network.sent.clear()
            await asyncio.gather(*(follower.put(b"%d" % number) for number in range(100)))
            # On a machine that is busy they may be sent again.
            first, *_ = trio.network.sent_by(follower.node.node_id, MessageKind.PROPOSE)
            assert [len(decode_batch(entry.data)) for entry in first.entries] == [100]

    asyncio.run(run())


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(Entry(0, 0, b"garbage"), id="no batch"),
        pytest.param(Entry(0, 0, encode_batch([raise_level(200)])), id="a level that nobody supports"),
        pytest.param(Entry(0, 0, change(ChangeKind.REMOVE, 1).encode(), EntryKind.CONF_CHANGE), id="a change"),
        pytest.param(Entry(0, 0, encode_batch([]), EntryKind.CONF_CHANGE), id="a batch that is called a change"),
    ],
)
def test_what_a_member_proposes_and_nobody_could_apply_stops_nobody(
    tmp_path: Path, entry: Entry, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            leader, liar = trio.leader.node, trio.followers[0].node.node_id
            before = leader.status().last_index
            for _ in range(3):
                message = Message(MessageKind.PROPOSE, liar, leader.node_id, 0, entries=(entry,))
                leader.receive(liar, [message])
            await trio.leader.put(b"k", b"v")
            assert leader.status().last_index == before + 1
            assert [await each.get(b"k") for each in trio.nodes] == [b"v"] * 3
            assert not any(each.node.failed.done() for each in trio.nodes)

    asyncio.run(run())
    assert len([record for record in caplog.records if "a proposal is refused" in record.getMessage()]) == 1


def test_a_write_that_got_lost_on_the_way_to_the_leader_is_sent_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            follower = trio.followers[0]
            trio.network.cut_off.add(follower.node.node_id)
            writing = asyncio.create_task(follower.put(b"k", b"v"))
            await until(lambda: trio.network.sent_by(follower.node.node_id, MessageKind.PROPOSE))
            trio.network.cut_off.clear()
            await writing
            assert await trio.leader.get(b"k") == b"v"

    asyncio.run(run())


def test_a_read_that_got_lost_on_the_way_to_the_leader_is_asked_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            follower = trio.followers[0]
            await trio.leader.put(b"k", b"v")
            trio.network.cut_off.add(follower.node.node_id)
            reading = asyncio.create_task(follower.get(b"k"))
            await until(lambda: trio.network.sent_by(follower.node.node_id, MessageKind.READ_INDEX))
            trio.network.cut_off.clear()
            assert await reading == b"v"

    asyncio.run(run())


def test_a_write_at_a_leader_that_is_cut_off_is_applied_once_by_the_next_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old = trio.leader
            trio.network.cut_off.add(old.node.node_id)
            writing = asyncio.ensure_future(old.node.write(command(1, b"v"), soon()))
            await trio.until_replaced(old)
            trio.network.cut_off.clear()
            await writing
            assert [await each.get(b"k") for each in trio.nodes] == [b"v"] * 3

    asyncio.run(run())


def test_the_fate_of_a_write_at_a_leader_that_is_cut_off_is_unknown(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            trio.network.cut_off.add(trio.leader.node.node_id)
            error = await error_of(trio.leader.node.put(b"k", b"v", soon(0.1)))
            assert isinstance(error, OutcomeUnknown)

    asyncio.run(run())


def test_a_leader_that_is_cut_off_answers_no_read(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old = trio.leader
            await old.put(b"k", b"old")
            trio.network.cut_off.add(old.node.node_id)
            reading = asyncio.create_task(old.get(b"k"))
            await (await trio.until_replaced(old)).put(b"k", b"new")
            assert not reading.done()
            trio.network.cut_off.clear()
            assert await reading == b"new"

    asyncio.run(run())


def test_a_node_that_is_cut_off_answers_a_stale_read_and_no_other(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            cut_off = trio.followers[0]
            await trio.leader.put(b"k", b"old")
            assert await cut_off.get(b"k") == b"old"
            trio.network.cut_off.add(cut_off.node.node_id)
            await trio.leader.put(b"k", b"new")
            linearizable = asyncio.create_task(cut_off.get(b"k"))
            assert (await cut_off.node.get_stale(b"k", soon())).value == b"old"
            assert not linearizable.done()
            trio.network.cut_off.clear()
            assert await linearizable == b"new"

    asyncio.run(run())


def test_a_stale_read_is_never_older_than_it_says(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            reader = trio.followers[0]
            await until(lambda: reader.node.freshness.whole_until is not None)
            trio.network.cut_off.add(reader.node.node_id)
            await trio.leader.put(b"missing", b"value")
            acknowledged_at = asyncio.get_running_loop().time()
            for _ in range(3):
                read = await reader.node.get_stale(b"missing", soon())
                answered_at = asyncio.get_running_loop().time()
                assert read.staleness_seconds is not None
                assert read.value is None
                assert answered_at - read.staleness_seconds <= acknowledged_at

    asyncio.run(run())


def test_the_time_for_which_the_machine_was_suspended_counts_in_what_a_stale_read_says(tmp_path: Path) -> None:
    suspended_seconds = 0.0

    async def run() -> None:
        nonlocal suspended_seconds
        async with running(tmp_path, Network(), clock=lambda: time.monotonic() + suspended_seconds) as one:
            await until(lambda: one.node.freshness.whole_until is not None)
            suspended_seconds = 3600.0
            read = await one.node.get_stale(b"k", soon())
            assert read.staleness_seconds is not None
            assert read.staleness_seconds >= 3600.0

    asyncio.run(run())


def test_a_stale_read_says_how_far_the_log_was_applied(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        await one.put(b"k", b"v")
        applied_index = one.node.status().applied_index
        assert (await one.node.get_stale(b"k", soon()))[:2] == (b"v", applied_index)

    alone(tmp_path, story)


def test_a_node_that_never_heard_a_leader_does_not_say_how_old_its_state_is(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        assert (await one.node.get_stale(b"k", soon())).staleness_seconds is None

    leaderless(tmp_path, story)


def test_a_node_that_follows_a_leader_learns_by_itself_that_its_state_is_whole(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            began_at = asyncio.get_running_loop().time()
            await until(lambda: all((each.node.freshness.whole_until or 0.0) > began_at for each in trio.nodes))

    asyncio.run(run())


def test_a_node_that_is_stopped_answers_no_stale_read(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        await one.node.stop()
        assert isinstance(await error_of(one.node.get_stale(b"k", soon())), NotApplied)

    alone(tmp_path, story)


def test_a_leader_that_hands_over_is_followed_by_the_one_that_it_chose(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old = trio.leader
            assert await old.node.hand_over(10.0)
            assert not old.node.leads
            await trio.until_followed()

    asyncio.run(run())


def test_a_leader_that_has_just_checked_its_quorum_hands_over_all_the_same(tmp_path: Path) -> None:
    # It has not heard of anybody since.
    async def run() -> None:
        async with three(tmp_path) as trio:
            old = trio.leader
            others = [each.node.node_id for each in trio.followers]
            await until(lambda: not any(old.node.status().peers[other].recent_active for other in others))
            assert await old.node.hand_over(10.0)

    asyncio.run(run())


def test_a_leader_that_hears_of_nobody_gives_a_hand_over_up(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old = trio.leader
            others = [each.node.node_id for each in trio.followers]
            await until(lambda: not any(old.node.status().peers[other].recent_active for other in others))
            trio.network.cut_off.add(old.node.node_id)
            assert await old.node.hand_over(10.0) is False

    asyncio.run(run())


def test_a_write_during_a_hand_over_is_applied(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old = trio.leader
            handing_over = asyncio.create_task(old.node.hand_over(10.0))
            await asyncio.sleep(0)
            await old.put(b"k", b"v")
            await handing_over
            assert await old.get(b"k") == b"v"

    asyncio.run(run())


def test_who_is_alone_has_nobody_to_hand_over_to(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        assert await one.node.hand_over(10.0) is False

    alone(tmp_path, story)


def test_a_leader_hands_over_to_the_one_that_was_named(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old, named = trio.leader, trio.followers[1]
            await old.node.hand_over_to(named.node.node_id, soon())
            assert (old.node.leader_id, named.node.leads) == (named.node.node_id, True)

    asyncio.run(run())


def test_who_does_not_lead_has_nothing_to_hand_over(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            handing_over = trio.followers[0].node.hand_over_to(trio.followers[1].node.node_id, soon())
            assert isinstance(await error_of(handing_over), NotApplied)

    asyncio.run(run())


def test_a_leader_leads_on_and_says_that_it_is_not_sure_when_the_one_named_does_not_take_over(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old, named = trio.leader, trio.followers[0].node.node_id
            trio.network.cut_off.add(named)
            error = await error_of(old.node.hand_over_to(named, soon()))
            assert (type(error), old.node.leads) == (OutcomeUnknown, True)
            await old.put(b"k", b"v")

    asyncio.run(run())


def test_a_hand_over_ends_when_another_one_than_was_named_leads(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old, named, third = trio.leader, *trio.followers
            trio.network.cut_off.add(named.node.node_id)
            handing_over = asyncio.create_task(old.node.hand_over_to(named.node.node_id, soon()))
            await asyncio.sleep(0)
            # As if it had been told to campaign before; the others obey.
            me, other = old.node.node_id, third.node.node_id
            third.node.receive(me, [Message(MessageKind.TIMEOUT_NOW, me, other, term=old.node.status().term)])
            assert isinstance(await error_of(handing_over), NotApplied)
            assert old.node.leader_id == other

    asyncio.run(run())


def test_stopping_leaves_a_hand_over_to_a_named_node_in_doubt(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old, named = trio.leader, trio.followers[0].node.node_id
            trio.network.cut_off.add(named)
            handing_over = asyncio.create_task(old.node.hand_over_to(named, soon()))
            await asyncio.sleep(0)
            await old.node.stop()
            assert isinstance(await error_of(handing_over), OutcomeUnknown)

    asyncio.run(run())


# A disk that does not answer


@contextmanager
def stuck_disk(one: Running) -> Iterator[None]:
    """The thread that writes the log of this node does something else, until the end."""
    answer = threading.Event()
    job = asyncio.ensure_future(one.log._disk.run(answer.wait))
    try:
        yield
    finally:
        answer.set()
        job.cancel()


def test_a_leader_whose_disk_does_not_answer_says_so_once_and_hands_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old = trio.leader
            await until(lambda: old.node._raw.heard == {1, 2, 3})
            term = old.node.status().term
            with stuck_disk(old):
                stuck = asyncio.create_task(old.put(b"k", b"stuck"))
                new = await trio.until_replaced(old)
                await new.put(b"k", b"new")
                # An orderly hand-over, and not the end of its heartbeats.
                assert new.node.status().term == term + 1
            await stuck

    asyncio.run(run())
    assert len([record for record in caplog.records if "a write to the log does not end" in record.getMessage()]) == 1


def test_reads_of_a_disk_that_does_not_answer_end_by_their_deadline(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        answer = threading.Event()
        stuck = asyncio.ensure_future(one.state_machine._reader.run(answer.wait))
        try:
            for read in (one.node.get, one.node.get_stale):
                error = await error_of(read(b"k", soon(0.1)))
                assert isinstance(error, NotApplied)
                assert "the disk has not answered in time" in str(error)
        finally:
            answer.set()
            await stuck

    alone(tmp_path, story)


def test_a_change_that_the_node_fails_with_is_answered(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old = trio.leader
            apply_change = old.node._apply_change

            def apply_and_fail(entry: Entry) -> None:
                apply_change(entry)
                # So that no entry can be proposed after it.
                old.node._raw.transfer_leader(trio.followers[0].node.node_id)
                raise DiskFull("no space left for the next entry")

            with patch.object(old.node, "_apply_change", apply_and_fail):
                error = await error_of(old.node.change_membership(change(ChangeKind.ADD_LEARNER, 4), soon()))
            assert isinstance(error, OutcomeUnknown)

    asyncio.run(run())


def test_a_tick_between_the_decision_to_write_and_its_first_step_takes_no_disk_for_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_write, "SLOW_DISK_SECONDS", 0.1)

    async def story(one: Running) -> None:
        await one.put(b"k")
        idle_until = one.node._loop.time() + 0.2
        await until(lambda: one.node._loop.time() > idle_until and not one.node._log_write.is_under_way)
        writing = asyncio.create_task(one.put(b"k"))
        await asyncio.sleep(0)  # It is queued, and the pass that takes it in is due.
        one.node._work()
        assert one.node._log_write.is_under_way
        one.node._look_after_disk(one.node._loop.time())
        assert not one.node._log_write._is_slowness_told
        await writing

    alone(tmp_path, story)


class Panic(BaseException):
    """As native code raises it: no `Exception`."""


@pytest.mark.parametrize("step", ["write", "sync_wal"])
def test_a_node_whose_disk_panics_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def panic(*_: object) -> None:
        raise Panic

    async def story(one: Running) -> None:
        await one.put(b"k")
        monkeypatch.setattr(one.log._database, step, panic)
        await error_of(one.put(b"k"))
        assert "Panic" in repr(one.node.failed.exception())

    alone(tmp_path, story)


def test_a_stop_that_is_cancelled_while_an_append_is_under_way_may_be_tried_again(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        with stuck_disk(one):
            writing = asyncio.create_task(error_of(one.put(b"k")))
            await until_persisting(one)
            stopping = asyncio.create_task(one.node.stop())
            await asyncio.sleep(0)
            stopping.cancel()
            await asyncio.wait([stopping])
        await one.node.stop()
        await writing

    alone(tmp_path, story)


def test_a_leader_without_a_successor_goes_on_leading_while_its_disk_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_write, "SLOW_DISK_SECONDS", 0.1)

    async def story(one: Running) -> None:
        with stuck_disk(one):
            stuck = asyncio.create_task(one.put(b"k"))
            await until(lambda: one.node._log_write._is_slowness_told)
            assert one.node.leads
        await stuck

    alone(tmp_path, story)


# Membership


def test_a_change_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        error = await error_of(one.node.change_membership(change(ChangeKind.REMOVE, 1), soon()))
        assert isinstance(error, ChangeRefused)
        assert str(error) == "the change would remove all voters"

    alone(tmp_path, story)


def test_a_change_waits_for_the_one_before(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        changes = (one.node.change_membership(change(ChangeKind.ADD_LEARNER, number), soon()) for number in (2, 3, 4))
        await asyncio.gather(*changes)
        assert one.node.members.configuration.learners == {2, 3, 4}

    alone(tmp_path, story)


def test_a_change_that_can_not_be_made_in_time_was_certainly_not_made(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            leader = trio.leader
            trio.network.cut_off.add(leader.node.node_id)
            before = asyncio.create_task(leader.node.change_membership(change(ChangeKind.ADD_LEARNER, 4), soon()))
            await asyncio.sleep(0)
            error = await error_of(leader.node.change_membership(change(ChangeKind.ADD_LEARNER, 5), soon(0.05)))
            assert isinstance(error, NotApplied)
            assert str(error) == "another membership change is still under way: try again later"
            before.cancel()

    asyncio.run(run())


def test_a_change_that_was_made_is_known_as_committed_to_the_disks_of_a_majority(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            index = trio.leader.log.last_index() + 1
            await trio.leader.node.change_membership(change(ChangeKind.ADD_LEARNER, 4), soon())
            knowing = [each for each in trio.nodes if each.log.hard_state.commit >= index]
            assert len(knowing) >= 2

    asyncio.run(run())


def test_a_change_while_the_leader_hands_over_is_not_called_unknown_if_it_leads_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            leader = trio.leader
            index = leader.log.last_index() + 1
            changing = asyncio.create_task(leader.node.change_membership(change(ChangeKind.ADD_LEARNER, 4), soon()))
            await asyncio.sleep(0)
            # Proposals are dropped until it is given up after an election timeout, because its successor hears nothing.
            successor = trio.followers[0].node.node_id
            leader.node._raw.transfer_leader(successor)
            trio.network.cut_off.add(successor)
            await changing
            knowing = [each for each in trio.nodes if each.log.hard_state.commit >= index]
            assert len(knowing) >= 2

    asyncio.run(run())


def test_a_change_that_was_applied_and_not_spread_is_not_called_made(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            leader = trio.leader
            changing = asyncio.create_task(leader.node.change_membership(change(ChangeKind.ADD_LEARNER, 4), soon()))
            async with asyncio.timeout(10):
                while 4 not in leader.node.members.by_id:
                    await asyncio.sleep(0)
            trio.network.cut_off.add(leader.node.node_id)
            await trio.until_replaced(leader)
            assert isinstance(await error_of(changing), OutcomeUnknown)

    asyncio.run(run())


def test_a_change_whose_leader_has_lost_the_lead_is_not_called_made_for_what_the_next_one_appends(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            former = trio.followers[0].node
            trio.network.sent.clear()
            # It has applied its change, and follows by now.
            error = await error_of(former._membership._spread_commit(soon()))
            assert isinstance(error, OutcomeUnknown)
            assert trio.network.sent_by(former.node_id, MessageKind.PROPOSE) == []

    asyncio.run(run())


def test_a_change_that_was_applied_when_its_leader_stops_is_not_called_made(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            leader = trio.leader
            changing = asyncio.create_task(leader.node.change_membership(change(ChangeKind.ADD_LEARNER, 4), soon()))
            async with asyncio.timeout(10):
                while 4 not in leader.node.members.by_id:
                    await asyncio.sleep(0)
            await leader.node.stop()
            assert isinstance(await error_of(changing), OutcomeUnknown)

    asyncio.run(run())


def test_a_change_is_known_to_all_members(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            await trio.leader.node.change_membership(change(ChangeKind.ADD_LEARNER, 4), soon())
            await until(lambda: all(each.node.members.by_id.get(4) == member(4) for each in trio.nodes))
            assert all(each.line.peers[4] == "host4:7000" for each in trio.nodes)

    asyncio.run(run())


def test_a_learner_that_asked_for_it_becomes_a_voter_once_it_has_caught_up(tmp_path: Path) -> None:
    async def run() -> None:
        network = Network()
        async with running(tmp_path / "1", network) as one:
            await one.until_leading()
            for number in range(20):
                await one.put(b"%d" % number)
            await one.node.change_membership(change(ChangeKind.ADD_LEARNER, 2, promote=True), soon())
            assert one.node.members.configuration.learners == {2}
            async with running(tmp_path / "2", network, 2, voters=()) as two:
                two.node.introduced(1, 10, "host1:7000")
                await until(lambda: one.node.members.configuration.voters == {1, 2})
                assert one.node.members.by_id[2] == member(2)
                assert await two.get(b"19") == b"value"

    asyncio.run(run())


def test_nobody_is_made_a_voter_who_has_yet_to_learn_that_it_was_let_in(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network()) as one:
            await one.until_leading()
            await one.node.change_membership(change(ChangeKind.ADD_LEARNER, 2), soon())
            error = await error_of(one.node.change_membership(change(ChangeKind.ADD_VOTER, 2), soon()))
            assert isinstance(error, ChangeRefused)
            assert "node 2 has yet to learn that it was let in" in str(error)
            assert one.node.members.configuration.voters == {1}

    asyncio.run(run())


def test_a_learner_that_did_not_ask_for_it_stays_one(tmp_path: Path) -> None:
    async def run() -> None:
        network = Network()
        async with running(tmp_path / "1", network) as one:
            await one.until_leading()
            await one.node.change_membership(change(ChangeKind.ADD_LEARNER, 2), soon())
            async with running(tmp_path / "2", network, 2, voters=()) as two:
                two.node.introduced(1, 10, "host1:7000")
                await one.put(b"k", b"v")
                assert await two.get(b"k") == b"v"
                await one.node.change_membership(change(ChangeKind.ADD_LEARNER, 3, promote=True), soon())
                assert one.node.members.configuration.learners == {2, 3}

    asyncio.run(run())


def test_who_is_removed_learns_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            removed = trio.followers[0].node
            await trio.leader.node.change_membership(change(ChangeKind.REMOVE, removed.node_id), soon())
            await until(removed.removed.done)
            assert removed.removed.result() is Removal.WHILE_RUNNING

    asyncio.run(run())


def test_a_leader_that_is_removed_learns_it_and_another_one_leads(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path) as trio:
            old = trio.leader
            await old.node.change_membership(change(ChangeKind.REMOVE, old.node.node_id), soon())
            await until(old.node.removed.done)
            await (await trio.until_replaced(old)).put(b"k")

    asyncio.run(run())


def test_who_was_removed_is_heard_out_and_then_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "FAREWELL_SECONDS", 0.1)

    async def run() -> None:
        async with three(tmp_path) as trio:
            leader, removed = trio.leader, trio.followers[0].node
            await leader.node.change_membership(change(ChangeKind.REMOVE, removed.node_id), soon())
            assert removed.node_id in leader.line.peers
            await until(lambda: removed.node_id not in leader.line.peers)

    asyncio.run(run())


def test_who_was_removed_is_heard_out_even_if_another_one_is_removed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "FAREWELL_SECONDS", 0.5)

    async def run() -> None:
        network = Network()
        async with running(tmp_path, network) as one:
            await one.until_leading()
            for node_id in (2, 3):
                await one.node.change_membership(change(ChangeKind.ADD_LEARNER, node_id), soon())
            for node_id in (2, 3):
                await one.node.change_membership(change(ChangeKind.REMOVE, node_id), soon())
            assert one.line.peers.keys() == {2, 3}
            await until(lambda: not one.line.peers)

    asyncio.run(run())


def test_who_was_removed_while_it_was_down_is_told_by_the_others(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        one.node.refused(2, Refusal.REMOVED_SENDER, "node 1 was removed from the cluster")
        assert one.node.removed.result() is Removal.WHILE_DOWN

    leaderless(tmp_path, story)


@pytest.mark.parametrize("refusal", [each for each in Refusal if each not in REMOVALS])
def test_another_refusal_does_not_mean_that_a_node_was_removed(tmp_path: Path, refusal: Refusal) -> None:
    async def story(one: Running) -> None:
        one.node.refused(2, refusal, "detail")
        assert not one.node.removed.done()

    leaderless(tmp_path, story)


def test_a_removed_instance_is_not_let_in_but_another_one_with_its_id_is(tmp_path: Path) -> None:
    # The other one may have joined by an entry that is not applied here yet.
    async def story(one: Running) -> None:
        assert one.node.admits(2, 20, FIRST_RELEASE.level) is None
        await one.node.change_membership(change(ChangeKind.ADD_LEARNER, 2), soon())
        assert (one.node.admits(2, 20, FIRST_RELEASE.level), one.node.admits(2, 21, FIRST_RELEASE.level)) == (
            None,
            None,
        )
        await one.node.change_membership(change(ChangeKind.REMOVE, 2), soon())
        assert (one.node.admits(2, 20, FIRST_RELEASE.level), one.node.admits(2, 21, FIRST_RELEASE.level)) == (
            Refusal.REMOVED_SENDER,
            None,
        )

    alone(tmp_path, story)


def test_a_node_that_joined_anew_passes_its_own_removal_as_it_catches_up(tmp_path: Path) -> None:
    async def run() -> None:
        network = Network()
        async with running(tmp_path / "1", network) as one:
            await one.until_leading()
            await one.node.change_membership(change(ChangeKind.ADD_LEARNER, 2), soon())
            await one.node.change_membership(change(ChangeKind.REMOVE, 2), soon())
            anew = member(2)._replace(instance_id=21)
            joining = ConfChange((Change(ChangeKind.ADD_LEARNER, 2),), context=encode_context({2: anew}))
            await one.node.change_membership(joining, soon())
            async with running(tmp_path / "2", network, 2, voters=(), instance_id=21) as two:
                two.node.introduced(1, 10, "host1:7000")
                await until(lambda: two.node.members.by_id.get(2) == anew)
                assert not two.node.removed.done()

    asyncio.run(run())


# Where the others are


def test_a_node_talks_to_the_other_members(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        assert one.line.peers == {2: "host2:7000", 3: "host3:7000"}

    leaderless(tmp_path, story)


def test_who_is_not_yet_a_member_answers_those_that_talk_to_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network(), 4, voters=()) as newcomer:
            newcomer.node.introduced(1, 10, "host1:7000")
            newcomer.node.introduced(2, 20, "")
            assert newcomer.line.peers == {1: "host1:7000"}

    asyncio.run(run())


def test_a_member_that_comes_back_under_a_new_address_is_answered_there(tmp_path: Path) -> None:
    # Or there may be no majority to note the new address by.
    async def story(one: Running) -> None:
        one.node.introduced(2, 20, "elsewhere:7000")
        assert one.line.peers == {2: "elsewhere:7000", 3: "host3:7000"}

    leaderless(tmp_path, story)


def test_an_address_that_the_cluster_has_noted_is_newer_than_what_a_member_said_before(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        await one.node.change_membership(change(ChangeKind.ADD_LEARNER, 2), soon())
        one.node.introduced(2, 20, "host2:7000")
        moved = member(2)._replace(raft_address="home:7000")
        noted = ConfChange((Change(ChangeKind.ADD_LEARNER, 2),), context=encode_context({2: moved}))
        await one.node.change_membership(noted, soon())
        assert one.line.peers == {2: "home:7000"}

    alone(tmp_path, story)


def test_who_joins_with_the_id_of_a_removed_member_is_not_looked_for_where_that_was(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        await one.node.change_membership(change(ChangeKind.ADD_LEARNER, 2), soon())
        one.node.introduced(2, 20, "elsewhere:7000")
        await one.node.change_membership(change(ChangeKind.REMOVE, 2), soon())
        await one.node.change_membership(change(ChangeKind.ADD_LEARNER, 2), soon())
        assert one.line.peers == {2: "host2:7000"}

    alone(tmp_path, story)


def test_who_has_joined_anew_is_answered_although_the_end_of_the_one_before_is_yet_to_be_passed(tmp_path: Path) -> None:
    # Or who catches up may be needed by the one whose messages it can't answer.
    async def story(one: Running) -> None:
        await one.node.change_membership(change(ChangeKind.ADD_LEARNER, 2), soon())
        one.node.introduced(2, 21, "anew:7000")
        await one.node.change_membership(change(ChangeKind.REMOVE, 2), soon())
        assert one.line.peers == {2: "anew:7000"}

    alone(tmp_path, story)


def test_of_many_that_are_not_known_the_first_is_forgotten(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        for stranger in range(4, 4 + addresses.MAX_STRANGERS + 1):
            one.node.introduced(2, 20, "elsewhere:7000")
            one.node.introduced(stranger, 1, "stranger:7000")
        assert one.line.peers.keys() == {2, 3, *range(5, 5 + addresses.MAX_STRANGERS)}
        assert one.line.peers[2] == "elsewhere:7000"

    leaderless(tmp_path, story)


def test_a_node_that_is_not_known_yet_is_answered(tmp_path: Path) -> None:
    async def story(one: Running) -> None:
        one.node.introduced(9, 90, "host9:7000")
        assert one.line.peers == {9: "host9:7000"}

    alone(tmp_path, story)


# The feature level


def test_a_node_alone_raises_the_level_to_what_it_supports(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network(), release=OWN_RELEASE) as one:
            await until(lambda: one.node.level == SUPPORTED_LEVEL)
            assert one.node.level_raised.is_set()
            one.node.ensure_level(SUPPORTED_LEVEL)

    asyncio.run(run())


def test_the_level_is_raised_once_the_last_member_has_said_that_it_supports_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with three(tmp_path, release=OWN_RELEASE) as trio:
            leader, others = trio.leader, trio.followers
            one, last = (each.node.node_id for each in others)
            leader.node.introduced(one, 10 * one, "", OWN_RELEASE)
            leader.node.introduced(last, 10 * last, "")
            await leader.put(b"key")
            assert leader.node.level == leader.node.level_to_come == 0
            with pytest.raises(ChangeRefused, match=f"must run release .*: node {last} runs an older release"):
                leader.node.ensure_level(SUPPORTED_LEVEL)
            leader.node.introduced(last, 10 * last, "", OWN_RELEASE)
            await until(lambda: all(each.node.level == SUPPORTED_LEVEL for each in trio.nodes))

    asyncio.run(run())


def test_who_supports_less_than_the_cluster_does_is_not_listened_to(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network(), release=OWN_RELEASE) as one:
            await until(lambda: one.node.level == SUPPORTED_LEVEL)
            assert one.node.admits(2, 20, SUPPORTED_LEVEL - 1) is Refusal.RELEASE_TOO_OLD
            assert one.node.admits(2, 20, SUPPORTED_LEVEL) is None

    asyncio.run(run())


def test_who_has_a_later_release_than_when_it_was_last_heard_is_listened_to(tmp_path: Path) -> None:
    # It was out of touch while it was upgraded, and the cluster's level was raised by way of others.
    async def run() -> None:
        async with running(tmp_path, Network(), release=OWN_RELEASE) as one:
            one.node.introduced(2, 20, "host2:7000", FIRST_RELEASE)
            await until(lambda: one.node.level == SUPPORTED_LEVEL)
            assert one.node.admits(2, 20, SUPPORTED_LEVEL) is None

    asyncio.run(run())


def test_a_former_member_that_supports_less_is_told_that_it_was_removed(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network(), release=OWN_RELEASE) as one:
            await one.until_leading()
            one.node.introduced(2, 20, "host2:7000")
            await one.node.change_membership(change(ChangeKind.ADD_LEARNER, 2), soon())
            await one.node.change_membership(change(ChangeKind.REMOVE, 2), soon())
            await until(lambda: one.node.level == SUPPORTED_LEVEL)
            assert one.node.admits(2, 20, FIRST_RELEASE.level) is Refusal.REMOVED_SENDER

    asyncio.run(run())
