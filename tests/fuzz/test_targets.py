"""Every target against cases that nobody thought of, the same on each run, and against those that were kept."""

from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from tests.fuzz.run import CORPUS, MAX_KEPT_BYTES, merge
from tests.fuzz.targets import TARGETS, target_of

CASES = {
    "command-line": 200,
    "connect": 40,
    "gate": 40,
    "json-lines": 200,
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
    target = target_of(name)

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
    target_of(path.parent.name)(path.read_bytes())


def test_the_corpus_is_small_and_belongs_to_targets() -> None:
    assert {path.parent.name for path in KEPT} <= set(TARGETS)
    assert sum(path.stat().st_size for path in KEPT) <= MAX_CORPUS_BYTES
    assert [path.name for path in KEPT if path.stat().st_size > MAX_KEPT_BYTES] == []


@pytest.mark.skipif(find_spec("atheris") is None, reason="the extra fuzz is not installed")
def test_what_reaches_new_code_is_taken_into_the_corpus_and_no_more(tmp_path: Path) -> None:
    found = tmp_path / "found" / "addresses"
    found.mkdir(parents=True)
    for number, case in enumerate((b"a:1", b"a:2", b"[::1]:1")):
        (found / str(number)).write_bytes(case)
    assert merge("addresses", tmp_path / "found", tmp_path / "corpus")
    kept = {path.read_bytes() for path in (tmp_path / "corpus" / "addresses").iterdir()}
    assert b"[::1]:1" in kept
    assert len(kept) < 3
