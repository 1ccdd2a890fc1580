"""Which term each entry of a log has, in a few words of memory for millions of entries.

Terms never fall along a log and each lasts for many entries, so it is enough to know where each begins.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from meteora.raft.errors import ensure


class TermRuns:
    """The terms of the entries from `base_index` to `last_index`.

    The base is the entry before the first that the log still has; (0, 0) before the first ever. Its term counts as a
    run that begins there.

    Invariant: terms and first indexes both rise strictly; the last run begins not after `last_index`.
    """

    __slots__ = ("_first_indexes", "_terms", "last_index")

    def __init__(
        self, runs: Iterable[tuple[int, int]] = (), last_index: int = 0, base_index: int = 0, base_term: int = 0
    ) -> None:
        """From the (term, first index) of each run, oldest first; that of the base's term may begin before the base.

        Raises `InvariantViolation` if they can't be.
        """
        self._terms: list[int] = [base_term]
        self._first_indexes: list[int] = [base_index]
        self.last_index = base_index
        for term, first_index in runs:
            if term == base_term and first_index <= base_index:
                continue
            ensure(
                self._first_indexes[-1] < first_index <= last_index and term > self._terms[-1],
                f"a run of term {term} from {first_index} on, in a log that ends at {last_index}, after one of term "
                f"{self._terms[-1]} from {self._first_indexes[-1]} on",
            )
            self._terms.append(term)
            self._first_indexes.append(first_index)
        ensure(base_index <= last_index, f"a log that ends at {last_index}, before its base {base_index}")
        begins_at = self._first_indexes[1] if len(self._terms) > 1 else last_index + 1
        ensure(
            base_term > 0 or begins_at == base_index + 1,
            f"the first run of terms begins at {begins_at}, after {base_index}",
        )
        self.last_index = last_index

    @property
    def base_index(self) -> int:
        """The oldest index whose term is known."""
        return self._first_indexes[0]

    @property
    def base_term(self) -> int:
        """The term at `base_index`."""
        return self._terms[0]

    def term(self, index: int) -> int:
        """The term at `index`, from `base_index` to `last_index`. Raises `InvariantViolation` outside."""
        first_indexes = self._first_indexes
        ensure(
            first_indexes[0] <= index <= self.last_index,
            f"the term at {index} of a log from {first_indexes[0]} to {self.last_index}",
        )
        if index >= first_indexes[-1]:
            return self._terms[-1]
        return self._terms[bisect_right(first_indexes, index) - 1]

    def append(self, term: int) -> None:
        """Note the term of the entry after the last. Raises `InvariantViolation` if it falls."""
        newest = self._terms[-1]
        ensure(term >= newest, f"the term falls from {newest} to {term} after index {self.last_index}")
        self.last_index += 1
        if term > newest:
            self._terms.append(term)
            self._first_indexes.append(self.last_index)

    def truncate(self, index: int) -> None:
        """Forget the entries from `index` on, which is above the base."""
        position = bisect_left(self._first_indexes, index)
        del self._terms[position:], self._first_indexes[position:]
        self.last_index = min(self.last_index, index - 1)

    def compact(self, index: int) -> None:
        """Make the entry at `index` the base: forget all before it."""
        ensure(
            self.base_index <= index <= self.last_index, f"a cut at {index} of {self.base_index} to {self.last_index}"
        )
        position = bisect_right(self._first_indexes, index) - 1
        del self._terms[:position], self._first_indexes[:position]
        self._first_indexes[0] = index

    def beginning_from(self, index: int) -> Sequence[int]:
        """The terms whose first entry is at `index` or later, which is above the base."""
        return self._terms[bisect_left(self._first_indexes, index) :]

    def ending_before(self, index: int) -> Sequence[int]:
        """The terms whose last entry is before `index`."""
        return self._terms[: bisect_right(self._first_indexes, index) - 1]
