"""The command `meteora`.

One file a command group: `start` runs a node, `kv` reads and writes, `cluster` looks at the members and changes them,
`users` says who may do what, `disk` looks at what a stopped node has, and makes a new cluster of it, `backup` takes
backups and restores them, `export` writes and reads keys as lines of JSON, `configuration` looks at what a node would
be started with, `completion` is for shells.

The rule: whatever goes wrong is one line on stderr that begins with `meteora: error:`, and an exit status that says
what kind of thing it was (`exit_status`). Nothing heavy is imported before a command needs it.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from meteora import __version__
from meteora.cli.backup import backup, restore
from meteora.cli.cluster import add_member, leave, status, transfer
from meteora.cli.completion import completion
from meteora.cli.configuration import config
from meteora.cli.disk import recover, verify
from meteora.cli.exit_status import FAILED, INTERRUPTED, SUCCESS, USAGE, exit_status_of
from meteora.cli.export import export, import_
from meteora.cli.help_text import examples, listing
from meteora.cli.kv import delete, get, put
from meteora.cli.start import start
from meteora.cli.usage_errors import words_of
from meteora.cli.users import auth, role, user
from meteora.errors import MeteoraError

__all__ = ["commands", "main", "run"]


_EXAMPLES = examples(
    "meteora start                 run a node, alone",
    "meteora put greeting hello    set a key",
    "meteora get greeting          print its value",
    "meteora status                show the members and the leader",
)

_EXIT_STATUS = listing(
    "Exit status",
    "0  done",
    "1  there is no such key or member, the request was refused, the node could not start, or its disk is damaged",
    "2  the command line or the configuration makes no sense",
    "3  nobody served the request in time, or the fate of a write is unknown",
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"{_EXAMPLES}\n\n{_EXIT_STATUS}",
    invoke_without_command=True,
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def commands(context: click.Context) -> None:
    """A distributed key-value store."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (
    start,
    put,
    get,
    delete,
    status,
    add_member,
    leave,
    transfer,
    auth,
    user,
    role,
    verify,
    recover,
    backup,
    restore,
    export,
    import_,
    config,
    completion,
):
    commands.add_command(command)


def main() -> NoReturn:
    """Runs the command line of this process and exits with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line. The exit status."""
    try:
        result = commands.main(list(arguments), prog_name="meteora", standalone_mode=False)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "meteora"
        _report(f"{words_of(error)} (see `{where} --help`)")
        return USAGE
    except click.ClickException as error:
        _report(error.format_message())
        return FAILED
    except click.Abort:
        return INTERRUPTED
    except MeteoraError as error:
        _report(str(error))
        return exit_status_of(error)
    return result if isinstance(result, int) else SUCCESS


def _report(message: str) -> None:
    """Says on stderr what went wrong, in one line whatever is in it."""
    click.echo(f"meteora: error: {' '.join(message.split())}", err=True)
