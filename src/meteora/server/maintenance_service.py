"""`meteora.maintenance.MaintenanceService`: backups and exports, streamed as fast as the client takes them."""

import asyncio
from contextlib import aclosing
from typing import Any, Final, NoReturn

import grpc

from meteora.config import MAX_KEY_BYTES
from meteora.errors import InvalidRequest, NotApplied, RequestError, StorageError
from meteora.node.backup import backup_pieces
from meteora.node.node import Node
from meteora.observability.logs import get_logger
from meteora.pb import maintenance_pb2
from meteora.pb.maintenance_pb2_grpc import MaintenanceServiceServicer
from meteora.server.access import Gate, authorization_of
from meteora.server.deadlines import deadline_of
from meteora.server.statuses import abort

PATIENCE_SECONDS: Final = 60.0
"""How long a client may take none of what is sent before it is given up: until then RocksDB keeps what it replaces."""

MESSAGE_BYTES: Final = 1 << 20
"""What of a backup is sent at once. Clients of other makes refuse messages above 4 MiB, and a record may be longer."""

EXPORT_RECORDS: Final = 512
"""In one message: each becomes an object of its own on the event loop, some 0.5 ms for all."""

_log = get_logger("maintenance")


class MaintenanceService(MaintenanceServiceServicer):
    """All of the data at once. Whose it may be is looked at again once this node has caught up."""

    def __init__(self, node: Node, cluster_id: int, gate: Gate, *, timeout_seconds: float) -> None:
        self._node = node
        self._gate = gate
        self._cluster_id = cluster_id
        self._timeout_seconds = timeout_seconds

    # Each is a coroutine that writes, and no generator: whoever yields can't see how long its client takes.

    async def Backup(  # type: ignore[override]  # noqa: N802  the method's name in the proto
        self,
        request: maintenance_pb2.BackupReq,
        context: grpc.aio.ServicerContext[maintenance_pb2.BackupReq, maintenance_pb2.BackupPart],
    ) -> None:
        """The state at one index, as a file."""
        try:
            await self._back_up(request.serializable, context)
        except (RequestError, StorageError) as error:
            await _explain(context, error)

    async def Export(  # type: ignore[override]  # noqa: N802  the method's name in the proto
        self,
        request: maintenance_pb2.ExportReq,
        context: grpc.aio.ServicerContext[maintenance_pb2.ExportReq, maintenance_pb2.ExportPart],
    ) -> None:
        """All keys with a prefix."""
        try:
            if len(request.prefix) > MAX_KEY_BYTES:
                raise InvalidRequest(f"a prefix has at most {MAX_KEY_BYTES} bytes, as a key has")
            await self._export(request, context)
        except (RequestError, StorageError) as error:
            await _explain(context, error)

    async def _back_up(self, serializable: bool, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        scans = self._node.scans
        async with scans.everything(self._deadline(context), serializable=serializable) as scan:
            self._gate.ensure_root(authorization_of(context))
            estimated_records = scans.estimated_records()
            async with aclosing(backup_pieces(scan, self._cluster_id, self._node.node_id)) as pieces:
                async for data, records in pieces:
                    for offset in range(0, len(data), MESSAGE_BYTES):
                        part = maintenance_pb2.BackupPart(
                            data=data[offset : offset + MESSAGE_BYTES],
                            records=records,
                            estimated_records=max(estimated_records, records),
                        )
                        await _send(context, part)

    async def _export(self, request: maintenance_pb2.ExportReq, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        scans, deadline = self._node.scans, self._deadline(context)
        async with scans.keys(request.prefix, deadline, serializable=request.serializable) as scan:
            self._gate.ensure_root(authorization_of(context))
            while pairs := await scan.page(list, EXPORT_RECORDS):
                part = maintenance_pb2.ExportPart()
                for key, value in pairs:
                    # Before it is the mark of users' keys.
                    part.pairs.add(key=key[1:], value=value)
                await _send(context, part)

    def _deadline(self, context: grpc.aio.ServicerContext[Any, Any]) -> float:
        return deadline_of(context, self._timeout_seconds, asyncio.get_running_loop().time())


async def _explain(context: grpc.aio.ServicerContext[Any, Any], error: RequestError | StorageError) -> NoReturn:
    if isinstance(error, StorageError):
        # That of a node that goes on: whoever needs the same bytes to serve will stop it.
        _log.error("the state could not be read for a backup or export", cause=str(error))
        await context.abort(grpc.StatusCode.DATA_LOSS, str(error))
    await abort(context, error)


async def _send(context: grpc.aio.ServicerContext[Any, Any], part: Any) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await context.write(part)
    except TimeoutError:
        raise NotApplied(f"nothing was taken here for {PATIENCE_SECONDS:g} s: given up") from None
