"""Writers under whose eyes nodes are killed, and the reading back of what they were told.

The rule: of each key it is known what it may hold. A write that was acknowledged leaves one value; one that certainly
was not applied changes nothing; one in doubt leaves both, and its key is left alone from then on. What is read back,
through each node, must be among that. Every key has one writer, so that this is all there is to know.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from random import Random
from types import TracebackType
from typing import Any, Protocol, Self

import grpc

from meteora.client import AsyncClient
from meteora.client.channel import CHANNEL_OPTIONS
from meteora.errors import NotApplied, OutcomeUnknown, Overloaded
from meteora.pb import common_pb2, kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceStub
from tests.cluster.processes import ClusterProcesses, wait_until

WRITERS_PER_CLIENT = 3
PAUSE_SECONDS = 0.005
"""After each write: every one is read back three times, and that shall not take longer than the test itself."""

PAUSE_AFTER_ERROR_SECONDS = 0.05
VALUE_BYTES = (0, 1, 100, 100, 100, 1_000, 20_000)
REQUEST_SECONDS = 5.0
READERS_PER_NODE = 24
CONVERGE_SECONDS = 15.0

Values = frozenset[bytes | None]
"""What a key may hold; None: nothing."""

ABSENT: Values = frozenset({None})


class Target(Protocol):
    """What can be written to, and read. Raises as `AsyncClient`."""

    async def get(self, key: bytes) -> bytes | None: ...
    async def put(self, key: bytes, value: bytes) -> None: ...
    async def delete(self, key: bytes) -> None: ...


class PinnedNode:
    """One node and no other, by the stub that everybody can generate; its writes carry no request id."""

    def __init__(self, endpoint: str) -> None:
        self._channel = grpc.aio.insecure_channel(endpoint, CHANNEL_OPTIONS)
        self._stub = KvServiceStub(self._channel)

    async def put(self, key: bytes, value: bytes) -> None:
        await _answered(self._stub.Put(kv_pb2.PutReq(key=key, value=value), timeout=REQUEST_SECONDS))

    async def delete(self, key: bytes) -> None:
        await _answered(self._stub.Delete(kv_pb2.DeleteReq(key=key), timeout=REQUEST_SECONDS))

    async def get(self, key: bytes) -> bytes | None:
        reply = await self._stub.Get(kv_pb2.GetReq(key=key), timeout=REQUEST_SECONDS)
        return None if reply.state == common_pb2.NOT_FOUND else reply.value

    async def close(self) -> None:
        await self._channel.close()


async def _answered(call: Any) -> None:
    try:
        reply = await call
    except grpc.aio.AioRpcError as error:
        outcome = dict(error.trailing_metadata() or ()).get("meteora-outcome")
        raise (NotApplied if outcome == "not-applied" else OutcomeUnknown)(error.details()) from error
    assert reply.state == common_pb2.OK


class Load:
    """Writers in a thread of their own, from `with` to its end: some use our client, one each is pinned to a node."""

    def __init__(self, cluster: ClusterProcesses, seed: int = 0) -> None:
        self._endpoints = cluster.endpoints
        self._seed = seed
        self._thread = threading.Thread(target=self._run, name="load")
        self._is_stopping = False
        self._error: BaseException | None = None
        self._acknowledged = 0
        self._newest_began_at = 0.0
        self.may_hold: dict[bytes, Values] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_stopping = True
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def wait_for_writes(self, count: int, timeout_seconds: float = 20.0) -> None:
        """Wait until that many more writes are acknowledged."""
        goal = self._acknowledged + count
        self._wait_until(lambda: self._acknowledged >= goal, f"{count} more writes", timeout_seconds)

    def wait_for_new_write(self, timeout_seconds: float) -> None:
        """Wait until our client got a write acknowledged that it began after this call."""
        now = time.monotonic()
        self._wait_until(lambda: self._newest_began_at > now, "the cluster writes", timeout_seconds)

    def _wait_until(self, condition: Callable[[], bool], what: str, timeout_seconds: float) -> None:
        wait_until(lambda: condition() or self._error is not None, what, timeout_seconds)
        if self._error is not None:
            raise self._error

    # In the thread

    def _run(self) -> None:
        try:
            asyncio.run(self._write())
        except BaseException as error:  # noqa: BLE001  raised again where it is looked for
            self._error = error

    async def _write(self) -> None:
        pinned = [PinnedNode(endpoint) for endpoint in self._endpoints]
        async with (
            AsyncClient(self._endpoints) as one,
            AsyncClient(self._endpoints[::-1]) as other,
            asyncio.TaskGroup() as writers,
        ):
            for number, client in enumerate([one, other] * WRITERS_PER_CLIENT):
                writers.create_task(self._write_on(client, f"client{number}"))
            for number, node in enumerate(pinned, start=1):
                writers.create_task(self._write_on(node, f"node{number}"))
        for node in pinned:
            await node.close()

    async def _write_on(self, target: Target, name: str) -> None:
        # What it writes may be replayed, when it does so may not.
        random = Random(f"{self._seed} {name}")
        keys: list[bytes] = []
        while not self._is_stopping:
            key = self._known_key(random, keys)
            if key is None:
                key = f"{self._seed}-{name}-{len(keys)}".encode()
                keys.append(key)
            is_certain = await self._write_one(target, key, self._new_value(random, key))
            await asyncio.sleep(PAUSE_SECONDS if is_certain else PAUSE_AFTER_ERROR_SECONDS)

    def _known_key(self, random: Random, keys: Sequence[bytes]) -> bytes | None:
        """A key of this writer that it may write again; None for a new one, which it is most of the time."""
        if not keys or random.random() > 0.2:
            return None
        key = random.choice(keys)
        return key if len(self.may_hold[key]) == 1 else None

    def _new_value(self, random: Random, key: bytes) -> bytes | None:
        """A value to put; None: delete the key."""
        if key in self.may_hold and random.random() < 0.5:
            return None
        return random.randbytes(random.choice(VALUE_BYTES))

    async def _write_one(self, target: Target, key: bytes, value: bytes | None) -> bool:
        """Whether it was acknowledged."""
        began_at = time.monotonic()
        before = self.may_hold.setdefault(key, ABSENT)
        # What is cut off has an unknown outcome, too.
        self.may_hold[key] = before | {value}
        try:
            await (target.delete(key) if value is None else target.put(key, value))
        except (NotApplied, Overloaded):
            self.may_hold[key] = before
        except OutcomeUnknown:
            pass
        else:
            self.may_hold[key] = frozenset({value})
            self._acknowledged += 1
            if isinstance(target, AsyncClient):
                self._newest_began_at = max(self._newest_began_at, began_at)
            return True
        return False


def assert_kept(cluster: ClusterProcesses, load: Load) -> None:
    """Everything that was acknowledged is read back through every node, and nothing that was refused is."""
    assert load.may_hold
    asyncio.run(_read_back(cluster.endpoints, load.may_hold))
    wait_until(cluster.have_converged, "all nodes have applied the same", CONVERGE_SECONDS)


async def _read_back(endpoints: Sequence[str], may_hold: dict[bytes, Values]) -> None:
    wrong: list[str] = []
    async with asyncio.TaskGroup() as nodes:
        for endpoint in endpoints:
            nodes.create_task(_read_through(endpoint, may_hold, wrong))
    assert not wrong, f"{len(wrong)} of {len(may_hold)} keys: {wrong[:10]}"


async def _read_through(endpoint: str, may_hold: dict[bytes, Values], wrong: list[str]) -> None:
    node = PinnedNode(endpoint)
    keys = iter(list(may_hold))

    async def read() -> None:
        for key in keys:
            try:
                value = await node.get(key)
            except grpc.aio.AioRpcError as error:
                wrong.append(f"{key!r} can't be read through {endpoint}: {error.details()}")
                continue
            if value not in may_hold[key]:
                expected = " or ".join(sorted(map(_text, may_hold[key])))
                wrong.append(f"{key!r} through {endpoint} is {_text(value)}, not {expected}")

    await asyncio.gather(*(read() for _ in range(READERS_PER_NODE)))
    await node.close()


def _text(value: bytes | None) -> str:
    return "absent" if value is None else f"{len(value)} bytes {value[:8].hex()}"
