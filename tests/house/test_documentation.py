"""Every command and every option is explained to users, in README.md or in docs/."""

import re
from collections.abc import Iterator

import click
import pytest

from meteora.cli import commands
from tests.house.source import ROOT

DOCUMENTATION = "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])


def below(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, by what is typed to call them."""
    yield name, command
    if isinstance(command, click.Group):
        for word, each in command.commands.items():
            yield from below(each, f"{name} {word}")


def options(command: click.Command) -> Iterator[str]:
    """The long forms of a command's options."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (form for form in parameter.opts + parameter.secondary_opts if form.startswith("--"))


COMMANDS = dict(below(commands, "meteora"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_documented(name: str) -> None:
    assert re.search(rf"{name}\b", DOCUMENTATION)


@pytest.mark.parametrize(("name", "option"), [(name, each) for name in COMMANDS for each in options(COMMANDS[name])])
def test_an_option_is_documented(name: str, option: str) -> None:
    assert re.search(rf"(?<![\w-]){option}(?![\w-])", DOCUMENTATION)
