"""The simulation finds mistakes made on purpose: here those found at once, by `make sim-mutants` all of them."""

import pytest

from tests.simulation.mutants import hunt

FOUND_AT_ONCE = {
    "answers a vote request before its vote is durable": "a vote is durable",
    "acknowledges entries before they are durable": "acknowledged means durable",
    "applies a retry twice": "a retry is applied once",
    "applies the log otherwise on one node": "no StateDiverged",
}


@pytest.mark.parametrize("name", FOUND_AT_ONCE)
def test_a_mistake_is_found(name: str) -> None:
    catch = hunt(name, max_seeds=5)
    assert catch is not None
    assert catch.invariant == FOUND_AT_ONCE[name]
