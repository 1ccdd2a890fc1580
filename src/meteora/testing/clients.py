"""Clients that read and write a few keys, retry as the real client does, and write down what they were told.

A write that is sent again goes under the same request id, and says so once an attempt has left it in doubt. But some
clients know nothing of request ids: what one of their attempts leaves in doubt stays so. What is told of an operation
in the end is what a user would be told: done, certainly not done, or unknown.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from random import Random

from meteora.errors import NotApplied, Overloaded, RequestError
from meteora.kv.command import Command
from meteora.kv.command import Operation as CommandKind
from meteora.testing.cluster import Cluster, ConnectionRefused, Machine
from meteora.testing.history import History, Operation, OperationKind
from meteora.testing.loop import Process

OPERATION_SECONDS = 6.0
"""All attempts together."""

ATTEMPT_SECONDS = (0.2, 3.0)
"""One attempt, from and to."""

SHOWN_BYTES = 40
"""Of a value in the trace."""

Serve = Callable[[Machine], Awaitable[bytes | None]]

VALUE_BYTES = (0, 100, 3_000, 100_000)
"""Of the long ones among a client's values: one of these."""

PAUSE_SECONDS = 0.1
"""Between attempts."""

THINK_SECONDS = (0.15, 0.5, 1.5)
"""Between operations of one user, on average: one of these."""


class Fate(Enum):
    """What is known of an operation."""

    DONE = "done"
    NOT_DONE = "not done"
    UNKNOWN = "unknown"


class Client:
    """One client: some users at work at the same time, under one client id."""

    def __init__(self, cluster: Cluster, number: int, history: History, keys: int) -> None:
        self.number = number
        self.operations = 0
        self._cluster = cluster
        self._random: Random = cluster.random
        self._history = history
        self._keys = keys
        self._think_seconds = self._random.choice(THINK_SECONDS)
        self._is_anonymous = number > 1 and self._random.random() < 0.5
        self._value_bytes = self._random.choice(VALUE_BYTES)
        self._address = f"client{number}"
        self._client_id = self._random.getrandbits(63) + 1
        self._last_sequence = 0
        self._outstanding: dict[int, None] = {}
        self._process: Process = cluster.loop.new_process(self._address)
        self._is_stopping = False
        self._users: list[asyncio.Task[None]] = []

    def start(self, users: int) -> None:
        """Begin to work."""
        self._cluster.loop.call_in(self._process, 0.0, self._begin, users)

    def _begin(self, users: int) -> None:
        self._users = [asyncio.ensure_future(self._work()) for _ in range(users)]

    async def stop(self) -> None:
        """Let every user finish what it is at."""
        self._is_stopping = True
        await asyncio.gather(*self._users)

    async def _work(self) -> None:
        while not self._is_stopping:
            await asyncio.sleep(self._random.expovariate(1 / self._think_seconds))
            key = b"key%d" % self._random.randrange(self._keys)
            kind = self._random.choice([OperationKind.GET, OperationKind.PUT, OperationKind.PUT, OperationKind.DELETE])
            await self.operate(kind, key, OPERATION_SECONDS)

    async def operate(self, kind: OperationKind, key: bytes, seconds: float) -> Fate:
        """Do one operation, with retries, and record it."""
        self.operations += 1
        value = self._new_value() if kind is OperationKind.PUT else None
        operation = self._history.call(self.number, kind, key, value, self._cluster.loop.now)
        self._cluster.trace(f"client {self.number} calls {kind.value} {key!r} {_beginning(value)}")
        if kind is OperationKind.GET:
            fate, read = await self._read(key, seconds)
        else:
            fate, read = await self._write(operation, seconds), None
        self._cluster.trace(f"client {self.number}: {kind.value} {key!r} {_beginning(value or read)} {fate.value}")
        if fate is Fate.DONE:
            self._history.returned(operation, self._cluster.loop.now, read)
        elif fate is Fate.NOT_DONE:
            self._history.had_no_effect(operation)
        return fate

    def _new_value(self) -> bytes:
        """Unlike any other; some are long."""
        name = b"%d.%d." % (self.number, self.operations)
        return name + b"." * self._random.choice([0, 0, self._value_bytes])

    async def _read(self, key: bytes, seconds: float) -> tuple[Fate, bytes | None]:
        loop = self._cluster.loop
        give_up_at = loop.now + seconds
        while loop.now < give_up_at:
            timeout_seconds = self._random.uniform(*ATTEMPT_SECONDS)

            async def get(machine: Machine, timeout_seconds: float = timeout_seconds) -> bytes | None:
                return await machine.get(key, timeout_seconds)

            try:
                return Fate.DONE, await self._ask(get, timeout_seconds)
            except (RequestError, ConnectionRefused, TimeoutError):
                await asyncio.sleep(self._random.uniform(0, PAUSE_SECONDS))
        return Fate.NOT_DONE, None

    async def _ask(self, serve: Serve, timeout_seconds: float) -> bytes | None:
        address = self._random.choice(self._cluster.addresses())
        return await self._cluster.call(self._process, self._address, address, serve, timeout_seconds)

    async def _write(self, operation: Operation, seconds: float) -> Fate:
        self._last_sequence += 1
        sequence = self._last_sequence
        self._outstanding[sequence] = None
        try:
            return await self._write_as(sequence, operation, seconds)
        finally:
            del self._outstanding[sequence]

    async def _write_as(self, sequence: int, operation: Operation, seconds: float) -> Fate:
        loop = self._cluster.loop
        give_up_at = loop.now + seconds
        is_in_doubt = False
        while loop.now < give_up_at and not (is_in_doubt and self._is_anonymous):
            timeout_seconds = self._random.uniform(*ATTEMPT_SECONDS)
            try:
                await self._ask(self._writing(sequence, operation, is_in_doubt, timeout_seconds), timeout_seconds)
            except (NotApplied, Overloaded, ConnectionRefused):
                await asyncio.sleep(self._random.uniform(0, PAUSE_SECONDS))
            except (RequestError, TimeoutError):
                is_in_doubt = True
            else:
                if not self._is_anonymous:
                    self._cluster.invariants.acknowledged(self._client_id, sequence)
                return Fate.DONE
        return Fate.UNKNOWN if is_in_doubt else Fate.NOT_DONE

    def _writing(self, sequence: int, operation: Operation, is_retry: bool, timeout_seconds: float) -> Serve:
        """What the machine that is asked has to do."""
        command = self._command(sequence, operation, is_retry)

        async def write(machine: Machine) -> None:
            if self._is_anonymous:
                await machine.write_anonymously(command.operation, command.key, command.value, timeout_seconds)
            else:
                await machine.write(command, timeout_seconds)

        return write

    def _command(self, sequence: int, operation: Operation, is_retry: bool) -> Command:
        kind = CommandKind.PUT if operation.kind is OperationKind.PUT else CommandKind.DELETE
        first_outstanding = next(iter(self._outstanding))
        value = operation.value or b""
        return Command(kind, self._client_id, sequence, first_outstanding, is_retry, operation.key, value)


def _beginning(value: bytes | None) -> str:
    """For the trace, which is written for every operation, and mostly read by nobody."""
    return repr(value and value[:SHOWN_BYTES])[:SHOWN_BYTES]
