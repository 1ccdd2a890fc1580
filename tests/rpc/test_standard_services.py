"""Services that others wrote, health checking and reflection, as the real grpcurl and grpcio's clients use them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from meteora.config import RpcServerKind
from meteora.pb import common_pb2, kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceServicer, add_KvServiceServicer_to_server
from meteora.rpc import create_rpc_server
from tests.rpc.probe import MAX_MESSAGE_BYTES, PATIENCE_SECONDS, Context, channel_to, failure_of, run, running

GRPCURL = Path(sys.executable).with_name("grpcurl")
PROTO = Path(__file__).parents[2] / "meteora-proto" / "proto"
KV = "meteora.kv.KvService"


class KvService(KvServiceServicer):
    """Answers what can be told apart."""

    async def Put(self, request: kv_pb2.PutReq, context: Context) -> kv_pb2.PutReply:
        addresses = {1: common_pb2.NodeAddress(kv_address=request.key.decode(), raft_address=request.value.decode())}
        return kv_pb2.PutReply(state=common_pb2.OK, address_map=addresses, leader_id=1)

    async def Get(self, request: kv_pb2.GetReq, context: Context) -> kv_pb2.GetReply:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "kein Anführer")


@asynccontextmanager
async def standard_services(kind: RpcServerKind, health_servicer: health.aio.HealthServicer) -> AsyncIterator[str]:
    server = create_rpc_server(kind, "127.0.0.1", 0, max_message_bytes=MAX_MESSAGE_BYTES)
    add_KvServiceServicer_to_server(KvService(), server)
    add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection([KV, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    async with running(server) as address:
        yield address


async def grpcurl(*arguments: str) -> tuple[str, str]:
    """What grpcurl prints, and what it complains about."""
    process = await asyncio.create_subprocess_exec(
        GRPCURL, "-plaintext", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        output, complaints = await process.communicate()
    return output.decode(), complaints.decode()


def test_grpcurl_lists_the_services(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with standard_services(kind, health.aio.HealthServicer()) as address:
            output, _ = await grpcurl(address, "list")
            assert sorted(output.split()) == sorted([KV, health.SERVICE_NAME, reflection.SERVICE_NAME])

    run(story())


def test_grpcurl_lists_the_methods_of_a_service(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with standard_services(kind, health.aio.HealthServicer()) as address:
            output, _ = await grpcurl(address, "list", KV)
            assert output.split() == [f"{KV}.{method}" for method in ("Batch", "Delete", "Get", "Put")]

    run(story())


def test_grpcurl_calls_a_method_that_it_knows_by_reflection(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with standard_services(kind, health.aio.HealthServicer()) as address:
            output, _ = await grpcurl("-d", '{"key": "aw=="}', address, f"{KV}/Put")
            assert json.loads(output)["state"] == "OK"

    run(story())


def test_grpcurl_calls_a_method_that_it_knows_from_a_file(kind: RpcServerKind) -> None:
    files = ("-import-path", str(PROTO), "-proto", str(PROTO / "kv.proto"))

    async def story() -> None:
        async with standard_services(kind, health.aio.HealthServicer()) as address:
            output, _ = await grpcurl(*files, "-d", '{"key": "aw==", "value": "dg=="}', address, f"{KV}/Put")
            assert json.loads(output) == {
                "state": "OK",
                "addressMap": {"1": {"kvAddress": "k", "raftAddress": "v"}},
                "leaderId": "1",
            }

    run(story())


def test_grpcurl_shows_code_and_message_of_an_error(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with standard_services(kind, health.aio.HealthServicer()) as address:
            _, complaints = await grpcurl(address, f"{KV}/Get")
            assert "Code: Unavailable" in complaints
            assert "Message: kein Anführer" in complaints

    run(story())


def test_grpcurl_checks_the_health(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with standard_services(kind, health.aio.HealthServicer()) as address:
            output, _ = await grpcurl(address, f"{health.SERVICE_NAME}/Check")
            assert json.loads(output) == {"status": "SERVING"}

    run(story())


def test_the_health_of_an_unknown_service_is_not_found(kind: RpcServerKind) -> None:
    async def story() -> None:
        async with standard_services(kind, health.aio.HealthServicer()) as address, channel_to(address) as channel:
            error = await failure_of(HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="other")))
            assert error.code() is grpc.StatusCode.NOT_FOUND

    run(story())


def test_who_watches_the_health_is_told_of_a_change(kind: RpcServerKind) -> None:
    servicer = health.aio.HealthServicer()

    async def story() -> None:
        async with standard_services(kind, servicer) as address, channel_to(address) as channel:
            call = HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
            await servicer.enter_graceful_shutdown()
            assert (await call.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING

    run(story())


def test_who_no_longer_watches_the_health_is_forgotten(kind: RpcServerKind) -> None:
    servicer = health.aio.HealthServicer()

    async def story() -> None:
        async with standard_services(kind, servicer) as address, channel_to(address) as channel:
            call = HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            await call.read()
            assert servicer._watcher_count_by_service == {"": 1}
            call.cancel()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while servicer._watcher_count_by_service:
                    await asyncio.sleep(0.005)

    run(story())
