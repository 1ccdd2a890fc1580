"""What a node does that knows less of users than the others: it has just joined, or was out of touch."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from meteora.node.node import Node
from meteora.pb import kv_pb2
from meteora.server.access import Gate
from meteora.server.kv_service import KvService
from meteora.server.replies import Replies
from tests.unit.node.nodes import PATIENCE_SECONDS, Running, Trio
from tests.unit.server.strangers import UNAUTHENTICATED, Stranger, code_of, out_of_touch

PUT = kv_pb2.PutReq(key=b"key", value=b"value")
GET = kv_pb2.GetReq(key=b"key")
DELETE = kv_pb2.DeleteReq(key=b"key")
RETRY = kv_pb2.PutReq(key=b"key", request_id=kv_pb2.RequestId(client_id=1, sequence=1, retry=True))


def service(node: Node) -> KvService:
    return KvService(
        node, Replies(node), Gate(node), max_value_bytes=1024, timeout_seconds=PATIENCE_SECONDS, forwards=True
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
