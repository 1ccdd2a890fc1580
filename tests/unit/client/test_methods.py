from typing import Any

import pytest

from meteora.client.methods import (
    BACKUP,
    CHANGE_CONFIG,
    DELETE,
    EXPORT,
    GET,
    NODE_STATUS,
    PUT,
    TRANSFER_LEADERSHIP,
    Method,
)


@pytest.mark.parametrize(
    ("method", "path", "is_write"),
    [
        (GET, "/meteora.kv.KvService/Get", False),
        (PUT, "/meteora.kv.KvService/Put", True),
        (DELETE, "/meteora.kv.KvService/Delete", True),
        (CHANGE_CONFIG, "/meteora.raft.RaftService/ChangeConfig", True),
        (TRANSFER_LEADERSHIP, "/meteora.raft.RaftService/TransferLeadership", True),
        (NODE_STATUS, "/meteora.raft.RaftService/NodeStatus", False),
        (BACKUP, "/meteora.maintenance.MaintenanceService/Backup", False),
        (EXPORT, "/meteora.maintenance.MaintenanceService/Export", False),
    ],
    ids=lambda value: value.name if isinstance(value, Method) else None,
)
def test_a_method_has_its_promised_path_and_is_a_write_if_it_changes_anything(
    method: Method[Any, Any], path: str, is_write: bool
) -> None:
    assert (method.path, method.is_write) == (path, is_write)
