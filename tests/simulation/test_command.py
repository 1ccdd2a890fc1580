"""What `python -m meteora.testing` says and returns, of runs that fail and of runs that don't."""

import pickle
import re
from pathlib import Path

import pytest

from meteora.testing.__main__ import main
from meteora.testing.runs import outcome_of
from tests.simulation.mutants import MUTANTS

MISTAKE = MUTANTS["acknowledges entries before they are durable"]


def test_runs_without_a_failure_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--first-seed", "5", "--seeds", "2", "--seconds", "3"]) == 0
    runs, faults = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"2 runs, \d+ virtual seconds in .* s, \d+ operations checked, \d+ snapshots installed, 0 failed", runs
    )
    assert re.fullmatch(r"faults: (\S[^,]* \d+(, )?)+", faults)


def test_runs_side_by_side_come_to_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--first-seed", "5", "--seeds", "3", "--seconds", "3"]
    assert main([*words, "--workers", "2"]) == main(words) == 0
    side_by_side, _, one_by_one, _ = re.sub(r"in .* s,", "", capsys.readouterr().out).splitlines()
    assert side_by_side == one_by_one


@pytest.mark.parametrize("words", [["--seconds", "nan"], ["--workers", "0"], ["--workers", "2", "--trace", "x"]])
def test_what_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)


def test_what_is_said_of_a_failure_travels_between_processes() -> None:
    with MISTAKE():
        outcome = outcome_of(5.0, 1)
    assert outcome.failure_text.startswith("seed 1 breaks: acknowledged means durable\n")
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_a_failing_run_is_named_with_what_it_breaks_and_a_shorter_command_that_shows_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with MISTAKE():
        assert main(["--first-seed", "1", "--seconds", "20"]) == 1
        output = capsys.readouterr().out
        assert output.startswith("seed 1 breaks: acknowledged means durable\n")
        shorter = re.search(r"again: python -m meteora.testing (--first-seed 1 --seconds (\S+)) --trace", output)
        assert shorter is not None
        assert float(shorter[2]) < 20
        assert main(shorter[1].split()) == 1


def test_a_trace_tells_every_event_up_to_the_one_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    with MISTAKE():
        main(["--first-seed", "1", "--seconds", "5", "--trace", str(path)])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith("n1#1 starts")
    assert "AppendResponse matches" in lines[-1]
