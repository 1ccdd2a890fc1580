"""A thousand writes handed to one node at once, and what their callers were told of each.

The rule: what was acknowledged is there, what certainly was not applied is not, and what is in doubt may be either.
"""

from collections.abc import Iterable
from enum import Enum
from types import TracebackType
from typing import Any, Self

import grpc

from meteora.pb import common_pb2, kv_pb2
from meteora.pb.kv_pb2_grpc import KvServiceStub
from tests.cluster.processes import CHANNEL_OPTIONS

WRITES = 1_000
"""So many that a node can't have answered all of them by the time that something happens to it."""

READ_SECONDS = 10.0


class Fate(Enum):
    """What its caller knows of a write."""

    APPLIED = "applied"
    NOT_APPLIED = "not applied"
    UNKNOWN = "unknown"


class Burst:
    """The writes, all under way from the start of `with`; each has its fate at the end."""

    def __init__(self, endpoint: str, timeout_seconds: float = 10.0) -> None:
        self._channel = grpc.insecure_channel(endpoint, CHANNEL_OPTIONS)
        self._timeout_seconds = timeout_seconds
        self._calls: dict[bytes, Any] = {}
        self.fates: dict[bytes, Fate] = {}

    def __enter__(self) -> Self:
        put = KvServiceStub(self._channel).Put.future
        for number in range(WRITES):
            request = _request(number)
            self._calls[request.key] = put(request, timeout=self._timeout_seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._channel:
            if error is None:
                self.fates = {key: _fate(call) for key, call in self._calls.items()}

    def assert_truthful(self, endpoint: str) -> None:
        """What is read through this node is what the callers were told."""
        there = _keys_there(endpoint, self.fates)
        lost = [key for key, fate in self.fates.items() if fate is Fate.APPLIED and key not in there]
        assert not lost, f"{len(lost)} of {WRITES} were acknowledged and are not there: {lost[:10]}"
        refused = [key for key, fate in self.fates.items() if fate is Fate.NOT_APPLIED and key in there]
        assert not refused, f"{len(refused)} of {WRITES} were said not to be applied and are there: {refused[:10]}"


def _request(number: int) -> kv_pb2.PutReq:
    """Every other one carries a request id, as those of our client do, and the rest none, as those of grpcurl."""
    request = kv_pb2.PutReq(key=b"key%d" % number, value=b"value")
    if number % 2:
        request.request_id.CopyFrom(kv_pb2.RequestId(client_id=7, sequence=number, first_outstanding=1))
    return request


def _fate(call: Any) -> Fate:
    error = call.exception()
    if error is None:
        assert call.result().state == common_pb2.OK
        return Fate.APPLIED
    outcome = dict(error.trailing_metadata() or ()).get("meteora-outcome")
    return Fate.NOT_APPLIED if outcome == "not-applied" else Fate.UNKNOWN


def _keys_there(endpoint: str, keys: Iterable[bytes]) -> set[bytes]:
    with grpc.insecure_channel(endpoint, CHANNEL_OPTIONS) as channel:
        stub = KvServiceStub(channel)
        calls = {key: stub.Get.future(kv_pb2.GetReq(key=key), timeout=READ_SECONDS) for key in keys}
        return {key for key, call in calls.items() if call.result().state == common_pb2.OK}
