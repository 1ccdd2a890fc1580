"""The runner itself: it sees what is broken, and does not let a story say what nobody understands."""

import pytest

from tests.scenarios.cluster_commands import ClusterCommands
from tests.scenarios.story import tell


def told(*commands: str) -> str:
    return tell("".join(f"> {command}\n" for command in commands), ClusterCommands().run)


def test_two_leaders_of_one_term_are_seen() -> None:
    # The second is the same node, after it has forgotten the term that it led.
    story = told("cluster 1", "campaign 1", "crash 1", "stored 1", "campaign 1")

    assert "INVARIANT BROKEN: term 1 has a second leader, n1" in story


def test_two_entries_of_one_index_and_term_are_seen() -> None:
    story = told("cluster 1 2", "stored 1 log=1@1:a", "stored 2 log=1@1:b")

    assert 'INVARIANT BROKEN: 1@1 "b" is not the same in all logs' in story


def test_two_committed_entries_of_one_index_are_seen() -> None:
    story = told("cluster 1 2", "stored 1 commit=1 log=1@1", "stored 2 commit=1 log=1@2")

    assert "INVARIANT BROKEN: n2 has committed 1@2, another 1@1" in story


def test_author_text_stays_and_old_output_goes() -> None:
    story = "# Why.\n> cluster 1\nold\n\n> status\nold\n"

    retold = tell(story, ClusterCommands().run)

    assert retold == "# Why.\n> cluster 1\n\n> status\nn1@0 follower applied=0 committed=0 stable=0 last=0\n"


@pytest.mark.parametrize("command", ["dance 1", "tick 9", "tick 1 2 3", "tick 1 fast=1", "propose"])
def test_command_that_makes_no_sense_is_named_with_its_line(command: str) -> None:
    with pytest.raises(ValueError, match=f"line 2, '{command}'"):
        told("cluster 1", command)
