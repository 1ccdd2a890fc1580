"""Makes a new cluster of one stopped node, whose own has lost its majority for good.

The steps, and what a crash after each of them leaves:

1. `mark`, one fsynced write: the identity gets the id of the new cluster, an instance id for the node that it begins
   with, and a mark that this is not done. Before it this is the member of the old cluster that it was. After it no node
   starts here, and whoever does all of this again goes on with the same new cluster.
2. `seal`, one fsynced write to the log: it commits whatever the log has, and, in a higher term, changes of membership
   that leave this node alone.
3. `apply`: the state becomes what that leads to. A start would do the same.
4. `unmark`, one fsynced write: the node may start.

Rule: up to the mark nothing is done but what every start does: what is committed is applied.

Members of the old cluster have its id, and so neither they nor this node take anything from one another any more.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from meteora.errors import DataDirectoryError
from meteora.kv.installation import current_state_path
from meteora.kv.state_machine import StateMachine
from meteora.node.members import Member, Members, encode_context
from meteora.node.recovery import members_at_end, replay
from meteora.raft import Change, ChangeKind, ConfChange, Entry, EntryKind, HardState
from meteora.storage.data_directory import DataDirectory, Identity, read_identity
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog
from meteora.storage.rocks import is_database


class Prospect(NamedTuple):
    """What is about to be done."""

    node_id: int
    cluster_id: int
    """Of the cluster that it is in; if it was begun before, of the new one."""
    commit_index: int
    """Up to here the log is known to be committed."""
    last_index: int
    """Up to here it will be."""
    last_term: int
    """Of the entry there: of two logs the one that ends in the higher term has more of what was acknowledged."""
    divergence: str
    """How the state was found to differ from that of the others; empty if it was not."""
    given_up: dict[int, Member]
    """The other members."""
    was_begun: bool
    """It was begun before, and is gone on with."""


class NewCluster:
    """The node that is to be a cluster, with its disk."""

    def __init__(self, directory: DataDirectory, identity: Identity, log: RaftLog, state_machine: StateMachine) -> None:
        """Use `opened`."""
        self._directory = directory
        self._identity = identity
        self._log = log
        self._state_machine = state_machine
        now = Members.decode(state_machine.membership)
        self._end = members_at_end(log, now, state_machine.applied_index)
        self._member = self._own_record(now)
        self._known = {**now.by_id, **self._end.by_id}

    @property
    def prospect(self) -> Prospect:
        """What `steps` will do."""
        identity, commit_index, last_index = self._identity, self._log.hard_state.commit, self._log.last_index()
        given_up = {node_id: member for node_id, member in self._known.items() if node_id != identity.node_id}
        return Prospect(
            identity.node_id,
            identity.cluster_id,
            commit_index,
            last_index,
            self._log.term(last_index),
            identity.diverged,
            given_up,
            identity.recovering,
        )

    @property
    def steps(self) -> tuple[Callable[[], None], ...]:
        """To be called in this order, once each."""
        return (self._mark, self._seal, self._apply, self._unmark)

    def make(self) -> int:
        """Do it; blocks. The id of the new cluster. Raises `DataDirectoryError` or `StorageError`."""
        for step in self.steps:
            step()
        return self._identity.cluster_id

    def _mark(self) -> None:
        if not self._identity.recovering:
            # It may be that the old log removes the node as it was.
            self._identity = self._directory.begin_recovery(secrets.randbits(63) + 1, secrets.randbits(63) + 1)

    def _seal(self) -> None:
        log = self._log
        term = log.hard_state.term + 1
        first_index = log.last_index() + 1
        member = self._member._replace(instance_id=self._identity.instance_id, promote=False)
        entries = entries_to_alone(self._identity.node_id, member, self._end, term, first_index)
        asyncio.run(log.append(entries, HardState(term=term, vote=0, commit=entries[-1].index)))

    def _apply(self) -> None:
        replay(self._log, self._state_machine)
        asyncio.run(self._state_machine.flush())

    def _unmark(self) -> None:
        self._identity = self._directory.end_recovery()

    def _own_record(self, now: Members) -> Member:
        """What is known of this node. Raises `DataDirectoryError` unless it can become a cluster."""
        identity, root = self._identity, self._directory.path
        node_id, instance_id = identity.node_id, identity.instance_id
        if (node_id, instance_id) in now.removed:
            raise _removed(root, identity)
        member = self._end.by_id.get(node_id) or now.by_id.get(node_id)
        if member is None or not (identity.recovering or member.instance_id in (0, instance_id)):
            raise DataDirectoryError(
                f"{root} is of a node that has not come far enough to know that it is a member: it has nothing to "
                "begin a cluster with; try another one's"
            )
        if now.by_id.keys() == {node_id} and not identity.recovering:
            raise DataDirectoryError(f"node {node_id} is the only member of its cluster: just start it")
        return member


@contextmanager
def opened(root: Path) -> Iterator[NewCluster]:
    """The node whose data is in `root`; no other process can use it meanwhile. Blocks.

    Raises `DataDirectoryError` if it is in use, or can't become a cluster; `StorageError` if it is not whole.
    """
    with ExitStack() as parts:
        found = _usable(root, read_identity(root))
        directory = DataDirectory.open(root, found.node_id)
        parts.callback(directory.close)
        identity = _usable(root, directory.identity)
        state_machine = StateMachine.open(current_state_path(root))
        parts.callback(state_machine.close)
        disk = DiskThread("raft log")
        parts.callback(disk.close)
        log = RaftLog.open(directory.raft_path, disk, applied_index=state_machine.applied_index)
        parts.callback(log.close)
        replay(log, state_machine)
        yield NewCluster(directory, identity, log, state_machine)


def _usable(root: Path, identity: Identity | None) -> Identity:
    """The identity, unless it is of no node that could become a cluster. Raises `DataDirectoryError`."""
    if identity is None or not identity.cluster_id:
        raise DataDirectoryError(f"{root} is not the data directory of a member of a cluster: there is nothing to save")
    if identity.removed:
        raise _removed(root, identity)
    if not is_database(root / "raft"):
        raise DataDirectoryError(f"{root} is of a member, but its log, raft/, is gone: restore it from a copy")
    return identity


def _removed(root: Path, identity: Identity) -> DataDirectoryError:
    return DataDirectoryError(
        f"{root} is of node {identity.node_id}, which was removed from its cluster: the others went on without it"
    )


def entries_to_alone(node_id: int, member: Member, members: Members, term: int, first_index: int) -> list[Entry]:
    """The entries of `term`, from `first_index` on, that lead from `members` to this one alone."""
    changes = enumerate(_changes_to(node_id, member, members), first_index)
    return [Entry(term, index, change.encode(), EntryKind.CONF_CHANGE) for index, change in changes]


def _changes_to(node_id: int, member: Member, members: Members) -> list[ConfChange]:
    """The changes that lead from `members` to this one alone: one after the other, as if all had agreed."""
    leave = ConfChange()
    others = sorted(members.configuration.members - {node_id})
    changes = (
        Change(ChangeKind.ADD_VOTER, node_id),
        *(Change(ChangeKind.REMOVE, other) for other in others),
    )
    alone = ConfChange(changes, context=encode_context({node_id: member}))
    return [*([leave] if members.configuration.is_joint else []), alone, *([leave] if alone.enters_joint else [])]
