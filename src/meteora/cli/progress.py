"""A bar that shows how far a long command has come; only where somebody looks at it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

Show = Callable[[int, int], object]
"""show(done, all): of which the second may be a guess that changes, or 0 if it isn't known."""


@contextmanager
def progress(label: str, *, is_quiet: bool) -> Iterator[Show]:
    """A function to tell how far it is. Nothing is shown if quiet, or unless stdout and stderr are a terminal."""
    if is_quiet or not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield lambda _done, _all: None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr, update_min_steps=1) as bar:

        def show(done: int, all_: int) -> None:
            bar.length = max(all_, 1)
            bar.update(min(done, bar.length) - bar.pos)

        yield show
        bar.update(max((bar.length or 1) - bar.pos, 0))
