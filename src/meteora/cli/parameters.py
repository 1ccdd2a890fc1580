"""What options may be: converters that refuse what makes no sense with one clear sentence.

Each takes the text of an option, or its default, and raises `click.BadParameter`; click adds the name of the option.
"""

import math
from typing import Any, Final

import click

from meteora.config import HIGHEST_MAX_REQUEST_BYTES

MAX_NODE_ID: Final = (1 << 64) - 1
"""Ids are uint64 on the wire; 0 is nobody's."""

MAX_PORT: Final = 65_535


def node_id(value: str | int) -> int:
    """A node id."""
    return _whole_number("node id", value, MAX_NODE_ID)


def port(value: str | int) -> int:
    """A port to listen on."""
    return _whole_number("port", value, MAX_PORT)


def request_bytes(value: str | int) -> int:
    """A limit on the size of a request, in bytes."""
    return _whole_number("number of bytes", value, HIGHEST_MAX_REQUEST_BYTES, "32 MiB, what members pass on to others")


class Switch(click.types.BoolParamType):
    """Whether something is on: a flag, whose variable says true or false."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """As click's own, which names every word that it takes."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither true nor false.", param, ctx)


def names(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Names with commas between: those that are there, each once, in their order."""
    texts = value.split(",") if isinstance(value, str) else value
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))


def seconds(value: str | float) -> float:
    """A time span, in seconds."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise click.BadParameter(f"{value!r} is not a number of seconds above 0.")
    return number


def _whole_number(what: str, value: str | int, maximum: int, meaning: str = "") -> int:
    try:
        number = int(value)
    except ValueError:
        number = 0
    if not 1 <= number <= maximum:
        expected = f"expected a number from 1 to {maximum}{meaning and f' ({meaning})'}"
        raise click.BadParameter(f"{value!r} is not a {what}: {expected}.")
    return number
