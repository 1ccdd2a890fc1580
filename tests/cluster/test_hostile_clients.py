"""Clients that want a real node's memory: what they get is bounded, and an honest client is served meanwhile."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import pytest

from meteora.http2 import encode_headers
from meteora.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_WINDOW_BYTES,
    PREFACE,
    Setting,
    frame,
    settings_frame,
    window_update_frame,
)
from meteora.pb import kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceStub
from meteora.rpc import frame as framed
from tests.cluster.processes import CHANNEL_OPTIONS, START_SECONDS, ClusterProcesses, NodeProcess

MEBIBYTE = 1 << 20
BUFFERED_BYTES = 16 * MEBIBYTE

SLACK_BYTES = 128 * MEBIBYTE
"""What else may come and go: the values of one round of reads, connections, the allocator's own."""

WANTED_BYTES = 512 * MEBIBYTE
"""What hostile clients try to have kept: several times what they may get, slack included."""

CLIENTS = 64


@pytest.fixture
def cluster(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[ClusterProcesses]:
    """One node, which keeps little for its clients."""
    processes = ClusterProcesses(tmp_path, [free_port(), free_port()], "--max-buffered-bytes", str(BUFFERED_BYTES))
    try:
        processes.nodes[0].start()
        processes.nodes[0].wait_until_serving()
        yield processes
    finally:
        processes.end()


def block_of(method: str) -> bytes:
    return encode_headers(
        [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/meteora.kv.KvService/" + method.encode()),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        ]
    )


def memory_bytes(node: NodeProcess) -> int:
    """What the process has in memory now."""
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


class Honest:
    """A client that puts and gets."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = KvServiceStub(channel)
        self._count = 0

    def is_served(self) -> bool:
        """Small values and large ones, and what was written is read."""
        self._count += 1
        for size_bytes in (10, MEBIBYTE):
            value = self._count.to_bytes(8) + bytes(size_bytes)
            self._stub.Put(kv_pb2.PutReq(key=b"honest", value=value), timeout=START_SECONDS)
            if self._stub.Get(kv_pb2.GetReq(key=b"honest"), timeout=START_SECONDS).value != value:
                return False
        return True


def connected(stack: ExitStack, port: int, *, receive_buffer_bytes: int | None = None) -> socket.socket:
    client = stack.enter_context(socket.socket())
    if receive_buffer_bytes is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    client.settimeout(START_SECONDS)
    client.connect(("127.0.0.1", port))
    return client


def test_half_sent_bodies_are_bounded_and_an_honest_client_is_served(cluster: ClusterProcesses) -> None:
    node, port = cluster.nodes[0], cluster.kv_ports[0]
    body = framed(kv_pb2.PutReq(key=b"hostile", value=bytes(MEBIBYTE)).SerializeToString())
    half = body[: len(body) // 2]
    block = block_of("Put")
    with ExitStack() as stack:
        honest = Honest(stack.enter_context(grpc.insecure_channel(cluster.endpoints[0], CHANNEL_OPTIONS)))
        assert honest.is_served()
        before = memory_bytes(node)
        for _ in range(CLIENTS):
            client = connected(stack, port)
            client.sendall(PREFACE + settings_frame({}))
            for number in range(WANTED_BYTES // CLIENTS // len(half)):
                stream_id = 2 * number + 1
                pieces = [frame(DATA, 0, stream_id, half[at : at + 16_000]) for at in range(0, len(half), 16_000)]
                # It may be cut off meanwhile.
                with suppress(OSError):
                    client.sendall(frame(HEADERS, END_HEADERS, stream_id, block) + b"".join(pieces))
        assert memory_bytes(node) - before < BUFFERED_BYTES + SLACK_BYTES
        assert honest.is_served()
    assert node.is_running


def test_answers_that_are_never_read_are_bounded_and_an_honest_client_is_served(cluster: ClusterProcesses) -> None:
    node, port = cluster.nodes[0], cluster.kv_ports[0]
    key, size_bytes = b"large", 256 * 1024
    body = framed(kv_pb2.GetReq(key=key).SerializeToString())
    block = block_of("Get")
    with ExitStack() as stack:
        channel = stack.enter_context(grpc.insecure_channel(cluster.endpoints[0], CHANNEL_OPTIONS))
        KvServiceStub(channel).Put(kv_pb2.PutReq(key=key, value=bytes(size_bytes)), timeout=START_SECONDS)
        honest = Honest(channel)
        assert honest.is_served()
        before = memory_bytes(node)
        opening = settings_frame({Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW_BYTES})
        for _ in range(CLIENTS):
            client = connected(stack, port, receive_buffer_bytes=4096)
            asked = b"".join(
                frame(HEADERS, END_HEADERS, stream_id, block) + frame(DATA, END_STREAM, stream_id, body)
                for stream_id in range(1, 2 * (WANTED_BYTES // CLIENTS // size_bytes), 2)
            )
            with suppress(OSError):
                client.sendall(PREFACE + opening + window_update_frame(0, MAX_WINDOW_BYTES - 2**16) + asked)
        assert honest.is_served()
        assert memory_bytes(node) - before < BUFFERED_BYTES + SLACK_BYTES
    assert node.is_running
