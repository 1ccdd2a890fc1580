"""What who calls a method must be: everything that a node serves, and what nobody has thought about."""

import pytest

from meteora.pb import auth_pb2, kv_pb2, maintenance_pb2, peer_pb2, raft_pb2
from meteora.server.guarded import Needs, needs_of

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
