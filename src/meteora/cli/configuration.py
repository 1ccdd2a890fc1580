"""Commands that say what a node would be started with, and start none."""

import json
import os
import re
from collections.abc import Callable
from typing import Any, Final

import click

from meteora.cli.environment import warnings_of
from meteora.cli.exit_status import SUCCESS, USAGE
from meteora.cli.help_text import examples
from meteora.cli.node_options import (
    node_config,
    with_config_option,
    with_node_options,
)
from meteora.cli.node_settings import problems_of
from meteora.cli.origins import config_file, origin, placed
from meteora.cli.start import start
from meteora.cli.usage_errors import words_of
from meteora.config import SETTINGS, NodeConfig
from meteora.errors import ConfigurationError
from meteora.settings import Setting, as_plain, as_toml

_SECRET: Final = "(secret)"


@click.group(no_args_is_help=False)
def config() -> None:
    """See and check what a node is started with."""


@config.command(epilog=examples("meteora config check --config /etc/meteora.toml"))
@with_config_option
@click.pass_context
def check(context: click.Context) -> int:
    """Find all that is wrong with a configuration: in the file, and in the environment.

    Nothing is started, and nothing is looked for on disk or on the network. The exit status is 2 if `start` would
    refuse it. Variables that nobody reads are warned of only: they may be another program's.
    """
    for warning in warnings_of(os.environ):
        click.echo(f"meteora: warning: {warning}", err=True)
    problems = _problems(context)
    for problem in problems:
        click.echo(f"meteora: error: {problem}", err=True)
    if problems:
        return USAGE
    file = config_file(context)
    click.echo(f"{file.path if file else 'The configuration'} is fine.")
    return SUCCESS


@config.command(
    epilog=examples("meteora config show --config /etc/meteora.toml -r 7001", "meteora config show --format toml")
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "toml"]),
    default="text",
    show_default=True,
    help="A table for people, JSON for programs, or a file for --config.",
)
@with_node_options
@click.pass_context
def show(context: click.Context, /, form: str, **_options: Any) -> int:
    """Print the settings that `start` would run with, and where each of them comes from.

    It takes the options of `meteora start`. Secrets are not printed.
    """
    click.echo(_FORMATS[form](context, node_config(context)))
    return SUCCESS


def _problems(context: click.Context) -> list[str]:
    """What `start` would refuse, with the file of `context`."""
    file = config_file(context)
    problems = list(file.problems if file else ())
    started = click.Context(start, parent=context, info_name="start", default_map=context.default_map)
    for option in start.params:
        if option.is_eager:
            # --config and its variable: `context` has read that file already.
            continue
        try:
            option.handle_parse_result(started, {}, [])
        except click.UsageError as error:
            error.ctx = started
            problems.append(words_of(error))
    values = {setting.field: started.params[setting.field] for setting in SETTINGS if setting.field in started.params}
    refused = {setting.key for setting in SETTINGS if setting.field not in values} | set(file.refused if file else ())
    return problems + [
        placed(started, problem)
        for problem in problems_of(NodeConfig(**values))
        # The default stands in for what was refused, and may not fit the rest.
        if not any(re.search(rf"--{key}(?![\w-])", problem) for key in refused)
    ]


def _as_text(context: click.Context, config: NodeConfig) -> str:
    rows = [("SETTING", "VALUE", "FROM")]
    rows += [(each.key, _in_words(each, getattr(config, each.field)), origin(context, each)) for each in SETTINGS]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{key:{widths[0]}}  {value:{widths[1]}}  {origin}" for key, value, origin in rows)


def _in_words(setting: Setting, value: Any) -> str:
    if value is None or value == ():
        return "-"
    if setting.is_secret:
        return _SECRET
    plain = as_plain(value)
    text = ", ".join(plain) if isinstance(plain, list) else plain if isinstance(plain, str) else json.dumps(plain)
    # What isn't UTF-8 can't be printed, and a line has to stay one.
    return _in_one_line(text)


def _as_json(context: click.Context, config: NodeConfig) -> str:
    report = {}
    for setting in SETTINGS:
        value = as_plain(getattr(config, setting.field))
        shown = {"secret": True} if setting.is_secret and value is not None else {"value": value}
        report[setting.key] = {**shown, "from": origin(context, setting)}
    return json.dumps(report, indent=2)


def _as_toml(context: click.Context, config: NodeConfig) -> str:
    """A file that, given to --config, leads to the same settings, but for secrets."""
    return "\n".join(
        _toml_line(setting, getattr(config, setting.field), origin(context, setting)) for setting in SETTINGS
    )


def _toml_line(setting: Setting, value: Any, origin: str) -> str:
    comment = "" if origin == "default" else f"  # {_in_one_line(origin)}"
    if value is None:
        return f"# {setting.key} is not set"
    if setting.is_secret:
        return f"# {setting.key} is a secret{comment}"
    try:
        text = as_toml(value)
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{setting.key} can't be written as TOML: it is not UTF-8") from None
    return f"{setting.key} = {text}{comment}"


def _in_one_line(text: str) -> str:
    """`text` without anything that can't be printed, or would end the line."""
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


_FORMATS: Final[dict[str, Callable[[click.Context, NodeConfig], str]]] = {
    "text": _as_text,
    "json": _as_json,
    "toml": _as_toml,
}
