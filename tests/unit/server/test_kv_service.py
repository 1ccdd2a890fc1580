"""What a node does that knows less of users than the others: it has just joined, or was out of touch."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from meteora.node import freshness, reads
from meteora.node.node import Node
from meteora.pb import common_pb2, kv_pb2
from meteora.server.access import Gate
from meteora.server.kv_service import KvService
from meteora.server.replies import Replies
from tests.unit.node.nodes import PATIENCE_SECONDS, Running, Trio, three, until
from tests.unit.server.strangers import UNAUTHENTICATED, Stranger, code_of, out_of_touch

PUT = kv_pb2.PutReq(key=b"key", value=b"value")
GET = kv_pb2.GetReq(key=b"key")
DELETE = kv_pb2.DeleteReq(key=b"key")
RETRY = kv_pb2.PutReq(key=b"key", request_id=kv_pb2.RequestId(client_id=1, sequence=1, retry=True))


def service(node: Node, *, forwards: bool = True) -> KvService:
    return KvService(
        node, Replies(node), Gate(node), max_value_bytes=1024, timeout_seconds=PATIENCE_SECONDS, forwards=forwards
    )


@pytest.mark.parametrize(("method", "request_"), [("Put", PUT), ("Delete", DELETE), ("Get", GET)])
def test_a_node_that_was_out_of_touch_lets_nobody_in_by_what_it_knew_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str, request_: Any
) -> None:
    async def story(trio: Trio, one: Running) -> None:
        served = service(one.node)
        assert served.direct_methods[method].begin(request_, None, None) is None
        call = asyncio.ensure_future(code_of(getattr(served, method)(request_, Stranger())))
        await asyncio.sleep(0)
        trio.network.cut_off.clear()
        assert await call is UNAUTHENTICATED
        assert await trio.leader.get(b"key") == b"hers"

    out_of_touch(monkeypatch, tmp_path, story)


def test_nor_by_batches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def story(trio: Trio, one: Running) -> None:
        operations = [kv_pb2.Operation(put=PUT), kv_pb2.Operation(get=GET), kv_pb2.Operation(delete=DELETE)]
        request: Any = kv_pb2.BatchReq(operations=operations)
        context: Any = Stranger()
        call = asyncio.ensure_future(service(one.node).Batch(request, context))
        await asyncio.sleep(0)
        trio.network.cut_off.clear()
        assert [each.failure.code for each in (await call).results] == [UNAUTHENTICATED.value[0]] * 3
        assert await trio.leader.get(b"key") == b"hers"

    out_of_touch(monkeypatch, tmp_path, story)


def test_without_the_others_it_takes_no_write_and_leaves_a_retry_in_doubt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def story(_: Trio, one: Running) -> None:
        served = service(one.node)
        hurried: Any = Stranger(0.1)
        stale = kv_pb2.GetReq(key=b"key", serializable=True)
        assert await code_of(served.Put(PUT, hurried)) is grpc.StatusCode.UNAVAILABLE
        assert await code_of(served.Put(RETRY, hurried)) is grpc.StatusCode.DEADLINE_EXCEEDED
        operations = [kv_pb2.Operation(put=PUT), kv_pb2.Operation(put=RETRY), kv_pb2.Operation(get=stale)]
        results = (await served.Batch(kv_pb2.BatchReq(operations=operations), hurried)).results
        assert [each.failure.outcome for each in results] == ["not-applied", "unknown", ""]

    out_of_touch(monkeypatch, tmp_path, story)


def test_one_that_has_too_much_to_do_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def story(_: Trio, one: Running) -> None:
        monkeypatch.setattr(reads, "MAX_PENDING_READS", 0)
        context: Any = Stranger()
        assert await code_of(service(one.node).Put(PUT, context)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await code_of(service(one.node).Put(RETRY, context)) is grpc.StatusCode.DEADLINE_EXCEEDED
        batch = kv_pb2.BatchReq(operations=[kv_pb2.Operation(put=PUT), kv_pb2.Operation(put=RETRY)])
        results = (await service(one.node).Batch(batch, context)).results
        codes = [grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], grpc.StatusCode.DEADLINE_EXCEEDED.value[0]]
        assert [each.failure.code for each in results] == codes

    out_of_touch(monkeypatch, tmp_path, story)


def test_a_node_that_does_not_forward_sends_to_the_leader_however_far_it_is_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(freshness, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(freshness, "BEHIND_SECONDS", 0.2)

    async def run() -> None:
        async with three(tmp_path) as trio:
            one = trio.followers[0]
            monkeypatch.setattr(one.state_machine, "is_write_stalled", lambda: True)
            await trio.leader.put(b"key", b"value")
            await until(lambda: one.node.freshness.is_behind)
            served = service(one.node, forwards=False)
            context: Any = Stranger(0.5)
            assert (await served.Put(PUT, context)).state == common_pb2.WRONG_LEADER
            assert (await served.Delete(DELETE, context)).state == common_pb2.WRONG_LEADER
            batch = kv_pb2.BatchReq(operations=[kv_pb2.Operation(put=PUT)])
            assert [each.state for each in (await served.Batch(batch, context)).results] == [common_pb2.WRONG_LEADER]

    asyncio.run(run())
