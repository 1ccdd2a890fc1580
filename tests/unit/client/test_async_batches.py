"""What the asyncio client sends together, and what each task gets of it, against real servers."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import grpc
import pytest

from meteora.client import AsyncClient, async_batches
from meteora.client.async_batches import MAX_UNDER_WAY
from meteora.client.batch import MAX_BYTES
from meteora.errors import InvalidRequest, NotApplied, OutcomeUnknown
from meteora.pb import common_pb2, kv_pb2
from tests.unit.client.remote import NOT_APPLIED, Remote, Step, hangs, loses_reply, remotes, serves

PATIENT_SECONDS = 30.0
"""For requests that will be served: a slow machine must not fail a test."""


class BatchRemote(Remote):
    """A node that takes batches as well: it serves them from `store` unless `batch_step` says otherwise."""

    def __init__(self, node_id: int = 1) -> None:
        super().__init__(node_id)
        self.knows({node_id: self.endpoint}, node_id)
        self.batches: list[kv_pb2.BatchReq] = []
        self.batch_steps: list[Step] = []
        """What is done instead with the next batches, one after another."""
        self.batch_step: Step = serves
        self.state = common_pb2.OK
        """What a write is answered with."""
        self.gate = threading.Event()
        """Nothing is answered before it is set."""
        self.gate.set()

    @property
    def sizes(self) -> list[int]:
        return [len(each.operations) for each in self.batches]

    def Batch(self, request: kv_pb2.BatchReq, context: grpc.ServicerContext) -> kv_pb2.BatchReply:
        self.batches.append(request)
        self.arrived.set()
        self.gate.wait(PATIENT_SECONDS)
        (self.batch_steps.pop(0) if self.batch_steps else self.batch_step)(context)
        return self._reply(kv_pb2.BatchReply(results=[self._result(each) for each in request.operations]))

    def _result(self, operation: kv_pb2.Operation) -> kv_pb2.Result:
        if operation.HasField("get"):
            if operation.get.key == b"long":
                return kv_pb2.Result(ask_alone=True)
            value = self.store.get(operation.get.key)
            return kv_pb2.Result(state=common_pb2.NOT_FOUND if value is None else common_pb2.OK, value=value or b"")
        if operation.put.key == b"invalid":
            return kv_pb2.Result(failure=kv_pb2.Failure(code=3, message="no such key", outcome="not-applied"))
        self.store[operation.put.key] = operation.put.value
        return kv_pb2.Result(state=self.state)


@pytest.fixture
def node() -> Iterator[BatchRemote]:
    remote = BatchRemote()
    try:
        yield remote
    finally:
        remote.gate.set()
        remote.stop()


def run(
    node: Remote, scenario: Callable[[AsyncClient], Awaitable[None]], timeout_seconds: float = PATIENT_SECONDS
) -> None:
    """A scenario with a client that has found the node already."""

    async def with_client() -> None:
        async with AsyncClient(node.endpoint, timeout_seconds=timeout_seconds) as client:
            await client.get("first")
            await client.delete("first")
            node.requests.clear()
            node.arrived.clear()
            await scenario(client)

    asyncio.run(with_client())


async def put_all(client: AsyncClient, *keys: str) -> list[BaseException | None]:
    return await asyncio.gather(*(client.put(key, key) for key in keys), return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENT_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)  # Between looks at a condition: nothing depends on how long.


def test_what_is_asked_in_one_tick_is_one_message(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        assert await put_all(client, "a", "b", "c") == [None] * 3
        assert (node.sizes, node.requests) == ([3], [])
        assert node.store == {b"a": b"a", b"b": b"b", b"c": b"c"}

    run(node, scenario)


def test_a_lone_put_is_a_put(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        await client.put("key", "value")
        assert (node.sizes, [type(each) for each in node.requests]) == ([], [kv_pb2.PutReq])

    run(node, scenario)


def test_reads_wait_for_no_writes(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        node.store[b"x"] = b"1"
        values = await asyncio.gather(client.get("x"), client.get("y"), *(client.put(key, key) for key in "ab"))
        assert values == [b"1", None, None, None]
        assert sorted(node.sizes) == [2, 2]

    run(node, scenario)


def test_while_batches_are_under_way_what_comes_gathers(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        node.gate.clear()
        under_way = [asyncio.create_task(put_all(client, "a", "b"))]
        await until(lambda: node.batches)
        for index in range(10):
            under_way.append(asyncio.create_task(put_all(client, f"later{index}")))
            await asyncio.sleep(0)
        node.gate.set()
        for each in under_way:
            assert not any(await each)
        assert node.sizes == [2, 10]

    run(node, scenario)


def test_a_full_batch_goes_out_although_others_are_under_way_but_not_more_than_so_many(
    node: BatchRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So few that they are asked for at once, and alike however long that takes.
    monkeypatch.setattr(async_batches, "MAX_OPERATIONS", 2)
    monkeypatch.setattr(async_batches, "LIKE_TIMEOUTS_SECONDS", PATIENT_SECONDS)

    async def scenario(client: AsyncClient) -> None:
        node.gate.clear()
        under_way = []
        for index in range(MAX_UNDER_WAY + 1):
            under_way.append(asyncio.create_task(put_all(client, f"{index}a", f"{index}b")))
            await asyncio.sleep(0)
            sent = min(index + 1, MAX_UNDER_WAY)
            await until(lambda count=sent: len(node.batches) == count)
        node.gate.set()
        for each in under_way:
            assert not any(await each)
        assert node.sizes == [2] * (MAX_UNDER_WAY + 1)

    run(node, scenario)


def test_a_batch_is_no_longer_than_every_node_takes(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        await asyncio.gather(*(client.put(f"{index}", b"v" * (MAX_BYTES // 3)) for index in range(6)))
        assert node.sizes == [2, 2, 2]
        assert max(each.ByteSize() for each in node.batches) <= MAX_BYTES

    run(node, scenario)


def test_what_is_too_long_for_a_batch_goes_alone(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        await asyncio.gather(*(client.put(f"{index}", b"v" * MAX_BYTES) for index in range(2)))
        assert (node.sizes, len(node.requests)) == ([], 2)

    run(node, scenario)


def test_an_operation_that_fails_does_so_for_its_own_task(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        first, second, third = await put_all(client, "a", "invalid", "b")
        assert (first, third) == (None, None)
        assert isinstance(second, InvalidRequest)
        assert "no such key" in str(second)

    run(node, scenario)


def test_a_value_that_the_reply_cannot_hold_is_asked_for_alone(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        node.store[b"long"] = b"value"
        assert await asyncio.gather(client.get("long"), client.get("absent")) == [b"value", None]
        assert [each.key for each in node.requests] == [b"long"]

    run(node, scenario)


def test_a_task_that_is_cancelled_leaves_the_others_alone(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        node.gate.clear()
        tasks = [asyncio.create_task(client.put(key, key)) for key in "abc"]
        await until(lambda: node.batches)
        tasks[1].cancel()
        await asyncio.wait(tasks[1:2])
        node.gate.set()
        assert [tasks[1].cancelled(), await tasks[0], await tasks[2]] == [True, None, None]

    run(node, scenario)


def test_a_task_that_is_cancelled_before_its_tick_ends_is_not_sent(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        tasks = [asyncio.create_task(client.put(key, key)) for key in "abc"]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait(tasks)
        assert b"b" not in node.store

    run(node, scenario)


def test_the_last_to_be_cancelled_takes_the_call_with_it(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        node.batch_step = hangs
        tasks = [asyncio.create_task(client.put(key, key)) for key in "ab"]
        await until(lambda: node.batches)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        node.batch_step = serves
        assert await put_all(client, "c", "d") == [None] * 2

    run(node, scenario)


def test_a_node_that_knows_no_batches_gets_single_calls() -> None:
    with remotes(1, leader_id=1) as [node]:

        async def scenario(client: AsyncClient) -> None:
            for _ in range(2):
                assert await put_all(client, "a", "b") == [None] * 2
            assert sorted(each.key for each in node.requests) == [b"a", b"a", b"b", b"b"]
            assert not any(retry for *_, retry in node.names)

        run(node, scenario)


def test_a_batch_without_an_answer_leaves_each_write_in_doubt(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        node.batch_step = hangs
        assert [type(each) for each in await put_all(client, "a", "b")] == [OutcomeUnknown] * 2

    run(node, scenario, timeout_seconds=0.5)


def test_what_was_never_sent_is_certainly_not_applied(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        node.batch_step = hangs
        under_way = [asyncio.create_task(put_all(client, "a", "b"))]
        await until(lambda: node.batches)
        behind = await put_all(client, "c", "d")
        assert [type(each) for each in behind] == [NotApplied] * 2
        assert all(operation.put.key not in (b"c", b"d") for each in node.batches for operation in each.operations)
        await asyncio.wait(under_way)

    run(node, scenario, timeout_seconds=0.6)


def test_a_batch_that_was_not_applied_is_sent_again_without_saying_retry(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        node.batch_steps = [NOT_APPLIED]
        assert await put_all(client, "a", "b") == [None] * 2
        assert not any(operation.put.request_id.retry for each in node.batches for operation in each.operations)

    run(node, scenario)


def test_a_batch_whose_fate_is_unknown_is_sent_again_as_retries(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        node.batch_steps = [loses_reply]
        assert await put_all(client, "a", "b") == [None] * 2
        # Whether they travel together again depends on when their probes are answered.
        again = [operation.put for each in node.batches[1:] for operation in each.operations]
        again += [each for each in node.requests if isinstance(each, kv_pb2.PutReq)]
        sent = {(each.put.key, each.put.request_id.sequence, True) for each in node.batches[0].operations}
        assert {(each.key, each.request_id.sequence, each.request_id.retry) for each in again} == sent

    run(node, scenario)


def test_a_batch_follows_the_leader() -> None:
    follower, leader = BatchRemote(1), BatchRemote(2)
    try:
        follower.state = common_pb2.WRONG_LEADER

        async def scenario(client: AsyncClient) -> None:
            members = {1: follower.endpoint, 2: leader.endpoint}
            follower.knows(members, 2)
            leader.knows(members, 2)
            assert await put_all(client, "a", "b") == [None] * 2
            assert set(leader.store) == {b"a", b"b"}

        run(follower, scenario)
    finally:
        follower.stop()
        leader.stop()


def test_closing_the_client_ends_what_is_under_way_with_what_is_known_of_it(node: BatchRemote) -> None:
    async def scenario(client: AsyncClient) -> None:
        node.gate.clear()
        asked = asyncio.create_task(put_all(client, "a", "b"))
        await until(lambda: node.batches)
        await client.close()
        assert [type(each) for each in await asked] == [OutcomeUnknown] * 2

    run(node, scenario)
