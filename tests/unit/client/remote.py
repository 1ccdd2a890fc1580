"""The other side of the wire: nodes as a client sees them, on real gRPC servers, doing what a test tells them to."""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeVar

import grpc

from meteora.client.fate import OUTCOME_METADATA_KEY
from meteora.pb import common_pb2, kv_pb2, kv_pb2_grpc, raft_pb2, raft_pb2_grpc

Request = kv_pb2.GetReq | kv_pb2.PutReq | kv_pb2.DeleteReq | raft_pb2.ConfChange | raft_pb2.TransferReq
Step = Callable[[grpc.ServicerContext], common_pb2.State | None]
"""What a node does with one request instead of serving it: answers with a state, aborts, or hangs. None serves it."""

Reply = TypeVar("Reply")


def serves(context: grpc.ServicerContext) -> None:
    """As if nothing had been said."""


def answers(state: common_pb2.State) -> Step:
    return lambda context: state


def aborts(code: grpc.StatusCode, details: str = "", outcome: str | None = None) -> Step:
    def step(context: grpc.ServicerContext) -> NoReturn:
        if outcome is not None:
            context.set_trailing_metadata(((OUTCOME_METADATA_KEY, outcome),))
        context.abort(code, details)

    return step


def hangs(context: grpc.ServicerContext) -> NoReturn:
    """Does not answer for as long as the caller waits."""
    gone = threading.Event()
    if context.add_callback(gone.set):
        gone.wait()
    context.abort(grpc.StatusCode.CANCELLED, "the caller has gone")


def loses_reply(context: grpc.ServicerContext) -> NoReturn:
    """Serves the request, and then the connection breaks."""
    context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost")


NOT_APPLIED = aborts(grpc.StatusCode.UNAVAILABLE, "no leader", "not-applied")
UNKNOWN = aborts(grpc.StatusCode.DEADLINE_EXCEEDED, "no majority", "unknown")
OVERLOADED = aborts(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", "not-applied")
INVALID = aborts(grpc.StatusCode.INVALID_ARGUMENT, "a key has 1 to 65536 bytes", "not-applied")


class Remote(kv_pb2_grpc.KvServiceServicer, raft_pb2_grpc.RaftServiceServicer):
    """One node. Serves from `store` unless `script`, or else `always`, says otherwise; remembers what it was asked.

    Neither applies to NodeStatus, which a node always answers.
    """

    def __init__(self, node_id: int = 1, port: int = 0) -> None:
        self.node_id = node_id
        self.store: dict[bytes, bytes] = {}
        self.applied: set[tuple[int, int]] = set()
        self.requests: list[Request] = []
        self.arrived = threading.Event()
        self.script: deque[Step] = deque()
        self.always: Step = serves
        self.advertised: dict[int, str] = {}
        self.learners: set[int] = set()
        self.differing: set[int] = set()
        self.room = (0, 0)
        """What it says that it stores, and may store."""
        self.alarm = ""
        self.leader_id = 0
        self._threads = ThreadPoolExecutor(max_workers=16)
        # Clients may ping as often as they like, as at a node: otherwise one that waits is cut off after some seconds.
        options = (("grpc.so_reuseport", 0), ("grpc.http2.max_ping_strikes", 0))
        self._server = grpc.server(self._threads, options=options)
        kv_pb2_grpc.add_KvServiceServicer_to_server(self, self._server)
        raft_pb2_grpc.add_RaftServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.endpoint = f"127.0.0.1:{self.port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(grace=None).wait()
        self._threads.shutdown()

    def knows(self, members: Mapping[int, str], leader_id: int) -> None:
        """Sets the members, by their advertised KV addresses, and the leader that every reply names."""
        self.advertised, self.leader_id = dict(members), leader_id

    @property
    def names(self) -> list[tuple[int, int, int, bool]]:
        """Client id, sequence, first outstanding sequence and retry of the writes that arrived, in order."""
        ids = [each.request_id for each in self.requests if isinstance(each, kv_pb2.PutReq | kv_pb2.DeleteReq)]
        return [(each.client_id, each.sequence, each.first_outstanding, each.retry) for each in ids]

    def Get(self, request: kv_pb2.GetReq, context: grpc.ServicerContext) -> kv_pb2.GetReply:
        state = self._step(request)(context)
        if state is None:
            state = common_pb2.OK if request.key in self.store else common_pb2.NOT_FOUND
        reply = kv_pb2.GetReply(value=self.store.get(request.key, b""), state=state)
        if request.serializable:
            reply.applied_index, reply.staleness_milliseconds = 10, 1250
        return self._reply(reply)

    def Put(self, request: kv_pb2.PutReq, context: grpc.ServicerContext) -> kv_pb2.PutReply:
        state = self._write(request, context, lambda: self.store.update({request.key: request.value}))
        return self._reply(kv_pb2.PutReply(state=state))

    def Delete(self, request: kv_pb2.DeleteReq, context: grpc.ServicerContext) -> kv_pb2.DeleteReply:
        state = self._write(request, context, lambda: self.store.pop(request.key, None))
        return self._reply(kv_pb2.DeleteReply(state=state))

    def Status(self, request: common_pb2.Null, context: grpc.ServicerContext) -> raft_pb2.StatusReply:
        raise NotImplementedError("the clients don't call it")

    def ChangeConfig(self, request: raft_pb2.ConfChange, context: grpc.ServicerContext) -> raft_pb2.ChangeReply:
        return self._reply(raft_pb2.ChangeReply(state=self._step(request)(context) or common_pb2.OK))

    def TransferLeadership(self, request: raft_pb2.TransferReq, context: grpc.ServicerContext) -> raft_pb2.ChangeReply:
        state = self._step(request)(context) or common_pb2.OK
        self.leader_id = request.node_id
        return self._reply(raft_pb2.ChangeReply(state=state))

    def NodeStatus(self, request: common_pb2.Null, context: grpc.ServicerContext) -> raft_pb2.NodeStatusReply:
        status = node_status(self.node_id, self.leader_id, self.advertised, self.learners)
        status.differing.extend(sorted(self.differing))
        status.stored_bytes, status.quota_bytes = self.room
        if self.alarm:
            status.alarms.add(node_id=self.node_id, kind=raft_pb2.QUOTA, message=self.alarm)
        return status

    def _step(self, request: Request) -> Step:
        self.requests.append(request)
        self.arrived.set()
        return self.script.popleft() if self.script else self.always

    def _write(
        self,
        request: kv_pb2.PutReq | kv_pb2.DeleteReq,
        context: grpc.ServicerContext,
        apply: Callable[[], object],
    ) -> common_pb2.State:
        step = self._step(request)
        name = (request.request_id.client_id, request.request_id.sequence)
        if step in (serves, loses_reply) and name not in self.applied:
            self.applied.add(name)
            apply()
        return step(context) or common_pb2.OK

    def _reply(self, reply: Reply) -> Reply:
        for node_id, kv_address in self.advertised.items():
            reply.address_map[node_id].CopyFrom(_node_address(kv_address))
        reply.leader_id = self.leader_id
        return reply


def node_status(
    node_id: int, leader_id: int, advertised: Mapping[int, str], learners: set[int] | frozenset[int] = frozenset()
) -> raft_pb2.NodeStatusReply:
    """What a node says of itself that stands at index 10 of term 3."""
    return raft_pb2.NodeStatusReply(
        cluster_id=(1 << 64) - 1,
        node_id=node_id,
        role=raft_pb2.LEADER if node_id == leader_id else raft_pb2.FOLLOWER,
        leader_id=leader_id,
        term=3,
        commit_index=11,
        applied_index=10,
        last_index=12,
        members=[
            raft_pb2.Member(
                id=each, address=_node_address(kv_address), learner=each in learners, instance_id=instance_id_of(each)
            )
            for each, kv_address in advertised.items()
        ],
        version="0.1.0",
    )


def instance_id_of(node_id: int) -> int:
    """Of the data directory that a member has."""
    return 100 + node_id


def _node_address(kv_address: str) -> common_pb2.NodeAddress:
    host, _, port = kv_address.rpartition(":")
    return common_pb2.NodeAddress(kv_address=kv_address, raft_address=f"{host}:{int(port) + 1}")


@contextlib.contextmanager
def remotes(count: int, leader_id: int = 0) -> Iterator[list[Remote]]:
    """That many nodes, with ids from 1, which know one another and the leader; each has a store of its own."""
    nodes = [Remote(node_id) for node_id in range(1, count + 1)]
    members = {node.node_id: node.endpoint for node in nodes}
    for node in nodes:
        node.knows(members, leader_id)
    try:
        yield nodes
    finally:
        for node in nodes:
            node.stop()


@contextlib.contextmanager
def silent_endpoint() -> Iterator[str]:
    """An address at which connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def dead_endpoint() -> Iterator[str]:
    """An address at which nobody listens, and nobody else can start to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


class Cable:
    """The way to a node, which can be cut without a word: what is connected by then hears nothing any more."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._cut = threading.Event()
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def __enter__(self) -> "Cable":
        return self

    def __exit__(self, *error: object) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def cut(self) -> None:
        """Silences the connections that there are; new ones work."""
        self._cut.set()
        self._cut = threading.Event()

    def _run(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target_port))
                self._sockets += [near, far]
                self._run(self._pump, near, far, self._cut)
                self._run(self._pump, far, near, self._cut)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not cut.is_set():
                    target.sendall(data)
            if not cut.is_set():
                target.shutdown(socket.SHUT_WR)
