"""The form of a story: commands, and what came of each, in plain text that a person reads and reviews.

    # Why this is told.
    > cluster 1 2 3
    > campaign 1
    n1@0 pre-candidate
    n1@1 → n2 PreVote last=0@0

A line that starts with `>` is a command; the lines after it, up to an empty line, a comment or the next command, are
what came of it. Everything but those is the author's, and stays as it is when a story is told anew.
"""

from collections.abc import Callable, Iterator

COMMAND = "> "
COMMENT = "#"


Run = Callable[[str], list[str]]
"""Carries out one command and says what came of it."""


def tell(story: str, run: Run) -> str:
    """The same story with what comes of its commands now. Raises `ValueError` if a command makes no sense."""
    return "".join(f"{line}\n" for line in _told(story.splitlines(), run))


def _told(lines: list[str], run: Run) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if line.startswith(COMMAND):
            yield line
            yield from _carried_out(number, line.removeprefix(COMMAND), run)
        elif not line or line.startswith(COMMENT):
            yield line


def _carried_out(number: int, command: str, run: Run) -> list[str]:
    try:
        return run(command)
    except (AttributeError, LookupError, ValueError) as error:
        raise ValueError(f"line {number}, {command!r}: {error!r}") from error
