"""How a setting is declared: once, at its field of `NodeConfig`.

From the declaration come the option of `meteora start`, the variable in the environment, the key in a TOML file, and
the line in docs/configuration.md. Plain data: what a kind accepts from a user is in `cli/parameters.py`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

_METADATA_KEY = "setting"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Flag:
    """On or off: an option without a value."""


@dataclass(frozen=True, slots=True)
class Text:
    """Any text; `metavar` says what it is."""

    metavar: str


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """A number from `minimum` to `maximum`; `noun` is what it is called where a value is refused."""

    metavar: str
    noun: str
    maximum: int
    minimum: int = 1
    reason: str = ""
    """Where the maximum comes from."""


@dataclass(frozen=True, slots=True)
class Count:
    """A number of things, which may be none."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """A time span above 0."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    """The path of a file."""


@dataclass(frozen=True, slots=True)
class Directory:
    """The path of a directory."""


@dataclass(frozen=True, slots=True)
class Names:
    """Any number of names: with commas between in an option or the environment, an array in TOML.

    `metavar` says what they are.
    """

    metavar: str


Kind = Flag | Text | WholeNumber | Count | Seconds | Choice | File | Directory | Names


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting, with all that users are told about it."""

    field: str
    """Its name in `NodeConfig`."""
    options: tuple[str, ...]
    """As on the command line: `-r`, `--raft-port`."""
    kind: Kind
    default: Any
    meaning: str
    default_meaning: str
    """What takes effect if it is not set, where `default` doesn't say."""
    is_secret: bool
    """Its value is never printed."""

    @property
    def key(self) -> str:
        """Its name in a TOML file: `raft-port`."""
        return next(option for option in self.options if option.startswith("--")).removeprefix("--")

    @property
    def variable(self) -> str:
        """Its name in the environment: `METEORA_RAFT_PORT`."""
        return f"METEORA_{self.key.replace('-', '_').upper()}"


def setting(
    default: T, *options: str, kind: Kind, meaning: str, default_meaning: str = "", is_secret: bool = False
) -> T:
    """A field of a dataclass that users can set; the long one of `options` gives it its other names, too."""

    def declare(name: str) -> Setting:
        return Setting(
            field=name,
            options=options,
            kind=kind,
            default=default,
            meaning=meaning,
            default_meaning=default_meaning,
            is_secret=is_secret,
        )

    return field(default=default, metadata={_METADATA_KEY: declare})


def declared(dataclass_type: type) -> tuple[Setting, ...]:
    """The settings of a dataclass, in their order. Fields that were not made by `setting` are not among them."""
    found: list[Setting] = []
    for each in fields(dataclass_type):
        declare: Callable[[str], Setting] | None = each.metadata.get(_METADATA_KEY)
        if declare is not None:
            found.append(declare(each.name))
    return tuple(found)


def as_toml(value: Any) -> str:
    """A setting's value as TOML writes it; what isn't UTF-8 stays in it as lone surrogates."""
    # A string of JSON is one of TOML, but for this one character.
    return json.dumps(as_plain(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def as_plain(value: Any) -> Any:
    """A setting's value as TOML and JSON have it."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
