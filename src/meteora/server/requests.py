"""What may be asked of the key-value API: the limits, and what a write becomes.

Pure. Every error here is `InvalidRequest`, which names the limit.
"""

from meteora.config import MAX_KEY_BYTES
from meteora.errors import InvalidRequest
from meteora.kv.command import Command, Operation
from meteora.pb import kv_pb2

MAX_BATCH_OPERATIONS = 1024
"""In one call of Batch: as many as there may be calls on one connection."""


class Limits:
    """What keys, values and batches are taken."""

    def __init__(self, max_value_bytes: int) -> None:
        self._max_value_bytes = max_value_bytes

    def check_key(self, key: bytes) -> None:
        """Raises `InvalidRequest` for a key that is empty or too long."""
        if not 1 <= len(key) <= MAX_KEY_BYTES:
            raise InvalidRequest(f"a key has 1 to {MAX_KEY_BYTES} bytes, this one has {len(key)}")

    def check_value(self, value: bytes) -> None:
        """Raises `InvalidRequest` for a value that is too long."""
        if len(value) > self._max_value_bytes:
            raise InvalidRequest(
                f"a value has at most {self._max_value_bytes} bytes (--max-request-bytes), this one has {len(value)}"
            )

    def check_batch(self, request: kv_pb2.BatchReq) -> None:
        """Raises `InvalidRequest` for a batch of too many operations."""
        count = len(request.operations)
        if count > MAX_BATCH_OPERATIONS:
            raise InvalidRequest(f"a batch has at most {MAX_BATCH_OPERATIONS} operations, this one has {count}")


def command_of(operation: Operation, request: kv_pb2.PutReq | kv_pb2.DeleteReq, value: bytes) -> Command:
    """A write under its client's request id. Raises `InvalidRequest` if that names nobody."""
    request_id = request.request_id
    if not request_id.client_id or not request_id.sequence:
        raise InvalidRequest("a request_id has a client_id and a sequence that are not 0")
    return Command(
        operation,
        request_id.client_id,
        request_id.sequence,
        request_id.first_outstanding,
        request_id.retry,
        request.key,
        value,
    )
