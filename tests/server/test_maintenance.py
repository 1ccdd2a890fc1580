"""Backups and exports over the wire, on both RPC servers."""

import asyncio
import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from meteora.client import AsyncClient, Client
from meteora.config import MAX_KEY_BYTES, RpcServerKind
from meteora.kv.backup_file import BackupReader
from meteora.pb.maintenance_pb2 import BackupPart, BackupReq, ExportReq
from meteora.pb.maintenance_pb2_grpc import MaintenanceServiceStub
from meteora.server import maintenance_service
from tests.server.served import ServedCluster, ServedNode, refusal_of, served_cluster, wait_until

CALL_SECONDS = 30.0

LARGE_VALUE = bytes(1 << 20)
LARGE_COUNT = 48
"""Of them: more than all windows and buffers between a node and a client that does not read."""


@pytest.fixture
def maintenance(alone: ServedNode) -> Iterator[MaintenanceServiceStub]:
    with grpc.insecure_channel(alone.config.kv_address) as channel:
        yield MaintenanceServiceStub(channel)


@pytest.fixture(scope="module")
def laden(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], kind: RpcServerKind
) -> Iterator[ServedNode]:
    """A node with much data."""
    with served_cluster(tmp_path_factory.mktemp("laden"), free_port, 1, kind) as cluster:
        node = cluster.nodes[0]
        for number in range(LARGE_COUNT):
            node.put(b"large%03d" % number, LARGE_VALUE)
        yield node


@pytest.fixture
def maintenance_of_laden(laden: ServedNode) -> Iterator[MaintenanceServiceStub]:
    with grpc.insecure_channel(laden.config.kv_address) as channel:
        yield MaintenanceServiceStub(channel)


def backup(stub: MaintenanceServiceStub, **fields: bool) -> BackupReader:
    parts = stub.Backup(BackupReq(**fields), timeout=CALL_SECONDS)
    return BackupReader(io.BytesIO(b"".join(part.data for part in parts)))


def export(stub: MaintenanceServiceStub, **fields: bytes | bool) -> list[tuple[bytes, bytes]]:
    parts = stub.Export(ExportReq(**fields), timeout=CALL_SECONDS)
    return [(pair.key, pair.value) for part in parts for pair in part.pairs]


def test_a_backup_has_what_was_acknowledged_and_says_where_it_is_from(
    alone: ServedNode, maintenance: MaintenanceServiceStub
) -> None:
    alone.put(b"backed up", b"value")
    reader = backup(maintenance)
    records = dict(reader.records())
    assert records[b"kbacked up"] == b"value"
    assert reader.header.cluster_id == f"{alone.status().cluster_id:016x}"
    assert reader.summary is not None
    assert reader.summary.records == len(records)
    assert reader.summary.index <= alone.status().applied_index


def test_a_follower_makes_a_backup_of_what_the_leader_has_acknowledged(three: ServedCluster) -> None:
    for number, node in enumerate(three.followers):
        three.leader.put(b"key", b"value %d" % number)
        with grpc.insecure_channel(node.config.kv_address) as channel:
            assert dict(backup(MaintenanceServiceStub(channel)).records())[b"kkey"] == b"value %d" % number


def test_a_backup_says_how_far_it_is(alone: ServedNode, maintenance: MaintenanceServiceStub) -> None:
    parts = list(maintenance.Backup(BackupReq(), timeout=CALL_SECONDS))
    counts = [part.records for part in parts]
    assert counts == sorted(counts)
    assert counts[-1] > 0
    assert all(part.records <= part.estimated_records for part in parts)


def test_an_export_has_the_keys_with_a_prefix_in_their_order(
    alone: ServedNode, maintenance: MaintenanceServiceStub
) -> None:
    keys = [b"p", b"p\0", b"p/\xff", b"p\xff", b"p\xff\xff", b"q", b"o\xff"]
    for key in keys:
        alone.put(key, b"=" + key)
    wanted = sorted(key for key in keys if key.startswith(b"p"))
    assert export(maintenance, prefix=b"p") == [(key, b"=" + key) for key in wanted]
    assert [key for key, _ in export(maintenance, prefix=b"p\xff")] == [b"p\xff", b"p\xff\xff"]
    assert export(maintenance, prefix=b"p/nothing") == []
    everything = export(maintenance)
    assert {key for key, _ in everything} >= set(keys)
    assert everything == sorted(everything)


def test_an_export_of_more_than_a_message_has_all_of_it(alone: ServedNode, maintenance: MaintenanceServiceStub) -> None:
    count = maintenance_service.EXPORT_RECORDS + 1
    for number in range(count):
        alone.put(b"many%05d" % number, b"")
    assert [key for key, _ in export(maintenance, prefix=b"many")] == [b"many%05d" % number for number in range(count)]


def test_a_prefix_that_no_key_can_have_is_refused(maintenance: MaintenanceServiceStub) -> None:
    code, _, outcome = refusal_of(lambda: export(maintenance, prefix=bytes(MAX_KEY_BYTES + 1)))
    assert (code, outcome) == (grpc.StatusCode.INVALID_ARGUMENT, "not-applied")


def test_no_message_is_longer_than_clients_of_other_makes_take(maintenance_of_laden: MaintenanceServiceStub) -> None:
    parts = maintenance_of_laden.Backup(BackupReq(), timeout=CALL_SECONDS)
    assert max(len(part.data) for part in parts) <= 1 << 20


def begun(stub: MaintenanceServiceStub) -> "tuple[grpc.CallIterator[BackupPart], BackupPart]":
    """A backup of which nothing is read but its beginning."""
    call = stub.Backup(BackupReq(), timeout=CALL_SECONDS)
    return call, next(call)


def test_a_second_one_is_refused_while_the_first_is_under_way(maintenance_of_laden: MaintenanceServiceStub) -> None:
    call, _ = begun(maintenance_of_laden)
    for again in (lambda: backup(maintenance_of_laden), lambda: export(maintenance_of_laden)):
        code, details, outcome = refusal_of(again)
        assert (code, outcome) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "not-applied")
        assert "another backup or export is under way" in details
    rest = sum(len(part.data) for part in call)
    assert rest > LARGE_COUNT * len(LARGE_VALUE)


def test_writes_go_on_while_a_client_does_not_read(
    laden: ServedNode, maintenance_of_laden: MaintenanceServiceStub
) -> None:
    call, first = begun(maintenance_of_laden)
    laden.put(b"later", b"")
    laden.put(b"large000", b"changed")
    content = b"".join(part.data for part in itertools.chain((first,), call))
    records = dict(BackupReader(io.BytesIO(content)).records())
    assert b"klater" not in records
    assert records[b"klarge000"] == LARGE_VALUE
    laden.put(b"large000", LARGE_VALUE)


def test_one_whose_client_goes_away_is_given_up(
    laden: ServedNode, maintenance_of_laden: MaintenanceServiceStub
) -> None:
    call, _ = begun(maintenance_of_laden)
    call.cancel()
    wait_until(lambda: not laden.node.scans.is_busy, "the backup is given up")
    assert backup(maintenance_of_laden).header.node_id == 1


def test_one_whose_client_takes_nothing_is_given_up(
    laden: ServedNode, maintenance_of_laden: MaintenanceServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance_service, "PATIENCE_SECONDS", 0.2)
    call, _ = begun(maintenance_of_laden)
    wait_until(lambda: not laden.node.scans.is_busy, "the backup is given up")
    code, details, _ = refusal_of(lambda: list(call))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "nothing was taken" in details


def test_one_under_way_ends_when_the_node_stops(
    tmp_path: Path, free_port: Callable[[], int], kind: RpcServerKind
) -> None:
    with served_cluster(tmp_path, free_port, 1, kind) as cluster:
        node = cluster.nodes[0]
        for number in range(LARGE_COUNT):
            node.put(b"large%03d" % number, LARGE_VALUE)
        with grpc.insecure_channel(node.config.kv_address) as channel:
            call, _ = begun(MaintenanceServiceStub(channel))
            node.end()
            with pytest.raises(grpc.RpcError):
                list(call)


def test_without_a_leader_it_is_refused_but_for_one_that_may_be_old(leaderless: ServedNode) -> None:
    with grpc.insecure_channel(leaderless.config.kv_address) as channel:
        stub = MaintenanceServiceStub(channel)
        for ask in (lambda: backup(stub), lambda: export(stub)):
            code, _, outcome = refusal_of(ask)
            assert (code, outcome) == (grpc.StatusCode.UNAVAILABLE, "not-applied")
        assert dict(backup(stub, serializable=True).records())[b"kkey"] == b"value"
        assert export(stub, serializable=True) == [(b"key", b"value")]


def test_the_blocking_client_takes_backups_and_exports(alone: ServedNode) -> None:
    alone.put(b"client/key", b"value")
    with Client(alone.config.kv_address) as client:
        content = b"".join(part.data for part in client.backup())
        assert dict(BackupReader(io.BytesIO(content)).records())[b"kclient/key"] == b"value"
        assert list(client.export("client/")) == [(b"client/key", b"value")]


def test_the_asyncio_client_takes_backups_and_exports(alone: ServedNode) -> None:
    async def taken() -> tuple[bytes, list[tuple[bytes, bytes]]]:
        async with AsyncClient(alone.config.kv_address) as client:
            content = b"".join([part.data async for part in client.backup()])
            return content, [pair async for pair in client.export("client/")]

    alone.put(b"client/key", b"value")
    content, pairs = asyncio.run(taken())
    assert dict(BackupReader(io.BytesIO(content)).records())[b"kclient/key"] == b"value"
    assert pairs == [(b"client/key", b"value")]


def test_a_client_that_stops_in_the_middle_leaves_no_backup_under_way(laden: ServedNode) -> None:
    with Client(laden.config.kv_address) as client:
        parts = client.backup()
        next(parts)
        parts.close()
        wait_until(lambda: not laden.node.scans.is_busy, "the backup is given up")


def test_an_asyncio_client_that_stops_in_the_middle_leaves_no_backup_under_way(laden: ServedNode) -> None:
    async def begin() -> None:
        async with AsyncClient(laden.config.kv_address) as client:
            parts = client.backup()
            await anext(parts)
            await parts.aclose()
            await asyncio.to_thread(wait_until, lambda: not laden.node.scans.is_busy, "the backup is given up")

    asyncio.run(begin())


def test_a_client_goes_to_another_node_if_one_does_not_answer(alone: ServedNode, free_port: Callable[[], int]) -> None:
    with Client([f"127.0.0.1:{free_port()}", alone.config.kv_address]) as client:
        assert list(client.export("no such")) == []
