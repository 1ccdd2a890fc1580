"""Changes of the cluster that are asked for where it is not known yet that users were enabled."""

import asyncio
from pathlib import Path
from typing import Any

from meteora.features import OWN_RELEASE, SUPPORTED_LEVEL
from meteora.kv.users import Change
from meteora.pb import raft_pb2
from meteora.server.cluster import Cluster
from meteora.server.raft_service import RaftService
from meteora.server.replies import Replies
from meteora.transport.dialler import Dialler
from tests.unit.node.nodes import Network, running, soon, until
from tests.unit.server.strangers import UNAUTHENTICATED, Stranger, code_of


def test_nobody_changes_members_by_what_was_known_before_users_were_enabled(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, Network(), release=OWN_RELEASE) as one:
            node = one.node
            await until(lambda: node.level == SUPPORTED_LEVEL)
            request = raft_pb2.ConfChange(change_type=raft_pb2.RemoveNode, node_id=2)
            context: Any = Stranger()
            service = RaftService(node, Cluster(node, 1, Dialler()), Replies(node), timeout_seconds=10)
            # It is acknowledged elsewhere, and this node has yet to apply it.
            is_write_stalled, one.state_machine.is_write_stalled = one.state_machine.is_write_stalled, lambda: True
            enabling = node.change_users(Change(0, enabled=True, secret=b"secret"), soon())
            await until(lambda: node.status().commit_index > node.status().applied_index)
            asked = asyncio.ensure_future(code_of(service.ChangeConfig(request, context)))
            await asyncio.sleep(0)
            one.state_machine.is_write_stalled = is_write_stalled
            assert await asked is UNAUTHENTICATED
            await enabling

    asyncio.run(run())
