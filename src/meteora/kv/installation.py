"""How a node's state is replaced by a snapshot, and log and state agree whatever happens on the way.

    root/raft/         the log; says in one record which directory holds the state that it continues
    root/kv/           the first state: where none is named
    root/kv-INDEX/     a state that began with the snapshot at INDEX
    root/snapshot-in/  what is received of a snapshot; is gone on with after a restart
    root/snapshot-out/ a snapshot that was made here; of no use after a restart

Nothing is ever renamed or written over. The steps, and what a crash after each of them leaves:

1. `build`: the new state is made in a directory of its own, of the tables in `snapshot-in`, and is durable, before
   the core is told of the snapshot: the old state and the old log, and a directory that nothing names.
2. `RaftLog.reset`: one write, fsynced, cuts or empties the log, sets term, vote and commit, and names the new
   directory. Before it the old state and the old log; after it the new ones. There is no between.
3. The state machine goes on with the new state, which is open already. Reads that are under way end on the old one.
4. The old state is closed and removed: what is left of it is a directory that nothing names.

At a start, `current_state_path` follows the name, and once log and state are opened, and so known to agree,
`remove_leftovers` removes every state that is not named, and `snapshot-out`.

Bounds on the disk: beside the log, at the most one state in use, one snapshot being received or state being built of
it, and one snapshot made here.
"""

import re
from pathlib import Path
from typing import Final

from meteora.errors import Corruption
from meteora.kv.state import State
from meteora.kv.state_machine import StateMachine
from meteora.raft.errors import ensure
from meteora.raft.message import HardState
from meteora.storage.raft_log import RaftLog, read_state_directory
from meteora.storage.rocks import CORRUPTION_ADVICE
from meteora.storage.snapshot_files import Manifest, disk_errors, remove

INCOMING: Final = "snapshot-in"
OUTGOING: Final = "snapshot-out"

_FIRST: Final = "kv"
_NAMES: Final = re.compile(r"kv(-[0-9]+)?")


def current_state_path(root: Path) -> Path:
    """The directory with the state that the log continues; blocks, and changes nothing.

    Raises `Corruption` if it is not there, or the log can't be read; `DiskFull` or `DiskFailure`.
    """
    name = read_state_directory(root / "raft")
    if name is None:
        return root / _FIRST
    path = root / name
    if not _NAMES.fullmatch(name) or not path.is_dir():
        raise Corruption(f"{path}: this directory, which holds the state of this node, is gone. {CORRUPTION_ADVICE}")
    return path


def remove_leftovers(root: Path, state_path: Path) -> None:
    """Remove what a crash has left beside the state at `state_path`, which is the current one. Raises `DiskFailure`."""
    with disk_errors(root):
        states = [path for path in root.iterdir() if _NAMES.fullmatch(path.name) and path != state_path]
    for path in (*states, root / OUTGOING):
        remove(path)


async def build(root: Path, manifest: Manifest, state_machine: StateMachine) -> State | None:
    """Step 1, which takes long: the state of the snapshot that is complete in `snapshot-in`.

    A snapshot that is being made of the old state is abandoned: this must not wait for it, nor is it of use any more.
    Returns and raises as `StateMachine.build` does. A state that is not installed must be discarded.
    """
    state_machine.abandon_snapshots()
    return await state_machine.build(root / INCOMING, manifest, root / f"{_FIRST}-{manifest.index}")


async def install(state: State, state_machine: StateMachine, log: RaftLog, hard_state: HardState | None) -> None:
    """Steps 2 to 4: replace state and log, and term, vote and commit by `hard_state`.

    Nothing may be applied meanwhile. Raises `InvariantViolation`, before anything was changed, if the node is at the
    index of the state already, or beyond; as `RaftLog.reset` does, and `DiskFailure`: then the node must stop.
    """
    applied_index = state_machine.applied_index
    ensure(state.index > applied_index, f"a state at {state.index} can't be installed over one at {applied_index}")
    await log.reset(state.index, state.term, hard_state, state.path.name)
    await state_machine.adopt(state)
