"""A node's settings in a TOML file: `raft-port = 7001`, by the long names of the options, without tables.

Every problem is found, and named by file and line. Values are read as strictly as TOML is typed: a port is no string.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import click

from meteora.cli.parameters import type_of
from meteora.config import SETTINGS
from meteora.errors import ConfigurationError
from meteora.settings import Choice, Count, Directory, File, Flag, Kind, Names, Seconds, Setting, Text, WholeNumber

_BY_KEY: Final = {setting.key: setting for setting in SETTINGS}

_TYPE_WORDS: Final = {
    bool: "a boolean",
    int: "a number",
    float: "a number with a fraction",
    str: "a string",
    list: "an array",
}

_TOKEN: Final = re.compile(
    r"""
    \"{3} (?: [^\\] | \\. )*? \"{3,5}    # up to two quotes belong to what stands between the three
    | '{3} .*? '{3,5}
    | " (?: [^"\\] | \\. )* "
    | ' [^']* '
    | \# [^\n]*
    | [][{}\n]
    """,
    re.DOTALL | re.VERBOSE,
)
"""What tells where a statement of TOML ends, and what could be taken for that and isn't."""

_NESTS: Final = {"[": 1, "{": 1, "]": -1, "}": -1}

MAX_FILE_BYTES: Final = 64 * 1024
"""A longer file is none of ours: a device, a log."""


@dataclass(frozen=True, slots=True)
class FileValue:
    """A setting's value, and the line that it begins on."""

    value: Any
    line: int


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a file says."""

    path: Path
    values: Mapping[str, FileValue]
    """By the fields of `NodeConfig`."""
    problems: tuple[str, ...]
    """What is wrong with it, a sentence each, from top to bottom."""
    refused: tuple[str, ...]
    """The keys that are wrong, or whose values are."""


def read_config_file(path: Path) -> ConfigFile:
    """Reads a file, and finds all that is wrong with it.

    Raises `ConfigurationError` if it can't be read at all, or is no TOML.
    """
    text = _text_of(path)
    try:
        keys = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(_syntax_error(path, text, str(error))) from None
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, and arrays within arrays without end, have no syntax error.
        raise ConfigurationError(f"{path} can't be read: {error}") from None
    lines = dict(lines_of_keys(text))
    values: dict[str, FileValue] = {}
    problems: list[str] = []
    refused: list[str] = []
    for key, value in sorted(keys.items(), key=lambda item: lines[item[0]]):
        try:
            setting = _setting(key, value)
            values[setting.field] = FileValue(_converted(setting, value), lines[key])
        except ConfigurationError as error:
            problems.append(f"{path}:{lines[key]}: {error}")
            refused.append(key)
    return ConfigFile(path, values, tuple(problems), tuple(refused))


def nearest(name: str, names: Mapping[str, object] | set[str]) -> str:
    """`: did you mean "x"?` if one of `names` is like `name`, else nothing."""
    found = get_close_matches(name, names, n=1)
    return f': did you mean "{found[0]}"?' if found else ""


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{path} is longer than {MAX_FILE_BYTES} bytes: that is no configuration file")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}:{line}: this is not UTF-8, as TOML has to be") from None


def _syntax_error(path: Path, text: str, message: str) -> str:
    """The place, too, which tomllib has in its words only, before Python 3.14."""
    place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = place[1] if place and place[1] else text.rstrip("\n").count("\n") + 1
    reason = message[: place.start()] if place else message
    return f"{path}:{line}: this is not TOML: {reason}"


def lines_of_keys(text: str) -> Iterator[tuple[str, int]]:
    """The keys at the top level of a valid TOML document, each with the line on which it is first named."""
    is_in_table = False
    seen: set[str] = set()
    for statement, line in _statements(text):
        is_header = statement.lstrip().startswith("[")
        is_in_table = is_in_table or is_header
        if is_header or not is_in_table:
            keys = tomllib.loads(statement)
            yield from ((key, line) for key in keys if key not in seen)
            seen.update(keys)


def _statements(text: str) -> Iterator[tuple[str, int]]:
    """The statements of a valid TOML document, each with the line on which it begins.

    One ends with a line, outside of strings and brackets.
    """
    begin, line, depth = 0, 1, 0
    for token in _TOKEN.finditer(f"{text}\n"):
        if token[0] in _NESTS:
            depth += _NESTS[token[0]]
        elif token[0] == "\n" and depth == 0:
            statement = text[begin : token.end()]
            yield statement, line
            begin, line = token.end(), line + statement.count("\n")


def _setting(key: str, value: object) -> Setting:
    if key in _BY_KEY:
        return _BY_KEY[key]
    if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
        raise ConfigurationError(f'there is no table "{key}": settings stand at the top, outside of tables')
    # As the environment has it.
    plain = key.lower().replace("_", "-").removeprefix("meteora-")
    raise ConfigurationError(f'there is no setting "{key}"{nearest(plain, _BY_KEY)}')


def _converted(setting: Setting, value: object) -> Any:
    types = _toml_types(setting.kind)
    # Every bool is an int in Python; in TOML it is none.
    if type(value) not in types:
        raise ConfigurationError(f"{setting.key} is {_described(value)}: expected {_expected(setting.kind)}")
    if isinstance(value, list) and not all(isinstance(each, str) for each in value):
        raise ConfigurationError(f"{setting.key} has other things than strings: expected {_expected(setting.kind)}")
    if isinstance(value, str) and "\0" in value:
        raise ConfigurationError(f"{setting.key} has a NUL in it, which no name, address or path has")
    try:
        return _type(setting).convert(tuple(value) if isinstance(value, list) else value, None, None)
    except click.BadParameter as error:
        raise ConfigurationError(f"{setting.key}: {error.message.removesuffix('.')}") from None


def _type(setting: Setting) -> "click.ParamType[Any]":
    return click.types.convert_type(type_of(setting.kind))


def _toml_types(kind: Kind) -> tuple[type, ...]:
    match kind:
        case Flag():
            return (bool,)
        case Text() | Choice() | File() | Directory():
            return (str,)
        case WholeNumber() | Count():
            return (int,)
        case Seconds():
            return (int, float)
        case Names():
            return (list,)


def _expected(kind: Kind) -> str:
    match kind:
        case Flag():
            return "true or false, without quotes"
        case WholeNumber():
            return f"a number from {kind.minimum} to {kind.maximum}, without quotes"
        case Count():
            return "a number from 0, without quotes"
        case Seconds():
            return "a number of seconds above 0, without quotes"
        case Choice(words):
            return "one of " + ", ".join(f'"{word}"' for word in words)
        case Names():
            return 'an array of strings, as in ["a", "b"]'
        case Text() | File() | Directory():
            return "a string, in quotes"


def _described(value: object) -> str:
    return _TYPE_WORDS.get(type(value), "a table" if isinstance(value, dict) else "a date or time")
