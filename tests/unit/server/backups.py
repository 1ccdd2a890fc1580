"""Backups of states that tests have made, without a node."""

import asyncio
import io
from pathlib import Path

from meteora.kv.command import Command
from meteora.kv.state_machine import StateMachine
from meteora.node.backup import backup_pieces
from meteora.node.members import Member, Members
from meteora.raft import Change, ChangeKind, ConfChange, Entry, EntryKind
from tests.unit.kv.state_machines import entry_of, opened

CLUSTER_ID = 0xAB
TERM = 3


def membership_entry(index: int, node_id: int, members: Members) -> tuple[Entry, Members]:
    change = ConfChange((Change(ChangeKind.ADD_VOTER, node_id),))
    after = members.after(change, members.configuration.after(change))
    known = {**after.by_id, node_id: Member(f"kv{node_id}:1", f"raft{node_id}:1", 10 * node_id)}
    return Entry(TERM, index, change.encode(), EntryKind.CONF_CHANGE), after._replace(by_id=known)


def backup_of(machine: StateMachine) -> bytes:
    """The file."""

    async def made() -> bytes:
        scan = await machine.scan()
        pieces = [piece.data async for piece in backup_pieces(scan, CLUSTER_ID, 2)]
        await scan.close()
        return b"".join(pieces)

    return asyncio.run(made())


def backup_with(folder: Path, *commands: Command, node_ids: tuple[int, ...] = (1, 2, 3)) -> bytes:
    """A backup of a cluster of these nodes that has done these commands."""
    with opened(folder) as machine:
        members = Members()
        for index, node_id in enumerate(node_ids, 1):
            entry, members = membership_entry(index, node_id, members)
            machine.apply_membership(entry, members.encode())
        machine.apply([entry_of(len(node_ids) + 1, *commands, term=TERM)])
        return backup_of(machine)


def file_of(content: bytes) -> io.BytesIO:
    return io.BytesIO(content)
