"""A node that was one of three becomes a cluster by itself, whatever step a crash comes after."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from meteora.config import NodeConfig
from meteora.errors import Corruption, DataDirectoryError
from meteora.kv.command import Command, Operation, encode_batch
from meteora.kv.installation import current_state_path
from meteora.kv.state_machine import StateMachine
from meteora.node.members import Member, Members, encode_context
from meteora.node.recovery import replay
from meteora.raft import Change, ChangeKind, ConfChange, Configuration, Entry, EntryKind, HardState
from meteora.server.assembly import Server
from meteora.server.new_cluster import opened
from meteora.server.verification import verify
from meteora.storage.data_directory import DataDirectory, Identity, read_identity
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog

pytestmark = pytest.mark.usefixtures("no_leaks")

OLD_CLUSTER_ID = 77
NODE_ID = 3
TERM = 4
ADD, REMOVE, LEARN = ChangeKind.ADD_VOTER, ChangeKind.REMOVE, ChangeKind.ADD_LEARNER


def member(node_id: int) -> Member:
    return Member(f"host{node_id}:5000", f"host{node_id}:7000", instance_id=10 * node_id)


def changing(*changes: tuple[ChangeKind, int]) -> ConfChange:
    """All at once: through a joint configuration, if there is more than one."""
    context = encode_context({node_id: member(node_id) for kind, node_id in changes if kind is not REMOVE})
    return ConfChange(tuple(Change(kind, node_id) for kind, node_id in changes), context=context)


def key(index: int) -> bytes:
    return b"key%d" % index


FOUNDING = [changing((ADD, 1)), changing((ADD, 2)), changing((ADD, 3))]


def stopped(root: Path, committed: Sequence[ConfChange | None], tail: Sequence[ConfChange | None]) -> None:
    """The directory of a node that was stopped. Its log: changes of the members, or each a key (None)."""
    directory = DataDirectory.open(root, NODE_ID)
    directory.create_identity(NODE_ID, 10 * NODE_ID)
    directory.set_cluster(OLD_CLUSTER_ID)
    disk = DiskThread("raft log")
    log = RaftLog.open(directory.raft_path, disk)
    entries = [entry(index, each) for index, each in enumerate([*committed, *tail], 1)]
    asyncio.run(log.append(entries, HardState(TERM, 1, len(committed))))
    log.close()
    disk.close()
    directory.close()


def entry(index: int, change: ConfChange | None) -> Entry:
    if change is not None:
        return Entry(TERM, index, change.encode(), EntryKind.CONF_CHANGE)
    return Entry(TERM, index, encode_batch([Command(Operation.PUT, 0, 0, 0, False, key(index), b"value")]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of one of three: five entries are committed, two more are in its log."""
    stopped(tmp_path / "data", [*FOUNDING, None, None], [None, None])
    return tmp_path / "data"


def make(root: Path) -> int:
    with opened(root) as new_cluster:
        return new_cluster.make()


def identity(root: Path) -> Identity:
    found = read_identity(root)
    assert found is not None
    return found


class Found:
    """What a start would find in a directory."""

    def __init__(self, root: Path) -> None:
        self.identity = identity(root)
        state_machine = StateMachine.open(current_state_path(root))
        disk = DiskThread("raft log")
        log = RaftLog.open(root / "raft", disk, applied_index=state_machine.applied_index)
        replay(log, state_machine)
        self.last_index, self.hard_state = log.last_index(), log.hard_state
        self.members = Members.decode(state_machine.membership)
        keys = [key(index) for index in range(1, 20)]
        values = asyncio.run(state_machine.get_many(keys))
        self.keys = {key for key, value in zip(keys, values, strict=True) if value is not None}
        log.close()
        disk.close()
        state_machine.close()

    @property
    def is_alone(self) -> bool:
        """Whether it is the only member, as the node that its directory is of, in all that it will ever apply."""
        own = self.members.by_id.get(NODE_ID)
        return (
            self.members.configuration == Configuration.of([NODE_ID])
            and own == member(NODE_ID)._replace(instance_id=self.identity.instance_id)
            and (NODE_ID, self.identity.instance_id) not in self.members.removed
            and self.hard_state.commit == self.last_index
        )


def test_the_node_is_the_only_member_of_a_new_cluster(root: Path) -> None:
    cluster_id = make(root)
    found = Found(root)
    assert found.is_alone
    assert (found.identity.cluster_id, found.identity.recovering, found.identity.node_id) == (
        cluster_id,
        False,
        NODE_ID,
    )
    assert cluster_id not in (0, OLD_CLUSTER_ID)


def test_all_that_is_in_the_log_is_applied_committed_or_not(root: Path) -> None:
    make(root)
    assert Found(root).keys == {key(index) for index in (4, 5, 6, 7)}


def test_the_term_is_above_all_that_the_node_has_seen(root: Path) -> None:
    make(root)
    assert (Found(root).hard_state.term, Found(root).hard_state.vote) == (TERM + 1, 0)


def test_what_comes_of_it_is_whole(root: Path) -> None:
    make(root)
    assert verify(root, pytest.fail).damages == 0


def test_it_says_before_what_it_will_do(root: Path) -> None:
    with opened(root) as new_cluster:
        assert new_cluster.prospect == (3, OLD_CLUSTER_ID, 5, 7, 4, "", {1: member(1), 2: member(2)}, False)


def test_members_that_the_end_of_the_log_removes_are_given_up_like_the_others(tmp_path: Path) -> None:
    stopped(tmp_path, FOUNDING, [changing((REMOVE, 1))])
    with opened(tmp_path) as new_cluster:
        assert new_cluster.prospect.given_up.keys() == {1, 2}


def test_to_look_changes_nothing_of_what_the_node_is(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "before")
    with opened(root):
        pass
    after, before = Found(root), Found(tmp_path / "before")
    assert (after.identity, after.members, after.hard_state) == (before.identity, before.members, before.hard_state)
    assert after.last_index == before.last_index


@pytest.mark.parametrize(
    "tail",
    [
        [changing((LEARN, 4))],
        [changing((REMOVE, 3))],
        [changing((REMOVE, 1)), changing((REMOVE, 2))],
        [changing((ADD, 4), (ADD, 5), (REMOVE, 1))],
        [changing((ADD, 4), (ADD, 5), (REMOVE, 3))],
        [changing((LEARN, 1), (LEARN, 3))],
        [changing((ADD, 4), (REMOVE, 3)), ConfChange()],
        [ConfChange()],
    ],
    ids=str,
)
def test_whatever_changes_of_the_members_were_under_way_the_node_is_alone(
    tmp_path: Path, tail: Sequence[ConfChange]
) -> None:
    stopped(tmp_path / "data", FOUNDING, tail)
    make(tmp_path / "data")
    assert Found(tmp_path / "data").is_alone


def test_a_learner_can_be_made_a_cluster(tmp_path: Path) -> None:
    stopped(tmp_path / "data", [changing((ADD, 1)), changing((ADD, 2)), changing((LEARN, 3))], [])
    make(tmp_path / "data")
    assert Found(tmp_path / "data").is_alone


def test_who_learns_only_from_the_end_of_its_log_that_it_is_a_member_can_be_made_a_cluster(tmp_path: Path) -> None:
    stopped(tmp_path / "data", FOUNDING[:2], FOUNDING[2:])
    make(tmp_path / "data")
    assert Found(tmp_path / "data").is_alone


# Crashes


def crashed_after(root: Path, steps: int, crashed: Path) -> Path:
    """What is left in `crashed` if the process is killed after so many steps."""
    with opened(root) as new_cluster:
        for step in new_cluster.steps[:steps]:
            step()
        shutil.copytree(root, crashed)
    return crashed


def test_a_crash_before_the_first_step_leaves_the_old_member(root: Path, tmp_path: Path) -> None:
    crashed = crashed_after(root, 0, tmp_path / "crashed")
    found = Found(crashed)
    assert found.identity == Identity(node_id=NODE_ID, instance_id=10 * NODE_ID, cluster_id=OLD_CLUSTER_ID)
    assert (found.members.configuration, found.hard_state) == (Configuration.of([1, 2, 3]), HardState(TERM, 1, 5))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_after_a_crash_on_the_way_no_node_starts(root: Path, tmp_path: Path, steps: int) -> None:
    crashed = crashed_after(root, steps, tmp_path / "crashed")
    with pytest.raises(DataDirectoryError, match="recover --force-new-cluster"):
        asyncio.run(Server(NodeConfig(node_id=NODE_ID, data_directory=crashed)).start())


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_after_a_crash_on_the_way_it_is_gone_on_with_into_the_same_cluster(
    root: Path, tmp_path: Path, steps: int
) -> None:
    crashed = crashed_after(root, steps, tmp_path / "crashed")
    begun = identity(crashed)
    with opened(crashed) as new_cluster:
        assert new_cluster.prospect.was_begun
        assert new_cluster.make() == begun.cluster_id
    found = Found(crashed)
    assert (found.is_alone, found.identity.recovering, len(found.keys)) == (True, False, 4)
    assert found.identity.instance_id == begun.instance_id


def test_after_the_last_step_all_is_done(root: Path, tmp_path: Path) -> None:
    found = Found(crashed_after(root, 4, tmp_path / "crashed"))
    assert (found.is_alone, found.identity.recovering) == (True, False)


# Refusals


def refusal_of(root: Path) -> str:
    with pytest.raises(DataDirectoryError) as raised, opened(root):
        pass
    return str(raised.value)


def test_a_directory_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    assert "is not the data directory of a member of a cluster" in refusal_of(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_node_that_is_in_no_cluster_is_refused(tmp_path: Path) -> None:
    directory = DataDirectory.open(tmp_path, NODE_ID)
    directory.create_identity(NODE_ID, 5)
    directory.close()
    assert "is not the data directory of a member of a cluster" in refusal_of(tmp_path)


def test_a_directory_that_is_in_use_is_refused(root: Path) -> None:
    directory = DataDirectory.open(root, NODE_ID)
    assert "in use by another process" in refusal_of(root)
    directory.close()


def test_a_node_that_was_removed_is_refused(root: Path) -> None:
    directory = DataDirectory.open(root, NODE_ID)
    directory.mark_removed([])
    directory.close()
    assert "which was removed from its cluster" in refusal_of(root)


def test_a_node_that_has_applied_its_removal_is_refused(tmp_path: Path) -> None:
    stopped(tmp_path, [*FOUNDING, changing((REMOVE, 3))], [])
    assert "which was removed from its cluster" in refusal_of(tmp_path)


def test_a_node_that_does_not_know_yet_that_it_is_a_member_is_refused(tmp_path: Path) -> None:
    stopped(tmp_path, FOUNDING[:1], [None])
    assert "has not come far enough" in refusal_of(tmp_path)


def test_a_node_under_whose_id_there_was_another_one_is_refused(tmp_path: Path) -> None:
    other = member(3)._replace(instance_id=999)
    joined = ConfChange((Change(ADD, 3),), context=encode_context({3: other}))
    stopped(tmp_path, [FOUNDING[0], joined], [])
    assert "has not come far enough" in refusal_of(tmp_path)


def test_who_is_alone_anyway_is_told_to_just_start(tmp_path: Path) -> None:
    stopped(tmp_path, [changing((ADD, 3)), None], [])
    assert refusal_of(tmp_path) == "node 3 is the only member of its cluster: just start it"


def test_a_node_whose_log_is_gone_is_refused_and_none_is_made(root: Path) -> None:
    shutil.rmtree(root / "raft")
    assert "its log, raft/, is gone" in refusal_of(root)
    assert not (root / "raft").exists()


def test_a_log_that_is_damaged_is_refused_and_the_node_stays_what_it_was(root: Path) -> None:
    table = max((root / "raft").glob("*.sst"), key=lambda file: file.stat().st_size)
    content = bytearray(table.read_bytes())
    content[40] ^= 0x10
    table.write_bytes(content)
    with pytest.raises(Corruption), opened(root):
        pass
    assert identity(root).cluster_id == OLD_CLUSTER_ID
