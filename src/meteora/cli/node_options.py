"""The options of a node, made of the settings that `NodeConfig` declares.

Where a value comes from, first found first taken: the option, its variable in the environment, the file that --config
or METEORA_CONFIG names, the default.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from meteora.cli.config_file import read_config_file
from meteora.cli.node_settings import checked
from meteora.cli.origins import config_file, placed, remember_file
from meteora.cli.parameters import type_of
from meteora.config import SETTINGS, NodeConfig
from meteora.errors import ConfigurationError
from meteora.settings import Choice, Count, Directory, File, Flag, Kind, Names, Seconds, Setting, Text, WholeNumber

_Function = TypeVar("_Function", bound=Callable[..., Any])

CONFIG_VARIABLE: Final = "METEORA_CONFIG"

_SERVICE_PORT: Final = re.compile(r"(tcp|udp|sctp)://\S+:\d+")
"""What Kubernetes sets a variable to that ends in _PORT."""


class _NodeOption(click.Option):
    """An option whose variable isn't taken for ours if Kubernetes has set it."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        value = super().resolve_envvar_value(ctx)
        return None if is_service_link(str(self.envvar), os.environ) else value


def is_service_link(variable: str, environment: Mapping[str, str]) -> bool:
    """Whether Kubernetes has set `variable`, for a service.

    A service `meteora-raft` is told to all pods beside it as METEORA_RAFT_SERVICE_HOST, METEORA_RAFT_PORT and others.
    No port of ours has the form of that, so nothing that a user may have meant is passed over.
    """
    service, is_port, _ = variable.rpartition("_PORT")
    return bool(
        is_port and f"{service}_SERVICE_HOST" in environment and _SERVICE_PORT.fullmatch(environment.get(variable, ""))
    )


def with_node_options(command: _Function) -> _Function:
    """Gives `command` an option for each setting of a node, and --config."""
    for setting in reversed(SETTINGS):
        command = _option(setting)(command)
    return with_config_option(command)


def with_options_of(*fields: str) -> Callable[[_Function], _Function]:
    """Gives a command the options of these settings of a node alone."""

    def with_them(command: _Function) -> _Function:
        for setting in reversed(SETTINGS):
            if setting.field in fields:
                command = _option(setting)(command)
        return command

    return with_them


def with_config_option(command: _Function) -> _Function:
    """Gives `command` --config: what is in that file comes before the defaults."""
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        envvar=CONFIG_VARIABLE,
        is_eager=True,
        expose_value=False,
        callback=_take_file,
        help="TOML file with any of these settings; options and variables win over it.",
    )(command)


def node_config(context: click.Context) -> NodeConfig:
    """The settings that a command with the options of a node was given. Raises `ConfigurationError`."""
    file = config_file(context)
    if file is not None and file.problems:
        more = len(file.problems) - 1
        hint = f"; `meteora config check --config {file.path}` lists {more} more" if more else ""
        raise ConfigurationError(file.problems[0] + hint)
    try:
        return checked(NodeConfig(**{setting.field: context.params[setting.field] for setting in SETTINGS}))
    except ConfigurationError as error:
        raise ConfigurationError(placed(context, str(error))) from None


def _take_file(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is not None:
        remember_file(context, read_config_file(path))


def _option(setting: Setting) -> Callable[[_Function], _Function]:
    default_meaning = setting.default_meaning and f"  [default: {setting.default_meaning}]"
    return click.option(
        *setting.options,
        setting.field,
        cls=_NodeOption,
        metavar=metavar(setting.kind),
        type=type_of(setting.kind),
        is_flag=isinstance(setting.kind, Flag),
        envvar=setting.variable,
        default=setting.default,
        show_default=setting.default not in (None, False, ()),
        help=setting.meaning + default_meaning,
    )


def metavar(kind: Kind) -> str | None:
    """What stands for the value in help texts; None for a flag, or if click lists the values."""
    match kind:
        case Text(word) | WholeNumber(word) | Names(word):
            return word
        case Flag() | Choice():
            return None
        case Count():
            return "COUNT"
        case Seconds():
            return "SECONDS"
        case File():
            return "FILE"
        case Directory():
            return "DIRECTORY"
