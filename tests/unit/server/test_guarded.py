"""What who calls a method must be: everything that a node serves, and what nobody has thought about."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from meteora.features import OWN_RELEASE, SUPPORTED_LEVEL
from meteora.kv.users import Change
from meteora.pb import auth_pb2, kv_pb2, maintenance_pb2, peer_pb2, raft_pb2
from meteora.rpc.http2_host import Http2Server
from meteora.server.access import Gate
from meteora.server.guarded import GuardedServer, Needs, needs_of
from tests.unit.node.nodes import Network, running, soon, until

OPEN = {
    "/meteora.auth.AuthService/Authenticate",
    "/meteora.auth.AuthService/AuthStatus",
    *(f"/meteora.kv.KvService/{name}" for name in ("Get", "Put", "Delete", "Batch")),
    *(f"/meteora.peer.PeerService/{name}" for name in ("Exchange", "SendSnapshot", "Join", "Meet")),
}
LOGIN = {
    "/meteora.auth.AuthService/UserGet",
    "/meteora.auth.AuthService/RoleGet",
    "/meteora.raft.RaftService/Status",
    "/meteora.raft.RaftService/NodeStatus",
}


def test_every_method_needs_what_is_documented() -> None:
    needs: dict[Needs, set[str]] = {each: set() for each in Needs}
    for file in (auth_pb2, kv_pb2, maintenance_pb2, peer_pb2, raft_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                needs[needs_of(service.full_name, method.name)].add(f"/{service.full_name}/{method.name}")
    assert needs[Needs.NOTHING] == OPEN
    assert needs[Needs.LOGIN] == LOGIN
    assert "/meteora.raft.RaftService/ChangeConfig" in needs[Needs.ROOT]


@pytest.mark.parametrize("service", ["meteora.maintenance.MaintenanceService", "", "meteora.kv.KvService2"])
def test_a_service_that_nobody_has_thought_about_needs_root(service: str) -> None:
    assert needs_of(service, "Anything") is Needs.ROOT


class Aborted(Exception):
    """As grpcio ends a call."""


class Context:
    """Of a call of nobody's, by grpcio."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def time_remaining(self) -> float | None:
        return None

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        raise Aborted(code)


def test_users_are_changed_by_nobody_who_asks_where_it_is_not_known_yet_that_they_were_enabled(tmp_path: Path) -> None:
    async def change(request: object, context: object) -> bytes:
        raise AssertionError("it is served")

    async def run() -> None:
        async with running(tmp_path, Network(), release=OWN_RELEASE) as one:
            node = one.node
            await until(lambda: node.level == SUPPORTED_LEVEL)
            server = Http2Server("127.0.0.1", 0, 1_000)
            guarded = GuardedServer(server, Gate(node), timeout_seconds=10, is_of_members=False)
            handlers = {"AuthDisable": grpc.unary_unary_rpc_method_handler(change)}
            guarded.add_registered_method_handlers("meteora.auth.AuthService", handlers)
            behaviour = server._application.methods["/meteora.auth.AuthService/AuthDisable"].behaviour
            # It is acknowledged elsewhere, and this node has yet to apply it.
            is_write_stalled, one.state_machine.is_write_stalled = one.state_machine.is_write_stalled, lambda: True
            enabling = node.change_users(Change(0, enabled=True, secret=b"secret"), soon())
            await until(lambda: node.status().commit_index > node.status().applied_index)
            asked = asyncio.ensure_future(behaviour(b"", Context()))
            await asyncio.sleep(0)
            one.state_machine.is_write_stalled = is_write_stalled
            with pytest.raises(Aborted, match="UNAUTHENTICATED"):
                await asked
            await enabling

    asyncio.run(run())
