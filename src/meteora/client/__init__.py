"""The clients of a Meteora cluster: one for asyncio, and its blocking twin for threads.

They speak to KV addresses only, and share everything but the waiting: `operation`, `routing`, `fate` and the other
pure modules decide, `async_wire` and `blocking_wire` carry.
"""

from meteora.client.async_client import AsyncClient
from meteora.client.blocking_client import Client
from meteora.client.cluster_status import ClusterStatus, MemberRole, MemberStatus, NodeProgress
from meteora.client.reading import SerializableRead
from meteora.client.tls import TlsConfig

__all__ = [
    "AsyncClient",
    "Client",
    "ClusterStatus",
    "MemberRole",
    "MemberStatus",
    "NodeProgress",
    "SerializableRead",
    "TlsConfig",
]
