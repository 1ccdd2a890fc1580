"""What a leader looks into before it appends what another member proposes.

Whatever is in the log is applied by every replica, and a replica that can't apply it stops. So one member that is
broken, or lies, would stop all of them.

Rule: what is let through here can be applied, by every release that the cluster's feature level allows.
"""

from typing import Final

from meteora.config import HIGHEST_MAX_REQUEST_BYTES, MAX_KEY_BYTES
from meteora.errors import Corruption
from meteora.features import LEVEL_OF_USERS
from meteora.kv.command import COMMAND_OVERHEAD_BYTES, Command, Operation, decode_batch
from meteora.kv.users import Change

MAX_PROPOSAL_BYTES: Final = 1 + COMMAND_OVERHEAD_BYTES + MAX_KEY_BYTES + HIGHEST_MAX_REQUEST_BYTES
"""No member has a longer write; and what is much longer than that could not be passed on to the others."""


def refusal_of(batch: bytes, level: int) -> str:
    """Why a batch of commands of another member must not be appended at this feature level; empty if it may be."""
    if len(batch) > MAX_PROPOSAL_BYTES:
        return f"a batch of {len(batch)} bytes, and the longest write has {MAX_PROPOSAL_BYTES}"
    try:
        commands = decode_batch(batch)
        for command in commands:
            # These are applied whatever is in them.
            if command[0] is not Operation.PUT and command[0] is not Operation.DELETE:
                _ensure_applicable(command, level)
    except Corruption as error:
        return str(error)
    return "" if commands else "a batch without commands"


def _ensure_applicable(command: Command, level: int) -> None:
    """Raises `Corruption`."""
    if command.operation is not Operation.CHANGE_USERS:
        raise Corruption(f"only a leader proposes {command.operation.name}")
    if level < LEVEL_OF_USERS:
        raise Corruption(f"{command.operation.name} at feature level {level}")
    # What is not taken out of it, because it is unknown or comes twice, may be nested so deep that it can be read here,
    # and not where the stack is deeper.
    if Change.decode(command.value).encode() != command.value:
        raise Corruption("a change of users has more in it than is taken, or no member writes it so")
