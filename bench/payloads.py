"""The bodies of the requests, which are the same bytes for Meteora and for etcd.

`meteora.kv.PutReq` and `etcdserverpb.PutRequest` both have the key as field 1 and the value as field 2; `GetReq` and
`RangeRequest` both have the key as field 1. Written out here, so that whoever reads this sees that neither is given
less to do. Keys are decimal numbers of a fixed width; values are random bytes, another piece for every request.
"""

from dataclasses import dataclass
from typing import Final, Literal

KEY_BYTES: Final = 16
FRAME_BYTES: Final = 5
"""Before each gRPC message: one byte for compression, four for the length."""

_KEY_FIELD, _VALUE_FIELD = b"\x0a", b"\x12"

Order = Literal["sequence", "random"]


@dataclass(frozen=True, slots=True)
class Template:
    """One request's body, and where in it the key and the value stand, in bytes."""

    body: bytes
    key_offset: int
    value_offset: int
    value_bytes: int

    @property
    def message(self) -> bytes:
        """The body without gRPC's frame."""
        return self.body[FRAME_BYTES:]


def key(number: int) -> bytes:
    """The key with this number."""
    return b"%0*d" % (KEY_BYTES, number)


def put(value_bytes: int) -> Template:
    """A put of the first key, with a value of this length."""
    message = _KEY_FIELD + _varint(KEY_BYTES) + key(0) + _VALUE_FIELD + _varint(value_bytes) + b"v" * value_bytes
    return Template(_framed(message), _key_offset(), FRAME_BYTES + len(message) - value_bytes, value_bytes)


def get(number: int = 0) -> Template:
    """A linearizable read of one key."""
    return Template(_framed(_KEY_FIELD + _varint(KEY_BYTES) + key(number)), _key_offset(), 0, 0)


def environment(template: Template, path: str, keys: int, order: Order, seed: int) -> dict[str, str]:
    """What `vary_requests.c` wants to know. `path` is where the template's body is."""
    return {
        "BENCH_BODY": path,
        "BENCH_KEY": f"{template.key_offset},{KEY_BYTES}",
        "BENCH_VALUE": f"{template.value_offset},{template.value_bytes}",
        "BENCH_KEYS": str(keys),
        "BENCH_ORDER": order,
        "BENCH_SEED": str(seed),
    }


def _key_offset() -> int:
    return FRAME_BYTES + len(_KEY_FIELD) + len(_varint(KEY_BYTES))


def _framed(message: bytes) -> bytes:
    return b"\x00" + len(message).to_bytes(4, "big") + message


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
