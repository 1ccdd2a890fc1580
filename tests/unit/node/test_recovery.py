import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meteora.errors import Corruption
from meteora.kv.command import Command, Operation, encode_batch
from meteora.kv.state_machine import StateMachine
from meteora.node.members import Member, Members, encode_context
from meteora.node.recovery import REPLAY_BATCH_BYTES, create_cluster, replay
from meteora.raft import Change, ChangeKind, ConfChange, Configuration, Entry, EntryKind, HardState
from meteora.raft.errors import InvariantViolation
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog

ME = Member("host1:5000", "host1:7000", instance_id=10)


@contextmanager
def opened_log(folder: Path) -> Iterator[RaftLog]:
    disk = DiskThread("raft log")
    log = RaftLog.open(folder / "raft", disk)
    try:
        yield log
    finally:
        log.close()
        disk.close()


@contextmanager
def opened(folder: Path) -> Iterator[tuple[RaftLog, StateMachine]]:
    with opened_log(folder) as log:
        state_machine = StateMachine.open(folder / "kv")
        try:
            yield log, state_machine
        finally:
            state_machine.close()


def put(index: int, key: bytes, value: bytes = b"value", *, client_id: int = 0) -> Entry:
    command = Command(Operation.PUT, client_id, 1, 1, False, key, value)
    return Entry(1, index, encode_batch([command]))


def adding(index: int, node_id: int, member: Member = ME) -> Entry:
    change = ConfChange((Change(ChangeKind.ADD_VOTER, node_id),), context=encode_context({node_id: member}))
    return Entry(1, index, change.encode(), EntryKind.CONF_CHANGE)


def append(log: RaftLog, entries: list[Entry], commit: int) -> None:
    asyncio.run(log.append(entries, HardState(term=1, vote=0, commit=commit)))


def value_of(state_machine: StateMachine, key: bytes) -> bytes | None:
    return asyncio.run(state_machine.get_many([key]))[0]


# A new cluster


def test_a_new_cluster_has_one_committed_entry_that_names_its_only_member(tmp_path: Path) -> None:
    with opened(tmp_path) as (log, state_machine):
        asyncio.run(create_cluster(log, 1, ME))
        assert (log.last_index(), log.hard_state) == (1, HardState(term=1, vote=0, commit=1))
        assert replay(log, state_machine) == 1
        assert Members.decode(state_machine.membership) == Members(Configuration.of({1}), {1: ME})


def test_a_cluster_that_was_created_before_is_left_as_it_is(tmp_path: Path) -> None:
    with opened(tmp_path) as (log, _):
        asyncio.run(create_cluster(log, 1, ME))
        append(log, [put(2, b"k")], commit=2)
        asyncio.run(create_cluster(log, 2, ME._replace(instance_id=99)))
        assert (log.last_index(), log.hard_state.commit) == (2, 2)
        assert log.read(1, 2, 1 << 20) == [adding(1, 1)]


# The replay


def test_what_is_committed_is_applied_and_what_is_not_waits(tmp_path: Path) -> None:
    with opened(tmp_path) as (log, state_machine):
        append(log, [adding(1, 1), put(2, b"a"), put(3, b"b"), put(4, b"c")], commit=3)
        assert replay(log, state_machine) == 3
        assert [value_of(state_machine, key) for key in (b"a", b"b", b"c")] == [b"value", b"value", None]
        assert state_machine.applied_index == 3


def test_what_is_applied_already_is_not_applied_again(tmp_path: Path) -> None:
    with opened(tmp_path) as (log, state_machine):
        append(log, [adding(1, 1), put(2, b"k", b"1")], commit=2)
        replay(log, state_machine)
        assert replay(log, state_machine) == 0
        append(log, [put(3, b"k", b"2")], commit=3)
        assert replay(log, state_machine) == 1
        assert value_of(state_machine, b"k") == b"2"


def test_a_state_machine_that_is_gone_is_made_again_from_the_log(tmp_path: Path) -> None:
    # As after a crash before its first flush.
    with opened(tmp_path) as (log, state_machine):
        append(log, [adding(1, 1), put(2, b"k")], commit=2)
        replay(log, state_machine)
    shutil.rmtree(tmp_path / "kv")
    with opened(tmp_path) as (log, state_machine):
        assert replay(log, state_machine) == 2
        assert value_of(state_machine, b"k") == b"value"
        assert Members.decode(state_machine.membership).by_id == {1: ME}


def test_a_log_that_is_longer_than_what_is_read_at_a_time_is_applied_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as (log, state_machine):
        value = bytes(REPLAY_BATCH_BYTES // 3)
        append(log, [adding(1, 1), *(put(index, b"%d" % index, value) for index in range(2, 10))], commit=9)
        assert replay(log, state_machine) == 9
        assert all(value_of(state_machine, b"%d" % index) == value for index in range(2, 10))


def test_membership_changes_and_commands_are_applied_in_their_order(tmp_path: Path) -> None:
    with opened(tmp_path) as (log, state_machine):
        removal = Entry(1, 5, ConfChange((Change(ChangeKind.REMOVE, 2),)).encode(), EntryKind.CONF_CHANGE)
        entries = [adding(1, 1), put(2, b"a"), adding(3, 2, ME._replace(instance_id=20)), put(4, b"b"), removal]
        append(log, [*entries, put(6, b"a", b"last")], commit=6)
        assert replay(log, state_machine) == 6
        assert value_of(state_machine, b"a") == b"last"
        assert Members.decode(state_machine.membership) == Members(Configuration.of({1}), {1: ME}, ((2, 20),), 1)


def test_the_entries_with_which_leaders_open_their_terms_change_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as (log, state_machine):
        append(log, [adding(1, 1), Entry(1, 2), put(3, b"k")], commit=3)
        assert replay(log, state_machine) == 3
        assert value_of(state_machine, b"k") == b"value"


@pytest.mark.parametrize(
    "data", [b"", b"\xff", ConfChange((Change(ChangeKind.REMOVE, 1),)).encode(), ConfChange().encode()]
)
def test_a_membership_change_that_makes_no_sense_is_passed_over_as_on_every_replica(
    tmp_path: Path, data: bytes
) -> None:
    with opened(tmp_path) as (log, state_machine):
        append(log, [adding(1, 1), Entry(1, 2, data, EntryKind.CONF_CHANGE), put(3, b"k")], commit=3)
        assert replay(log, state_machine) == 3
        assert Members.decode(state_machine.membership) == Members(Configuration.of({1}), {1: ME})


def test_a_request_that_was_applied_before_is_not_applied_again_by_the_replay(tmp_path: Path) -> None:
    with opened(tmp_path) as (log, state_machine):
        mine, anothers = put(2, b"k", b"mine", client_id=5), put(3, b"k", b"another's")
        append(log, [adding(1, 1), mine, anothers, mine._replace(index=4)], commit=4)
        replay(log, state_machine)
        assert value_of(state_machine, b"k") == b"another's"


def test_an_empty_log_has_nothing_to_apply(tmp_path: Path) -> None:
    with opened(tmp_path) as (log, state_machine):
        assert replay(log, state_machine) == 0


def test_a_state_machine_that_is_ahead_of_the_log_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as (log, state_machine):
        append(log, [adding(1, 1), put(2, b"k")], commit=2)
        replay(log, state_machine)
    shutil.rmtree(tmp_path / "raft")
    with (
        opened(tmp_path) as (log, state_machine),
        pytest.raises(InvariantViolation, match="entry 2 was applied, but the log ends at 0"),
    ):
        replay(log, state_machine)


def test_a_command_that_can_not_be_read_is_corruption(tmp_path: Path) -> None:
    with opened(tmp_path) as (log, state_machine):
        append(log, [adding(1, 1), Entry(1, 2, b"\x01no command")], commit=2)
        with pytest.raises(Corruption, match="entry 2@1 can't be applied"):
            replay(log, state_machine)
