"""Reads all that a stopped node has on disk, and says what is wrong with it.

Nothing is written into the directory, and no node can start in it meanwhile. What is told of one part never keeps the
others from being read.
"""

from pathlib import Path
from typing import NamedTuple

from meteora.errors import Corruption, DataDirectoryError
from meteora.kv.state_check import FoundState, check_state
from meteora.node.members import Members
from meteora.storage.data_directory import held_still, read_identity, refuse_unfinished_restore
from meteora.storage.raft_log_check import FoundLog, check_raft_log
from meteora.storage.salvage import Tell

_FIRST_STATE = "kv"


class Verified(NamedTuple):
    """What was read, and how much was wrong."""

    entries: int
    keys: int
    sessions: int
    damages: int


def verify(root: Path, tell: Tell) -> Verified:
    """Read everything in the data directory `root`, and tell what is wrong, a line each; blocks, long.

    Raises `DataDirectoryError` if a node is using it, or it is none.
    """
    damages: list[str] = []

    def note(damage: str) -> None:
        damages.append(damage)
        tell(damage)

    with held_still(root):
        if not _has_begun(root, note):
            return Verified(0, 0, 0, len(damages))
        log = check_raft_log(root / "raft", note)
        state_path = root / (log.state_directory or _FIRST_STATE)
        state = check_state(state_path, note)
        _check_membership(state_path, state, note)
        _check_fit(state_path, log, state, note)
    return Verified(log.entries, state.keys, state.sessions, len(damages))


def _has_begun(root: Path, tell: Tell) -> bool:
    """Whether a node of a cluster has its state here; then there must be all of it."""
    try:
        refuse_unfinished_restore(root)
        identity = read_identity(root)
    except DataDirectoryError as error:
        tell(str(error))
        return True
    if identity is None and not any((root / name).exists() for name in ("raft", _FIRST_STATE)):
        return False
    if identity is None:
        tell(f"{root}: there is state, but no identity that says whose it is")
    elif identity.diverged:
        tell(f"{root}: {identity.diverged}")
    return identity is None or identity.cluster_id != 0


def _check_membership(path: Path, state: FoundState, tell: Tell) -> None:
    try:
        Members.decode(state.membership)
    except Corruption as error:
        tell(f"{path}: {error}")


def _check_fit(path: Path, log: FoundLog, state: FoundState, tell: Tell) -> None:
    """The state is one that the log leads to, and goes on from."""
    if state.position is None or log.state is None:
        return
    index, term = state.position
    if index > log.state.last_index:
        tell(f"{path}: entry {index} was applied, but the log ends at {log.state.last_index}")
    elif index < log.state.base.index:
        tell(f"{path}: entry {index} was applied last, but the log begins after {log.state.base.index}")
    elif (expected := log.term(index)) not in (None, term) and index:
        tell(f"{path}: the entry that was applied last is {index}@{term}, and {index}@{expected} in the log")
