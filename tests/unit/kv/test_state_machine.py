"""What applying does, in which pieces, and what is left after a restart."""

import asyncio
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from meteora.errors import Corruption, DiskFull, ReleaseTooOld
from meteora.features import SUPPORTED_LEVEL
from meteora.kv.command import raise_level
from meteora.kv.rolling_hash import Checkpoint
from meteora.kv.sessions import Outcome
from meteora.kv.state import LEVEL_KEY, ROLLING_HASH_KEY
from meteora.kv.state_machine import BATCH_BYTES, REPLAY_BOUND_BYTES, Applied, StateMachine
from meteora.raft.entry import Entry, EntryKind
from meteora.raft.errors import InvariantViolation
from meteora.storage.rocks import KEY_VALUE, Rocks, WriteBatch
from tests.unit.kv.state_machines import Story, delete, entry_of, everything_in, opened, put, value_of

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[StateMachine]:
    with opened(tmp_path / "kv") as machine:
        yield machine


# Applying


def test_a_new_state_machine_has_applied_nothing(machine: StateMachine) -> None:
    assert (machine.applied_index, machine.applied_term, machine.membership) == (0, 0, b"")


def test_what_is_put_is_read(machine: StateMachine) -> None:
    machine.apply([entry_of(1, put(b"a", b"1"), put(b"b", b""))])
    assert asyncio.run(machine.get_many([b"b", b"absent", b"a"])) == [b"", None, b"1"]


def test_what_is_deleted_is_gone(machine: StateMachine) -> None:
    machine.apply([entry_of(1, put(b"a", b"1")), entry_of(2, delete(b"a"), delete(b"never there"))])
    assert everything_in(machine) == {}


def test_commands_are_applied_in_their_order(machine: StateMachine) -> None:
    machine.apply([entry_of(1, put(b"a", b"1"), delete(b"a"), put(b"a", b"2")), entry_of(2, put(b"a", b"3"))])
    assert value_of(machine, b"a") == b"3"


@pytest.mark.parametrize("key", [b"\x00", b"\xff" * 100, b"k", b"s\x00\x00\x00\x00\x00\x00\x00\x07", b"mapplied"])
def test_no_key_of_a_user_touches_what_is_not_his(tmp_path: Path, key: bytes) -> None:
    with opened(tmp_path / "kv") as machine:
        machine.apply([entry_of(1, put(b"a", b"1", client_id=7, sequence=1), put(key, b"value"), delete(key))])
        machine.apply([entry_of(2, put(key, b"value"))])
    with opened(tmp_path / "kv") as machine:
        assert (machine.applied_index, everything_in(machine)) == (2, {b"a": b"1", key: b"value"})
        retry = put(b"a", b"2", client_id=7, sequence=1, retry=True)
        assert machine.apply([entry_of(3, retry)]) == [Applied(7, 1, Outcome.DUPLICATE)]


def test_each_command_is_answered_in_order(machine: StateMachine) -> None:
    results = machine.apply(
        [
            entry_of(1, put(b"a", b"1", client_id=7, sequence=1), put(b"b", b"1")),
            entry_of(2, put(b"a", b"2", client_id=7, sequence=1, retry=True), put(b"b", b"2", client_id=8, sequence=1)),
        ]
    )
    assert results == [
        Applied(7, 1, Outcome.APPLIED),
        Applied(0, 0, Outcome.APPLIED),
        Applied(7, 1, Outcome.DUPLICATE),
        Applied(8, 1, Outcome.APPLIED),
    ]


def test_a_duplicate_changes_nothing_though_it_is_in_the_same_entry(machine: StateMachine) -> None:
    machine.apply([entry_of(1, *(put(b"a", b"%d" % n, client_id=7, sequence=1, retry=n > 1) for n in (1, 2, 3)))])
    assert value_of(machine, b"a") == b"1"


def test_a_command_without_a_client_is_applied_each_time(machine: StateMachine) -> None:
    entry = entry_of(1, put(b"a", b"1"))
    machine.apply([entry, entry._replace(index=2)])
    assert machine.apply([entry._replace(index=3)]) == [Applied(0, 0, Outcome.APPLIED)]


def test_the_entry_that_opens_a_term_changes_nothing_but_the_applied_index(machine: StateMachine) -> None:
    assert machine.apply([Entry(3, 1), entry_of(2, term=3)]) == []
    assert (machine.applied_index, machine.applied_term, everything_in(machine)) == (2, 3, {})


def test_no_entries_change_nothing(machine: StateMachine) -> None:
    assert machine.apply([]) == []
    assert machine.applied_index == 0


def test_a_membership_is_stored_with_its_entry(tmp_path: Path) -> None:
    with opened(tmp_path / "kv") as machine:
        machine.apply([entry_of(1, put(b"a", b"1"))])
        machine.apply_membership(Entry(2, 2, b"change", EntryKind.CONF_CHANGE), b"members")
        assert (machine.applied_index, machine.applied_term, machine.membership) == (2, 2, b"members")
    with opened(tmp_path / "kv") as machine:
        assert (machine.applied_index, machine.applied_term, machine.membership) == (2, 2, b"members")


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([entry_of(4, term=2)], id="gap"),
        pytest.param([entry_of(2, term=2)], id="again"),
        pytest.param([entry_of(3, term=2), entry_of(5, term=2)], id="gap inside"),
        pytest.param([entry_of(3, term=1)], id="falling term"),
        pytest.param([entry_of(3, term=3), entry_of(4, term=2)], id="falling term inside"),
        pytest.param([Entry(2, 3, b"", EntryKind.CONF_CHANGE)], id="membership"),
    ],
)
def test_entries_that_are_not_due_are_a_bug(machine: StateMachine, entries: list[Entry]) -> None:
    machine.apply([entry_of(1, put(b"a", b"1"), term=2), Entry(2, 2)])
    with pytest.raises(InvariantViolation, match="is due"):
        machine.apply(entries)
    assert (machine.applied_index, everything_in(machine)) == (2, {b"a": b"1"})


def test_commands_are_no_membership(machine: StateMachine) -> None:
    with pytest.raises(InvariantViolation, match="COMMAND entry 1@1 to be applied where CONF_CHANGE entry 1"):
        machine.apply_membership(entry_of(1), b"members")


# In which pieces


def writes_of(machine: StateMachine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The applied index after each write to the database, as they come."""
    seen: list[int] = []
    write = machine._database.write

    def watched(batch: WriteBatch) -> None:
        write(batch)
        record = machine._database.get(b"mapplied")
        assert record is not None
        seen.append(int.from_bytes(record[1:9], "big"))

    monkeypatch.setattr(machine._database, "write", watched)
    return seen


def test_entries_that_are_applied_together_are_one_write(
    machine: StateMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = writes_of(machine, monkeypatch)
    machine.apply([entry_of(index, put(b"key%d" % index, b"v" * 100)) for index in range(1, 101)])
    assert seen == [100]


def test_large_entries_are_applied_in_several_writes_each_whole(
    machine: StateMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = writes_of(machine, monkeypatch)
    large = b"v" * (BATCH_BYTES * 2 // 5)
    machine.apply([entry_of(index, put(b"key%d" % index, large)) for index in range(1, 6)])
    assert seen == [2, 4, 5]
    assert len(everything_in(machine)) == 5


def test_an_entry_is_never_split(machine: StateMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = writes_of(machine, monkeypatch)
    huge = [put(b"key%d" % number, b"v" * BATCH_BYTES) for number in range(3)]
    machine.apply([entry_of(1, *huge), entry_of(2, *huge)])
    assert seen == [1, 2]


# Against a plain dictionary


@pytest.mark.parametrize("seed", range(10))
def test_the_state_is_that_of_a_plain_dictionary_whatever_restarts_there_were(tmp_path: Path, seed: int) -> None:
    story = Story(seed, 120)
    for up_to in (1, 2, 50, 51, 120):
        with opened(tmp_path / "kv") as machine:
            story.apply(machine, up_to)
            assert everything_in(machine) == story.states[up_to]
            assert machine.membership == story.memberships[up_to]


def test_entries_together_lead_to_the_same_state_as_one_by_one(tmp_path: Path) -> None:
    entries = [entry for entry in Story(1, 200).entries if entry.kind is EntryKind.COMMAND]
    entries = [entry._replace(index=index) for index, entry in enumerate(entries, start=1)]
    contents = []
    for name, pieces in (("together", [entries]), ("one by one", [[entry] for entry in entries])):
        with opened(tmp_path / name) as machine:
            for piece in pieces:
                machine.apply(piece)
            contents.append(list(machine._database.scan(b"", b"\xff")))
    assert contents[0] == contents[1]


# After a restart


def test_a_restart_after_a_close_has_nothing_to_apply_again(tmp_path: Path) -> None:
    with opened(tmp_path / "kv") as machine:
        machine.apply([entry_of(index, put(b"a", b"%d" % index), term=index) for index in range(1, 6)])
    with opened(tmp_path / "kv") as machine:
        assert (machine.applied_index, machine.applied_term, value_of(machine, b"a")) == (5, 5, b"5")
        assert (machine.flushed_index, machine.unflushed_bytes) == (5, 0)


def test_a_restart_after_a_kill_is_at_what_was_flushed(tmp_path: Path, machine: StateMachine) -> None:
    machine.apply([entry_of(1, put(b"a", b"1"))])
    asyncio.run(machine.flush())
    machine.apply([entry_of(2, put(b"a", b"2"))])
    shutil.copytree(tmp_path / "kv", tmp_path / "killed")
    with opened(tmp_path / "killed") as killed:
        assert (killed.applied_index, everything_in(killed)) == (1, {b"a": b"1"})


def test_sessions_survive_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path / "kv") as machine:
        machine.apply([entry_of(1, *(put(b"a", b"1", client_id=7, sequence=sequence) for sequence in (1, 2, 5)))])
    with opened(tmp_path / "kv") as machine:
        sequences = (2, 3, 5)
        commands = [put(b"a", b"2", client_id=7, sequence=sequence, retry=True) for sequence in sequences]
        outcomes = [result.outcome for result in machine.apply([entry_of(2, *commands)])]
    assert outcomes == [Outcome.DUPLICATE, Outcome.APPLIED, Outcome.DUPLICATE]


def test_dropped_sessions_stay_dropped_and_are_remembered_as_such(tmp_path: Path) -> None:
    with opened(tmp_path / "kv") as machine:
        machine._sessions._max_sessions = 2
        machine.apply([entry_of(index, put(b"a", b"", client_id=index, sequence=1)) for index in (1, 2, 3)])
        assert [key[-1] for key, _ in machine._database.scan(b"s", b"t")] == [2, 3]
    with opened(tmp_path / "kv") as machine:
        retries = [put(b"a", b"", client_id=client_id, sequence=1, retry=True) for client_id in (1, 2, 3)]
        outcomes = [result.outcome for result in machine.apply([entry_of(4, *retries)])]
    assert outcomes == [Outcome.EXPIRED, Outcome.DUPLICATE, Outcome.DUPLICATE]


# Flushes


def test_a_flush_remembers_the_applied_index_as_of_its_start(machine: StateMachine) -> None:
    first, second = entry_of(1, put(b"a", b"1")), entry_of(2, put(b"a", b"22"))

    async def scenario() -> None:
        machine.apply([first])
        flushing = asyncio.create_task(machine.flush())
        await asyncio.sleep(0)
        machine.apply([second])
        await flushing

    asyncio.run(scenario())
    assert (machine.flushed_index, machine.unflushed_bytes) == (1, second.size_bytes())


def test_a_flush_is_due_before_the_replay_bound_is_reached(machine: StateMachine) -> None:
    large = entry_of(1, put(b"a", b"v" * (4 << 20)))
    while not machine.needs_flush():
        machine.apply([large._replace(index=machine.applied_index + 1)])
    assert machine.unflushed_bytes <= REPLAY_BOUND_BYTES * 3 // 4
    asyncio.run(machine.flush())
    assert not machine.needs_flush()


def test_a_state_machine_at_rest_is_not_stalled(machine: StateMachine) -> None:
    machine.apply([entry_of(1, put(b"a", b"1"))])
    assert not machine.is_write_stalled()


def test_a_state_machine_whose_database_stops_writers_is_stalled(machine: StateMachine) -> None:
    machine._database._database.set_options(
        {
            "level0_file_num_compaction_trigger": "1000",
            "level0_slowdown_writes_trigger": "3",
            "level0_stop_writes_trigger": "3",
        }
    )
    for index in range(1, 4):
        machine.apply([entry_of(index, put(b"a", b"1"))])
        asyncio.run(machine.flush())
    assert machine.is_write_stalled()


# Failures


@pytest.mark.parametrize("data", [b"\x02", b"\x01\x07", b"\x01" + bytes(34)])
def test_a_batch_that_cannot_be_read_stops_the_state_machine(machine: StateMachine, data: bytes) -> None:
    machine.apply([entry_of(1, put(b"a", b"1"))])
    with pytest.raises(Corruption, match="entry 3@1 can't be applied") as first:
        machine.apply([entry_of(2, put(b"a", b"2")), Entry(1, 3, data)])
    with pytest.raises(Corruption) as second:
        machine.apply([entry_of(2, put(b"a", b"2"))])
    assert first.value is second.value
    assert (machine.applied_index, everything_in(machine)) == (1, {b"a": b"1"})


def test_a_flush_that_fails_stops_the_state_machine(tmp_path: Path, machine: StateMachine) -> None:
    machine.apply([entry_of(1, put(b"a", b"1"))])
    for number in range(100):
        (tmp_path / "kv" / f"{number:06d}.sst").symlink_to("/dev/full")
    with pytest.raises(DiskFull) as first:
        asyncio.run(machine.flush())
    for call in (
        lambda: machine.apply([entry_of(2)]),
        lambda: machine.apply_membership(Entry(1, 2, b"", EntryKind.CONF_CHANGE), b""),
        lambda: asyncio.run(machine.flush()),
    ):
        with pytest.raises(DiskFull) as later:
            call()
        assert later.value is first.value
    assert machine.flushed_index == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param(b"mapplied", b"\x01", id="applied index"),
        pytest.param(b"mapplied", b"\x03" + bytes(16), id="applied index of another release"),
        pytest.param(b"mlevel", b"", id="feature level"),
        pytest.param(b"s" + bytes(8), b"\x01", id="session"),
        pytest.param(b"s\x01", b"\x01" + bytes(32), id="key of a session"),
    ],
)
def test_a_record_that_cannot_be_is_corruption(tmp_path: Path, key: bytes, value: bytes) -> None:
    database = Rocks(tmp_path / "kv", KEY_VALUE)
    batch = WriteBatch()
    batch.put(key, value)
    database.write(batch)
    database.close()
    with pytest.raises(Corruption, match=f"^{tmp_path}/kv: .*The files are kept"):
        StateMachine.open(tmp_path / "kv")


def test_a_corrupt_table_is_an_error_and_never_an_absent_key(tmp_path: Path) -> None:
    keys = [b"key%06d" % number for number in range(3000)]
    with opened(tmp_path / "kv") as machine:
        machine.apply([entry_of(1, *(put(key, b"v" * 100) for key in keys))])
    (table,) = (tmp_path / "kv").glob("*.sst")
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    with opened(tmp_path / "kv") as machine, pytest.raises(Corruption):
        asyncio.run(machine.get_many(keys))


# The rolling hash


def checkpoint_of(story: Story, path: Path, *, restarts_after: int = 0, together: bool = False) -> Checkpoint:
    """The newest one once all of the story is applied."""
    with opened(path) as machine:
        story.apply(machine, restarts_after)
    with opened(path) as machine:
        entries = story.entries[machine.applied_index :]
        if together:
            machine.apply(entries)
        story.apply(machine, len(story.entries))
        return machine.checkpoints()[-1]


def test_the_rolling_hash_is_the_same_after_any_restart(tmp_path: Path) -> None:
    story = Story(seed=3, length=60)
    found = {checkpoint_of(story, tmp_path / f"{index}", restarts_after=index) for index in (0, 1, 30, 59, 60)}
    assert len(found) == 1


def test_the_rolling_hash_does_not_depend_on_how_entries_are_grouped(tmp_path: Path) -> None:
    story = Story(seed=3, length=60)
    story.entries = [each for each in story.entries if each.kind is EntryKind.COMMAND]
    story.entries = [each._replace(index=index) for index, each in enumerate(story.entries, 1)]
    one_by_one = checkpoint_of(story, tmp_path / "one by one")
    assert checkpoint_of(story, tmp_path / "together", together=True) == one_by_one


def test_the_rolling_hash_differs_where_a_retry_was_judged_otherwise(tmp_path: Path) -> None:
    write = put(b"a", b"1", client_id=7, sequence=1)
    found = set()
    for name, judged in (("as usual", None), ("otherwise", Outcome.DUPLICATE)):
        with opened(tmp_path / name) as machine:
            if judged is not None:
                machine._sessions.judge = lambda command, judged=judged: judged  # type: ignore[misc]
            machine.apply([entry_of(1, write)])
            found.add(machine.checkpoints()[-1].checksum)
    assert len(found) == 2


def test_the_rolling_hash_has_the_membership_in_it(tmp_path: Path) -> None:
    found = set()
    for members in (b"one", b"another"):
        with opened(tmp_path / members.decode()) as machine:
            machine.apply_membership(Entry(1, 1, b"change", EntryKind.CONF_CHANGE), members)
            found.add(machine.checkpoints()[-1].checksum)
    assert len(found) == 2


def test_a_state_of_an_older_release_opens_without_a_rolling_hash(tmp_path: Path) -> None:
    with opened(tmp_path / "kv") as machine:
        machine.apply([entry_of(1, put(b"a", b"1"))])
        batch = WriteBatch()
        batch.delete(ROLLING_HASH_KEY)
        machine._database.write(batch)
    with opened(tmp_path / "kv") as machine:
        machine.apply([entry_of(2, put(b"b", b"2"))])
        assert machine.checkpoints() == []
        assert everything_in(machine) == {b"a": b"1", b"b": b"2"}


# The feature level


def test_a_level_that_was_raised_is_there_after_a_restart_and_stops_releases_that_know_none(tmp_path: Path) -> None:
    with opened(tmp_path / "kv") as machine:
        machine.apply([entry_of(1, put(b"a", b"1"))])
        before = machine._database.get(b"mapplied")
        machine.apply([entry_of(2, raise_level(1))])
        after = machine._database.get(b"mapplied")
    with opened(tmp_path / "kv") as machine:
        assert (machine.level, everything_in(machine)) == (1, {b"a": b"1"})
    assert before is not None
    assert after is not None
    assert (before[0], after[0]) == (1, 2)


def test_a_level_never_falls(machine: StateMachine) -> None:
    machine.apply([entry_of(1, raise_level(1)), entry_of(2, raise_level(0))])
    assert machine.level == 1


def test_a_level_of_a_later_release_stops_the_machine_before_anything_is_written(machine: StateMachine) -> None:
    for _ in range(2):
        with pytest.raises(ReleaseTooOld):
            machine.apply([entry_of(1, put(b"a", b"1"), raise_level(SUPPORTED_LEVEL + 1))])
    assert everything_in(machine) == {}


def test_a_state_of_a_later_level_is_not_opened(tmp_path: Path) -> None:
    with opened(tmp_path / "kv"):
        pass
    database = Rocks(tmp_path / "kv", KEY_VALUE)
    batch = WriteBatch()
    batch.put(LEVEL_KEY, bytes([SUPPORTED_LEVEL + 1]))
    database.write(batch)
    database.flush()
    database.close()
    with pytest.raises(ReleaseTooOld, match=str(tmp_path)):
        StateMachine.open(tmp_path / "kv")


# Room


def large(machine: StateMachine, count: int = 40) -> None:
    """Puts keys with values of 50,000 bytes that can't be compressed, and has them in tables."""
    chance = random.Random(1)
    for index in range(1, count + 1):
        machine.apply([entry_of(index, put(b"key%d" % index, chance.randbytes(50_000)))])
    asyncio.run(machine.flush())


def reclaimed(machine: StateMachine, *, is_urgent: bool = True, free_bytes: float = math.inf) -> int:
    """What is stored after the machine has given back what was deleted."""
    asyncio.run(machine.reclaim(is_urgent=is_urgent, is_thorough=False, free_bytes=free_bytes))
    return machine.stored_bytes


def test_what_was_deleted_gives_its_room_back_and_the_rest_is_still_there(tmp_path: Path) -> None:
    with opened(tmp_path) as machine:
        large(machine)
        before, values = machine.stored_bytes, everything_in(machine)
        machine.apply([entry_of(41, *[delete(b"key%d" % number) for number in range(1, 31)])])
        assert reclaimed(machine) < before / 2
        assert everything_in(machine) == {key: values[key] for key in (b"key%d" % n for n in range(31, 41))}


def test_what_was_deleted_just_now_is_not_flushed_for_it_unless_that_is_urgent(tmp_path: Path) -> None:
    with opened(tmp_path) as machine:
        large(machine)
        machine.apply([entry_of(41, *[delete(b"key%d" % number) for number in range(1, 31)])])
        before = machine.stored_bytes
        assert reclaimed(machine, is_urgent=False) == before
        assert reclaimed(machine, is_urgent=True) < before


def test_nothing_is_merged_for_which_there_is_no_room_on_the_disk(tmp_path: Path) -> None:
    with opened(tmp_path) as machine:
        large(machine)
        before = machine.stored_bytes
        machine.apply([entry_of(41, *[delete(b"key%d" % number) for number in range(1, 31)])])
        assert reclaimed(machine, free_bytes=before / 2) >= before * 0.99


def test_what_is_abandoned_while_it_flushes_gives_back_no_more(tmp_path: Path) -> None:
    async def story(machine: StateMachine) -> None:
        reclaiming = asyncio.create_task(machine.reclaim(is_urgent=True, is_thorough=False, free_bytes=math.inf))
        await asyncio.sleep(0)
        machine.abandon_snapshots()
        await reclaiming

    with opened(tmp_path) as machine:
        large(machine)
        before = machine.stored_bytes
        machine.apply([entry_of(41, *[delete(b"key%d" % number) for number in range(1, 31)])])
        asyncio.run(story(machine))
        assert machine.stored_bytes >= before
        assert reclaimed(machine) < before / 2


@pytest.mark.parametrize("turns", range(8))
def test_a_state_that_is_replaced_while_it_gives_back_what_was_deleted_is_not_touched_any_more(
    tmp_path: Path, turns: int
) -> None:
    async def story(machine: StateMachine, newer: StateMachine) -> None:
        manifest = await newer.create_snapshot(tmp_path / "snapshot")
        assert manifest is not None
        state = await machine.build(tmp_path / "snapshot", manifest, tmp_path / "kv-2")
        assert state is not None
        reclaiming = asyncio.create_task(machine.reclaim(is_urgent=True, is_thorough=True, free_bytes=math.inf))
        for _ in range(turns):
            await asyncio.sleep(0)
        await machine.adopt(state)
        await reclaiming

    with opened(tmp_path / "kv") as machine, opened(tmp_path / "newer") as newer:
        large(machine)
        large(newer, 42)
        machine.apply([entry_of(41, *[delete(b"key%d" % number) for number in range(1, 31)])])
        asyncio.run(story(machine, newer))
        assert machine.applied_index == 42


def test_what_is_abandoned_gives_back_no_more(tmp_path: Path) -> None:
    async def story(machine: StateMachine) -> int:
        await machine.flush()
        before = machine.stored_bytes
        reclaiming = asyncio.create_task(machine.reclaim(is_urgent=False, is_thorough=False, free_bytes=math.inf))
        await asyncio.sleep(0)
        machine.abandon_snapshots()
        await reclaiming
        return before

    with opened(tmp_path) as machine:
        large(machine)
        machine.apply([entry_of(41, *[delete(b"key%d" % number) for number in range(1, 31)])])
        before = asyncio.run(story(machine))
        assert machine.stored_bytes == before
        assert reclaimed(machine) < before / 2
