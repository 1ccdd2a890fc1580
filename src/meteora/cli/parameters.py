"""What options may be: converters that refuse what makes no sense with one clear sentence.

Each takes the text of an option, or its default, and raises `click.BadParameter`; click adds the name of the option.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_never

import click

from meteora.config import NODE_ID
from meteora.settings import Choice, Count, Directory, File, Flag, Kind, Names, Seconds, Text, WholeNumber


def type_of(kind: Kind) -> "click.ParamType[Any] | Callable[[Any], Any]":
    """What converts the values of a setting of this kind."""
    match kind:
        case Flag():
            return Switch()
        case Text():
            return click.STRING
        case WholeNumber():
            return whole_number(kind)
        case Count():
            return click.IntRange(min=0)
        case Seconds():
            return seconds
        case Choice(words):
            return click.Choice(words)
        case File() | Directory():
            is_file = isinstance(kind, File)
            location = Location if is_file else DataLocation
            return location(path_type=Path, file_okay=is_file, dir_okay=not is_file)
        case Names():
            return names
    assert_never(kind)


class Switch(click.types.BoolParamType):
    """Whether something is on: a flag, whose variable says true or false."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """As click's own, which names every word that it takes."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither true nor false.", param, ctx)


class Location(click.Path):
    """A path. Python takes an empty one for the current directory, which nobody means who gives it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click's own."""
        if value == "":
            self.fail("a path is not empty.", param, ctx)
        return super().convert(value, param, ctx)


class DataLocation(Location):
    """The path of a directory in which databases are, or will be."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click's own."""
        try:
            os.fspath(value).encode()
        except UnicodeEncodeError:
            self.fail(f"{os.fspath(value)!r} is not UTF-8, and RocksDB takes no other path.", param, ctx)
        return super().convert(value, param, ctx)


def names(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Names with commas between: those that are there, each once, in their order."""
    texts = value.split(",") if isinstance(value, str) else value
    found = tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if value != () and not found:
        # A script's variable that is not set: none at all would let more in than was meant.
        raise click.BadParameter(f"{value!r} has nothing in it: leave it out, or give some with commas between.")
    return found


def seconds(value: str | float) -> float:
    """A time span, in seconds."""
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise click.BadParameter(f"{value!r} is not a number of seconds above 0.")
    return number


def whole_number(kind: WholeNumber) -> Callable[[str | int], int]:
    """The converter of a number that has bounds."""

    def convert(value: str | int) -> int:
        try:
            number = int(value)
        except ValueError:
            number = kind.minimum - 1
        if not kind.minimum <= number <= kind.maximum:
            expected = f"a number from {kind.minimum} to {kind.maximum}{kind.reason and f' ({kind.reason})'}"
            raise click.BadParameter(f"{value!r} is not a {kind.noun}: expected {expected}.")
        return number

    return convert


node_id = whole_number(NODE_ID)
"""The converter of a node id."""
