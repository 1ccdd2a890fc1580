"""Bytes as a list of choices: how a fuzzer of bytes makes frames, messages and records that are nearly right.

Every sequence of bytes means something, and what is missing at the end is 0: so each mutation is a case of its own.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

EDGES = (0, 1, 2, 3, 5, 7, 100, 127, 128, 255, 16_384, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
"""Numbers at which codes break."""


class Choices:
    """Takes choices from the front of the bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def flag(self) -> bool:
        return self.byte() & 1 == 1

    def one_of(self, items: Sequence[T]) -> T:
        return items[self.byte() % len(items)]

    def small(self) -> int:
        """A number that is mostly as small as those of a young cluster, and sometimes at an edge."""
        value = self.byte()
        return value % 16 if value < 224 else EDGES[(value - 224) % len(EDGES)]

    def chunk(self) -> bytes:
        """Some bytes; how many is chosen, too."""
        count = self.byte()
        if count >= 250:
            # Long ones, without the need of a long input.
            return bytes((self.byte(),)) * (1 << (count - 240))
        return self.take(count)

    def take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def rest(self) -> bytes:
        return self.take(max(0, len(self._data) - self._at))
