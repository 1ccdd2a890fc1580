"""Tells every story anew and compares it, whole, with what is written down.

`SCENARIOS_REGENERATE=1 pytest tests/scenarios` writes down what comes of the commands now; then read the diff, line by
line: a wrong expectation is worse than none. A new story starts as comments and commands alone.
"""

import os
from pathlib import Path

import pytest

from tests.scenarios.cluster_commands import ClusterCommands
from tests.scenarios.log_commands import LogCommands
from tests.scenarios.story import tell

HERE = Path(__file__).parent
STORIES = sorted(HERE.glob("*/*.txt"))
IS_REGENERATING = os.environ.get("SCENARIOS_REGENERATE") == "1"


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", STORIES, ids=_name)
def test_story_is_told_as_written(path: Path) -> None:
    commands = LogCommands() if path.parent.name == "log" else ClusterCommands()
    written = path.read_text(encoding="utf-8")

    told = tell(written, commands.run)
    if IS_REGENERATING:
        path.write_text(told, encoding="utf-8")
        written = told

    assert told == written
    assert "INVARIANT BROKEN" not in told
