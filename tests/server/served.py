"""Whole nodes inside this process, on a loop in a thread of its own, asked over real ports with grpcio's own stubs.

What is inside a node can be looked at from here, which processes of their own don't allow.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
import uvloop

from meteora.config import NodeConfig, RpcServerKind
from meteora.kv.command import Command, Operation, encode_batch
from meteora.kv.installation import current_state_path
from meteora.kv.state_machine import StateMachine
from meteora.node import Member, Node
from meteora.node.members import encode_context
from meteora.pb import common_pb2, kv_pb2, raft_pb2
from meteora.pb.kv_pb2_grpc import KvServiceStub
from meteora.pb.peer_pb2_grpc import PeerServiceStub
from meteora.pb.raft_pb2_grpc import RaftServiceStub
from meteora.raft import Change, ChangeKind, ConfChange, Entry, EntryKind, HardState
from meteora.rpc import Pressure
from meteora.server.assembly import Server
from meteora.storage.data_directory import DataDirectory
from meteora.storage.disk_thread import DiskThread
from meteora.storage.raft_log import RaftLog

CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # Of what is sent the server is to be the judge.
    ("grpc.max_send_message_length", -1),
)
PATIENCE_SECONDS = 20.0
"""For a condition to come true: generous, because the machine may be busy with other tests."""

CALL_SECONDS = 10.0
"""The deadline of a call that is to be answered before."""

TICK_SECONDS = 0.03

_T = TypeVar("_T")


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.01)  # Between looks at a condition: nothing depends on how long.


class LoopThread:
    """A loop in a thread of its own, from `with` to its end."""

    def __enter__(self) -> Self:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="served nodes")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What `work` returns, run there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_SECONDS)

    def task_count(self) -> int:
        """How many tasks there are, this question's own aside."""

        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        return self.run(count())


class ServedNode:
    """One node, and the stubs to ask it with."""

    def __init__(self, thread: LoopThread, config: NodeConfig) -> None:
        self.config = config
        self.thread = thread
        self._server = Server(config)
        self._is_running = False
        self._kv_channel = grpc.insecure_channel(config.kv_address, CHANNEL_OPTIONS)
        self._raft_channel = grpc.insecure_channel(config.raft_address, CHANNEL_OPTIONS)
        self.kv = KvServiceStub(self._kv_channel)
        self.raft = RaftServiceStub(self._raft_channel)
        self.peer = PeerServiceStub(self._raft_channel)

    @property
    def address(self) -> common_pb2.NodeAddress:
        return common_pb2.NodeAddress(kv_address=self.config.kv_address, raft_address=self.config.raft_address)

    @property
    def node(self) -> Node:
        """Only to be looked at."""
        return self._server.node

    @property
    def pressure(self) -> Pressure:
        """On the KV port."""
        return self._server.kv_server.pressure

    def run(self, work: Callable[[Server], Coroutine[Any, Any, _T]]) -> _T:
        """What `work`, done with this node where it runs, returns."""
        return self.thread.run(work(self._server))

    @property
    def channel(self) -> grpc.Channel:
        """To the KV port."""
        return self._kv_channel

    def start(self) -> Self:
        self.thread.run(self._server.start())
        self._is_running = True
        return self

    def stop(self) -> bool:
        """Stop it, as a signal would."""
        self._is_running = False
        return self.thread.run(self._server.stop())

    def end(self) -> None:
        """Stop it without a word to the others, as a crash would."""
        if self._is_running:
            self._is_running = False
            self.thread.run(self._server._parts.aclose())
        self._kv_channel.close()
        self._raft_channel.close()

    def put(self, key: bytes, value: bytes, **request_id: int | bool) -> kv_pb2.PutReply:
        request = kv_pb2.PutReq(key=key, value=value)
        if request_id:
            request.request_id.CopyFrom(kv_pb2.RequestId(**request_id))
        return self.kv.Put(request, timeout=CALL_SECONDS)

    def get(self, key: bytes) -> kv_pb2.GetReply:
        return self.kv.Get(kv_pb2.GetReq(key=key), timeout=CALL_SECONDS)

    def delete(self, key: bytes, **request_id: int | bool) -> kv_pb2.DeleteReply:
        request = kv_pb2.DeleteReq(key=key)
        if request_id:
            request.request_id.CopyFrom(kv_pb2.RequestId(**request_id))
        return self.kv.Delete(request, timeout=CALL_SECONDS)

    def status(self) -> raft_pb2.NodeStatusReply:
        return self.raft.NodeStatus(common_pb2.Null(), timeout=CALL_SECONDS)

    def change(self, change_type: int, node_id: int, context: bytes = b"") -> raft_pb2.ChangeReply:
        request = raft_pb2.ConfChange(node_id=node_id, context=context)
        request.change_type = change_type
        return self.raft.ChangeConfig(request, timeout=CALL_SECONDS)


@contextmanager
def just_in_touch(served: ServedNode) -> Iterator[None]:
    """The node takes writes as one that has lost its leader just now: it doesn't catch up before it looks at them."""
    freshness = served.node.freshness
    freshness.whole_until = float("inf")
    wait_until(lambda: not freshness.is_behind, "it has noticed")
    try:
        yield
    finally:
        freshness.whole_until = None


class ServedCluster:
    """Nodes 1 to n, all of them voters."""

    def __init__(self, nodes: list[ServedNode]) -> None:
        self.nodes = nodes

    @property
    def leader(self) -> ServedNode:
        return next(each for each in self.nodes if each.node.leads)

    @property
    def followers(self) -> list[ServedNode]:
        return [each for each in self.nodes if not each.node.leads]

    @property
    def addresses(self) -> dict[int, common_pb2.NodeAddress]:
        return {each.config.node_id: each.address for each in self.nodes}

    def is_whole(self) -> bool:
        leaders = {each.node.leader_id for each in self.nodes}
        voters = [each.node.members.configuration.voters for each in self.nodes]
        # Nodes run on a thread of their own: one may be known to lead an instant before it does.
        has_leader = len(leaders) == 1 and any(each.node.leads for each in self.nodes)
        return has_leader and all(len(each) == len(self.nodes) for each in voters)


@contextmanager
def served_node(thread: LoopThread, config: NodeConfig) -> Iterator[ServedNode]:
    """A node that runs."""
    node = ServedNode(thread, config)
    try:
        yield node.start()
    finally:
        node.end()


@contextmanager
def served_cluster(
    folder: Path, free_port: Callable[[], int], count: int, kind: RpcServerKind, **settings: Any
) -> Iterator[ServedCluster]:
    """Nodes that run, once all of them are voters and know their leader."""
    peer: str | None = None
    with LoopThread() as thread:
        nodes: list[ServedNode] = []
        try:
            for node_id in range(1, count + 1):
                config = config_of(folder, free_port, node_id, kind, peer_raft_address=peer, **settings)
                nodes.append(ServedNode(thread, config))
                nodes[-1].start()
                peer = config.raft_address
            cluster = ServedCluster(nodes)
            wait_until(cluster.is_whole, "all nodes are voters and know their leader")
            yield cluster
        finally:
            for node in nodes:
                node.end()


def config_of(
    folder: Path, free_port: Callable[[], int], node_id: int, kind: RpcServerKind, **settings: Any
) -> NodeConfig:
    return NodeConfig(
        node_id=node_id,
        address="127.0.0.1",
        raft_port=free_port(),
        kv_port=free_port(),
        data_directory=folder / str(node_id),
        rpc_server=kind,
        **{"tick_seconds": TICK_SECONDS, **settings},
    )


def make_member_of_three(config: NodeConfig, others: dict[int, str], key: bytes, value: bytes) -> None:
    """Give a node a data directory as if it had been a member with others, and had applied one write."""
    directory = DataDirectory.open(config.data_directory, config.node_id)
    instance_id = directory.create_identity(config.node_id, 1).instance_id
    directory.set_cluster(1)
    members = {config.node_id: Member(config.kv_address, config.raft_address, instance_id)}
    members.update({node_id: Member("nowhere:1", address) for node_id, address in others.items()})
    disk = DiskThread("raft log")
    log = RaftLog.open(directory.raft_path, disk)
    entries = [
        Entry(1, index, _adding(node_id, member), EntryKind.CONF_CHANGE)
        for index, (node_id, member) in enumerate(members.items(), 1)
    ]
    entries.append(Entry(1, len(entries) + 1, _putting(key, value)))
    asyncio.run(log.append(entries, HardState(term=1, vote=0, commit=len(entries))))
    log.close()
    disk.close()
    StateMachine.open(current_state_path(config.data_directory)).close()
    directory.close()


def _adding(node_id: int, member: Member) -> bytes:
    change = ConfChange((Change(ChangeKind.ADD_VOTER, node_id),), context=encode_context({node_id: member}))
    return change.encode()


def _putting(key: bytes, value: bytes) -> bytes:
    return encode_batch([Command(Operation.PUT, 0, 1, 1, False, key, value)])


def refusal_of(call: Callable[[], object]) -> tuple[grpc.StatusCode, str, str | None]:
    """How a call fails: the code, the details, and what is said of the outcome."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details() or "", dict(error.trailing_metadata() or ()).get("meteora-outcome")
    raise AssertionError("the call did not fail")
