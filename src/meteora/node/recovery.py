"""What happens before a node takes part: its disk becomes one consistent state.

The state machine has no log of its own, so after a crash it may be behind what was committed. Everything up to the
commit index on disk is applied again here, before the core starts: the core then never needs old entries in memory.

No membership change is applied before the disk knows that it is committed, so what a node wakes up with is never a
membership that it had left behind.
"""

from meteora.kv.state_machine import StateMachine
from meteora.node.members import Member, Members, encode_context
from meteora.raft import Change, ChangeKind, ConfChange, Entry, EntryKind, HardState, decode_conf_change
from meteora.raft.errors import InvalidConfChange, ensure
from meteora.storage.raft_log import RaftLog

REPLAY_BATCH_BYTES = 4 << 20
"""Of entries that are in memory at a time during the replay."""


async def create_cluster(log: RaftLog, node_id: int, member: Member) -> None:
    """Write the first entry of a new cluster, whose only member is this node: committed, because it is the majority.

    Does nothing if it is there already: a crash may have come between this and the next step.
    """
    if log.last_index() > 0:
        return
    change = ConfChange((Change(ChangeKind.ADD_VOTER, node_id),), context=encode_context({node_id: member}))
    await log.append([Entry(1, 1, change.encode(), EntryKind.CONF_CHANGE)], HardState(term=1, vote=0, commit=1))


def replay(log: RaftLog, state_machine: StateMachine) -> int:
    """Apply what is committed but not in the state machine; blocking. Returns the number of entries applied.

    Raises `Corruption` or `InvariantViolation` if the two don't fit one another.
    """
    committed = log.hard_state.commit
    ensure(committed <= log.last_index(), f"entry {committed} was committed, but the log ends at {log.last_index()}")
    ensure(
        state_machine.applied_index <= log.last_index(),
        f"entry {state_machine.applied_index} was applied, but the log ends at {log.last_index()}",
    )
    began_at = state_machine.applied_index
    while state_machine.applied_index < committed:
        low = state_machine.applied_index + 1
        for run in _runs(log.read(low, committed + 1, REPLAY_BATCH_BYTES)):
            _apply(run, state_machine)
    return state_machine.applied_index - began_at


def members_at_end(log: RaftLog, members: Members, applied_index: int) -> Members:
    """The members once all of the log is applied, committed or not; blocks. `members` are those at `applied_index`.

    Raises `Corruption`.
    """
    low = applied_index + 1
    while low <= log.last_index():
        entries = log.read(low, log.last_index() + 1, REPLAY_BATCH_BYTES)
        for entry in entries:
            if entry.kind is EntryKind.CONF_CHANGE:
                members = _after(members, entry)
        low = entries[-1].index + 1
    return members


def _runs(entries: list[Entry]) -> list[list[Entry]]:
    """Commands together, each membership change alone."""
    runs: list[list[Entry]] = []
    for entry in entries:
        if entry.kind is EntryKind.COMMAND and runs and runs[-1][-1].kind is EntryKind.COMMAND:
            runs[-1].append(entry)
        else:
            runs.append([entry])
    return runs


def _apply(run: list[Entry], state_machine: StateMachine) -> None:
    if run[0].kind is EntryKind.COMMAND:
        state_machine.apply(run)
        return
    members = _after(Members.decode(state_machine.membership), run[0])
    state_machine.apply_membership(run[0], members.encode())


def _after(members: Members, entry: Entry) -> Members:
    """The members once the membership change in `entry` is applied."""
    try:
        change = decode_conf_change(entry.data)
        return members.after(change, members.configuration.after(change))
    except InvalidConfChange:
        return members  # Ignored by the node that applied it first, too, and logged there.
