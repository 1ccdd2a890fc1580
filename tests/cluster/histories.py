"""Clients that share keys, from `with` to its end, and whose histories must be linearizable."""

import asyncio
import itertools
import threading
import time
from collections.abc import Sequence
from random import Random
from types import TracebackType
from typing import Self

import grpc

from meteora.client import AsyncClient
from meteora.errors import NotApplied, OutcomeUnknown, Overloaded
from meteora.testing.history import History, OperationKind
from meteora.testing.linearizability import check_history
from tests.cluster.load import PAUSE_AFTER_ERROR_SECONDS, PinnedNode, Target
from tests.cluster.processes import wait_until

KEYS = 5

KIND_WEIGHTS = [4, 4, 1]
"""Of gets, puts and deletes."""

PAUSE_SECONDS = 0.02
"""Between the operations of one client, on average."""

TIMEOUT_SECONDS = 3.0


class Histories:
    """Clients in a thread of their own: for each node one that asks only it, and as many that follow the leader."""

    def __init__(self, endpoints: Sequence[str], seed: int) -> None:
        self._endpoints = endpoints
        self._seed = seed
        self._thread = threading.Thread(target=self._run, name="histories")
        self._is_stopping = False
        self._error: BaseException | None = None
        self._history = History()
        self._newest_began_at = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_stopping = True
        self._thread.join()
        if error is None:
            if self._error is not None:
                raise self._error
            verdict = check_history(self._history)
            assert verdict.is_linearizable, f"seed {self._seed}: {verdict}"

    def wait_for_new_write(self, timeout_seconds: float) -> None:
        """Wait until a write is acknowledged that began after this call."""
        now = time.monotonic()
        wait_until(
            lambda: self._newest_began_at > now or self._error is not None, "the cluster writes", timeout_seconds
        )
        if self._error is not None:
            raise self._error

    # In the thread

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:  # noqa: BLE001  raised again where it is looked for
            self._error = error

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for number, endpoint in enumerate(self._endpoints):
                clients.create_task(self._work_through_all(number))
                clients.create_task(self._work_through_one(number + len(self._endpoints), endpoint))

    async def _work_through_all(self, number: int) -> None:
        async with AsyncClient(self._endpoints, timeout_seconds=TIMEOUT_SECONDS) as client:
            await self._work_as(number, client)

    async def _work_through_one(self, number: int, endpoint: str) -> None:
        node = PinnedNode(endpoint)
        await self._work_as(number, node)
        await node.close()

    async def _work_as(self, number: int, target: Target) -> None:
        # What it asks for may be replayed, when it does so may not.
        random = Random(f"{self._seed} {number}")
        for count in itertools.count():
            if self._is_stopping:
                break
            is_answered = await self._operate(target, number, random, b"%d.%d" % (number, count))
            await asyncio.sleep(random.uniform(0, 2 * PAUSE_SECONDS) if is_answered else PAUSE_AFTER_ERROR_SECONDS)

    async def _operate(self, target: Target, number: int, random: Random, value: bytes) -> bool:
        """Whether it was answered."""
        kind = random.choices(list(OperationKind), KIND_WEIGHTS)[0]
        key = b"key%d" % random.randrange(KEYS)
        operation = self._history.call(
            number, kind, key, value if kind is OperationKind.PUT else None, time.monotonic()
        )
        try:
            read = await _do(target, kind, key, value)
        except (NotApplied, Overloaded):
            self._history.had_no_effect(operation)
            return False
        except (OutcomeUnknown, grpc.aio.AioRpcError):
            return False
        self._history.returned(operation, time.monotonic(), read)
        if kind is not OperationKind.GET:
            self._newest_began_at = max(self._newest_began_at, operation.called_at)
        return True


async def _do(target: Target, kind: OperationKind, key: bytes, value: bytes) -> bytes | None:
    match kind:
        case OperationKind.GET:
            return await target.get(key)
        case OperationKind.PUT:
            await target.put(key, value)
        case OperationKind.DELETE:
            await target.delete(key)
    return None
