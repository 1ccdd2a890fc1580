"""A node that stops: what it can't finish any more it says so, and what fails on the way down is not lost."""

import asyncio
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from meteora.config import RpcServerKind
from meteora.errors import DiskFailure, NotApplied, OutcomeUnknown, StateDiverged
from meteora.pb import kv_pb2, raft_pb2
from meteora.server.assembly import Server
from meteora.storage.data_directory import read_identity
from tests.server.served import (
    CALL_SECONDS,
    LoopThread,
    ServedNode,
    config_of,
    make_member_of_three,
    refusal_of,
    served_cluster,
    served_node,
    wait_until,
)


@pytest.fixture
def without_majority(
    tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind, loop_thread: LoopThread
) -> Iterator[ServedNode]:
    """A member of three whose peers are not there; it lets requests wait for as long as their clients do."""
    config = config_of(tmp_path, free_port, 1, kind, request_timeout_seconds=CALL_SECONDS)
    make_member_of_three(config, {node_id: f"127.0.0.1:{free_port()}" for node_id in (2, 3)}, b"key", b"value")
    with served_node(loop_thread, config) as node:
        yield node


def test_requests_that_a_stopping_node_can_not_finish_are_told_what_became_of_them(
    without_majority: ServedNode,
) -> None:
    node = without_majority
    writing = node.kv.Put.future(kv_pb2.PutReq(key=b"key", value=b"new"), timeout=CALL_SECONDS)
    reading = node.kv.Get.future(kv_pb2.GetReq(key=b"key"), timeout=CALL_SECONDS)
    wait_until(lambda: len(node.node._writes) + len(node.node._reads) == 2, "both requests wait")
    assert node.stop() is False
    unavailable = grpc.StatusCode.UNAVAILABLE
    assert refusal_of(writing.result) == (
        unavailable,
        "the node is stopping: the write was not applied, try again",
        "not-applied",
    )
    assert refusal_of(reading.result) == (
        unavailable,
        "the node is stopping: the read was not answered, try again",
        "not-applied",
    )


def test_a_membership_change_that_a_stopping_node_can_not_finish_is_left_in_doubt(
    tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind
) -> None:
    with served_cluster(tmp_path, free_port, 2, kind) as cluster:
        leader, (follower,) = cluster.leader, cluster.followers
        # Its own disk is busy, and so the change is handed to the follower and not committed.
        go_on = threading.Event()
        leader.node._log_store._disk._jobs.put(go_on.wait)
        context = leader.address.SerializeToString()
        request = raft_pb2.ConfChange(change_type=raft_pb2.AddLearnerNode, node_id=3, context=context)
        changing = leader.raft.ChangeConfig.future(request, timeout=CALL_SECONDS)
        changing.add_done_callback(lambda _: go_on.set())
        wait_until(lambda: leader.node._membership.pending._pending, "the change waits")
        follower.end()
        leader.stop()
        assert refusal_of(changing.result) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "the node is stopping: the change may yet be applied, look at the status",
            "unknown",
        )


@contextmanager
def files_that_can_not_grow() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def write_while_stopping(server: Server) -> None:
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)  # It has begun.
    with pytest.raises((NotApplied, OutcomeUnknown)):
        await server.node.put(b"key", b"value", asyncio.get_running_loop().time() + CALL_SECONDS)
    await stopping


def test_a_disk_that_fails_while_the_node_stops_is_reported(
    tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind
) -> None:
    with (
        served_cluster(tmp_path, free_port, 1, kind) as cluster,
        files_that_can_not_grow(),
        pytest.raises(DiskFailure, match="File too large"),
    ):
        cluster.nodes[0].run(write_while_stopping)


def test_a_state_that_differs_is_noted_at_once_should_the_node_not_come_to_stop(without_majority: ServedNode) -> None:
    async def diverge(server: Server) -> None:
        server.node.failed.set_exception(StateDiverged("its state differs"))

    def noted() -> str:
        identity = read_identity(without_majority.config.data_directory)
        assert identity is not None
        return identity.diverged

    without_majority.run(diverge)
    wait_until(noted, "it is noted")
    assert noted() == "its state differs"


# Health


def health(node: ServedNode, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return HealthStub(node.channel).Check(request, timeout=CALL_SECONDS).status


@pytest.mark.parametrize(
    "service", ["", "meteora.kv.KvService", "meteora.maintenance.MaintenanceService", "meteora.raft.RaftService"]
)
def test_every_service_is_healthy_until_the_node_stops(without_majority: ServedNode, service: str) -> None:
    node = without_majority
    assert health(node, service) == health_pb2.HealthCheckResponse.SERVING
    watching = HealthStub(node.channel).Watch(health_pb2.HealthCheckRequest(service=service), timeout=CALL_SECONDS)
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
    node.stop()
    assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
