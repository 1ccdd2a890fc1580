"""What the tests of the state machine share: a story of commands, and what the state is after each entry of it."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from meteora.errors import StorageError
from meteora.kv.command import Command, Operation, encode_batch
from meteora.kv.state_machine import StateMachine
from meteora.raft.entry import Entry, EntryKind

State = dict[bytes, bytes]


@contextmanager
def opened(path: Path) -> Iterator[StateMachine]:
    """The state machine at `path`."""
    machine = StateMachine.open(path)
    try:
        yield machine
    finally:
        # After a failure closing fails, too.
        with suppress(StorageError) if machine._failure else nullcontext():
            machine.close()


def put(key: bytes, value: bytes, client_id: int = 0, sequence: int = 0, retry: bool = False) -> Command:
    return Command(Operation.PUT, client_id, sequence, 1, retry, key, value)


def delete(key: bytes) -> Command:
    return Command(Operation.DELETE, 0, 0, 1, False, key)


def entry_of(index: int, *commands: Command, term: int = 1) -> Entry:
    return Entry(term, index, encode_batch(commands))


def everything_in(machine: StateMachine) -> State:
    """All keys and values."""
    return {key[1:]: value for key, value in machine._database.scan(b"k", b"l")}


def value_of(machine: StateMachine, key: bytes) -> bytes | None:
    return asyncio.run(machine.get_many([key]))[0]


class Story:
    """A log of commands by clients that send some of them twice, and the state after each entry."""

    KEYS = 30

    def __init__(self, seed: int, length: int) -> None:
        self.entries: list[Entry] = []
        self.states: list[State] = [{}]
        """By the index of the entry that leads to it."""
        self.memberships: list[bytes] = [b""]
        chance = random.Random(seed)
        applied = set[tuple[int, int]]()
        for index in range(1, length + 1):
            state = dict(self.states[-1])
            if chance.random() < 0.1:
                self.entries.append(Entry(1, index, b"change", EntryKind.CONF_CHANGE))
                self.memberships.append(b"members at %d" % index)
            else:
                commands = [self._command(chance) for _ in range(chance.randint(0, 8))]
                self.entries.append(entry_of(index, *commands) if commands else Entry(1, index))
                self.memberships.append(self.memberships[-1])
                self._apply(commands, state, applied)
            self.states.append(state)

    def _command(self, chance: random.Random) -> Command:
        client_id = chance.randrange(4)
        return Command(
            operation=chance.choice([Operation.PUT, Operation.PUT, Operation.DELETE]),
            client_id=client_id,
            sequence=chance.randint(1, 400) if client_id else 0,
            first_outstanding=1,
            retry=True,
            key=b"key%d" % chance.randrange(self.KEYS),
            value=chance.randbytes(chance.choice([0, 10, 1000])),
        )

    @staticmethod
    def _apply(commands: list[Command], state: State, applied: set[tuple[int, int]]) -> None:
        for command in commands:
            name = (command.client_id, command.sequence)
            if command.client_id and name in applied:
                continue
            applied.add(name)
            if command.operation is Operation.PUT:
                state[command.key] = command.value
            else:
                state.pop(command.key, None)

    def apply(self, machine: StateMachine, up_to: int) -> None:
        """Apply the entries after the applied index, up to and with `up_to`."""
        for entry in self.entries[machine.applied_index : up_to]:
            if entry.kind is EntryKind.COMMAND:
                machine.apply([entry])
            else:
                machine.apply_membership(entry, self.memberships[entry.index])
