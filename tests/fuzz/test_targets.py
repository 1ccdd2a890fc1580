"""Every target against cases that nobody thought of, the same on each run, and against those that were kept."""

from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from tests.fuzz.run import CORPUS, MAX_KEPT_BYTES
from tests.fuzz.targets import TARGETS

CASES = {
    "command-line": 200,
    "connect": 40,
    "gate": 40,
    "peer-join": 40,
    "raft-core": 1500,
    "raft-directory": 40,
    "rpc-host": 300,
    "services": 40,
    "small-files": 200,
    "snapshot-files": 15,
    "state-directory": 20,
    "tls-client": 100,
    "tls-server": 100,
}
"""Of targets that take long for a case."""

USUAL_CASES = 500

MAX_CORPUS_BYTES = 1_000_000

KEPT = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_it(name: str) -> None:
    target = TARGETS[name]

    # The same cases each time, so that whoever changes something is not told of what is another's.
    @hypothesis.settings(
        derandomize=True,
        database=None,
        max_examples=CASES.get(name, USUAL_CASES),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategies.binary(max_size=400))
    def check(data: bytes) -> None:
        target(data)

    check()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_case_that_was_kept_passes(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_the_corpus_is_small_and_belongs_to_targets() -> None:
    assert {path.parent.name for path in KEPT} <= set(TARGETS)
    assert sum(path.stat().st_size for path in KEPT) <= MAX_CORPUS_BYTES
    assert [path.name for path in KEPT if path.stat().st_size > MAX_KEPT_BYTES] == []
