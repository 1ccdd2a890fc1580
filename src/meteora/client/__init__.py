"""The clients of a Meteora cluster: one for asyncio, and its blocking twin for threads.

They speak to KV addresses only, and share everything but the waiting: `operation`, `routing`, `fate` and the other
pure modules decide, `async_wire` and `blocking_wire` carry.
"""

from meteora.client.async_client import AsyncClient
from meteora.client.backup import BackupPart
from meteora.client.blocking_client import Client
from meteora.client.cluster_status import ClusterStatus, MemberRole, MemberStatus, NodeProgress, NodeRoom
from meteora.client.reading import SerializableRead
from meteora.client.tls import TlsConfig
from meteora.client.users import Permission, UsersStatus, end_of_prefix

__all__ = [
    "AsyncClient",
    "BackupPart",
    "Client",
    "ClusterStatus",
    "MemberRole",
    "MemberStatus",
    "NodeProgress",
    "NodeRoom",
    "Permission",
    "SerializableRead",
    "TlsConfig",
    "UsersStatus",
    "end_of_prefix",
]
