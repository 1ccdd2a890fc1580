"""Which term each entry of a log has, in a few words of memory for millions of entries.

Terms never fall along a log and each lasts for many entries, so it is enough to know where each begins.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from meteora.raft.errors import ensure


class TermRuns:
    """The terms of the entries 1 to `last_index`.

    Invariant: terms and first indexes both rise strictly; the first run begins at 1; the last not after `last_index`.
    """

    __slots__ = ("_first_indexes", "_terms", "last_index")

    def __init__(self, runs: Iterable[tuple[int, int]] = (), last_index: int = 0) -> None:
        """From the (term, first index) of each run, oldest first. Raises `InvariantViolation` if they can't be."""
        self._terms: list[int] = []
        self._first_indexes: list[int] = []
        self.last_index = 0
        for term, first_index in runs:
            ensure(
                first_index > self.last_index if self._terms else first_index == 1,
                f"the run of term {term} begins at {first_index}, the one before it at {self.last_index}",
            )
            self.last_index = first_index - 1
            self.append(term)
        ensure(
            self.last_index <= last_index and bool(self._terms) == (last_index > 0),
            f"{len(self._terms)} runs of terms, the last from {self.last_index} on, in a log that ends at {last_index}",
        )
        self.last_index = last_index

    def term(self, index: int) -> int:
        """The term at `index`, from 0 (whose term is 0) to `last_index`. Raises `InvariantViolation` outside."""
        ensure(0 <= index <= self.last_index, f"the term at {index} of a log that ends at {self.last_index}")
        first_indexes = self._first_indexes
        if first_indexes and index >= first_indexes[-1]:
            return self._terms[-1]
        position = bisect_right(first_indexes, index)
        return self._terms[position - 1] if position else 0

    def append(self, term: int) -> None:
        """Note the term of the entry after the last. Raises `InvariantViolation` if it falls."""
        newest = self._terms[-1] if self._terms else 0
        ensure(term >= newest, f"the term falls from {newest} to {term} after index {self.last_index}")
        self.last_index += 1
        if term > newest:
            self._terms.append(term)
            self._first_indexes.append(self.last_index)

    def truncate(self, index: int) -> None:
        """Forget the entries from `index` on."""
        position = bisect_left(self._first_indexes, index)
        del self._terms[position:], self._first_indexes[position:]
        self.last_index = min(self.last_index, index - 1)

    def beginning_from(self, index: int) -> Sequence[int]:
        """The terms whose first entry is at `index` or later."""
        return self._terms[bisect_left(self._first_indexes, index) :]
