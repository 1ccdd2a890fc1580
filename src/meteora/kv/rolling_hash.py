"""A rolling checksum of what applying the log has done, by which replicas find out that one has gone its own way.

Each entry adds its index, term, kind and data, and what it did: the outcomes of its commands that are not APPLIED, or
the membership that it led to. Rules:

- It goes entry by entry, so it is the same however entries are grouped into writes.
- It is written together with what it is about (`meteora.kv.state_machine`), and so is right after a crash, and travels
  with a snapshot.
- Whoever changes what applying does, or the records that go in here, raises `ROLLING_HASH_VERSION`: replicas of
  different versions are not compared.

A difference never goes away by itself: CRC-32 maps different checksums to different ones, if what is added is the same.
(A second CRC-32 would add nothing: those of one text that begin with different values differ by the same bits always.)

A chain begins anew every `CHAIN_ENTRIES`. So a state without a chain, which an older release has left, gets one there,
and can be compared from then on. Checkpoints are comparable if their chains began at the same index.
"""

import struct
import zlib
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from meteora.raft.entry import Entry

ROLLING_HASH_VERSION: Final = 1

CHECKPOINT_ENTRIES: Final = 100
"""At the multiples of it replicas remember their checksums: often enough that one that rarely writes compares soon."""

REMEMBERED_CHECKPOINTS: Final = 32
"""A replica that is no further behind than these reach can be compared while writes go on: 3,200 entries, each of which
holds all writes that came in during an fsync. One that is further behind is compared when it has caught up."""

CHAIN_ENTRIES: Final = 100_000
"""A multiple of `CHECKPOINT_ENTRIES`. What was never compared by then is forgotten."""

_ENTRY: Final = struct.Struct(">QQB")
_RECORD: Final = struct.Struct(">BQQI")
_CHECKPOINT: Final = struct.Struct(">QQI")
_HEADER: Final = struct.Struct(">BI")

_crc32 = zlib.crc32


class Checkpoint(NamedTuple):
    """What a replica had at one index."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a checkpoint
    begun_at: int
    """The index after which its chain begins."""
    checksum: int


_NOWHERE: Final = Checkpoint(0, -1, 0)
"""There is no chain."""


class RollingHash:
    """The chain of one replica, up to what it applied last."""

    def __init__(self, newest: Checkpoint | None = None) -> None:
        """Goes on from `newest`; None: there is no chain until the next one begins."""
        self._index, self._begun_at, self._checksum = newest or _NOWHERE
        self._remembered: deque[Checkpoint] = deque(maxlen=REMEMBERED_CHECKPOINTS)

    def take(self, entry: Entry, effects: bytes) -> None:
        """The next entry is applied, and this is what it did."""
        term, index, data, kind = entry
        if index % CHAIN_ENTRIES == 1:
            self._begun_at, self._checksum = index - 1, 0
        elif self._begun_at < 0:
            return
        self._index = index
        checksum = _crc32(data, _crc32(_ENTRY.pack(index, term, kind), self._checksum))
        self._checksum = _crc32(effects, checksum) if effects else checksum
        if index % CHECKPOINT_ENTRIES == 0:
            self._remembered.append(self._newest())

    def record(self) -> bytes | None:
        """For disk; None if there is no chain."""
        return None if self._begun_at < 0 else _RECORD.pack(ROLLING_HASH_VERSION, *self._newest())

    def checkpoints(self) -> list[Checkpoint]:
        """Those that are remembered, and the newest: replicas that nobody writes to are at the same index."""
        newest = self._newest()
        is_more = newest not in self._remembered and newest != _NOWHERE
        return [*self._remembered, newest] if is_more else list(self._remembered)

    def _newest(self) -> Checkpoint:
        return Checkpoint(self._index, self._begun_at, self._checksum)


def decode_rolling_hash(record: bytes | None, applied_index: int) -> RollingHash:
    """The chain of a state at `applied_index`: none if the record is of another version, or another index.

    An older release has been at work then, which leaves a record alone that it does not know.
    """
    if record is not None and len(record) == _RECORD.size and record[0] == ROLLING_HASH_VERSION:
        _, *fields = _RECORD.unpack(record)
        if fields[0] == applied_index:
            return RollingHash(Checkpoint(*fields))
    return RollingHash()


def encode_checkpoints(checkpoints: Sequence[Checkpoint]) -> bytes:
    """For the other replicas, with a checksum: a bit that is flipped on the way must stop nobody."""
    body = b"".join([_CHECKPOINT.pack(*each) for each in checkpoints])
    return _HEADER.pack(ROLLING_HASH_VERSION, _crc32(body)) + body


def decode_checkpoints(report: bytes) -> list[Checkpoint]:
    """None of them if they were damaged on the way, or can't be compared because another release has sent them."""
    body = report[_HEADER.size :]
    is_whole = len(body) % _CHECKPOINT.size == 0
    if not is_whole or report[: _HEADER.size] != _HEADER.pack(ROLLING_HASH_VERSION, _crc32(body)):
        return []
    return [Checkpoint(*fields) for fields in _CHECKPOINT.iter_unpack(body)]
