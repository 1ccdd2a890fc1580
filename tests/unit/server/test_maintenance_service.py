import asyncio
from pathlib import Path
from typing import Any

import pytest

from meteora.pb import maintenance_pb2
from meteora.server.access import Gate
from meteora.server.maintenance_service import MaintenanceService
from tests.unit.node.nodes import PATIENCE_SECONDS, Running, Trio
from tests.unit.server.strangers import UNAUTHENTICATED, Stranger, code_of, out_of_touch


@pytest.mark.parametrize(
    ("method", "request_"), [("Backup", maintenance_pb2.BackupReq()), ("Export", maintenance_pb2.ExportReq())]
)
def test_a_node_that_was_out_of_touch_hands_nothing_out_by_what_it_knew_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str, request_: Any
) -> None:
    async def story(trio: Trio, one: Running) -> None:
        service = MaintenanceService(one.node, 1, Gate(one.node), timeout_seconds=PATIENCE_SECONDS)
        call = asyncio.ensure_future(code_of(getattr(service, method)(request_, Stranger())))
        await asyncio.sleep(0)
        trio.network.cut_off.clear()
        assert await call is UNAUTHENTICATED

    out_of_touch(monkeypatch, tmp_path, story)
