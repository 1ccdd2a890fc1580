"""Where the settings that a command was given come from, in words that lead a user there."""

import re
from typing import Final

import click
from click.core import ParameterSource

from meteora.cli.config_file import ConfigFile
from meteora.config import SETTINGS
from meteora.settings import Setting

_FILE_KEY: Final = "meteora.config_file"
"""Where the context of a command has the file that was read."""

_BY_KEY: Final = {setting.key: setting for setting in SETTINGS}


def remember_file(context: click.Context, file: ConfigFile) -> None:
    """Notes that `file` is the one that --config names, and takes its values for defaults."""
    context.meta[_FILE_KEY] = file
    context.default_map = {field: value.value for field, value in file.values.items()}


def config_file(context: click.Context) -> ConfigFile | None:
    """The file that --config has named, if it has."""
    file: ConfigFile | None = context.meta.get(_FILE_KEY)
    return file


def origin(context: click.Context, setting: Setting) -> str:
    """Where the value of a setting comes from: a flag, a variable, a line of the file, or the default."""
    match context.get_parameter_source(setting.field):
        case ParameterSource.COMMANDLINE:
            return "flag"
        case ParameterSource.ENVIRONMENT:
            return f"environment {setting.variable}"
    return _place_in_file(context, setting) or "default"


def placed(context: click.Context, sentence: str) -> str:
    """`sentence`, in which settings are called by their options, with the names and places where they were set."""

    def name(match: re.Match[str]) -> str:
        setting = _BY_KEY.get(match[1])
        return match[0] if setting is None else _name(context, setting, is_first=match.start() == 0)

    return re.sub(r"(?<![\w-])--([a-z0-9-]+)", name, sentence)


def _name(context: click.Context, setting: Setting, *, is_first: bool) -> str:
    if context.get_parameter_source(setting.field) is ParameterSource.ENVIRONMENT:
        return setting.variable
    if place := _place_in_file(context, setting):
        return f"{place}: {setting.key}" if is_first else f"{setting.key} ({place})"
    return f"--{setting.key}"


def _place_in_file(context: click.Context, setting: Setting) -> str | None:
    file = config_file(context)
    if file is None or context.get_parameter_source(setting.field) is not ParameterSource.DEFAULT_MAP:
        return None
    return f"{file.path}:{file.values[setting.field].line}"
